//! People of other domains, by the projects that they can open.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray};

use super::Config;
use super::edges::{Texts, known};
use super::facts::{User, text};
use super::source::Tables;
use crate::derive::EFFECTIVE_ACCESS;
use crate::snapshot::{Error, PSEUDONYM_DOMAIN};

/// People who are named; the others are counted.
const NAMED: usize = 5;

/// People of other domains who can open a project. There may be hundreds for each project: the first few stand for all.
#[derive(Debug, Default)]
pub struct Outsiders {
    /// How many there are.
    pub people: usize,
    /// Addresses of the first few.
    pub named: Vec<Arc<str>>,
}

impl Outsiders {
    /// Adds a person.
    pub fn add(&mut self, who: impl Into<Arc<str>>) {
        self.people += 1;
        if self.named.len() < NAMED {
            self.named.push(who.into());
        }
    }
}

/// Reads them: those who can log in, of other domains than the workspace's own.
///
/// # Errors
/// If the table can't be read.
pub(super) fn read(
    tables: &dyn Tables,
    users: &[User],
    config: &Config,
    texts: &mut Texts,
) -> Result<HashMap<Arc<str>, Outsiders>, Error> {
    let own = own_domains(users, config);
    let mut external: HashMap<Arc<str>, Outsiders> = HashMap::new();
    // A person who can open a project in several ways stands there several times in a row.
    let mut last = (String::new(), String::new());
    let columns = ["project_id", "principal_type", "principal", "domain", "is_active_user"];
    for batch in tables.open(&EFFECTIVE_ACCESS, &columns)?.into_iter().flatten() {
        let batch = batch?;
        let active = batch.column_by_name("is_active_user").map(|column| column.as_boolean());
        for row in 0..batch.num_rows() {
            let can_log_in = active.is_some_and(|active| active.is_valid(row) && active.value(row));
            let Some(of) = text(&batch, "domain", row).filter(|of| can_log_in && !own.contains(*of)) else {
                continue;
            };
            debug_assert!(text(&batch, "principal_type", row) == Some("person"), "{of}");
            if let (Some(project), Some(who)) =
                (text(&batch, "project_id", row), text(&batch, "principal", row))
            {
                if last.0 == project && last.1 == who {
                    continue;
                }
                project.clone_into(&mut last.0);
                who.clone_into(&mut last.1);
                let who = known(who, texts);
                external.entry(known(project, texts)).or_default().add(who);
            }
        }
    }
    Ok(external)
}

/// The domains of the settings; without them, the one that most users have.
fn own_domains(users: &[User], config: &Config) -> HashSet<String> {
    let domain = |email: &str| email.rsplit_once('@').map_or("", |(_, domain)| domain).to_lowercase();
    let mut own: HashSet<String> = config.domains.iter().map(|domain| domain.to_lowercase()).collect();
    if own.is_empty() {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for user in users {
            *counts.entry(domain(&user.email)).or_default() += 1;
        }
        own.extend(counts.into_iter().max_by_key(|(_, n)| *n).map(|(domain, _)| domain));
    }
    // Which domain a pseudonym stands for isn't known.
    own.insert(PSEUDONYM_DOMAIN.to_owned());
    own
}
