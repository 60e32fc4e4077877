//! Whether the API is alive: the time since it last gave an answer that counts.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error::Error;
use super::gauge::LONGEST_PAUSE;

#[derive(Debug)]
struct State {
    accepted: u64,
    /// When the first request left that no accepted answer followed.
    since: Option<Instant>,
    /// Time since then that lies in pauses which the server announced.
    excused: Duration,
    /// End of the last of these pauses.
    excused_until: Instant,
    last_failure: String,
}

/// Time since the last accepted answer, without the pauses that the server announced.
#[derive(Debug)]
pub(super) struct Vitals(Mutex<State>);

impl Default for Vitals {
    fn default() -> Self {
        let now = Instant::now();
        let last_failure = "no request was answered yet".to_owned();
        Self(Mutex::new(State {
            accepted: 0,
            since: None,
            excused: Duration::ZERO,
            excused_until: now,
            last_failure,
        }))
    }
}

impl Vitals {
    /// A request leaves.
    pub fn ask(&self) {
        let mut state = self.state();
        if state.since.is_none() {
            let now = Instant::now();
            state.since = Some(now);
            state.excused = state.excused_until.saturating_duration_since(now);
        }
    }

    /// An answer came that asking again would not change.
    pub fn accept(&self) {
        let mut state = self.state();
        state.accepted += 1;
        state.since = None;
    }

    /// An attempt failed.
    pub fn fail(&self, error: &Error) {
        self.state().last_failure = error.to_string();
    }

    /// The server said that it won't answer for so long.
    pub fn announced_pause(&self, wait: Duration) {
        let mut state = self.state();
        let begins = state.excused_until.max(Instant::now());
        let ends = Instant::now() + wait;
        if ends > begins {
            state.excused += ends - begins;
            state.excused_until = ends;
        }
    }

    /// Time without an accepted answer. A server can't announce pauses for ever: of them, no more than the
    /// longest that is believed doesn't count.
    pub fn silence(&self) -> Duration {
        let state = self.state();
        let now = Instant::now();
        let Some(since) = state.since else { return Duration::ZERO };
        let excused = state.excused.saturating_sub(state.excused_until.saturating_duration_since(now));
        now.duration_since(since).saturating_sub(excused.min(LONGEST_PAUSE))
    }

    pub fn last_failure(&self) -> String {
        self.state().last_failure.clone()
    }

    pub fn accepted(&self) -> u64 {
        self.state().accepted
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn announced_pauses_are_no_silence_up_to_the_longest_believed() {
        let vitals = Vitals::default();
        pass(7200).await;
        assert_eq!(vitals.silence(), Duration::ZERO, "nothing was asked");
        vitals.ask();
        pass(60).await;
        vitals.ask();
        assert_eq!(vitals.silence().as_secs(), 60);
        vitals.announced_pause(Duration::from_secs(600));
        // The same pause, told to another request.
        vitals.announced_pause(Duration::from_secs(600));
        pass(300).await;
        assert_eq!(vitals.silence().as_secs(), 60, "half of the pause is over");
        pass(400).await;
        assert_eq!(vitals.silence().as_secs(), 160);
        vitals.accept();
        assert_eq!(vitals.silence(), Duration::ZERO);
        vitals.ask();
        for _ in 0..3 {
            vitals.announced_pause(Duration::from_secs(3600));
            pass(3600).await;
        }
        assert_eq!(vitals.silence(), Duration::from_secs(3 * 3600) - LONGEST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_began_before_the_last_answer_still_excuses_what_is_left_of_it() {
        let vitals = Vitals::default();
        vitals.announced_pause(Duration::from_secs(100));
        pass(40).await;
        vitals.accept();
        pass(10).await;
        vitals.ask();
        pass(70).await;
        assert_eq!(vitals.silence().as_secs(), 20);
    }
}
