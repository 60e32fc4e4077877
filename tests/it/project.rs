//! What surrounds the code: workflows, image, Kubernetes base, licences, changelog, recipes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::*;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Runs one of .venv's programs in the project's folder; what it printed, whether it succeeded.
fn tool(args: &[&str]) -> (String, bool) {
    let out =
        Command::new(args[0]).args(&args[1..]).env("PATH", path_with_venv()).current_dir(root()).output();
    let out = out.unwrap_or_else(|e| panic!("{}: {e}: run tests/run, which installs it", args[0]));
    (stdout(&out) + &stderr(&out), out.status.success())
}

/// Succeeds, and would not if the file were broken: `from` is what breaking it replaces.
fn lints(args: &[&str], file: &str, from: &str, to: &str) {
    let path = root().join(file);
    let with = |path: &str| tool(&[args, &[path]].concat());
    let (said, is_sound) = with(path.to_str().unwrap());
    assert!(is_sound, "{file}: {said}");
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join(path.file_name().unwrap());
    let whole = text(file);
    assert!(whole.contains(from), "{file} has no {from}");
    std::fs::write(&broken, whole.replace(from, to)).unwrap();
    let (said, is_sound) = with(broken.to_str().unwrap());
    assert!(!is_sound, "{args:?} finds nothing wrong with {to}: {said}");
}

#[test]
fn workflows_are_sound() {
    for name in ["ci", "release"] {
        let file = format!(".github/workflows/{name}.yml");
        let schema = ["check-jsonschema", "--builtin-schema", "vendor.github-workflows"];
        lints(&schema, &file, "runs-on:", "run-on:");
        let audit = ["zizmor", "--offline", "--no-progress", "--config", ".github/zizmor.yml"];
        lints(&audit, &file, "\npermissions:\n  contents: read\n", "\npermissions: write-all\n");
    }
}

#[test]
fn the_image_and_the_kubernetes_base_are_sound_and_run_without_rights() {
    lints(
        &["hadolint"],
        ".github/Dockerfile",
        "ENTRYPOINT [\"/usr/local/bin/hexport\"]",
        "ENTRYPOINT hexport",
    );
    assert!(
        text(".github/Dockerfile").contains("distroless")
            && text(".github/Dockerfile").contains("USER 65532")
    );
    let validate = ["kubernetes-validate", "--strict"];
    lints(&validate, ".github/kustomize/cronjob.yaml", "readOnlyRootFilesystem", "readOnlyRootFileSystem");
    lints(&validate, ".github/kustomize/lake.yaml", "accessModes", "accessMode");
    let job: Value = serde_yaml_ng::from_str(&text(".github/kustomize/cronjob.yaml")).unwrap();
    let pod = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
    let image = format!("ghcr.io/hexport/hexport:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(container["image"], image.as_str());
    assert!(text(".github/docs/nightly.md").contains(&image));

    let base: Value = serde_yaml_ng::from_str(&text(".github/kustomize/kustomization.yaml")).unwrap();
    let files = base["resources"]
        .as_array()
        .unwrap()
        .iter()
        .chain(base["configMapGenerator"][0]["files"].as_array().unwrap());
    for file in files.map(|file| file.as_str().unwrap()) {
        assert!(root().join(".github/kustomize").join(file).exists(), "{file}");
    }
    // Its arguments and settings are ones that hexport takes.
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, SECRET).unwrap();
    let settings =
        text(".github/kustomize/hexport.toml").replace("/etc/hexport/token/token", token.to_str().unwrap());
    let file = dir.path().join("hexport.toml");
    std::fs::write(&file, settings).unwrap();
    let lake = dir.path().join("lake");
    let args: Vec<String> = container["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|arg| match arg.as_str().unwrap() {
            "/lake" => lake.to_str().unwrap().to_owned(),
            arg => arg.replace("/etc/hexport/settings/hexport.toml", file.to_str().unwrap()),
        })
        .collect();
    let sim = Sim::of_projects(5);
    run(&mut sim.hexport(&args.iter().map(String::as_str).collect::<Vec<_>>()), 0);
    verify(&lake).unwrap();
}

#[test]
fn binstall_finds_the_archives_that_a_release_publishes() {
    let cargo: toml::Table = toml::from_str(&text("Cargo.toml")).unwrap();
    let binstall = &cargo["package"]["metadata"]["binstall"];
    let url = binstall["pkg-url"].as_str().unwrap();
    assert!(url.ends_with("/v{ version }/hexport-{ version }-{ target }.tar.gz"), "{url}");
    assert_eq!(binstall["bin-dir"].as_str().unwrap(), "hexport-{ version }-{ target }/{ bin }");
    let release = text(".github/workflows/release.yml");
    for part in [
        "name=\"hexport-${TAG#v}-$TARGET\"",
        "tar -czf \"$name.tar.gz\" \"$name\"",
        "x86_64-unknown-linux-musl",
        "aarch64-unknown-linux-musl",
        "aarch64-apple-darwin",
        "x86_64-apple-darwin",
    ] {
        assert!(release.contains(part), "{part}");
    }
}

/// Whether a licence expression can be met with the licences allowed.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let plain = expression.replace(['(', ')'], "").replace('/', " OR ");
    plain.split(" OR ").any(|all| all.split(" AND ").all(|one| allowed.contains(one.trim())))
}

#[test]
fn every_dependency_has_a_licence_that_is_allowed() {
    let deny: toml::Table = toml::from_str(&text(".github/deny.toml")).unwrap();
    let allowed = deny["licenses"]["allow"].as_array().unwrap();
    let allowed: BTreeSet<String> = allowed.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    let cargo = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let out = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--all-features"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value =
        serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", stderr(&out)));
    let packages = metadata["packages"].as_array().unwrap();
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(|license| is_allowed(license, &allowed)))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    assert!(packages.len() > 100 && refused.is_empty(), "{refused:#?}");
    assert!(!is_allowed("GPL-3.0-only", &allowed) && !is_allowed("MIT AND GPL-3.0-only", &allowed));
    let unused: Vec<&String> = allowed
        .iter()
        .filter(|name| {
            !packages.iter().any(|p| p["license"].as_str().is_some_and(|l| l.contains(name.as_str())))
        })
        .collect();
    assert!(unused.is_empty(), "allowed, and of no dependency: {unused:?}");
}

#[test]
fn the_changelog_keeps_its_form() {
    let changelog = text(".github/CHANGELOG.md");
    let heads: Vec<&str> = changelog.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(heads[0], "[Unreleased]");
    for head in &heads[1..] {
        let (version, date) = head.split_once("] - ").unwrap_or_else(|| panic!("{head}"));
        assert!(version.starts_with('[') && date.parse::<chrono::NaiveDate>().is_ok(), "{head}");
    }
    let kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];
    for kind in changelog.lines().filter_map(|line| line.strip_prefix("### ")) {
        assert!(kinds.contains(&kind), "{kind}");
    }
}

#[test]
fn the_recipes_name_files_that_are_there() {
    let contributing = text(".github/CONTRIBUTING.md");
    // The samples, which stand between fences, make files that aren't there yet.
    let contributing: String = contributing.split("```").step_by(2).collect();
    let named: Vec<&str> = contributing
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.starts_with("src/") || name.starts_with("tests/") || name.starts_with(".ci/"))
        .map(|name| name.split(' ').next().unwrap())
        .collect();
    assert!(named.len() > 15, "{named:?}");
    for name in named {
        assert!(root().join(name).exists(), "{name}");
    }
    assert_eq!(contributing.matches("\n### ").count(), 6, "six recipes");
}
