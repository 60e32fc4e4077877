//! Gates: whether an endpoint's fan-out may be asked for at all.
//!
//! A token without a scope, or a workspace without a plan, is refused for each project alike. Learning that
//! from the first answers saves thousands of requests whose outcome is known.

use std::collections::HashMap;

use super::ask::Answer;
use super::endpoint::Probe;
use super::task::Task;
use super::{Endpoint, Scope};

/// Refusals at the start of an endpoint's fan-out, with no answer between them, after which the rest is not asked
/// for: the token may not use the operation at all. More than one, since single projects may be closed to it.
pub(super) const REFUSALS: u32 = 5;

/// Entities in a row about which nothing but failures came, after which an endpoint counts as down while the rest
/// of the API answers. More than one, since single entities fail for good.
const FAILURES: u32 = 5;

/// Whether an endpoint's fan-out may be asked for.
#[derive(Debug)]
enum Gate {
    /// The first answer is awaited: it tells whether the workspace's plan has the operation.
    Probing { waiting: Vec<Task> },
    /// Refused so often so far, and never answered.
    Unproven { refusals: u32 },
    /// It was answered.
    Open,
    /// It is refused.
    Closed { reason: String },
    /// It is down.
    Down { reason: String },
}

/// Decision about a task at its endpoint's gate.
pub(super) enum Passage {
    /// It is asked.
    Pass(Box<Task>),
    /// It waits for the probe.
    Wait,
    /// It is refused without being asked.
    Refused(Box<Task>, String),
    /// Its endpoint is down: it is a gap without being asked.
    Down(Box<Task>, String),
}

/// The gates of all endpoints.
#[derive(Debug, Default)]
pub(super) struct Gates {
    gates: HashMap<Endpoint, Gate>,
    /// Entities of each endpoint about which nothing but failures came, since its last answer.
    failing: HashMap<Endpoint, u32>,
}

impl Gates {
    /// Holds a task back while its endpoint is probed, and drops it where the endpoint is refused.
    pub fn pass(&mut self, task: Task) -> Passage {
        if task.endpoint.scope() == Scope::Workspace || !task.visited.is_empty() {
            return Passage::Pass(Box::new(task));
        }
        match self.gates.get_mut(&task.endpoint) {
            // A refusal here means the workspace's plan: one request tells what thousands would repeat.
            None if task.endpoint.spec().probe == Probe::Alone => {
                self.gates.insert(task.endpoint, Gate::Probing { waiting: Vec::new() });
            }
            None => drop(self.gates.insert(task.endpoint, Gate::Unproven { refusals: 0 })),
            Some(Gate::Probing { waiting }) => {
                waiting.push(task);
                return Passage::Wait;
            }
            Some(Gate::Unproven { .. } | Gate::Open) => {}
            Some(Gate::Closed { reason }) => {
                let reason = reason.clone();
                return Passage::Refused(Box::new(task), reason);
            }
            Some(Gate::Down { reason }) => {
                let reason = reason.clone();
                return Passage::Down(Box::new(task), reason);
            }
        }
        Passage::Pass(Box::new(task))
    }

    /// The probe of an endpoint is not sent: those that wait for it are given back.
    pub fn give_up_probe(&mut self, endpoint: Endpoint) -> Vec<Task> {
        match self.gates.get_mut(&endpoint) {
            Some(Gate::Probing { waiting }) => {
                let waiting = std::mem::take(waiting);
                self.gates.remove(&endpoint);
                waiting
            }
            _ => Vec::new(),
        }
    }

    /// Takes note of an entity about which nothing but failures came, while the rest of the API answers. Gives back
    /// what waited for it if the endpoint counts as down from now on.
    pub fn fail(&mut self, endpoint: Endpoint, reason: &str) -> Vec<Task> {
        let failing = self.failing.entry(endpoint).or_default();
        *failing += 1;
        if endpoint.scope() == Scope::Workspace || *failing < FAILURES {
            return Vec::new();
        }
        let reason = format!(
            "considered down after {failing} failures in a row; the next export reads it. Last failure: {reason}"
        );
        match self.gates.insert(endpoint, Gate::Down { reason }) {
            Some(Gate::Probing { waiting }) => waiting,
            _ => Vec::new(),
        }
    }

    /// Learns from the first answer about an entity. Gives back what waited for it.
    pub fn settle(&mut self, endpoint: Endpoint, answer: &Answer) -> Vec<Task> {
        if answer.accepted || answer.is_refusal() {
            self.failing.remove(&endpoint);
        }
        let Some(gate) = self.gates.get_mut(&endpoint) else { return Vec::new() };
        let refused = matches!(answer.status, 401 | 403);
        let mut waiting = Vec::new();
        let next = match gate {
            Gate::Probing { waiting: held } => {
                waiting = std::mem::take(held);
                match refused {
                    true => Some(Gate::Closed { reason: forbidden(answer.reason()) }),
                    // Neither refused nor answered: the next one probes.
                    false if !answer.accepted && answer.status != 404 => None,
                    false => Some(Gate::Open),
                }
            }
            Gate::Unproven { refusals } if refused && *refusals + 1 >= REFUSALS => {
                let reason = forbidden(answer.reason());
                Some(Gate::Closed { reason: format!("the first {REFUSALS} were all refused: {reason}") })
            }
            Gate::Unproven { refusals } if refused => Some(Gate::Unproven { refusals: *refusals + 1 }),
            // One answer proves that the token may: from now on a refusal is about its own project alone.
            Gate::Unproven { .. } if answer.accepted => Some(Gate::Open),
            _ => return Vec::new(),
        };
        match next {
            Some(next) => *gate = next,
            None => drop(self.gates.remove(&endpoint)),
        }
        waiting
    }
}

/// The words for what the token or the plan doesn't allow.
pub(super) fn forbidden(reason: String) -> String {
    format!("{reason}; ask a workspace admin for a token or plan that includes it")
}
