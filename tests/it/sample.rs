//! `sample-output` is what the code produces.

use std::path::{Path, PathBuf};

use crate::support::*;

/// The command that makes it, as its README says.
const ARGS: [&str; 4] = ["--projects", "20", "--format", "parquet,csv"];

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sample-output")
}

#[test]
fn the_sample_is_what_the_demo_produces() {
    let dir = tempfile::tempdir().unwrap();
    let fresh = dir.path().join("sample-output");
    let mut args = vec!["demo", fresh.to_str().unwrap()];
    args.extend(ARGS);
    run(&mut hexport(&args), 0);
    verify(&committed()).expect("sample-output is a lake");
    let names = |folder: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let remake = "remake it as sample-output/README.md says";
    let pairs: Vec<_> = snapshots(&committed()).into_iter().zip(snapshots(&fresh)).collect();
    assert_eq!(snapshots(&committed()).len(), snapshots(&fresh).len(), "{remake}");
    for (committed, fresh) in &pairs {
        assert_eq!(committed.file_name(), fresh.file_name(), "{remake}");
        assert_eq!(names(committed), names(fresh), "{remake}");
        for name in names(committed) {
            let (a, b) = (committed.join(&name), fresh.join(&name));
            match a.extension().and_then(|ending| ending.to_str()) {
                Some("csv") => {
                    let bytes = |path: &Path| std::fs::read(path).unwrap();
                    assert!(bytes(&a) == bytes(&b), "{} differs: {remake}", a.display());
                }
                Some("parquet") => {
                    let sql = format!(
                        "SELECT count(*) FROM ((FROM '{0}' EXCEPT ALL FROM '{1}') UNION ALL (FROM '{1}' EXCEPT ALL FROM '{0}'))",
                        a.display(),
                        b.display()
                    );
                    let views = fresh.parent().unwrap();
                    assert_eq!(ask_one(views, &sql), 0, "{} differs: {remake}", a.display());
                }
                _ => {}
            }
        }
    }
    assert_eq!(pairs.len(), 2);
    for name in ["latest.json", "views.sql"] {
        let text = |root: &Path| std::fs::read_to_string(root.join(name)).unwrap();
        assert_eq!(text(&committed()), text(&fresh), "{name}: {remake}");
    }
}

#[test]
fn the_samples_readme_shows_what_its_queries_give() {
    let readme = std::fs::read_to_string(committed().join("README.md")).unwrap();
    let mut blocks = readme.split("```sql\n").skip(1);
    let mut shown = 0;
    for block in blocks.by_ref() {
        let (sql, rest) = block.split_once("```").unwrap();
        let table: Vec<Vec<String>> = rest
            .split("```")
            .next()
            .unwrap()
            .lines()
            .filter(|line| line.starts_with('|'))
            .skip(2)
            .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
            .collect();
        let found: Vec<Vec<String>> = ask(&committed(), sql)
            .into_iter()
            .map(|row| {
                row.into_iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect()
            })
            .collect();
        assert_eq!(table, found, "{sql}");
        shown += 1;
    }
    assert_eq!(shown, 4);
}
