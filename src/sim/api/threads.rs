//! Agent threads and their topics.

use chrono::TimeDelta;

use super::Route;
use crate::client::operation as op;
use crate::sim::call::Style::Newer;
use crate::sim::call::{Answer, Call};
use crate::sim::page::cursor_page;
use crate::sim::server::Sim;
use crate::sim::world::iso;

pub(super) const ROUTES: &[Route] = &[
    Route::of(&op::LIST_THREADS, Newer, Sim::list_threads),
    Route::of(&op::LIST_TOPICS, Newer, Sim::list_topics),
];

impl Sim {
    fn list_threads(&self, call: &Call<'_>) -> Answer {
        let source = call.one_of("source", &["HEX", "SLACK", "MCP", "PUBLIC_API"])?;
        let kind = call.one_of("type", &["THREADS", "NOTEBOOK", "MODELING"])?;
        let days = call.number("numDays", usize::MAX, 1, 36_500)?;
        let user = call.get("userId");
        let feedback = call.get("hasFeedback").map(|_| call.flag("hasFeedback")).transpose()?;
        let topics: Option<Vec<&str>> = call.get("topicIds").map(|ids| ids.split(',').collect());
        let warnings: Option<Vec<&str>> = call.get("warnings").map(|types| types.split(',').collect());
        let roles: Option<Vec<&str>> = call.get("roles").map(|roles| roles.split(',').collect());
        let world = self.world();
        let since = (days < 36_501).then(|| iso(self.now() - TimeDelta::days(days as i64)));
        let role_of = |id: &str| world.users.iter().find(|u| u.id == id).map(|u| u.role.as_str());
        let items = world
            .threads
            .iter()
            .filter(|t| {
                source.is_none_or(|s| t.source == s)
                    && kind.is_none_or(|k| t.kind == k)
                    && user.is_none_or(|u| t.user_id.as_deref() == Some(u))
                    && since.as_ref().is_none_or(|since| t.created_at >= *since)
                    && feedback.is_none_or(|wanted| t.feedback.is_empty() != wanted)
                    && topics
                        .as_ref()
                        .is_none_or(|ids| t.topics.iter().any(|topic| ids.contains(&topic.id.as_str())))
                    && warnings.as_ref().is_none_or(|types| {
                        t.warnings.iter().any(|w| w["type"].as_str().is_some_and(|w| types.contains(&w)))
                    })
                    && roles.as_ref().is_none_or(|roles| {
                        t.user_id.as_deref().and_then(role_of).is_some_and(|r| roles.contains(&r))
                    })
            })
            .map(|t| ((t.created_at.clone(), t.id.clone()), t))
            .collect();
        cursor_page(call, items, "threads", 25, 100)
    }

    fn list_topics(&self, call: &Call<'_>) -> Answer {
        let world = self.world();
        let items = world.topics.iter().map(|t| ((t.name.clone(), t.id.clone()), t)).collect();
        cursor_page(call, items, "topics", 25, 100)
    }
}
