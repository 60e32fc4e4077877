//! Projects and components: list, get, update, queried tables.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::operation::{
    CREATE_PROJECT, GET_PROJECT, GET_QUERIED_TABLES, LIST_PROJECTS, SHARE_WITH_COLLECTIONS,
    SHARE_WITH_GROUPS, SHARE_WITH_USERS, SHARE_WITH_WORKSPACE, UPDATE_PROJECT,
};
use super::project_file::export_request;
use super::{ApiRequest, Call, Client, CollectionId, ConnectionId, List, ProjectId, SortDirection};

/// A project or component, as `ListProjects` and `GetProject` give it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Project {
    /// Identifier (UUID).
    pub id: ProjectId,
    /// Title.
    pub title: String,
    /// Description.
    pub description: Option<String>,
    /// `PROJECT` or `COMPONENT`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Creator.
    pub creator: Person,
    /// Owner.
    pub owner: Person,
    /// Status label.
    pub status: Option<Status>,
    /// Categories.
    pub categories: Vec<Category>,
    /// Review settings.
    pub reviews: Reviews,
    /// View counters.
    pub analytics: Analytics,
    /// Last edit (ISO 8601).
    pub last_edited_at: String,
    /// Last publication (ISO 8601); `None` if never published.
    pub last_published_at: Option<String>,
    /// Creation (ISO 8601).
    pub created_at: String,
    /// When it was archived (ISO 8601).
    pub archived_at: Option<String>,
    /// When it was moved to the trash (ISO 8601).
    pub trashed_at: Option<String>,
    /// Schedules.
    pub schedules: Vec<Schedule>,
    /// Sharing; only with `includeSharing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sharing: Option<Sharing>,
}

/// A user named by email.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Person {
    /// Email address.
    pub email: String,
}

/// A project's status label.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Name.
    pub name: String,
}

/// A project's category.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Category {
    /// Description.
    pub description: Option<String>,
    /// Name.
    pub name: String,
}

/// Review settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reviews {
    /// Whether publishing needs a review.
    pub required: bool,
}

/// View counters of a project's app.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Analytics {
    /// When the published results were last refreshed (ISO 8601).
    pub published_results_updated_at: Option<String>,
    /// When the app was last viewed (ISO 8601).
    pub last_viewed_at: Option<String>,
    /// Views.
    pub app_views: AppViews,
}

/// Views of an app by period.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AppViews {
    /// In the last 30 days.
    pub last_thirty_days: i64,
    /// In the last 14 days.
    pub last_fourteen_days: i64,
    /// In the last 7 days.
    pub last_seven_days: i64,
    /// Ever.
    pub all_time: i64,
}

/// A schedule; only the object of its cadence is set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Schedule {
    /// `HOURLY`, `DAILY`, `WEEKLY`, `MONTHLY` or `CUSTOM`.
    pub cadence: String,
    /// Whether it runs.
    pub enabled: bool,
    /// Of `HOURLY`.
    pub hourly: Option<Hourly>,
    /// Of `DAILY`.
    pub daily: Option<Daily>,
    /// Of `WEEKLY`.
    pub weekly: Option<Weekly>,
    /// Of `MONTHLY`.
    pub monthly: Option<Monthly>,
    /// Of `CUSTOM`.
    pub custom: Option<Custom>,
}

/// Every hour.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hourly {
    /// Time zone designator, such as `+01:00`.
    pub timezone: String,
    /// Minute, 0 to 59.
    pub minute: i64,
}

/// Every day.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Daily {
    /// Time zone designator.
    pub timezone: String,
    /// Minute, 0 to 59.
    pub minute: i64,
    /// Hour, 0 to 23.
    pub hour: i64,
}

/// Every week.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Weekly {
    /// Time zone designator.
    pub timezone: String,
    /// Minute, 0 to 59.
    pub minute: i64,
    /// Hour, 0 to 23.
    pub hour: i64,
    /// `SUNDAY` to `SATURDAY`.
    pub day_of_week: String,
}

