//! Audits in the forms that other tools take: SARIF 2.1.0, JUnit, GitHub's workflow annotations.

mod github;
mod junit;
mod sarif;

pub use github::github;
pub use junit::junit;
pub use sarif::sarif;

use super::NotEvaluated;

/// In one line, why a rule was not evaluated, or not for everything.
pub fn not_evaluated(note: &NotEvaluated) -> String {
    match note.entities {
        None => format!("not evaluated: {}", note.why),
        Some(0) => format!("evaluated in part: {}", note.why),
        Some(n) => format!("evaluated without {n} of its entities: {}", note.why),
    }
}
