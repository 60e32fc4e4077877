//! The simulated workspace's time.

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

/// Simulated time: starts at an epoch and runs at a multiple of real time; a scale of 0 stands still.
#[derive(Debug, Clone)]
pub struct Clock {
    epoch: DateTime<Utc>,
    started: Instant,
    scale: f64,
}

impl Clock {
    /// A clock that shows `epoch` now and runs `scale` times as fast as real time.
    pub fn new(epoch: DateTime<Utc>, scale: f64) -> Self {
        Self { epoch, started: Instant::now(), scale }
    }

    /// Shows `now` from here on, and goes on at its pace.
    pub fn set(&mut self, now: DateTime<Utc>) {
        *self = Self::new(now, self.scale);
    }

    /// Simulated time.
    pub fn now(&self) -> DateTime<Utc> {
        let elapsed = self.started.elapsed().as_secs_f64() * self.scale;
        self.epoch + TimeDelta::microseconds((elapsed * 1e6) as i64)
    }
}
