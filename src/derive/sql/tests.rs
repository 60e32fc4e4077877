//! The reader against `tests/sql/*.jsonl`, and against what must not break it.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use serde::Deserialize;

use super::names::{Defaults, TableName, Warehouse};
use super::{Reading, Setting, read};

/// A cell and the right answer; see tests/sql/README.md.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    connection_type: String,
    sql: String,
    reads: Vec<String>,
    dataframes: Vec<String>,
    other_outputs: Vec<String>,
    columns: Option<Vec<String>>,
    not_columns: Vec<String>,
    writes: Vec<String>,
    unnamed_table: bool,
    database: Option<String>,
    schema: Option<String>,
    /// Whether all statements must parse, or must not.
    parsed: Option<bool>,
}

fn sorted(names: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    names.into_iter().map(|name| name.to_lowercase()).collect()
}

fn warehouse_of(kind: &str) -> (Warehouse, bool) {
    match kind {
        "dataframe" => (Warehouse::DuckDb, true),
        kind => (Warehouse::of_type(kind), false),
    }
}

/// Faults in the answer to a case.
fn faults(case: &Case) -> Vec<String> {
    let (warehouse, dataframes_only) = warehouse_of(&case.connection_type);
    let defaults = Defaults { database: case.database.clone(), schema: case.schema.clone() };
    let dataframes: HashSet<String> = case.other_outputs.iter().map(|name| name.to_lowercase()).collect();
    let setting = Setting { warehouse, defaults: &defaults, dataframes: &dataframes, dataframes_only };
    let reading = match read(&case.sql, setting) {
        Ok(reading) => reading,
        Err(error) => return vec![format!("not read: {error}")],
    };
    let mut faults = Vec::new();
    // Readings wait in a file until all cells are read.
    let kept: Reading = serde_json::from_str(&serde_json::to_string(&reading).unwrap()).unwrap();
    if kept != reading {
        faults.push(format!("kept as {kept:?}"));
    }
    let mut compare = |what: &str, found: BTreeSet<String>, right: BTreeSet<String>| {
        if found != right {
            faults.push(format!("{what}: {found:?}, not {right:?} ({:?})", reading.error));
        }
    };
    let keys = |tables: &mut dyn Iterator<Item = &TableName>| sorted(tables.map(TableName::key));
    compare("reads", keys(&mut reading.reads.keys()), sorted(case.reads.clone()));
    compare("writes", keys(&mut reading.writes.keys()), sorted(case.writes.clone()));
    compare("dataframes", sorted(reading.dataframes.iter().cloned()), sorted(case.dataframes.clone()));
    let columns = sorted(reading.columns.keys().map(|(table, column)| format!("{}.{column}", table.key())));
    for column in case.columns.iter().flatten() {
        if !columns.contains(&column.to_lowercase()) {
            faults.push(format!("no column {column} in {columns:?}, pending {:?}", reading.pending));
        }
    }
    for column in &case.not_columns {
        let column = column.to_lowercase();
        if columns.iter().any(|c| *c == column || c.ends_with(&format!(".{column}"))) {
            faults.push(format!("column {column} in {columns:?}"));
        }
    }
    if (reading.unnamed_tables > 0) != case.unnamed_table {
        faults.push(format!("{} unnamed tables", reading.unnamed_tables));
    }
    if case.parsed.is_some_and(|parsed| parsed != reading.is_parsed()) {
        faults.push(format!("parsed: {:?}", reading.error));
    }
    faults
}

#[test]
fn cells_are_read_as_the_cases_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql");
    let (mut count, mut wrong) = (0, Vec::new());
    for file in std::fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|e| e != "jsonl") {
            continue;
        }
        for line in std::fs::read_to_string(&path).unwrap().lines().filter(|line| !line.trim().is_empty()) {
            let case: Case = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            count += 1;
            let faults = faults(&case);
            if !faults.is_empty() {
                wrong.push(format!(
                    "{} ({}): {}\n    {}",
                    case.name,
                    case.connection_type,
                    case.sql,
                    faults.join("\n    ")
                ));
            }
        }
    }
    assert!(count >= 29, "{count} cases");
    assert!(wrong.is_empty(), "{} of {count} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn reading(warehouse: Warehouse, sql: &str) -> Reading {
    let defaults = Defaults { database: Some("db".into()), schema: Some("sc".into()) };
    let dataframes = HashSet::from(["df_1".to_owned()]);
    let setting = Setting { warehouse, defaults: &defaults, dataframes: &dataframes, dataframes_only: false };
    read(sql, setting).unwrap_or_else(|e| panic!("{e}: {sql}"))
}

