use super::*;
use crate::registry::by_name;
use serde_json::json;

fn context() -> Context<'static> {
    let at = "2026-11-24T02:00:00Z".parse().unwrap();
    Context { entity: Some("p1"), fetched_at: at, snapshot_at: at }
}

fn rows(table: &str, item: Value) -> (RecordBatch, Drift) {
    let table = by_name(table).unwrap();
    let mut mapper = RowMapper::new(table);
    let mut rows = Vec::new();
    mapper.map(item, &context(), &mut rows);
    (batch_of(table, rows).unwrap(), mapper.drift)
}

fn text(batch: &RecordBatch, column: &str) -> Option<String> {
    let array = batch.column_by_name(column).unwrap().as_string::<i32>().clone();
    (!array.is_null(0)).then(|| array.value(0).to_owned())
}

#[test]
fn what_no_column_maps_is_kept_and_named_as_drift() {
    let item = json!({
        "id": "p1", "title": "T", "creator": {"email": "a@b", "slackId": "U1"}, "newField": [1, 2],
        "analytics": {"appViews": {"allTime": "many"}}, "status": null, "sharing": null, "schedules": [],
    });
    let (batch, drift) = rows("projects", item);
    let extra: Value = serde_json::from_str(&text(&batch, "extra").unwrap()).unwrap();
    assert_eq!(
        extra,
        json!({"creator": {"slackId": "U1"}, "newField": [1, 2], "analytics": {"appViews": {"allTime": "many"}}})
    );
    assert_eq!(text(&batch, "creator_email").as_deref(), Some("a@b"));
    assert!(drift.contains_key("creator.slackId") && drift.contains_key("newField"), "{drift:?}");
}

#[test]
fn an_item_with_nothing_beyond_the_description_has_no_extra() {
    let (batch, drift) = rows(
        "users",
        json!({"id": "u", "name": null, "email": "e", "role": "NEW_ROLE", "lastLoginDate": null}),
    );
    assert_eq!(text(&batch, "extra"), None);
    assert_eq!(text(&batch, "role").as_deref(), Some("NEW_ROLE"));
    assert!(drift.is_empty());
}

