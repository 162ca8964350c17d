//! ACL LOG: what was refused, newest first. Refusals of one kind that follow each other closely are one entry.

use crate::env::UnixMillis;
use std::collections::VecDeque;

/// Refusals this far apart are not one entry any more.
const GROUPING_MILLIS_MAX: i64 = 60_000;
/// Entries looked at for one of the same kind.
const GROUPING_DEPTH: usize = 10;

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Command,
    Key,
    Channel,
    Auth,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Key => "key",
            Self::Channel => "channel",
            Self::Auth => "auth",
        }
    }
}

/// Where the call came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    Toplevel,
    Multi,
    Lua,
}

impl Context {
    pub fn name(self) -> &'static str {
        match self {
            Self::Toplevel => "toplevel",
            Self::Multi => "multi",
            Self::Lua => "lua",
        }
    }
}

/// One kind of refusal.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Never used twice in one process.
    pub id: u64,
    pub count: u64,
    pub reason: Reason,
    pub context: Context,
    /// The command, key or channel; for a failed login the command it was tried with.
    pub object: Vec<u8>,
    pub user: Vec<u8>,
    /// The line of CLIENT LIST of whoever was refused last.
    pub client: String,
    pub created: UnixMillis,
    pub updated: UnixMillis,
}

impl Entry {
    /// A first refusal.
    pub fn new(reason: Reason, context: Context, object: &[u8], user: &[u8], client: String, now: UnixMillis) -> Self {
        let (object, user) = (object.to_vec(), user.to_vec());
        Self { id: 0, count: 1, reason, context, object, user, client, created: now, updated: now }
    }

    fn is_like(&self, other: &Self) -> bool {
        self.reason == other.reason
            && self.context == other.context
            && (self.updated.0 - other.updated.0).abs() <= GROUPING_MILLIS_MAX
            && self.object == other.object
            && self.user == other.user
    }
}

/// See the module's header.
#[derive(Debug, Default)]
pub struct AuditLog {
    entries: VecDeque<Entry>,
    next_id: u64,
}

impl AuditLog {
    /// Notes a refusal; keeps at most `len_max` entries (`acllog-max-len`).
    pub fn note(&mut self, mut entry: Entry, len_max: usize) {
        let known = self.entries.iter().take(GROUPING_DEPTH).position(|known| known.is_like(&entry));
        match known.and_then(|at| self.entries.remove(at)) {
            Some(mut known) => {
                known.client = entry.client;
                known.updated = entry.updated;
                known.count += 1;
                self.entries.push_front(known);
            }
            None => {
                entry.id = self.next_id;
                self.next_id += 1;
                self.entries.push_front(entry);
                self.entries.truncate(len_max);
            }
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }
}