fn tables(warehouse: Warehouse, sql: &str) -> Vec<String> {
    reading(warehouse, sql).reads.keys().map(TableName::key).collect()
}

fn columns(warehouse: Warehouse, sql: &str) -> Vec<String> {
    reading(warehouse, sql).columns.keys().map(|(t, c)| format!("{}.{c}", t.table)).collect()
}

#[test]
fn tables_are_found_wherever_they_are_read() {
    use Warehouse as W;
    for (warehouse, sql, expected) in [
        (W::Postgres, "select 1", vec![]),
        (W::Postgres, "select * from a join B on a.x = b.x, c", vec!["db.sc.a", "db.sc.b", "db.sc.c"]),
        (W::Postgres, "with a as (select * from b) select * from a", vec!["db.sc.b"]),
        (W::Postgres, "with a as (select * from a) select * from a", vec!["db.sc.a"]),
        (W::Postgres, "with recursive a as (select 1 union all select * from a) select * from a", vec![]),
        (
            W::Postgres,
            "select (select max(x) from a) from b where exists (select 1 from c)",
            vec!["db.sc.a", "db.sc.b", "db.sc.c"],
        ),
        (
            W::Postgres,
            "select * from (select * from a union all (select * from b)) q",
            vec!["db.sc.a", "db.sc.b"],
        ),
        (W::Postgres, "select * from generate_series(1, 3) g, lateral (select * from a) l", vec!["db.sc.a"]),
        (W::Postgres, "select * from df_1 join a using (id)", vec!["db.sc.a"]),
        (W::Postgres, "select * from x.a where b in ({{ ids | array }}) and c = {{ c }}", vec!["db.x.a"]),
        (
            W::Snowflake,
            "select * from Raw.\"Orders\" o, lateral flatten(input => o.items) f",
            vec!["db.RAW.Orders"],
        ),
        (
            W::Snowflake,
            "select * from a qualify row_number() over (partition by b order by c) = 1",
            vec!["db.sc.A"],
        ),
        (W::BigQuery, "select * from `p.d.t`, unnest(items) i", vec!["p.d.t"]),
        (W::BigQuery, "select x from `p`.d.`events_*` e, e.items", vec!["p.d.events_*"]),
        (W::Databricks, "select * from Main.Gold.`Orders` version as of 3", vec!["main.gold.orders"]),
        (W::SqlServer, "select top 3 * from [Sales].[dbo].[Orders] with (nolock)", vec!["sales.dbo.orders"]),
        (W::ClickHouse, "select count() from web.clicks final prewhere x = 1", vec!["web.clicks"]),
        (W::Trino, "select * from hive.web.clicks tablesample bernoulli (10)", vec!["hive.web.clicks"]),
        (W::Postgres, "select * from {{ t }} join a on true", vec!["db.sc.a"]),
        (W::Postgres, "select 1 {% if x %}from a{% else %}from b{% endif %}", vec!["db.sc.a", "db.sc.b"]),
        (W::Postgres, "insert into a select * from b", vec!["db.sc.b"]),
        (W::Postgres, "create table a as select * from b; select * from c", vec!["db.sc.b", "db.sc.c"]),
    ] {
        assert_eq!(tables(warehouse, sql), expected, "{sql}");
    }
}

