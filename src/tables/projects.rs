//! `projects`: projects and components.

use serde_json::Value;

use super::{project_categories, project_schedules, project_sharing};
use crate::client::operation::LIST_PROJECTS;
use crate::schema::columns::{boolean, int, text, time};
use crate::schema::{Origin, Table};

/// One row a project or component; archived and trashed ones too.
pub static PROJECTS: Table = Table {
    name: "projects",
    doc: "Projects and components, including archived and trashed ones",
    origin: Origin::Api(&LIST_PROJECTS),
    key: &["project_id"],
    columns: &[
        text("project_id", "id", "Identifier (UUID)").required(),
        text("title", "title", "Title"),
        text("description", "description", "Description"),
        text("type", "type", "PROJECT or COMPONENT"),
        text("status", "status.name", "Status label"),
        text("creator_email", "creator.email", "Email address of the creator"),
        text("owner_email", "owner.email", "Email address of the owner"),
        time("created_at", "createdAt", "When it was created"),
        time("last_edited_at", "lastEditedAt", "When it was last edited"),
        time("last_published_at", "lastPublishedAt", "When it was last published; null if never"),
        time("archived_at", "archivedAt", "When it was archived; null if it isn't archived"),
        time("trashed_at", "trashedAt", "When it was moved to the trash; null if it isn't there"),
        boolean("review_required", "reviews.required", "Whether publishing requires a review"),
        time("last_viewed_at", "analytics.lastViewedAt", "When the app was last viewed").noise(),
        time(
            "published_results_updated_at",
            "analytics.publishedResultsUpdatedAt",
            "When the published results were last refreshed",
        )
        .noise(),
        int(
            "app_views_last_7_days",
            "analytics.appViews.lastSevenDays",
            "Views of the app in the last 7 days",
        )
        .noise(),
        int(
            "app_views_last_14_days",
            "analytics.appViews.lastFourteenDays",
            "Views of the app in the last 14 days",
        )
        .noise(),
        int(
            "app_views_last_30_days",
            "analytics.appViews.lastThirtyDays",
            "Views of the app in the last 30 days",
        )
        .noise(),
        int("app_views_all_time", "analytics.appViews.allTime", "Views of the app since its creation")
            .noise(),
    ],
    elsewhere: &[],
    explode: without_parts,
};

/// Drops the parts that have tables of their own.
fn without_parts(mut item: Value) -> Vec<Value> {
    project_categories::take(&mut item);
    project_schedules::take(&mut item);
    project_sharing::take(&mut item);
    vec![item]
}
