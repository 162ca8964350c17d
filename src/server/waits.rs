//! How long the log's threads waited for the disk: noted without the engine, shown by LATENCY.
//!
//! Invariant: what is noted is kept until somebody who holds the engine collects it, up to a bound.

use std::time::Duration;

use parking_lot::Mutex;

use super::shared::Shared;
use crate::engine::{Parts, Spike};
use crate::persist::Waited;

/// Spikes kept for a collector; it comes ten times a second.
const KEPT_MAX: usize = 1000;

/// See the module's header.
#[derive(Default)]
pub struct Waits(Mutex<Vec<(&'static str, Spike)>>);

impl Waits {
    /// The log's writer has waited this long.
    pub fn note(&self, shared: &Shared, what: Waited, time: Duration) {
        let settings = shared.settings();
        if settings.spike_from.is_none_or(|from| time < from) {
            return;
        }
        let events: &[&'static str] = match what {
            // Where nobody waits for a sync, it delays nobody.
            Waited::Sync if settings.appendfsync != "always" => &[],
            Waited::Sync => &["aof-fsync-always"],
            Waited::Write { beside_sync: true } => &["aof-write-pending-fsync", "aof-write"],
            Waited::Write { .. } if shared.is_saving() => &["aof-write-active-child", "aof-write"],
            Waited::Write { .. } => &["aof-write-alone", "aof-write"],
        };
        let at = shared.clock.unix_micros().div_euclid(1_000_000);
        let spike = Spike { at, millis: time.as_millis() as u64 };
        let mut kept = self.0.lock();
        if kept.len() < KEPT_MAX {
            kept.extend(events.iter().map(|event| (*event, spike)));
        }
    }

    /// Something else that is worth a name has taken this long.
    pub fn note_event(&self, shared: &Shared, event: &'static str, time: Duration) {
        if shared.settings().spike_from.is_some_and(|from| time >= from) {
            let at = shared.clock.unix_micros().div_euclid(1_000_000);
            let mut kept = self.0.lock();
            if kept.len() < KEPT_MAX {
                kept.push((event, Spike { at, millis: time.as_millis() as u64 }));
            }
        }
    }

    /// Hands over what was noted.
    pub fn collect(&self, parts: &mut Parts) {
        for (event, spike) in self.0.lock().drain(..) {
            parts.observed.spikes.add(event, spike);
        }
    }
}