#[test]
fn columns_are_of_the_table_that_the_query_names_or_of_the_only_one() {
    use Warehouse as W;
    for (sql, expected) in [
        ("select x, t.y from t where z > 1 order by w", vec!["t.w", "t.x", "t.y", "t.z"]),
        ("select a.x, b.y from a join b on a.id = b.id", vec!["a.id", "a.x", "b.id", "b.y"]),
        ("select count(*) as n from t group by k order by n", vec!["t.k"]),
        ("select lower(name) as name from t where name = 'x'", vec!["t.name"]),
        ("with c as (select x from t) select x from c where y = 1", vec!["t.x"]),
        ("select q.x from (select x, y from t) q", vec!["t.x", "t.y"]),
        ("select * from t", vec!["t.*"]),
        ("select t.* from t join u on t.id = u.id", vec!["t.*", "t.id", "u.id"]),
        ("select date_trunc('day', at), dateadd(day, 1, at) from t", vec!["t.at"]),
        (
            "select x from t where exists (select 1 from u where u.id = t.id and t.k = 1)",
            vec!["t.id", "t.k", "t.x", "u.id"],
        ),
        ("select x from t where y = {{ y }} and z like '{{ z }}%'", vec!["t.x", "t.y", "t.z"]),
        ("select sc.t.x from sc.t", vec!["t.x"]),
    ] {
        assert_eq!(columns(W::Redshift, sql), expected, "{sql}");
    }
    let ambiguous = reading(W::Redshift, "select x from t, u");
    assert_eq!((ambiguous.columns.len(), ambiguous.pending.len()), (0, 1));
}

#[test]
fn names_that_a_template_fills_in_are_counted_and_not_guessed() {
    let reading = reading(Warehouse::Postgres, "select * from {{ schema }}.orders, raw.{{ t }}_v2, real_one");
    assert_eq!((reading.reads.len(), reading.unnamed_tables), (1, 2));
}

#[test]
fn a_dataframe_query_reads_no_tables() {
    let (defaults, frames) = (Defaults::default(), HashSet::new());
    let setting = Setting {
        warehouse: Warehouse::DuckDb,
        defaults: &defaults,
        dataframes: &frames,
        dataframes_only: true,
    };
    let reading = read("select a, count(*) from df_9 join other using (a) group by all", setting).unwrap();
    assert!(reading.reads.is_empty());
    assert_eq!(reading.dataframes.into_iter().collect::<Vec<_>>(), ["df_9", "other"]);
}

