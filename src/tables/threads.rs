//! `threads`: agent threads, without their messages.

use crate::client::operation::LIST_THREADS;
use crate::schema::columns::{SubField, Type, boolean, float, text, time};
use crate::schema::{Column, Origin, Table, itself};

const TOPIC: Type =
    Type::Struct(&[SubField::new("id", Type::Utf8, "id"), SubField::new("name", Type::Utf8, "name")]);
const WARNING: Type = Type::Struct(&[
    SubField::new("id", Type::Utf8, "id"),
    SubField::new("type", Type::Utf8, "type"),
    SubField::new("summary", Type::Utf8, "summary"),
]);
const FEEDBACK: Type = Type::Struct(&[
    SubField::new("id", Type::Utf8, "id"),
    SubField::new("user_feedback", Type::Utf8, "userFeedback"),
    SubField::new("type", Type::Utf8, "type"),
    SubField::new("selected_reason", Type::Utf8, "selectedReason"),
    SubField::new("user_liked", Type::Boolean, "userLiked"),
]);

/// One row a thread. Messages are people's words, not metadata, and are never fetched.
pub static THREADS: Table = Table {
    name: "threads",
    doc: "Agent threads, without their messages (managers and admins only)",
    origin: Origin::Api(&LIST_THREADS),
    key: &["thread_id"],
    columns: &[
        text("thread_id", "id", "Identifier").required(),
        text("title", "title", "Title; null for private threads"),
        text("type", "type", "THREADS, NOTEBOOK, MODELING"),
        text("source", "source", "HEX, SLACK, MCP, PUBLIC_API"),
        text("user_id", "userId", "User who started it"),
        time("created_at", "createdAt", "When it was created"),
        boolean("sensitive", "sensitive", "Whether it is marked sensitive"),
        float("credits_used", "creditsUsed", "Credits used").noise(),
        text("model", "model", "Model"),
        text("summary", "threadSummary", "Summary"),
        text("intent", "threadIntent", "Intent"),
        Column::new("topics", Type::List(&TOPIC), "topics", "Topics"),
        Column::new("warnings", Type::List(&WARNING), "warnings", "Warnings about its answers"),
        time("warnings_generated_at", "warningsGeneratedAt", "When the warnings were made"),
        Column::new("feedback", Type::List(&FEEDBACK), "feedback", "Users' feedback"),
        text("org_id", "orgId", "Organisation"),
        text("url", "url", "Page in Hex"),
    ],
    elsewhere: &[],
    explode: itself,
};
