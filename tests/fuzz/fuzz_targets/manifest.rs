//! Manifests: a lake whose last snapshot has any manifest is listed, read and exported to, or refused in words.
#![no_main]

use hexport::snapshot::Lake;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = folder.path().join("snapshot=2026-01-01T000000Z");
    std::fs::create_dir(&snapshot).unwrap();
    std::fs::write(snapshot.join("manifest.json"), data).unwrap();
    let lake = Lake::new(folder.path());
    let _ = lake.snapshots();
    let _ = lake.manifests();
    let _ = lake.latest();
});
