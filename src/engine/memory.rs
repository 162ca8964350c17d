//! Staying below `maxmemory`: keys are given up before a command runs, or the command is refused.
//!
//! Invariants
//! - Eviction is part of history: every victim is a DEL of its own in the log. Replay evicts nothing, whatever the memory.
//! - Work is bounded by `maxmemory-eviction-tenacity`: what is not done in time is left to the next command or tick, and
//!   commands are let in meanwhile, as in stock.
//! - What was given up and not freed yet (see [`crate::keyspace::Garbage`]) counts as freed: nothing is evicted twice
//!   for the same bytes.

use std::time::Duration;

use super::execute::Delivery;
use super::parts::Parts;
use super::{Engine, NOBODY};
use crate::command::{CommandError, Cx, Event, Flags, Host};
use crate::keyspace::EvictionPolicy;

/// Says how much memory is in use. The server's asks the allocator; a library user may have any.
pub trait MemoryMeter: Send {
    /// Bytes that eviction is to keep below `maxmemory`. Asked before every command, so it must be cheap.
    fn used(&mut self) -> u64;
}

/// What limits memory (`maxmemory` and its kin).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Bytes; 0: no limit.
    pub max: u64,
    /// `None`: nothing is evicted.
    pub policy: Option<EvictionPolicy>,
    /// Keys looked at for one victim, at least.
    pub samples: usize,
    /// From 0 (give way at once) to 100 (evict until done).
    pub tenacity: u32,
}

impl Default for MemoryLimit {
    fn default() -> Self {
        Self { max: 0, policy: None, samples: 5, tenacity: 10 }
    }
}

impl MemoryLimit {
    /// How long one round of evictions may take; `None`: until it is done. Stock's formula.
    fn patience(&self) -> Option<Duration> {
        let micros = match self.tenacity {
            slow @ 0..=10 => 50.0 * f64::from(slow),
            steep @ 11..=99 => 500.0 * 1.15_f64.powi(steep as i32 - 10),
            _ => return None,
        };
        Some(Duration::from_micros(micros as u64))
    }
}

/// The state of memory as the engine saw it last.
#[derive(Default)]
pub struct Memory {
    pub meter: Option<Box<dyn MemoryMeter>>,
    /// Memory was short when the command in progress began, and nothing could be evicted.
    exhausted: bool,
    /// Evicting goes on.
    evicting: bool,
    /// Since when memory in use is above the limit, by the monotonic clock.
    exceeded_since: Option<Duration>,
    exceeded: Duration,
}

impl Memory {
    /// Whether there is more to evict than could be done in time.
    pub fn is_evicting(&self) -> bool {
        self.evicting
    }

    /// How long memory in use has been above the limit: this time, and all times together.
    pub fn exceeded_time(&self, now: Duration) -> (Duration, Duration) {
        let current = self.exceeded_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        (current, self.exceeded + current)
    }

    /// CONFIG RESETSTAT.
    pub fn reset_stats(&mut self) {
        self.exceeded = Duration::ZERO;
    }

    fn note(&mut self, room: Room, now: Duration) {
        self.exhausted = room == Room::Exhausted;
        self.evicting = room == Room::Coming;
        match (room, self.exceeded_since) {
            (Room::Enough, Some(since)) => {
                self.exceeded += now.saturating_sub(since);
                self.exceeded_since = None;
            }
            (Room::Enough, None) | (_, Some(_)) => {}
            (_, None) => self.exceeded_since = Some(now),
        }
    }
}

/// Whether there is memory for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Enough,
    /// Not yet: evicting goes on.
    Coming,
    /// No, and nothing can be evicted.
    Exhausted,
}

impl Parts {
    /// Whether memory was short when the command in progress began.
    pub fn memory_exhausted(&self) -> bool {
        self.memory.exhausted && self.settings.memory.max > 0
    }

    /// Refuses a command that would use more memory where there is none.
    ///
    /// # Errors
    /// `OOM`, when memory is short and the command is declared as one that may need more of it.
    pub fn check_memory(&self, flags: Flags) -> Result<(), CommandError> {
        if flags.has(Flags::DENYOOM) && self.memory_exhausted() {
            return Err(CommandError::OUT_OF_MEMORY);
        }
        Ok(())
    }
}

impl Engine {
    /// Evicts what is above the limit. Called between turns only.
    pub(super) fn make_room(&mut self) -> Room {
        let room = self.evict_to_limit();
        let now = if room == Room::Enough && self.parts.memory.exceeded_since.is_none() {
            Duration::ZERO
        } else {
            self.parts.clock.monotonic()
        };
        self.parts.memory.note(room, now);
        room
    }

    fn evict_to_limit(&mut self) -> Room {
        let limit = self.parts.settings.memory;
        // A pause keeps the data as it is: nothing is evicted, and nobody refused for want of it.
        if limit.max == 0 || self.parts.pause.is_on() || self.memory_used() <= limit.max {
            return Room::Enough;
        }
        let Some(policy) = limit.policy else { return Room::Exhausted };
        let begun = self.parts.clock.monotonic();
        let room = self.evict_since(begun, limit, policy);
        self.parts.spike("eviction-cycle", self.parts.clock.monotonic().saturating_sub(begun));
        room
    }

    fn evict_since(&mut self, begun: Duration, limit: MemoryLimit, policy: EvictionPolicy) -> Room {
        loop {
            if !self.log.has_room() {
                return Room::Coming;
            }
            let Some((db, key)) = self.store.victim(policy, limit.samples, &mut *self.parts.entropy) else {
                return Room::Exhausted;
            };
            self.begin_turn(NOBODY);
            let watched = self.parts.spike_clock();
            self.nobody(db).evict(&key);
            self.parts.spike_since("eviction-del", watched);
            self.end_turn(NOBODY, false, Delivery::Own);
            if self.memory_used() <= limit.max {
                return Room::Enough;
            }
            let spent = self.parts.clock.monotonic().saturating_sub(begun);
            if limit.patience().is_some_and(|patience| spent >= patience) {
                return Room::Coming;
            }
        }
    }

    /// Bytes in use that count against the limit; 0 when nobody can tell.
    fn memory_used(&mut self) -> u64 {
        let used = self.parts.memory.meter.as_mut().map_or(0, |meter| meter.used());
        used.saturating_sub(self.store.garbage_bytes() as u64)
    }
}

impl Cx<'_> {
    /// Removes a key because memory is short, and logs that.
    fn evict(&mut self, key: &[u8]) {
        if !self.remove_silently(key) {
            return;
        }
        self.turn.unit.push(self.db, &[b"DEL", key]);
        self.notify(Event::Evicted, "evicted", key);
        Parts::of(self).stats.evicted_keys += 1;
    }
}
