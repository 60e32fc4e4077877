//! Agent threads and their topics. Messages are left out on purpose: they are people's words, not metadata.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::operation::{LIST_THREADS, LIST_TOPICS};
use super::{ApiRequest, List, UserId};

/// An agent thread.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Thread {
    /// Identifier.
    pub id: String,
    /// The organisation.
    pub org_id: String,
    /// Title; `None` for private threads.
    pub title: Option<String>,
    /// Credits used.
    pub credits_used: Option<f64>,
    /// Topics.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<Topic>,
    /// Warnings about its answers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Value>,
    /// Users' feedback.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub feedback: Vec<Value>,
    /// When the warnings were made (ISO 8601).
    pub warnings_generated_at: Option<String>,
    /// Summary.
    pub thread_summary: Option<String>,
    /// Intent.
    pub thread_intent: Option<String>,
    /// Model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// User who started it.
    pub user_id: Option<UserId>,
    /// `THREADS`, `NOTEBOOK`, `MODELING`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `HEX`, `SLACK`, `MCP`, `PUBLIC_API`.
    pub source: String,
    /// Creation (ISO 8601).
    pub created_at: String,
    /// Whether it is marked sensitive.
    pub sensitive: bool,
    /// Page in Hex.
    pub url: String,
}

/// A thread topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Topic {
    /// Identifier.
    pub id: String,
    /// Name.
    pub name: String,
}

/// Parameters of `ListThreads`: all threads the token may see.
#[derive(Debug, Clone, Default)]
pub struct ListThreads;

impl List for ListThreads {
    type Item = Thread;

    fn request(&self) -> ApiRequest {
        ApiRequest::new(&LIST_THREADS, &[]).query("limit", 100)
    }
}

/// Parameters of `ListTopics`: all of them.
#[derive(Debug, Clone, Default)]
pub struct ListTopics;

impl List for ListTopics {
    type Item = Topic;

    fn request(&self) -> ApiRequest {
        ApiRequest::new(&LIST_TOPICS, &[]).query("limit", 100)
    }
}
