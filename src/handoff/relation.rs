//! Names of tables as other tools write them, matched with those of the lineage.

use crate::derive::names::{Defaults, Warehouse, reported};

/// A table's name as SQL has it: quoted parts keep their case, the others are folded as each warehouse does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Relation(String);

impl Relation {
    /// A name as SQL has it, such as `"PROD"."core".orders`.
    pub fn new(sql: impl Into<String>) -> Self {
        Self(sql.into())
    }

    /// A name as the warehouse stores it, part by part.
    pub fn stored<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let quoted = parts.into_iter().map(|part| format!("\"{}\"", part.replace('"', "\"\"")));
        Self(quoted.collect::<Vec<_>>().join("."))
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in the form of `lineage.table_key`, by the rules of a warehouse; `None` if it isn't one there.
    pub fn key(&self, warehouse: Warehouse) -> Option<String> {
        reported(&self.0, warehouse, &Defaults::default()).map(|name| name.key())
    }
}

/// The ends of a whole name, the longest first: `a.b.c`, `b.c`, `c`.
pub fn ends(key: &str) -> impl Iterator<Item = &str> {
    std::iter::once(key).chain(key.match_indices('.').map(|(at, _)| &key[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_folded_by_the_rules_of_each_warehouse() {
        let unquoted = Relation::new("Prod.Core.Orders");
        assert_eq!(unquoted.key(Warehouse::Snowflake).as_deref(), Some("PROD.CORE.ORDERS"));
        assert_eq!(unquoted.key(Warehouse::Postgres).as_deref(), Some("prod.core.orders"));
        assert_eq!(unquoted.key(Warehouse::BigQuery).as_deref(), Some("Prod.Core.Orders"));
        let stored = Relation::stored(["Prod", "a\"b", "x.y"]);
        assert_eq!(stored.key(Warehouse::Snowflake).as_deref(), Some("Prod.a\"b.\"x.y\""));
        assert_eq!(Relation::new("select 1").key(Warehouse::Postgres), None);
        assert_eq!(ends("a.b.c").collect::<Vec<_>>(), ["a.b.c", "b.c", "c"]);
    }
}
