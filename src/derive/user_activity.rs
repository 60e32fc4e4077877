//! `user_activity`: what each person owns and does.

use polars::prelude::*;

use super::Inputs;
use super::table_usage::recent_runs;
use crate::schema::columns::{boolean, int, text, time};
use crate::schema::{Origin, Table, itself};
use crate::tables::{COLLECTIONS, GROUP_MEMBERS, PROJECTS, THREADS, USERS};

/// One row a person: users, and people who have left and still own or created something. Email addresses are
/// compared without case.
pub static USER_ACTIVITY: Table = Table {
    name: "user_activity",
    doc: "What each person owns and does, including people who left but still own or created something",
    origin: Origin::Derived(&["users", "projects", "group_members", "collections", "threads", "run_daily"]),
    key: &["email"],
    columns: &[
        text("email", "", "Email address").required(),
        text("user_id", "", "User; null for someone who has left"),
        text("name", "", "Name").name_of("email"),
        text("role", "", "Role"),
        boolean("is_active_user", "", "Whether the API lists the person as a user").required(),
        time("last_login_at", "", "Last login"),
        int("projects_owned", "", "Projects and components that the person owns").required(),
        int("published_owned", "", "Of these, those published and neither archived nor in the trash")
            .required(),
        int("projects_created", "", "Projects and components that the person created").required(),
        int("collections_created", "", "Collections that the person created").required(),
        int("groups", "", "Groups that the person is in").required(),
        int("threads", "", "Agent threads that the person started").required(),
        int("app_views_last_30_days", "", "Views of the apps that the person owns, in the last 30 days")
            .required(),
        int(
            "runs_last_30_days",
            "",
            "Runs of the projects that the person owns, in the 30 days before the snapshot",
        )
        .required(),
        time("last_owned_edit_at", "", "Last edit of a project that the person owns, by anyone"),
    ],
    elsewhere: &[],
    explode: itself,
};

/// Computes the rows.
pub fn derive(inputs: &Inputs<'_>) -> PolarsResult<DataFrame> {
    let left = || JoinArgs::new(JoinType::Left);
    // The same person may be written in different cases in different places.
    let folded = |column: &'static str| col(column).str().to_lowercase();
    let count = |name: &'static str| len().cast(DataType::Int64).alias(name);
    let projects = inputs.scan(&PROJECTS)?;
    let live = col("last_published_at")
        .is_not_null()
        .and(col("archived_at").is_null())
        .and(col("trashed_at").is_null());
    let owned = projects
        .clone()
        .join(recent_runs(inputs)?, [col("project_id")], [col("project_id")], left())
        .filter(col("owner_email").is_not_null())
        .group_by([folded("owner_email").alias("email")])
        .agg([
            count("projects_owned"),
            live.cast(DataType::Int64).sum().alias("published_owned"),
            col("app_views_last_30_days").sum(),
            col("recent_runs").sum().alias("runs_last_30_days"),
            col("last_edited_at").max().alias("last_owned_edit_at"),
        ]);
    let by_email = |frame: LazyFrame, column: &'static str, name: &'static str| {
        frame.filter(col(column).is_not_null()).group_by([folded(column).alias("email")]).agg([count(name)])
    };
    let created = by_email(projects, "creator_email", "projects_created");
    let collections = by_email(inputs.scan(&COLLECTIONS)?, "creator_email", "collections_created");
    let groups = by_email(inputs.scan(&GROUP_MEMBERS)?, "email", "groups");
    let threads = inputs
        .scan(&THREADS)?
        .filter(col("user_id").is_not_null())
        .group_by([col("user_id")])
        .agg([count("threads")]);
    let users = inputs
        .scan(&USERS)?
        .filter(col("email").is_not_null())
        .with_column(folded("email").alias("folded"))
        .unique(Some(by_name(["folded"], true, false)), UniqueKeepStrategy::First)
        .select([
            col("folded").alias("email"),
            col("email").alias("written"),
            col("user_id"),
            col("name"),
            col("role"),
            col("last_login_at"),
        ]);
    let everyone = concat(
        [users.clone(), owned.clone(), created.clone(), collections.clone()]
            .map(|frame| frame.select([col("email")])),
        UnionArgs::default(),
    )?
    .filter(col("email").is_not_null())
    .unique(None, UniqueKeepStrategy::Any);
    let email = || [col("email")];
    let counts = [
        "projects_owned",
        "published_owned",
        "projects_created",
        "collections_created",
        "groups",
        "threads",
        "app_views_last_30_days",
        "runs_last_30_days",
    ];
    everyone
        .join(users, email(), email(), left())
        .join(owned, email(), email(), left())
        .join(created, email(), email(), left())
        .join(collections, email(), email(), left())
        .join(groups, email(), email(), left())
        .join(threads, [col("user_id")], [col("user_id")], left())
        .with_columns(counts.map(|name| col(name).fill_null(lit(0i64))))
        .with_columns([
            col("user_id").is_not_null().alias("is_active_user"),
            coalesce(&[col("written"), col("email")]).alias("email"),
        ])
        .collect()
}
