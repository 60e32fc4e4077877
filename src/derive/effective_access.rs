//! `effective_access`: who can open which project, and by which grant.
//!
//! Only grants to groups and collections are expanded to people. A grant to the workspace or to the web is one
//! row, not one for each person: 50,000 projects times 2,000 people would be too many. Rows are written as they
//! come, project by project, so that memory stays flat.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, RecordBatch, StringBuilder, TimestampMicrosecondArray,
};

use super::connections::text;
use super::{Error, Inputs};
use crate::schema::columns::{boolean, text as text_column};
use crate::schema::{Origin, Table, itself, sort_unique};
use crate::snapshot::{self, TableEntry, TableReader, TableWriter};
use crate::tables::{COLLECTION_SHARING, COLLECTIONS, CRAWL_COVERAGE, GROUP_MEMBERS, GROUPS, USERS};

/// Rows that are gathered before they are written.
const CHUNK_ROWS: usize = 16_384;

/// One row a project, principal and path.
pub static EFFECTIVE_ACCESS: Table = Table {
    name: "effective_access",
    doc: "Who can open which project, and through which grant; grants to groups and collections are expanded to people",
    origin: Origin::Derived(&[
        "projects",
        "project_sharing",
        "users",
        "groups",
        "group_members",
        "collections",
        "collection_sharing",
    ]),
    key: &["project_id", "principal_type", "principal", "path", "via_collection", "via_group"],
    columns: &[
        text_column("project_id", "", "Project").required(),
        text_column(
            "principal_type",
            "",
            "person; workspace (all members) or public (everyone on the web), which are not expanded; group or collection, if its members aren't known; or another kind that the API names",
        )
        .required(),
        text_column("principal", "", "Person's email address; workspace; public; else the name").required(),
        text_column("path", "", "owner, user, group, collection, workspace, public").required(),
        text_column("via_collection", "", "Collection that the access comes through"),
        text_column("via_group", "", "Group that the access comes through"),
        text_column("access", "", "APP_ONLY, CAN_VIEW, CAN_EDIT, FULL_ACCESS; null if the API doesn't say"),
        text_column("user_id", "", "The person's user"),
        text_column("domain", "", "Domain of the person's email address"),
        boolean("is_active_user", "", "Whether the person is a user; null if the users were not read"),
    ],
    elsewhere: &[],
    explode: itself,
};

/// A person, as users are listed.
struct Person {
    email: Arc<str>,
    user_id: Arc<str>,
}

/// Members of a group or collection.
#[derive(Default)]
struct Circle {
    people: BTreeSet<Arc<str>>,
    /// Groups, by name.
    groups: BTreeSet<Arc<str>>,
    workspace: bool,
    /// Whether it isn't known who is in it.
    unknown: bool,
}

/// People, groups and collections of a workspace.
#[derive(Default)]
struct Directory {
    /// By email address in lower case.
    people: HashMap<String, Person>,
    knows_users: bool,
    /// By name: the API names groups and collections so in grants on projects.
    groups: HashMap<String, Circle>,
    collections: HashMap<String, Circle>,
}

/// Writes the table.
///
/// # Errors
/// If what it is derived from can't be read, or it can't be written.
pub fn write_access(
    inputs: &Inputs<'_>,
    create: impl Fn(&'static Table) -> Result<TableWriter, snapshot::Error>,
) -> Result<TableEntry, Error> {
    let directory = Directory::read(inputs)?;
    let mut rows = Rows::new(inputs, create(&EFFECTIVE_ACCESS)?);
    let mut grants = Grants::open(inputs)?;
    for batch in inputs.read(&crate::tables::PROJECTS)? {
        let batch = batch?;
        for i in 0..batch.num_rows() {
            let Some(project) = text(&batch, "project_id", i) else { continue };
            rows.project = project.to_owned();
            if let Some(owner) = text(&batch, "owner_email", i).filter(|email| !email.is_empty()) {
                directory.person(
                    owner,
                    &Path { path: "owner", access: Some("FULL_ACCESS"), ..Path::default() },
                    &mut rows,
                );
            }
            for grant in grants.of(project)? {
                directory.grant(&grant, &mut rows);
            }
            if rows.len() >= CHUNK_ROWS {
                rows.flush()?;
            }
        }
    }
    rows.flush()?;
    Ok(rows.writer.finish()?)
}

/// A grant on a project.
struct Grant {
    kind: String,
    principal: Option<String>,
    access: Option<String>,
}

/// The table of grants, in the order of projects.
struct Grants {
    reader: TableReader,
    batch: Option<(RecordBatch, usize)>,
}

impl Grants {
    fn open(inputs: &Inputs<'_>) -> Result<Self, snapshot::Error> {
        Ok(Self { reader: inputs.read(&crate::tables::PROJECT_SHARING)?, batch: None })
    }

    /// The grants on the next project.
    fn of(&mut self, project: &str) -> Result<Vec<Grant>, snapshot::Error> {
        let mut found = Vec::new();
        loop {
            let Some((batch, row)) = self.batch.as_mut().filter(|(batch, row)| *row < batch.num_rows())
            else {
                let Some(next) = self.reader.next() else { return Ok(found) };
                self.batch = Some((next?, 0));
                continue;
            };
            let of = text(batch, "project_id", *row).unwrap_or("");
            if of > project {
                return Ok(found);
            }
            if of == project {
                let owned = |name: &str| text(batch, name, *row).map(str::to_owned);
                found.push(Grant {
                    kind: owned("principal_type").unwrap_or_default(),
                    principal: owned("principal"),
                    access: owned("access"),
                });
            }
            *row += 1;
        }
    }
}

/// Path by which somebody gets access to a project.
#[derive(Clone, Copy, Default)]
struct Path<'a> {
    path: &'a str,
    collection: Option<&'a str>,
    group: Option<&'a str>,
    access: Option<&'a str>,
}