/// Every month.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Monthly {
    /// Time zone designator.
    pub timezone: String,
    /// Minute, 0 to 59.
    pub minute: i64,
    /// Hour, 0 to 23.
    pub hour: i64,
    /// Day of the month, 1 to 28.
    pub day: i64,
}

/// By cron expression.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Custom {
    /// Time zone designator.
    pub timezone: String,
    /// Cron expression of five fields.
    pub cron: String,
}

/// Sharing of a project.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sharing {
    /// Grants to users.
    pub users: Vec<UserGrant>,
    /// Grants to collections.
    pub collections: Vec<CollectionGrant>,
    /// Grants to groups.
    pub groups: Vec<GroupGrant>,
    /// Everyone in the workspace.
    pub workspace: Access,
    /// Everyone on the web.
    pub public_web: Access,
    /// Hex's support.
    pub support: Access,
}

/// An access level: `NONE`, `APP_ONLY`, `CAN_VIEW`, `CAN_EDIT`, `FULL_ACCESS`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Access {
    /// The level.
    pub access: String,
}

impl Default for Access {
    fn default() -> Self {
        Self { access: "NONE".into() }
    }
}

/// A grant to a user.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserGrant {
    /// Access level.
    pub access: String,
    /// The user.
    pub user: Person,
}

/// A name and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Named {
    /// The name.
    pub name: String,
}

/// A grant to a collection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CollectionGrant {
    /// Access level.
    pub access: String,
    /// The collection.
    pub collection: Named,
}

/// A grant to a group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupGrant {
    /// Access level.
    pub access: String,
    /// The group.
    pub group: Named,
}

/// A warehouse table that a project has queried.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueriedTable {
    /// Connection's identifier.
    pub data_connection_id: ConnectionId,
    /// Connection's name.
    pub data_connection_name: String,
    /// Name as the warehouse gives it, usually `database.schema.table`.
    pub table_name: String,
}

/// Filters of a list of projects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Include {
    /// The API's default.
    #[default]
    No,
    /// Included.
    Yes,
}

impl Include {
    fn flag(self) -> Option<&'static str> {
        (self == Include::Yes).then_some("true")
    }
}

/// Sort keys of a list of projects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProjectSort {
    /// Creation.
    CreatedAt,
    /// Last edit.
    LastEditedAt,
    /// Last publication.
    LastPublishedAt,
}

impl std::fmt::Display for ProjectSort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ProjectSort::CreatedAt => "CREATED_AT",
            ProjectSort::LastEditedAt => "LAST_EDITED_AT",
            ProjectSort::LastPublishedAt => "LAST_PUBLISHED_AT",
        })
    }
}

/// Parameters of `ListProjects`.
#[derive(Debug, Clone, Default)]
pub struct ListProjects {
    /// Archived projects too.
    pub archived: Include,
    /// Components too.
    pub components: Include,
    /// Trashed projects too.
    pub trashed: Include,
    /// Sharing of each project.
    pub sharing: Include,
    /// Only with one of these statuses.
    pub statuses: Vec<String>,
    /// Only with one of these categories.
    pub categories: Vec<String>,
    /// Only of this creator.
    pub creator_email: Option<String>,
    /// Only of this owner.
    pub owner_email: Option<String>,
    /// Only in this collection.
    pub collection_id: Option<CollectionId>,
    /// Sorted by; creation by default.
    pub sort_by: Option<ProjectSort>,
    /// Sort direction; descending by default.
    pub sort_direction: Option<SortDirection>,
    /// Projects a page, 1 to 100; 100 by default.
    pub page_size: Option<u32>,
}

impl ListProjects {
    /// Everything the token can see: archived, trashed, components, with sharing.
    pub fn everything() -> Self {
        let yes = Include::Yes;
        Self { archived: yes, components: yes, trashed: yes, sharing: yes, ..Self::default() }
    }
}

impl List for ListProjects {
    type Item = Project;

