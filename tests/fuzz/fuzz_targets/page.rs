//! Answers: any bytes are judged, and what is accepted can be read to the last value and becomes rows.
#![no_main]

use hexport::client::operation::ALL;
use hexport::client::{Verdict, judge, split_page};
use hexport::schema::{Context, RowMapper, batch_of};
use hexport::tables::ENTITIES;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (u8, u16, &[u8])| {
    let (number, status, body) = data;
    let operation = ALL[usize::from(number) % ALL.len()];
    let body = bytes::Bytes::copy_from_slice(body);
    let (body, listing) = match (judge(operation, status, None, &body), operation.listing) {
        (Verdict::Page { body, .. } | Verdict::Empty { body }, Some(listing)) => (body, listing),
        (Verdict::Single { body, .. }, _) => return drop(serde_json::from_slice::<serde_json::Value>(&body).unwrap()),
        _ => return,
    };
    let at = chrono::DateTime::UNIX_EPOCH;
    let context = Context { entity: Some("entity"), fetched_at: at, snapshot_at: at };
    let page = split_page(&listing, &body).expect("what is accepted is a page");
    for table in ENTITIES.iter().filter(|table| table.operation() == Some(operation)) {
        let (mut mapper, mut rows) = (RowMapper::new(table), Vec::new());
        for item in &page.items {
            let item = serde_json::from_str(item.get()).expect("what is accepted is JSON");
            mapper.map(item, &context, &mut rows);
        }
        assert!(!table.holds_items() || rows.len() == page.items.len(), "each item is a row");
        batch_of(table, rows).expect("rows of the table");
    }
});