impl Directory {
    fn read(inputs: &Inputs<'_>) -> Result<Self, snapshot::Error> {
        let mut directory = Self::default();
        let unread = unread_groups(inputs)?;
        directory.knows_users = unread.users;
        let mut emails: HashMap<String, Arc<str>> = HashMap::new();
        for_each(inputs, &USERS, &mut |batch, i| {
            let (Some(id), Some(email)) = (text(batch, "user_id", i), text(batch, "email", i)) else {
                return;
            };
            let email: Arc<str> = email.into();
            emails.insert(id.to_owned(), email.clone());
            directory.people.insert(email.to_lowercase(), Person { email, user_id: id.into() });
        })?;
        let mut names: HashMap<String, Arc<str>> = HashMap::new();
        for_each(inputs, &GROUPS, &mut |batch, i| {
            let (Some(id), Some(name)) = (text(batch, "group_id", i), text(batch, "name", i)) else { return };
            names.insert(id.to_owned(), name.into());
            directory.groups.entry(name.to_owned()).or_default().unknown |= unread.groups.contains(id);
        })?;
        for_each(inputs, &GROUP_MEMBERS, &mut |batch, i| {
            let (Some(id), Some(user)) = (text(batch, "group_id", i), text(batch, "user_id", i)) else {
                return;
            };
            let Some(name) = names.get(id) else { return };
            let email = emails.get(user).cloned().or_else(|| text(batch, "email", i).map(Into::into));
            directory.groups.entry(name.to_string()).or_default().people.extend(email);
        })?;
        let mut collections: HashMap<String, Arc<str>> = HashMap::new();
        for_each(inputs, &COLLECTIONS, &mut |batch, i| {
            let (Some(id), Some(name)) = (text(batch, "collection_id", i), text(batch, "name", i)) else {
                return;
            };
            collections.insert(id.to_owned(), name.into());
            directory.collections.entry(name.to_owned()).or_default();
        })?;
        for_each(inputs, &COLLECTION_SHARING, &mut |batch, i| {
            let Some(name) = text(batch, "collection_id", i).and_then(|id| collections.get(id)) else {
                return;
            };
            if text(batch, "access", i).is_none_or(|access| access == "NONE") {
                return;
            }
            let circle = directory.collections.entry(name.to_string()).or_default();
            match (text(batch, "principal_type", i), text(batch, "principal_id", i)) {
                (Some("WORKSPACE"), _) => circle.workspace = true,
                (Some("USER"), Some(id)) => match emails.get(id) {
                    Some(email) => drop(circle.people.insert(email.clone())),
                    // A user that isn't listed.
                    None => circle.unknown = true,
                },
                (Some("GROUP"), Some(id)) => match names.get(id) {
                    Some(group) => drop(circle.groups.insert(group.clone())),
                    None => circle.unknown = true,
                },
                _ => {}
            }
        })?;
        Ok(directory)
    }

    fn grant(&self, grant: &Grant, rows: &mut Rows) {
        let access = grant.access.as_deref();
        if access == Some("NONE") {
            return;
        }
        let name = grant.principal.as_deref().unwrap_or("");
        let path = Path { access, ..Path::default() };
        match grant.kind.as_str() {
            "USER" => self.person(name, &Path { path: "user", ..path }, rows),
            "GROUP" => self.group(name, &Path { path: "group", ..path }, rows),
            "COLLECTION" => self.collection(name, &Path { path: "collection", ..path }, rows),
            "WORKSPACE" => rows.push("workspace", "workspace", &Path { path: "workspace", ..path }),
            "PUBLIC_WEB" => rows.push("public", "public", &Path { path: "public", ..path }),
            // Hex's own staff, and kinds of grants that this version doesn't know.
            other => {
                let kind = other.to_lowercase();
                rows.push(&kind, if name.is_empty() { &kind } else { name }, &Path { path: &kind, ..path });
            }
        }
    }

    fn person(&self, email: &str, path: &Path<'_>, rows: &mut Rows) {
        let folded = email.to_lowercase();
        let known = self.people.get(&folded);
        let written = known.map_or(folded.as_str(), |person| &person.email);
        rows.push_person(written, known.map(|person| &*person.user_id), self.knows_users, path);
    }

