//! Conformance of stores: one suite, run against each implementation, and against real servers.

use std::fs;

use super::{Folder, Store};

/// Checks a store that is empty, and leaves it empty.
///
/// # Panics
/// If it does otherwise than [`Store`] says.
pub fn conforms(store: &dyn Store) {
    // More than a part of an upload.
    check(store, 9_000_000);
}

/// The same, without an upload that is so long that it goes in parts.
///
/// # Panics
/// If it does otherwise than [`Store`] says.
pub fn conforms_in_one_piece(store: &dyn Store) {
    check(store, 1_000_000);
}

fn check(store: &dyn Store, long: u32) {
    store.probe().expect("it can be written to");
    assert_eq!(store.top().expect("listed"), Vec::<String>::new(), "an empty store");
    assert_eq!(store.list("").expect("listed"), []);
    single_files(store);
    copies(store, long);
    conditions(store);
    folders(store);
    let left: Vec<String> = store.list("").expect("listed").into_iter().map(|o| o.name).collect();
    assert_eq!(left, Vec::<String>::new(), "nothing is left");
}

fn names(store: &dyn Store, prefix: &str) -> Vec<String> {
    store.list(prefix).expect("listed").into_iter().map(|object| object.name).collect()
}

fn single_files(store: &dyn Store) {
    assert_eq!(store.get("none").expect("read"), None);
    assert_eq!(store.get("none/below").expect("read"), None);
    store.delete(&["none".into(), "a/none".into()]).expect("what is gone already is no error");
    store.put("a.json", b"1").expect("written");
    store.put("a.json", b"22").expect("written over");
    store.put("snapshot=1/t.parquet", b"t").expect("written");
    store.put("snapshot=1/b/c", b"c").expect("written");
    store.put("snapshot=2/t.parquet", b"").expect("written");
    assert_eq!(store.get("a.json").expect("read").as_deref(), Some(&b"22"[..]));
    assert_eq!(store.get("snapshot=2/t.parquet").expect("read").as_deref(), Some(&b""[..]));
    assert_eq!(store.top().expect("listed"), ["a.json", "snapshot=1", "snapshot=2"]);
    assert_eq!(names(store, "snapshot=1/"), ["snapshot=1/b/c", "snapshot=1/t.parquet"]);
    assert_eq!(
        names(store, "snapshot="),
        ["snapshot=1/b/c", "snapshot=1/t.parquet", "snapshot=2/t.parquet"],
        "a prefix need not end where a folder does"
    );
    assert_eq!(names(store, "snapshot=3/"), Vec::<String>::new());
    assert_eq!(store.list("a.js").expect("listed")[0].bytes, 2);
    assert_eq!(names(store, "a.json"), ["a.json"], "a whole name is a prefix of itself");
    let asked = ["a.json".to_owned(), "none".to_owned()];
    assert_eq!(store.get_all(&asked).expect("read"), [Some(b"22".to_vec()), None]);
    let all = names(store, "");
    store.delete(&all).expect("removed");
}

fn copies(store: &dyn Store, long: u32) {
    let dir = super::scratch().expect("a folder");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let long: Vec<u8> = (0..long).map(|i| (i % 251) as u8).collect();
    fs::write(&from, &long).expect("written");
    store.upload(&[(from, "up/long".into())]).expect("uploaded");
    store.download("up/long", &to).expect("downloaded");
    assert!(fs::read(&to).expect("read") == long, "the same bytes");
    assert!(store.download("up/none", &to).is_err());
    let all = names(store, "");
    store.delete(&all).expect("removed");
}

fn conditions(store: &dyn Store) {
    assert!(store.put_if_absent("claim", b"a").expect("written"));
    assert!(store.put_if_absent("claim", b"a").expect("the same bytes are there"));
    assert!(!store.put_if_absent("claim", b"b").expect("looked at"));
    assert_eq!(store.get("claim").expect("read").as_deref(), Some(&b"a"[..]));
    store.change("claim", &|there| Some([there.unwrap_or_default(), b"+"].concat())).expect("changed");
    store.change("claim", &|_| None).expect("left");
    assert_eq!(store.get("claim").expect("read").as_deref(), Some(&b"a+"[..]));
    store
        .change("new", &|there| Some(if there.is_none() { b"made".to_vec() } else { Vec::new() }))
        .expect("made");
    assert_eq!(store.get("new").expect("read").as_deref(), Some(&b"made"[..]));
    // Nobody's change is lost, where several may write.
    if store.is_shared() && store.remarks().is_empty() {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..3 {
                        let more = |there: Option<&[u8]>| Some([there.unwrap_or_default(), b"x"].concat());
                        store.change("count", &more).expect("changed");
                    }
                });
            }
        });
        assert_eq!(store.get("count").expect("read").map(|text| text.len()), Some(12));
    }
    store.delete(&["claim".into(), "new".into(), "count".into()]).expect("removed");
}

fn folders(store: &dyn Store) {
    // A store on this machine takes the folder as it is, so it has to be on the same file system.
    let dir = match store.folder() {
        Some(root) => root.to_owned(),
        None => super::scratch().expect("a folder").keep(),
    };
    let work = dir.join("work");
    let make = |text: &str| {
        fs::create_dir_all(&work).expect("made");
        for name in ["users.parquet", "runs.parquet", "manifest.json"] {
            fs::write(work.join(name), text).expect("written");
        }
        let files = ["users.parquet".to_owned(), "runs.parquet".to_owned()];
        let folder =
            Folder { from: &work, files: &files, last: "manifest.json", to: "snapshot=1", via: "_staging/1" };
        store.publish(folder).expect("published")
    };
    assert!(make("first"));
    assert_eq!(names(store, "").len(), 3, "{:?}", names(store, ""));
    assert_eq!(store.get("snapshot=1/runs.parquet").expect("read").as_deref(), Some(&b"first"[..]));
    // Again: replaced, or refused, and whole in either case.
    let expected = if make("second") { b"second".to_vec() } else { b"first".to_vec() };
    for name in names(store, "snapshot=1/") {
        assert_eq!(store.get(&name).expect("read").as_ref(), Some(&expected), "{name}");
    }
    let _ = fs::remove_dir_all(&work);
    store.retract("snapshot=1", "manifest.json", "_staging-removed-1").expect("removed");
    if store.folder().is_none() {
        fs::remove_dir_all(dir).expect("removed");
    }
}
