//! Agent threads.

use chrono::TimeDelta;
use rand::RngExt;
use serde_json::json;

use super::{THEMES, World, iso};
use crate::client::threads::Thread;
use crate::sim::rng::{self, chance, pick, skewed};

impl World {
    pub(super) fn make_thread(&self, index: u64) -> Thread {
        let seed = self.config.seed;
        let r = &mut rng::of(seed, "thread", index);
        let private = chance(r, 0.1);
        let id = rng::uuid(seed, "thread", index);
        let created = self.config.epoch - TimeDelta::minutes(r.random_range(1..200_000));
        Thread {
            url: format!("https://app.hex.tech/{}/thread/{id}", self.org_id),
            id,
            org_id: self.org_id.clone(),
            title: (!private).then(|| format!("Why did {} move?", pick(r, &THEMES).to_lowercase())),
            credits_used: chance(r, 0.8).then(|| (r.random::<f64>() * 400.0).round() / 100.0),
            topics: if chance(r, 0.5) {
                vec![self.topics[skewed(r, self.topics.len())].clone()]
            } else {
                Vec::new()
            },
            warnings: if chance(r, 0.15) {
                let id = rng::uuid(seed, "warning", index);
                vec![json!({"id": id, "type": "DATA_LIMITATION", "summary": "Only recent data was used."})]
            } else {
                Vec::new()
            },
            feedback: if chance(r, 0.1) {
                let id = rng::uuid(seed, "feedback", index);
                let liked = chance(r, 0.6);
                vec![
                    json!({"id": id, "userFeedback": "", "type": "THUMBS", "selectedReason": null, "userLiked": liked}),
                ]
            } else {
                Vec::new()
            },
            warnings_generated_at: None,
            thread_summary: chance(r, 0.5).then(|| "A question about a figure.".to_owned()),
            thread_intent: chance(r, 0.3).then(|| "explain".to_owned()),
            model: chance(r, 0.7).then(|| "default".to_owned()),
            user_id: chance(r, 0.95).then(|| self.users[skewed(r, self.users.len())].id.clone()),
            kind: pick(r, &["THREADS", "NOTEBOOK", "MODELING"]).to_owned(),
            source: pick(r, &["HEX", "HEX", "SLACK", "MCP", "PUBLIC_API"]).to_owned(),
            created_at: iso(created),
            sensitive: private,
        }
    }
}
