//! Kinds of statements.

use sqlparser::ast::{SetExpr, Statement};

/// The kind of a statement, as people say it: `SELECT`, `INSERT`, `CREATE TABLE`. A CTE doesn't make a kind.
pub fn of(statement: &Statement) -> String {
    match statement {
        Statement::Query(query) => match &*query.body {
            SetExpr::Insert(inner)
            | SetExpr::Update(inner)
            | SetExpr::Delete(inner)
            | SetExpr::Merge(inner) => of(inner),
            _ => "SELECT".into(),
        },
        Statement::Insert(_) => "INSERT".into(),
        Statement::Update(_) => "UPDATE".into(),
        Statement::Delete(_) => "DELETE".into(),
        Statement::Merge(_) => "MERGE".into(),
        Statement::CreateTable(_) => "CREATE TABLE".into(),
        Statement::CreateView(_) => "CREATE VIEW".into(),
        other => other.to_string().split_whitespace().next().unwrap_or_default().to_uppercase(),
    }
}