    fn group(&self, name: &str, path: &Path<'_>, rows: &mut Rows) {
        let path = Path { group: Some(name), ..*path };
        match self.groups.get(name).filter(|group| !group.unknown) {
            Some(group) => group.people.iter().for_each(|email| self.person(email, &path, rows)),
            None => rows.push("group", name, &path),
        }
    }

    fn collection(&self, name: &str, path: &Path<'_>, rows: &mut Rows) {
        let path = Path { collection: Some(name), ..*path };
        let Some(circle) = self.collections.get(name) else { return rows.push("collection", name, &path) };
        if circle.unknown {
            rows.push("collection", name, &path);
        }
        circle.people.iter().for_each(|email| self.person(email, &path, rows));
        circle.groups.iter().for_each(|group| self.group(group, &path, rows));
        if circle.workspace {
            rows.push("workspace", "workspace", &path);
        }
    }
}

/// Groups whose members were not read, and whether the users were.
struct Unread {
    groups: HashSet<String>,
    users: bool,
}

fn unread_groups(inputs: &Inputs<'_>) -> Result<Unread, snapshot::Error> {
    let mut unread = Unread { groups: HashSet::new(), users: false };
    for_each(inputs, &CRAWL_COVERAGE, &mut |batch, i| {
        if text(batch, "operation", i) != Some("ListUsers") {
            return;
        }
        let is_read = matches!(text(batch, "state", i), Some("fetched" | "reused" | "skipped"));
        match text(batch, "entity_id", i) {
            None => unread.users = is_read,
            Some(group) if !is_read => drop(unread.groups.insert(group.to_owned())),
            Some(_) => {}
        }
    })?;
    Ok(unread)
}

/// Looks at each row of a table; none if it isn't there.
fn for_each(
    inputs: &Inputs<'_>,
    table: &'static Table,
    look: &mut dyn FnMut(&RecordBatch, usize),
) -> Result<(), snapshot::Error> {
    if !inputs.path(table.name).exists() {
        return Ok(());
    }
    for batch in TableReader::open_file(&inputs.path(table.name), table)? {
        let batch = batch?;
        (0..batch.num_rows()).for_each(|i| look(&batch, i));
    }
    Ok(())
}

/// Rows that are not written yet.
struct Rows {
    writer: TableWriter,
    at: i64,
    project: String,
    /// The columns of text, in the table's order; `is_active_user` follows them.
    texts: [StringBuilder; 9],
    active: BooleanBuilder,
}

impl Rows {
    fn new(inputs: &Inputs<'_>, writer: TableWriter) -> Self {
        let texts = std::array::from_fn(|_| StringBuilder::new());
        let at = inputs.snapshot_at.timestamp_micros();
        Self { writer, at, project: String::new(), texts, active: BooleanBuilder::new() }
    }

    fn len(&self) -> usize {
        use arrow::array::ArrayBuilder;
        self.active.len()
    }

    fn push(&mut self, kind: &str, principal: &str, path: &Path<'_>) {
        self.append([Some(kind), Some(principal)], path, [None, None], None);
    }

    fn push_person(&mut self, email: &str, user: Option<&str>, knows_users: bool, path: &Path<'_>) {
        let domain = email.rsplit_once('@').map(|(_, domain)| domain.to_lowercase());
        let active = knows_users.then_some(user.is_some());
        self.append([Some("person"), Some(email)], path, [user, domain.as_deref()], active);
    }

    fn append(
        &mut self,
        [kind, principal]: [Option<&str>; 2],
        path: &Path<'_>,
        [user, domain]: [Option<&str>; 2],
        active: Option<bool>,
    ) {
        let values = [
            Some(self.project.as_str()),
            kind,
            principal,
            Some(path.path),
            path.collection,
            path.group,
            path.access,
            user,
            domain,
        ];
        for (builder, value) in self.texts.iter_mut().zip(values) {
            builder.append_option(value);
        }
        self.active.append_option(active);
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.len() == 0 {
            return Ok(());
        }
        let table = &EFFECTIVE_ACCESS;
        let rows = self.len();
        let mut columns: Vec<ArrayRef> =
            self.texts.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef).collect();
        columns.push(Arc::new(self.active.finish()));
        let at = TimestampMicrosecondArray::from_value(self.at, rows).with_timezone("UTC");
        columns.extend(table.common().iter().map(|_| Arc::new(at.clone()) as ArrayRef));
        let failed = snapshot::Error::of_table::<arrow::error::ArrowError>(table);
        let batch = RecordBatch::try_new(table.schema(), columns).map_err(failed)?;
        // Whole projects, so that chunks follow each other in the order of the key.
        let batch = sort_unique(table, &table.schema(), &[batch]).map_err(failed)?;
        debug_assert!(batch.column(0).as_string::<i32>().null_count() == 0);
        self.writer.write(&batch)?;
        Ok(())
    }
}
