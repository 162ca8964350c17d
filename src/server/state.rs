//! The server's own state inside the engine: what CONFIG, INFO, CLIENT and their kin act on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::config::{Config, Settings};
use super::errand::Outcome;
use super::memory::AllocatorProbe;
use super::retention::Retention;
use super::rewriting::Rewriting;
use super::saving::{Saving, judge_writes};
use super::shared::{Counters, Shared};
use crate::command::{ClientId, CommandError, Cx};
use crate::engine::{EventFlags, Notice, Parts};
use crate::env::UnixMillis;

/// What an interpreter of scripts may take: twice the largest string there is, and never more than half of the machine.
const SCRIPT_BYTES_MAX: usize = 1 << 30;

/// See the module's header.
pub struct Server {
    pub shared: Weak<Shared>,
    pub config: Config,
    pub config_file: Option<PathBuf>,
    pub executable: PathBuf,
    pub working_directory: PathBuf,
    /// 40 hex digits, new with every start.
    pub run_id: String,
    /// The replication ID while there is no log; 40 hex digits.
    pub passing_replication_id: String,
    pub started_at: UnixMillis,
    pub started: Duration,
    pub rates: Rates,
    pub allocator: AllocatorProbe,
    /// `used_memory` before any data, bytes.
    pub startup_memory: usize,
    /// Clients in WAITAOF, each with the position that must be durable.
    pub awaiting_sync: BTreeMap<ClientId, u64>,
    /// Files read or written for clients that wait for that; see `errand.rs`.
    pub errands: BTreeMap<ClientId, Outcome>,
    pub saving: Saving,
    pub rewriting: Rewriting,
    pub retention: Retention,
}

impl Server {
    /// The server behind a call.
    ///
    /// # Errors
    /// The engine runs without one, as a library.
    pub fn of<'c>(cx: &'c mut Cx<'_>) -> Result<&'c mut Self, CommandError> {
        Self::in_parts(Parts::of(cx))
    }

    /// The server that an engine belongs to.
    ///
    /// # Errors
    /// There is none.
    pub fn in_parts(parts: &mut Parts) -> Result<&mut Self, CommandError> {
        parts.server.downcast_mut().ok_or(CommandError::fixed("ERR this command needs a server"))
    }

    /// What the threads share.
    ///
    /// # Errors
    /// The server is about to be gone.
    pub fn shared(&self) -> Result<Arc<Shared>, CommandError> {
        self.shared.upgrade().ok_or(CommandError::fixed("ERR the server is shutting down"))
    }
}

/// Hands settings to the parts of the engine that obey them.
pub fn apply_settings(parts: &mut Parts, settings: &Settings) {
    parts.settings.string_bytes_max = settings.bulk_bytes_max;
    judge_writes(parts, settings);
    parts.settings.payload.compression = settings.rdb_compression;
    parts.settings.memory = settings.memory;
    parts.settings.script_bytes_max = SCRIPT_BYTES_MAX.min(super::memory::system_bytes() / 2);
    parts.settings.busy_reply_threshold = settings.busy_reply_threshold.as_millis() as u64;
    parts.settings.notice = Notice::new(settings.slow_from, settings.slow_calls_max, settings.spike_from);
    parts.settings.latency_tracking = settings.latency_tracking;
    parts.settings.acl_all_channels = settings.acl_all_channels;
    parts.settings.acl_log_len_max = settings.acl_log_len_max;
    parts.settings.tracking_keys_max = settings.tracking_keys_max;
    parts.settings.notify = EventFlags::parse(&settings.notify_events).unwrap_or(EventFlags::NONE);
}

/// Events per second, from samples taken ten times a second.
#[derive(Debug, Default)]
pub struct Rates {
    commands: Rate,
    bytes_in: Rate,
    bytes_out: Rate,
    turns: Rate,
    busy_micros: Rate,
}

#[derive(Debug, Default)]
struct Rate {
    last: u64,
    samples: [u64; 16],
    at: usize,
}

impl Rate {
    fn sample(&mut self, total: u64, elapsed: Duration) {
        let millis = (elapsed.as_millis() as u64).max(1);
        self.samples[self.at] = total.saturating_sub(self.last) * 1000 / millis;
        self.at = (self.at + 1) % self.samples.len();
        self.last = total;
    }

    fn average(&self) -> u64 {
        self.samples.iter().sum::<u64>() / self.samples.len() as u64
    }
}

impl Rates {
    /// Takes one sample; `elapsed`: since the one before.
    pub fn sample(&mut self, commands: u64, counters: &Counters, elapsed: Duration) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (bytes_in, bytes_out) = (count(&counters.bytes_in), count(&counters.bytes_out));
        self.turns.sample(count(&counters.turns), elapsed);
        self.busy_micros.sample(count(&counters.busy_micros), elapsed);
        self.commands.sample(commands, elapsed);
        self.bytes_in.sample(bytes_in, elapsed);
        self.bytes_out.sample(bytes_out, elapsed);
    }

    /// Passes of the io loops.
    pub fn turns_per_second(&self) -> u64 {
        self.turns.average()
    }

    /// How long one of them takes, on average.
    pub fn micros_per_turn(&self) -> u64 {
        self.busy_micros.average() / self.turns.average().max(1)
    }

    pub fn commands_per_second(&self) -> u64 {
        self.commands.average()
    }

    pub fn input_kib_per_second(&self) -> f64 {
        self.bytes_in.average() as f64 / 1024.0
    }

    pub fn output_kib_per_second(&self) -> f64 {
        self.bytes_out.average() as f64 / 1024.0
    }
}
