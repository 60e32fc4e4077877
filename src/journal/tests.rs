use std::collections::BTreeMap;

use super::*;
use crate::client::operation::GET_PROJECT_RUNS;
use crate::client::users::ActingAs;

fn header() -> CrawlHeader {
    CrawlHeader {
        format: FORMAT,
        tool_version: "0".into(),
        base_url: "https://app.hex.tech/api/v1".into(),
        workspace: Some("org".into()),
        acting_as: ActingAs::Unknown,
        full: false,
        bases: BTreeMap::new(),
        snapshot_id: "2026-11-24T020000Z".parse().unwrap(),
        snapshot_at: "2026-11-24T02:00:00Z".parse().unwrap(),
        tables: vec!["runs".into()],
        base_snapshot: None,
        fixed_time: None,
    }
}

fn write(journal: &Journal, request: &str, body: &[u8]) {
    let entity = Arc::from("p1");
    let new = NewEntry {
        operation: &GET_PROJECT_RUNS,
        entity: Some(&entity),
        request,
        status: 200,
        accepted: true,
        attempts: 1,
        fetched_at: Utc::now(),
        body,
    };
    journal.append(new).unwrap();
}

#[test]
fn a_torn_tail_is_cut_off_wherever_it_tears() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.hxj");
    let journal = Journal::create(&path, header()).unwrap();
    write(&journal, "GET /a", b"first");
    let whole = std::fs::metadata(&path).unwrap().len();
    write(&journal, "GET /b", &b"second".repeat(50));
    drop(journal);
    let bytes = std::fs::read(&path).unwrap();
    for cut in whole as usize..bytes.len() {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let journal = Journal::open(&path).unwrap();
        assert_eq!(journal.len(), 1, "cut at {cut}");
        write(&journal, "GET /c", b"third");
        drop(journal);
        let journal = Journal::open(&path).unwrap();
        let bodies: Vec<_> = journal.entries().iter().map(|e| journal.body(e).unwrap()).collect();
        assert_eq!(bodies, [b"first".to_vec(), b"third".to_vec()]);
    }
}

#[test]
fn damage_in_the_middle_costs_its_own_record_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.hxj");
    let journal = Journal::create(&path, header()).unwrap();
    write(&journal, "GET /a", b"first");
    let begin = std::fs::metadata(&path).unwrap().len() as usize;
    write(&journal, "GET /b", &b"second".repeat(40));
    let end = std::fs::metadata(&path).unwrap().len() as usize;
    write(&journal, "GET /c", b"third");
    drop(journal);
    let bytes = std::fs::read(&path).unwrap();
    for at in begin..end {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x41;
        std::fs::write(&path, &damaged).unwrap();
        let journal = Journal::open(&path).unwrap();
        let bodies: Vec<_> = journal.entries().iter().map(|e| journal.body(e).unwrap()).collect();
        assert_eq!(bodies, [b"first".to_vec(), b"third".to_vec()], "damaged at {at}");
        let bytes = (end - begin) as u64;
        assert_eq!(journal.damage(), [Damage { offset: begin as u64, bytes }], "damaged at {at}");
    }
}

#[test]
fn a_new_generation_hides_the_old_one_until_a_rebuild_prefers_the_whole_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.hxj");
    let journal = Journal::create(&path, header()).unwrap();
    let entity: Arc<str> = Arc::from("p1");
    let found = |journal: &Journal, key: &str| {
        journal.find(&GET_PROJECT_RUNS, Some(&entity), key).map(|e| journal.body(&e).unwrap())
    };
    write(&journal, "GET /a", b"old 1");
    write(&journal, "GET /a?offset=100", b"old 2");
    journal.mark_whole(&GET_PROJECT_RUNS, Some(&entity)).unwrap();
    journal.begin_again(&GET_PROJECT_RUNS, Some(&entity));
    assert_eq!(found(&journal, "GET /a"), None);
    write(&journal, "GET /a", b"new 1");
    for journal in [journal, Journal::open(&path).unwrap()] {
        assert_eq!(found(&journal, "GET /a").as_deref(), Some(&b"new 1"[..]));
        assert_eq!(found(&journal, "GET /a?offset=100"), None);
        assert_eq!(journal.entries().len(), 1);
        journal.prefer_whole();
        assert_eq!(found(&journal, "GET /a").as_deref(), Some(&b"old 1"[..]));
        assert_eq!(journal.entries().len(), 2);
    }
}

#[test]
fn a_committed_journal_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.hxj");
    let journal = Journal::create(&path, header()).unwrap();
    assert_eq!(journal.committed(), None);
    let at = "2026-11-24T03:00:00Z".parse().unwrap();
    journal.commit(at).unwrap();
    assert_eq!(Journal::open_read(&path).unwrap().committed(), Some(at));
}

#[test]
fn a_request_made_twice_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.hxj");
    let journal = Journal::create(&path, header()).unwrap();
    write(&journal, "GET /a", b"old");
    write(&journal, "GET /a", b"new");
    let journal = Journal::open(journal.path()).unwrap();
    let entries = journal.entries();
    assert_eq!(entries.len(), 1);
    assert_eq!(journal.body(&entries[0]).unwrap(), b"new");
    let entity = Some(Arc::from("p1"));
    assert!(journal.find(&GET_PROJECT_RUNS, entity.as_ref(), "GET /a").is_some());
    assert!(journal.find(&GET_PROJECT_RUNS, entity.as_ref(), "GET /b").is_none());
}

#[test]
fn a_journal_is_private_and_other_files_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.hxj");
    Journal::create(&path, header()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(Journal::create(&path, header()).is_err());
    let other = dir.path().join("b.hxj");
    std::fs::write(&other, "id,name\n").unwrap();
    assert!(matches!(Journal::open(&other), Err(Error::Foreign { .. })));
}

#[test]
fn a_journal_whose_index_is_freed_is_not_empty_and_opens_with_all_answers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.hxj");
    let journal = Journal::create(&path, header()).unwrap();
    assert!(journal.is_empty());
    write(&journal, "GET /a", b"first");
    write(&journal, "GET /b", b"second");
    journal.release();
    // An empty journal is removed when an export fails.
    assert_eq!((journal.len(), journal.is_empty()), (2, false));
    assert!(journal.entries().is_empty());
    drop(journal);
    assert_eq!(Journal::open(&path).unwrap().entries().len(), 2);
}
