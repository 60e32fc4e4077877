//! Columns of older snapshots in the schema that their tables have today.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListBuilder, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field};

/// Columns that older snapshots lack, with what they would have held in every row.
const ADDED: &[(&str, &str, &str)] = &[
    ("lineage", "direction", "read"),
    ("sql_tables", "direction", "read"),
    ("sql_tables", "evidence", "sql"),
    // Before there were exceptions.
    ("audit_findings", "status", "open"),
];

/// Texts of older snapshots that stand for several.
const JOINED: &[(&str, &str, &str, &[&str])] = &[("lineage", "evidence", "both", &["queried", "sql"])];

/// A column as its table has it today: as it is stored, if it is that already; `None`, if nothing is known of it.
pub fn column(table: &str, field: &Field, stored: Option<&ArrayRef>, rows: usize) -> Option<ArrayRef> {
    let of_texts = |ty: &DataType| matches!(ty, DataType::List(item) if item.data_type() == &DataType::Utf8);
    match stored {
        Some(column) if column.data_type() == field.data_type() => Some(column.clone()),
        Some(column) if column.data_type() == &DataType::Utf8 && of_texts(field.data_type()) => {
            Some(listed(table, field, column.as_string::<i32>()))
        }
        None => {
            let (_, _, value) = ADDED.iter().find(|(of, name, _)| (*of, *name) == (table, field.name()))?;
            Some(Arc::new(StringArray::from(vec![*value; rows])))
        }
        Some(_) => None,
    }
}

/// Texts as lists of texts.
fn listed(table: &str, field: &Field, texts: &StringArray) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for text in texts.iter() {
        let joined = JOINED
            .iter()
            .find(|(of, name, old, _)| (*of, *name) == (table, field.name().as_str()) && Some(*old) == text);
        match (text, joined) {
            (None, _) => {
                lists.append(false);
                continue;
            }
            (Some(_), Some((_, _, _, several))) => {
                several.iter().for_each(|one| lists.values().append_value(one))
            }
            (Some(text), None) => lists.values().append_value(text),
        }
        lists.append(true);
    }
    Arc::new(lists.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_lineage_reads_as_todays() {
        let evidence =
            Field::new("evidence", DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))), true);
        let old: ArrayRef = Arc::new(StringArray::from(vec![Some("both"), Some("sql"), None]));
        let new = column("lineage", &evidence, Some(&old), 3).unwrap();
        assert_eq!(new.data_type(), evidence.data_type());
        let first = new.as_list::<i32>().value(0);
        assert_eq!(first.as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["queried", "sql"]);
        assert!(new.is_null(2));
        let direction = column("lineage", &Field::new("direction", DataType::Utf8, true), None, 2).unwrap();
        assert_eq!(direction.as_string::<i32>().value(1), "read");
        assert!(column("projects", &Field::new("direction", DataType::Utf8, true), None, 2).is_none());
    }
}