    fn request(&self) -> ApiRequest {
        let mut request = ApiRequest::new(&LIST_PROJECTS, &[])
            .query_opt("includeArchived", self.archived.flag())
            .query_opt("includeComponents", self.components.flag())
            .query_opt("includeTrashed", self.trashed.flag())
            .query_opt("includeSharing", self.sharing.flag());
        for status in &self.statuses {
            request = request.query("statuses", status);
        }
        for category in &self.categories {
            request = request.query("categories", category);
        }
        request
            .query_opt("creatorEmail", self.creator_email.as_ref())
            .query_opt("ownerEmail", self.owner_email.as_ref())
            .query_opt("collectionId", self.collection_id.as_ref())
            .query_opt("sortBy", self.sort_by)
            .query_opt("sortDirection", self.sort_direction)
            .query("limit", self.page_size.unwrap_or(100))
    }
}

/// Parameters of `GetQueriedTables`.
#[derive(Debug, Clone)]
pub struct ListQueriedTables {
    /// The project.
    pub project_id: ProjectId,
    /// Tables a page, 1 to 100; 100 by default.
    pub page_size: Option<u32>,
}

impl List for ListQueriedTables {
    type Item = QueriedTable;

    fn request(&self) -> ApiRequest {
        ApiRequest::new(&GET_QUERIED_TABLES, &[&self.project_id])
            .query("limit", self.page_size.unwrap_or(100))
    }
}

/// A version of a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The draft.
    Draft,
    /// The last published one.
    Latest,
    /// The one of this number, from 1.
    Number(u32),
}

impl Version {
    pub(super) fn json(self) -> Value {
        match self {
            Version::Draft => json!("draft"),
            Version::Latest => json!("latest"),
            Version::Number(number) => json!(number),
        }
    }
}

/// A project as a file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProjectFile {
    /// Name that the file should have.
    pub filename: String,
    /// YAML.
    pub content: String,
}

/// A project after an edit of its sharing, and what of the edit was refused.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shared {
    /// The project as it is then.
    pub project: Project,
    /// Grants that were refused, with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Value>,
}

/// Whom a project is shared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Principal {
    /// Users.
    Users,
    /// Groups.
    Groups,
    /// Collections.
    Collections,
}

impl Principal {
    /// The request that grants access: identifiers and access levels.
    fn request(self, project_id: &ProjectId, grants: &[(&str, &str)]) -> ApiRequest {
        let (operation, many, one) = match self {
            Principal::Users => (&SHARE_WITH_USERS, "users", "user"),
            Principal::Groups => (&SHARE_WITH_GROUPS, "groups", "group"),
            Principal::Collections => (&SHARE_WITH_COLLECTIONS, "collections", "collection"),
        };
        let grants: Vec<Value> =
            grants.iter().map(|(id, access)| json!({"access": access, one: {"id": id}})).collect();
        ApiRequest::new(operation, &[project_id]).body(json!({"sharing": {"upsert": {many: grants}}}))
    }
}

impl Client {
    /// One project (`GetProject`).
    ///
    /// ```
    /// # hexport::sim::try_out(async |client, world| {
    /// use hexport::client::projects::Include;
    ///
    /// let id = &world.projects[0].project.id;
    /// let project = client.get_project(id, Include::Yes).await?;
    /// assert_eq!(project.sharing.unwrap().users[0].access, "FULL_ACCESS");
    /// # Ok(()) });
    /// ```
    ///
    /// # Errors
    /// [`Error::Api`](super::Error::Api) with 404 for an unknown project; any other of [`Error`](super::Error).
    pub fn get_project(&self, project_id: &ProjectId, sharing: Include) -> Call<Project> {
        self.call(ApiRequest::new(&GET_PROJECT, &[project_id]).query_opt("includeSharing", sharing.flag()))
    }

