//! Counters of what the engine did, for INFO.

use super::acl::Reason;
use std::collections::BTreeMap;
use std::time::Duration;

use super::histogram::Histogram;

/// Counters since the start or the last CONFIG RESETSTAT.
#[derive(Default)]
pub struct Stats {
    pub commands: u64,
    /// Time spent in them, those of transactions and scripts as parts of these.
    pub command_time: Duration,
    pub connections: u64,
    pub rejected_connections: u64,
    pub keyspace_hits: u64,
    pub keyspace_misses: u64,
    pub expired_keys: u64,
    /// Time spent on deleting what is due, and how often that stopped before everything was deleted.
    pub expiry_time: Duration,
    pub expiry_broken_off: u64,
    /// Payloads of packed values that RESTORE has gone through.
    pub payloads_checked: u64,
    pub evicted_keys: u64,
    /// Scripts of EVAL that left the cache for others.
    pub evicted_scripts: u64,
    pub access_denied: AccessDenied,
    /// Connections ended because all together took too much memory.
    pub evicted_clients: u64,
    pub total_errors: u64,
    pub unexpected_errors: u64,
    /// Changes since the last save, as `rdb_changes_since_last_save` counts them.
    pub dirty: u64,
    pub per_command: Vec<CommandStats>,
    pub errors: BTreeMap<String, u64>,
}

/// Counters of one command.
#[derive(Default)]
pub struct CommandStats {
    pub calls: u64,
    pub time: Duration,
    /// Refused before execution.
    pub rejected: u64,
    /// Answered with an error.
    pub failed: u64,
    /// Times of its calls, under `latency-tracking`.
    pub latency: Option<Histogram>,
}

/// Refusals by what was refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessDenied {
    pub command: u64,
    pub key: u64,
    pub channel: u64,
    pub auth: u64,
}

impl AccessDenied {
    pub fn of(&mut self, reason: Reason) -> &mut u64 {
        match reason {
            Reason::Command => &mut self.command,
            Reason::Key => &mut self.key,
            Reason::Channel => &mut self.channel,
            Reason::Auth => &mut self.auth,
        }
    }
}

/// Past this many different error codes no further one is counted, as in stock.
const ERROR_CODES_MAX: usize = 128;

impl CommandStats {
    /// A call has ended after this time.
    pub fn ended(&mut self, time: Duration, tracking: bool) {
        self.calls += 1;
        self.time += time;
        if tracking {
            self.latency.get_or_insert_default().record(time.as_nanos() as u64);
        }
    }
}

impl Stats {
    pub fn new(commands: usize) -> Self {
        Self { per_command: std::iter::repeat_with(CommandStats::default).take(commands).collect(), ..Self::default() }
    }

    pub fn count_error(&mut self, code: &str) {
        self.total_errors += 1;
        if let Some(count) = self.errors.get_mut(code) {
            *count += 1;
        } else if self.errors.len() < ERROR_CODES_MAX {
            self.errors.insert(code.to_owned(), 1);
        }
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&mut self) {
        *self = Self { dirty: self.dirty, ..Self::new(self.per_command.len()) };
    }
}
