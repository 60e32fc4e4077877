//! The order that the sources keep: which layer may use which, and how long a file may be.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The modules of `src`, each above those that it may use. Readers of committed snapshots stand beside each other, but
/// for those that build on another's answer.
const LAYERS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["history"],
    &["export"],
    &["report", "notify", "handoff"],
    &["diff", "access"],
    &["audit", "lineage", "cost"],
    &["registry"],
    &["derive"],
    &["crawl"],
    &["snapshot"],
    &["tables"],
    &["store"],
    &["journal"],
    &["schema"],
    &["sim"],
    &["client"],
    &["units"],
];

fn sources() -> Vec<(PathBuf, String)> {
    fn collect(folder: &Path, into: &mut Vec<(PathBuf, String)>) {
        let mut entries: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            match path.extension().and_then(|name| name.to_str()) {
                _ if path.is_dir() => collect(&path, into),
                Some("rs") => into.push((path.clone(), std::fs::read_to_string(&path).unwrap())),
                _ => {}
            }
        }
    }
    let (root, mut found) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), Vec::new());
    collect(&root, &mut found);
    found.into_iter().map(|(path, text)| (path.strip_prefix(&root).unwrap().to_path_buf(), text)).collect()
}

/// The module of `src` that a file is of.
fn module(path: &Path) -> &str {
    let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
    first.strip_suffix(".rs").unwrap_or(first)
}

/// Modules that a text names after `crate::`, in paths and in groups. Tests may use what they like.
fn used(text: &str) -> BTreeSet<String> {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n");
    let name =
        |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => drop(found.insert(name(rest))),
            Some(group) => {
                let mut depth = 0;
                let mut starts = true;
                for (at, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => starts = true,
                        c if starts && c.is_alphanumeric() => {
                            found.insert(name(&group[at..]));
                            starts = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

#[test]
fn each_layer_uses_only_those_below_it() {
    let place = |name: &str| LAYERS.iter().position(|layer| layer.contains(&name));
    let (mut up, mut seen) = (Vec::new(), BTreeSet::new());
    for (path, text) in sources() {
        // The library's root names all modules; `tests.rs` of a module are tests.
        if path.ends_with("lib.rs")
            || path.ends_with("tests.rs")
            || path.to_str().unwrap().ends_with("_tests.rs")
        {
            continue;
        }
        let from = module(&path).to_owned();
        let own = place(&from).unwrap_or_else(|| panic!("{from} has no place among the layers"));
        seen.insert(from.clone());
        for to in used(&text).into_iter().filter(|to| *to != from) {
            let Some(other) = place(&to) else { continue };
            if other <= own {
                up.push(format!("{} uses {to}", path.display()));
            }
        }
    }
    assert!(up.is_empty(), "uses of a layer above or beside:\n{}", up.join("\n"));
    let named: BTreeSet<String> = LAYERS.concat().into_iter().map(str::to_owned).collect();
    assert_eq!(named, seen, "the layers are the modules of src");
}

/// The variants of a text's error enums: their names, and their fields as they are written.
fn error_variants(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("thiserror::Error)]\n") {
        let rest = &text[at..];
        let Some(body) = rest.split_once("enum ").and_then(|(_, rest)| rest.split_once("{\n")) else {
            continue;
        };
        let body = body.1.split("\n}").next().unwrap();
        // A variant begins at a depth of four spaces; its fields, at eight.
        let mut variant: Option<(String, String)> = None;
        for line in body.lines().filter(|line| !line.trim_start().starts_with("//")) {
            if line.starts_with("    ") && line[4..].starts_with(|c: char| c.is_ascii_uppercase()) {
                found.extend(variant.take());
                let name = line[4..].split(|c: char| !c.is_alphanumeric()).next().unwrap();
                variant = Some((name.to_owned(), line.to_owned()));
            } else if let Some((_, fields)) = &mut variant {
                fields.push_str(line);
            }
        }
        found.extend(variant);
    }
    found
}

#[test]
fn an_error_keeps_its_source_instead_of_a_text_about_it() {
    // No error stands behind these: what the API said, or a comparison that came out badly.
    let without_cause = [("crawl/mod.rs", "Forbidden"), ("crawl/mod.rs", "List"), ("export/mod.rs", "Worse")];
    let (mut swallowing, mut seen) = (Vec::new(), 0);
    for (path, text) in sources() {
        for (name, fields) in error_variants(&text) {
            seen += 1;
            let tells = ["why", "reason", "detail", "message"]
                .iter()
                .any(|f| fields.contains(&format!("{f}: String")));
            let inner =
                fields.contains("Error)") && !fields.contains("#[source]") && !fields.contains("#[from]");
            let is_transparent = text.contains(&format!("#[error(transparent)]\n    {name}("));
            let keeps = fields.contains("source:");
            if (tells && !keeps || inner && !is_transparent)
                && !without_cause.iter().any(|(file, variant)| path.ends_with(file) && *variant == name)
            {
                swallowing.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(seen > 100, "the enums of errors are found: {seen} variants");
    assert!(swallowing.is_empty(), "{}", swallowing.join("\n"));
}

#[test]
fn no_file_is_over_600_lines_without_a_reason_at_its_top() {
    let is_long = |(path, text): &(PathBuf, String)| {
        let lines = text.lines().count();
        let says_why = text.lines().take(12).any(|line| line.contains("600 lines"));
        (lines > 600 && !says_why).then(|| format!("{}: {lines}", path.display()))
    };
    let long: Vec<String> = sources().iter().filter_map(is_long).collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn the_samples_of_the_recipes_apply_and_touch_as_few_files_as_they_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join(".github/CONTRIBUTING.md")).unwrap();
    let mut samples = Vec::new();
    for recipe in text.split("\n### ").skip(1) {
        let title = recipe.lines().next().unwrap();
        let Some((_, rest)) = recipe.split_once("```diff\n") else { continue };
        let diff = rest.split_once("```").unwrap().0;
        let most: usize = title.rsplit_once('(').unwrap().1.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(diff.lines().filter(|line| line.starts_with("+++ ")).count(), most, "{title}");
        let patch = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(patch.path(), diff).unwrap();
        let mut git = std::process::Command::new("git");
        let out = git.current_dir(root).args(["apply", "--check"]).arg(patch.path()).output().unwrap();
        assert!(out.status.success(), "{title}: {}", String::from_utf8_lossy(&out.stderr));
        samples.push(most);
    }
    assert_eq!(samples, [2, 4, 2, 1, 3], "table, endpoint with table, derived table, rule, operation");
}
