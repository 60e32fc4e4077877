//! Journals: any bytes after the first are opened or refused, and every answer that is listed can be read or says why.
#![no_main]

use hexport::journal::Journal;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fuzz.hxj");
    std::fs::write(&path, data).unwrap();
    if let Ok(journal) = Journal::open(&path) {
        for entry in journal.entries() {
            let _ = journal.body(&entry);
        }
    }
});
