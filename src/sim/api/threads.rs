//! Agent threads and their topics.

use chrono::TimeDelta;
use serde_json::json;

use super::Route;
use crate::client::limits;
use crate::client::operation as op;
use crate::client::threads::Thread;
use crate::sim::call::Style::Newer;
use crate::sim::call::{Answer, Call, Failure};
use crate::sim::page::{cursor_page, cut};
use crate::sim::server::Sim;
use crate::sim::world::{World, iso};

pub(super) const ROUTES: &[Route] = &[
    Route::of(&op::LIST_THREADS, Newer, Sim::list_threads),
    Route::of(&op::LIST_TOPICS, Newer, Sim::list_topics),
    Route::own("GetThread", "GET", "/threads/{id}", &limits::HEX_API, Newer, Sim::get_thread),
    Route::own(
        "GetThreadMessages",
        "GET",
        "/threads/{threadId}/messages",
        &limits::HEX_API,
        Newer,
        Sim::thread_messages,
    ),
    Route::own(
        "CreateThread",
        "POST",
        "/threads",
        &limits::HEX_SEND_THREAD_MESSAGE,
        Newer,
        Sim::create_thread,
    ),
    Route::own(
        "ContinueThread",
        "POST",
        "/threads/{id}/followup",
        &limits::HEX_SEND_THREAD_MESSAGE,
        Newer,
        Sim::continue_thread,
    ),
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

    fn get_thread(&self, call: &Call<'_>) -> Answer {
        let world = self.world();
        let thread = &world.threads[thread_at(&world, call.arg("id"))?];
        let answer = texts(&world, thread).pop().unwrap_or_default();
        Ok((
            200,
            Some(json!({
                "threadId": thread.id,
                "title": thread.title,
                "creditsUsed": thread.credits_used,
                "topics": thread.topics,
                "warnings": thread.warnings,
                "feedback": thread.feedback,
                "warningsGeneratedAt": thread.warnings_generated_at,
                "threadSummary": thread.thread_summary,
                "threadIntent": thread.thread_intent,
                "model": thread.model.as_deref().unwrap_or("default"),
                "userId": thread.user_id,
                "type": thread.kind,
                "source": thread.source,
                "createdAt": thread.created_at,
                "sensitive": thread.sensitive,
                "status": "IDLE",
                "url": thread.url,
                "response": [{"type": "text", "text": answer}],
            })),
        ))
    }

    fn thread_messages(&self, call: &Call<'_>) -> Answer {
        let world = self.world();
        let thread = &world.threads[thread_at(&world, call.arg("threadId"))?];
        let texts = texts(&world, thread);
        let items = texts.iter().enumerate().map(|(at, text)| ((format!("{at:08}"), String::new()), text));
        let page = cut(call, items.collect(), 50, 50)?;
        let blocks = page.items.iter().map(|text| json!({"type": "text", "text": text})).collect();
        Ok((200, Some(page.envelope("content", blocks))))
    }

    fn create_thread(&self, call: &Call<'_>) -> Answer {
        let body = serde_json::Value::Object(call.json()?);
        let prompt = prompt_of(&body)?;
        let now = self.now();
        let mut world = self.world_mut();
        let project = body["projectId"].as_str();
        if let Some(id) = project {
            call.project(&world, id).map_err(|_| Failure::new(400, "Project not found"))?;
        }
        let id = world.new_id("thread", now);
        let thread = Thread {
            url: format!("https://app.hex.tech/{}/thread/{id}", world.org_id),
            org_id: world.org_id.clone(),
            title: Some(prompt.to_owned()),
            model: Some("default".to_owned()),
            user_id: call.acting_user(&world).filter(|_| !call.token.workspace).map(|user| user.id.clone()),
            kind: if project.is_some() { "NOTEBOOK" } else { "THREADS" }.to_owned(),
            source: "PUBLIC_API".to_owned(),
            created_at: iso(now),
            id,
            ..Thread::default()
        };
        let answer = json!({
            "threadId": thread.id, "url": thread.url, "createdAt": thread.created_at, "projectId": project,
        });
        world.messages.insert(thread.id.clone(), said(prompt));
        world.threads.insert(0, thread);
        Ok((200, Some(answer)))
    }

    fn continue_thread(&self, call: &Call<'_>) -> Answer {
        let body = serde_json::Value::Object(call.json()?);
        let prompt = prompt_of(&body)?;
        let mut world = self.world_mut();
        // The description knows no 404 here.
        let at = thread_at(&world, call.arg("id")).map_err(|_| Failure::new(400, "Thread not found"))?;
        let mut messages = texts(&world, &world.threads[at]);
        messages.extend(said(prompt));
        let (id, url) = (world.threads[at].id.clone(), world.threads[at].url.clone());
        world.messages.insert(id.clone(), messages);
        Ok((200, Some(json!({"threadId": id, "url": url}))))
    }
}

fn thread_at(world: &World, id: &str) -> Result<usize, Failure> {
    let at = world.threads.iter().position(|thread| thread.id == id);
    at.ok_or_else(|| Failure::new(404, "Thread not found"))
}

fn prompt_of(body: &serde_json::Value) -> Result<&str, Failure> {
    let prompt = body["prompt"].as_str().filter(|prompt| !prompt.is_empty());
    prompt.ok_or_else(|| Failure::new(400, "prompt is required"))
}

/// A prompt and the agent's answer.
fn said(prompt: &str) -> Vec<String> {
    vec![format!("user: {prompt}"), "assistant: It moved because of the season.".to_owned()]
}

/// Messages of a thread, the oldest first.
fn texts(world: &World, thread: &Thread) -> Vec<String> {
    let written = world.messages.get(&thread.id).cloned();
    written.unwrap_or_else(|| said(thread.title.as_deref().unwrap_or("(private)")))
}
