//! Totals of query histories are added up from one snapshot to the next: of two machines that do so at once, one would
//! lose what the other added. In an object store, where the lock of one machine doesn't keep others out, whoever reads
//! the totals in order to write them again claims them first.

use std::cell::Cell;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::{TimeDelta, Utc};

use super::{Busy, Error, Lake};

/// The claim.
const CLAIM: &str = "_state/counting";
/// A claim that wasn't renewed for so long is of a process that was killed.
const ENDED: TimeDelta = TimeDelta::minutes(30);
/// Time between two renewals.
const RENEWAL: Duration = Duration::from_secs(300);
/// Time between two looks whether it is free.
const LOOK: Duration = Duration::from_secs(2);

/// The claim to the totals of query histories; free again when dropped.
#[derive(Debug)]
pub struct Counting {
    renewing: Option<Renewing>,
}

#[derive(Debug)]
struct Renewing {
    lake: Lake,
    holder: String,
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Counting {
    /// Checks that nobody has taken the claim over from a machine that slept or had no network: what it read may be
    /// out of date.
    ///
    /// # Errors
    /// [`Error::Busy`]; [`Error::Store`].
    pub fn check(&self) -> Result<(), Error> {
        let Some(Renewing { lake, holder, .. }) = &self.renewing else { return Ok(()) };
        match is_of(lake, holder)? {
            true => Ok(()),
            false => Err(Error::Busy(Busy::Counting)),
        }
    }
}

/// Whether the claim is there, and of that machine.
fn is_of(lake: &Lake, holder: &str) -> Result<bool, Error> {
    Ok(lake.store().get(CLAIM)?.is_some_and(|text| text.starts_with(holder.as_bytes())))
}

impl Lake {
    /// Claims the totals of query histories, and waits while another machine has them: at most half an hour after it
    /// was killed. The lock is held by the caller.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Io`].
    pub fn counting(&self) -> Result<Counting, Error> {
        if !self.store().is_shared() {
            return Ok(Counting { renewing: None });
        }
        let holder = self.holder()?;
        let mut is_told = false;
        while !self.take_counting(&holder)? {
            if !std::mem::replace(&mut is_told, true) {
                tracing::info!(
                    "another machine adds up the totals of query histories; waiting for it to end"
                );
            }
            std::thread::sleep(LOOK);
        }
        let (stop, stopped) = mpsc::channel();
        let (lake, own) = (self.clone(), holder.clone());
        let renew = move || {
            let mut number = 0;
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(RENEWAL) {
                number += 1;
                // One that somebody has taken over stays theirs.
                let renewed = lake.store().change(CLAIM, &|there| {
                    let is_ours = there.is_some_and(|text| text.starts_with(own.as_bytes()));
                    is_ours.then(|| claim(&own, number).into_bytes())
                });
                if let Err(error) = renewed {
                    tracing::warn!("the claim to the totals of query histories can't be renewed: {error}");
                }
            }
        };
        let thread = std::thread::spawn(renew);
        Ok(Counting { renewing: Some(Renewing { lake: self.clone(), holder, stop, thread }) })
    }

    /// Takes the claim if nobody else has it. One of this machine is of a process that was killed.
    fn take_counting(&self, holder: &str) -> Result<bool, Error> {
        let found = self.store().list(CLAIM)?.pop();
        let ended = match found.filter(|claim| Utc::now() - claim.written > ENDED) {
            Some(_) => self.store().get(CLAIM)?,
            None => None,
        };
        let is_taken = Cell::new(false);
        self.store().change(CLAIM, &|there| {
            let is_ours = |text: &[u8]| text.starts_with(holder.as_bytes());
            is_taken.set(there.is_none_or(|text| is_ours(text) || ended.as_deref() == Some(text)));
            is_taken.get().then(|| claim(holder, 0).into_bytes())
        })?;
        Ok(is_taken.get())
    }
}

/// Each renewal has another text, so that nobody takes a renewed claim for the old one.
fn claim(holder: &str, number: u32) -> String {
    format!("{holder} {number}")
}

impl Drop for Counting {
    fn drop(&mut self) {
        let Some(Renewing { lake, holder, stop, thread }) = self.renewing.take() else { return };
        drop(stop);
        let _ = thread.join();
        let removed = is_of(&lake, &holder).and_then(|is_ours| match is_ours {
            true => Ok(lake.store().delete(&[CLAIM.to_owned()])?),
            false => Ok(()),
        });
        if let Err(error) = removed {
            tracing::warn!("the claim to the totals of query histories can't be removed: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::SnapshotId;
    use crate::store::Cloud;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    #[test]
    fn one_machine_at_a_time_adds_up() {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn crate::store::Store> = Arc::new(Cloud::in_memory().unwrap());
        let machine = |name: &str| {
            let folder = dir.path().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            Lake::in_store(store.clone(), folder)
        };
        let (first, second) = (machine("first"), machine("second"));
        let held = first.counting().unwrap();
        let holder = second.holder().unwrap();
        assert!(!second.take_counting(&holder).unwrap());
        held.check().unwrap();
        // What a killed process of the same machine left is no hindrance to it.
        assert!(first.take_counting(&first.holder().unwrap()).unwrap());
        let is_free = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let held = second.counting().unwrap();
                assert!(is_free.load(Ordering::SeqCst), "not before the first has ended");
                held
            });
            std::thread::sleep(Duration::from_millis(300));
            is_free.store(true, Ordering::SeqCst);
            drop(held);
            let began = Instant::now();
            drop(waiting.join().unwrap());
            assert!(began.elapsed() < Duration::from_secs(60));
        });
        assert!(first.store().list("_state/").unwrap().is_empty());
        // A machine that slept for too long has lost it, and takes it from nobody.
        let lost = first.counting().unwrap();
        second.store().put(CLAIM, claim(&holder, 0).as_bytes()).unwrap();
        assert!(matches!(lost.check(), Err(Error::Busy(Busy::Counting))));
        drop(lost);
        assert!(is_of(&second, &holder).unwrap());
        second.store().delete(&[CLAIM.to_owned()]).unwrap();
        // No snapshot's note is taken for the claim.
        first.build_on(&SnapshotId::at(Utc::now()), &[SnapshotId::at(Utc::now())].into()).unwrap();
        drop(second.counting().unwrap());
    }
}