#[test]
fn what_is_not_sql_is_refused_and_nothing_panics() {
    use rand::{RngExt, SeedableRng};
    let (defaults, frames) = (Defaults::default(), HashSet::new());
    let setting =
        |warehouse| Setting { warehouse, defaults: &defaults, dataframes: &frames, dataframes_only: false };
    for sql in ["selec * form t", "\u{0}\u{1}binary\u{fffd}", "select * from (", "';--", "{{", "{% if"] {
        let _ = read(sql, setting(Warehouse::Postgres));
    }
    let nested = format!("select {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    assert!(read(&nested, setting(Warehouse::Snowflake)).is_err());
    let deep = format!("{}select 1{}", "select * from (".repeat(300), ")".repeat(300));
    assert!(read(&deep, setting(Warehouse::Trino)).is_err());
    let long =
        format!("select {} from t", (0..40_000).map(|i| format!("c{i}")).collect::<Vec<_>>().join(", "));
    assert_eq!(read(&long, setting(Warehouse::BigQuery)).unwrap().columns.len(), 40_000);
    let words: Vec<&str> =
        "select from where ( ) , . * with as a b t `x` \"y\" 'z' join on = and case when end order by group \
                            union all {{ x }} {% if %} -- \n /* */ :: [ ] 1 over partition lateral unnest"
            .split(' ')
            .collect();
    let mut r = rand_chacha::ChaCha8Rng::seed_from_u64(9);
    for _ in 0..3_000 {
        let sql: Vec<&str> =
            (0..r.random_range(1..30)).map(|_| words[r.random_range(0..words.len())]).collect();
        for warehouse in
            [Warehouse::Snowflake, Warehouse::BigQuery, Warehouse::Postgres, Warehouse::ClickHouse]
        {
            let _ = read(&sql.join(" "), setting(warehouse));
        }
    }
}

#[test]
fn deep_and_long_queries_overflow_nothing() {
    let (defaults, frames) = (Defaults::default(), HashSet::new());
    let nested = |open: &str, middle: &str, close: &str, n: usize| {
        format!("{}{middle}{}", open.repeat(n), close.repeat(n))
    };
    let mut queries = vec![
        format!("select 1{} from t", " + 1".repeat(60_000)),
        format!("select x from t where a = 1{}", " or a = 1".repeat(30_000)),
        format!("select x from t{}", " union all select x from t".repeat(10_000)),
        format!("select '{}'", "-".repeat(300_000)),
    ];
    for n in [20, 50, 200] {
        queries.push(format!("select * from {}", nested("(", "a", ")", n)));
        queries.push(format!("select * from {}", nested("(", "a", " join c on true)", n)));
        queries.push(format!("select {}", nested("case when a then ", "1 ", "end ", n)));
        queries.push(format!("select {}", nested("f(", "1", ")", n)));
        queries.push(format!("select {}", nested("cast(", "1", " as int)", n)));
        queries.push(format!("select {}", nested("not ", "a", "", n)));
        queries.push(format!("select {} from t where {}", "(".repeat(n), "(a in (".repeat(n)));
        queries.push(format!("select cast(a as {})", nested("array<", "int", ">", n)));
    }
    for warehouse in [Warehouse::Snowflake, Warehouse::BigQuery, Warehouse::ClickHouse, Warehouse::SqlServer]
    {
        let setting = Setting { warehouse, defaults: &defaults, dataframes: &frames, dataframes_only: false };
        for sql in &queries {
            let _ = read(sql, setting);
        }
        assert_eq!(read(&queries[1], setting).unwrap().columns.len(), 2);
        assert!(read(&queries[3], setting).unwrap_err().contains("operators"));
    }
}

#[test]
fn no_template_takes_more_than_its_share_of_time_and_memory() {
    use super::template::{OUTPUT, RENDERINGS, render};
    let doubled = (0..60).map(|i| format!("{{% set x{} = x{i} ~ x{i} %}}", i + 1)).collect::<String>();
    let captured = (0..60)
        .map(|i| format!("{{% set x{} %}}{{{{ x{i} }}}}{{{{ x{i} }}}}{{% endset %}}", i + 1))
        .collect::<String>();
    let nested =
        |open: &str, close: &str, n: usize| format!("{}select 1 from t{}", open.repeat(n), close.repeat(n));
    let templates = [
        format!("select 1 from t {}", "{% if c %}a{% else %}b{% endif %}".repeat(10_000)),
        format!("{{% if a %}}x{}{{% endif %}}", "{% elif b %}y".repeat(10_000)),
        format!(
            "select 1 from t where {{% if c0 %}}a{{% endif %}}{}",
            (0..10_000).map(|i| format!("{{% if c{i} %}}b{{% endif %}}")).collect::<String>()
        ),
        nested("{% for i in range(1000) %}", "{% endfor %}", 8),
        nested("{% for i in xs %}", "{% endfor %}", 40),
        nested("{% if a %}", "{% endif %}", 5_000),
        "{% macro f(x) %}{{ f(x ~ x) }}{% endmacro %}select {{ f('abc') }} from t".to_owned(),
        "{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }} from t".to_owned(),
        format!("{{% set x0 = 'abcdefgh' %}}{doubled}{{{{ x60 }}}} from t"),
        format!("{{% set x0 = 'abcdefgh' %}}{captured}{{{{ x60 }}}} from t"),
        format!("select {{{{ {} }}}} from t", vec!["a"; 100_000].join(" ~ ")),
        format!("select {{{{ {}1{} }}}} from t", "(".repeat(50_000), ")".repeat(50_000)),
        format!("{{% for i in range(1000) %}}{}{{% endfor %}}", "x ".repeat(450_000)),
        format!("select '{}' from t where {{{{ x }}}}", "y".repeat(1 << 20)),
        format!("{{% set a = [] %}}{}{{{{ a }}}} from t", "{% set a = [a, a] %}".repeat(15_000)),
        "{{ 'x' * 1000000000 }}{{ [1] * 1000000000 }}{{ range(1000000000) }} from t".to_owned(),
    ];
    let (defaults, dataframes) = (Defaults::default(), HashSet::new());
    for template in &templates {
        let rendered = render(template);
        let size: usize = rendered.texts.iter().map(String::len).sum();
        let start: String = template.chars().take(80).collect();
        assert!(rendered.texts.len() <= RENDERINGS, "{start}");
        assert!(size <= OUTPUT.max(template.len()), "{size}: {start}");
        assert!(rendered.is_whole || rendered.error.is_some() || rendered.texts.len() > 2, "{start}");
    }
    for template in &templates[..3] {
        let setting = Setting {
            warehouse: Warehouse::Postgres,
            defaults: &defaults,
            dataframes: &dataframes,
            dataframes_only: false,
        };
        let _ = read(template, setting);
    }
}