    /// Sets a project's status label, or clears it with `None` (`UpdateProject`). Gives the project as it is then.
    ///
    /// ```
    /// # hexport::sim::try_out(async |client, world| {
    /// let id = &world.projects[0].project.id;
    /// let project = client.update_project(id, Some("Production")).await?;
    /// assert_eq!(project.status.unwrap().name, "Production");
    /// let project = client.update_project(id, None).await?;
    /// assert!(project.status.is_none());
    /// # Ok(()) });
    /// ```
    ///
    /// # Errors
    /// [`Error::Api`](super::Error::Api) with 400 for an unknown status, 404 for an unknown project; any other of [`Error`](super::Error).
    pub fn update_project(&self, project_id: &ProjectId, status: Option<&str>) -> Call<Project> {
        self.call(ApiRequest::new(&UPDATE_PROJECT, &[project_id]).body(json!({ "status": status })))
    }

    /// Creates a project (`CreateProject`). Sent once, whatever happens.
    ///
    /// ```
    /// # hexport::sim::try_out(async |client, world| {
    /// let project = client.create_project("Churn by plan", Some("For the board")).await?;
    /// assert_eq!(project.title, "Churn by plan");
    /// # Ok(()) });
    /// ```
    ///
    /// # Errors
    /// Any of [`Error`](super::Error).
    pub fn create_project(&self, title: &str, description: Option<&str>) -> Call<Project> {
        let mut body = json!({ "title": title });
        if let Some(description) = description {
            body["description"] = json!(description);
        }
        self.call(ApiRequest::new(&CREATE_PROJECT, &[]).body(body))
    }

    /// A version of a project as a YAML file (`ExportProject`). A read, although it is a POST.
    ///
    /// ```
    /// # hexport::sim::try_out(async |client, world| {
    /// use hexport::client::projects::Version;
    ///
    /// let id = &world.projects[0].project.id;
    /// let file = client.export_project(id, Version::Draft).await?;
    /// assert!(file.content.contains(id.as_str()));
    /// # Ok(()) });
    /// ```
    ///
    /// # Errors
    /// [`Error::Api`](super::Error::Api) with 400 for an unknown project or version; any other of [`Error`](super::Error).
    pub fn export_project(&self, project_id: &ProjectId, version: Version) -> Call<ProjectFile> {
        self.call(export_request(project_id, version))
    }

    /// Grants access to a project (`EditProjectSharingUsers`, `...Groups`, `...Collections`): identifiers and
    /// access levels. At most 25 a call. Sent once.
    ///
    /// ```
    /// # hexport::sim::try_out(async |client, world| {
    /// use hexport::client::projects::Principal;
    ///
    /// let id = &world.projects[0].project.id;
    /// client.share_project(id, Principal::Users, &[(&world.users[1].id, "CAN_VIEW")]).await?;
    /// client.share_project(id, Principal::Groups, &[(&world.groups[0].id, "CAN_EDIT")]).await?;
    /// # Ok(()) });
    /// ```
    ///
    /// # Errors
    /// [`Error::Api`](super::Error::Api) with 404 for an unknown project; any other of [`Error`](super::Error).
    pub fn share_project(
        &self,
        project_id: &ProjectId,
        with: Principal,
        grants: &[(&str, &str)],
    ) -> Call<Shared> {
        self.call(with.request(project_id, grants))
    }

    /// Sets what the workspace and the public web may do with a project (`EditProjectSharingOrgAndPublic`);
    /// `None` leaves it. Sent once.
    ///
    /// ```
    /// # hexport::sim::try_out(async |client, world| {
    /// let id = &world.projects[0].project.id;
    /// client.share_project_widely(id, Some("CAN_VIEW"), None).await?;
    /// # Ok(()) });
    /// ```
    ///
    /// # Errors
    /// [`Error::Api`](super::Error::Api) with 404 for an unknown project; any other of [`Error`](super::Error).
    pub fn share_project_widely(
        &self,
        project_id: &ProjectId,
        workspace: Option<&str>,
        public_web: Option<&str>,
    ) -> Call<Shared> {
        let mut sharing = serde_json::Map::new();
        sharing.extend(workspace.map(|access| ("workspace".to_owned(), json!(access))));
        sharing.extend(public_web.map(|access| ("publicWeb".to_owned(), json!(access))));
        self.call(ApiRequest::new(&SHARE_WITH_WORKSPACE, &[project_id]).body(json!({ "sharing": sharing })))
    }
}