#[test]
fn unknown_fields_inside_lists_of_structs_are_kept() {
    let item = json!({"runId": "r", "projectId": "p1", "stateEvents": [{"type": "STATUS", "value": "x", "timestamp": "2026-01-01T00:00:00Z", "by": "me"}]});
    let (batch, _) = rows("runs", item);
    assert_eq!(text(&batch, "extra").as_deref(), Some(r#"{"stateEvents":[{"by":"me"}]}"#));
}

#[test]
fn items_without_an_identifier_are_counted_and_kept_apart() {
    let table = by_name("users").unwrap();
    let mut mapper = RowMapper::new(table);
    let mut all = Vec::new();
    let items = [
        json!({"email": "a@b"}),
        json!({"id": "", "email": "c@d"}),
        json!({"id": {"x": 1}, "email": "e@f"}),
        json!("not an object"),
        json!(null),
        json!({"id": 7}),
        json!({"email": "a@b"}),
    ];
    for item in items {
        mapper.map(item, &context(), &mut all);
    }
    let sorted = sort_unique(table, &table.schema(), &[batch_of(table, all).unwrap()]).unwrap();
    let ids: Vec<_> = sorted.column(0).as_string::<i32>().iter().flatten().collect();
    assert_eq!(ids.len(), 6, "the same item twice is one: {ids:?}");
    assert_eq!(ids[0], "7");
    assert!(ids[1..].iter().all(|id| id.starts_with(UNIDENTIFIED)));
    let extra = sorted.column_by_name("extra").unwrap().as_string::<i32>();
    let mut extra: Vec<_> = extra.iter().flatten().collect();
    extra.sort_unstable();
    assert_eq!(extra, [r#"{"@id":{"x":1}}"#, r#"{"@item":"not an object"}"#, r#"{"@item":null}"#]);
    assert_eq!((mapper.drift["id is missing"], mapper.drift["not an object"]), (4, 2));
}

#[test]
fn a_part_of_an_item_that_is_not_what_it_should_be_stays_with_the_item() {
    let grant = json!({"user": {"email": "a@b"}, "access": "CAN_VIEW"});
    for (name, unfit) in [
        ("sharing", json!([])),
        ("sharing", json!("x")),
        ("sharing", json!({"users": "x"})),
        ("sharing", json!({"users": [5, null], "workspace": "NONE"})),
        ("categories", json!({"name": "x"})),
        ("schedules", json!([["x"]])),
    ] {
        let mut item = json!({"id": "p1", "title": "T"});
        item[name] = unfit.clone();
        let (batch, drift) = rows("projects", item.clone());
        let extra: Value = serde_json::from_str(&text(&batch, "extra").unwrap()).unwrap();
        assert_eq!(extra[name], unfit);
        assert!(drift.keys().any(|field| field.starts_with(name)), "{drift:?}");
        for table in ["project_sharing", "project_categories", "project_schedules"] {
            assert_eq!(rows(table, item.clone()).0.num_rows(), 0, "{table} of {unfit}");
        }
    }
    let (batch, _) = rows("project_sharing", json!({"id": "p1", "sharing": {"users": [5, grant, grant]}}));
    assert_eq!(batch.num_rows(), 2);
    let (batch, _) = rows("projects", json!({"id": "p1", "sharing": {"users": [5, grant], "groups": []}}));
    assert_eq!(text(&batch, "extra").as_deref(), Some(r#"{"sharing":{"users":[5]}}"#));
    let (batch, _) = rows("collections", json!({"id": "c", "sharing": {"workspace": []}}));
    assert_eq!(text(&batch, "extra").as_deref(), Some(r#"{"sharing":{"workspace":[]}}"#));
    let (batch, _) = rows("data_connections", json!({"id": "c", "sharing": {"workspace": [], "groups": {}}}));
    assert_eq!(text(&batch, "extra").as_deref(), Some(r#"{"sharing":{"groups":{},"workspace":[]}}"#));
}

#[test]
fn grants_to_people_whose_name_is_not_known_are_kept_apart() {
    let table = by_name("project_sharing").unwrap();
    let mut mapper = RowMapper::new(table);
    let mut all = Vec::new();
    let grant = |user: &str| json!({"user": {"id": user}, "access": "CAN_VIEW"});
    let item = json!({"id": "p1", "sharing": {"users": [grant("a"), grant("b"), grant("a")]}});
    mapper.map(item, &context(), &mut all);
    let sorted = sort_unique(table, &table.schema(), &[batch_of(table, all).unwrap()]).unwrap();
    assert_eq!(sorted.num_rows(), 2);
}

#[test]
fn numbers_and_times_that_do_not_fit_are_kept_with_all_their_digits() {
    for (field, unfit) in [
        ("elapsedTime", json!(9_007_199_254_740_993_i64)),
        ("elapsedTime", json!("123456789012345678901234567890")),
        ("elapsedTime", json!("NaN")),
        ("projectVersion", json!(u64::MAX)),
        ("projectVersion", json!("18446744073709551616")),
        ("projectVersion", json!(1.5)),
        ("startTime", json!("0001-01-01T00:00:00Z")),
        ("startTime", json!("9999-12-31T23:59:59.999Z")),
        ("startTime", json!("0000-01-01T00:00:00Z")),
        ("startTime", json!("yesterday")),
        ("startTime", json!(i64::MIN)),
        ("status", json!({"name": "DONE"})),
        ("stateEvents", json!("none")),
    ] {
        let (batch, drift) = rows("runs", json!({"runId": "r", field: unfit}));
        let extra: Value = serde_json::from_str(&text(&batch, "extra").unwrap()).unwrap();
        assert_eq!(extra[field], unfit);
        assert!(drift.keys().any(|name| name.starts_with(field)), "{drift:?}");
    }
    let (batch, _) = rows("runs", json!({"runId": "r", "projectVersion": i64::MAX, "elapsedTime": "12.5"}));
    assert_eq!(text(&batch, "extra"), None);
}

#[test]
fn what_is_put_back_is_never_lost() {
    let item = json!({"id": "c", "connectionDetails": {"version": 2, "snowflake": {"port": {"a": 1}}}});
    let (batch, _) = rows("data_connections", item);
    let extra = text(&batch, "extra").unwrap();
    assert!(extra.contains(r#"{"a":1}"#) && extra.contains(r#""version":2"#), "{extra}");
}

#[test]
fn invented_names_do_not_fill_the_drift() {
    let members = (0..5_000).map(|n| (format!("{n}{}", "x".repeat(500)), Value::from(1)));
    let mut item = Map::from_iter(members);
    item.insert("id".into(), "u".into());
    let (_, drift) = rows("users", Value::Object(item));
    assert!(drift.len() <= MOST_DRIFT + 1 && drift.keys().all(|name| name.len() < 110));
    assert_eq!(drift.values().sum::<u64>(), 5_000);
}

#[test]
fn times_are_read_leniently() {
    let expected = Some(1_767_323_045_500_000);
    for given in [
        "2026-01-02T03:04:05.5Z",
        "2026-01-02T03:04:05.500000",
        "2026-01-02 03:04:05.5",
        "2026-01-02 04:04:05.5+01:00",
        "2026-01-02T04:04:05.5+0100",
    ] {
        assert_eq!(parse_timestamp(given), expected, "{given}");
    }
    assert_eq!(parse_timestamp("yesterday"), None);
    for number in ["1767323045.5", "1767323045500", "1767323045500000", "1767323045500000000"] {
        assert_eq!(timestamp(&serde_json::from_str(number).unwrap()), expected, "{number}");
    }
    assert_eq!(timestamp(&json!("2026-01-02T03:04:05.500000001Z")), expected);
}

#[test]
fn sorting_keeps_the_row_given_last_whatever_the_clocks_said() {
    let table = by_name("topics").unwrap();
    let mut mapper = RowMapper::new(table);
    let mut all = Vec::new();
    for (second, name) in [(1, "old"), (3, "newer"), (2, "newest")] {
        let fetched_at = DateTime::from_timestamp(second, 0).unwrap();
        mapper.map(json!({"id": "t", "name": name}), &Context { fetched_at, ..context() }, &mut all);
    }
    mapper.map(json!({"id": "a", "name": "first"}), &context(), &mut all);
    let sorted = sort_unique(table, &table.schema(), &[batch_of(table, all).unwrap()]).unwrap();
    let names: Vec<_> = sorted.column(1).as_string::<i32>().iter().flatten().collect();
    assert_eq!(names, ["first", "newest"]);
}
