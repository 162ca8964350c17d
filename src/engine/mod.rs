//! The engine: executes commands one at a time, in log order, and says what of their effects may be shown when.
//!
//! Invariants
//! - Nothing here waits: not for the disk, not for a peer, not for a clock.
//! - Whatever leaves for a connection enters its outbox with the log position it depends on.
//! - A turn's unit enters the log before anything of the turn may leave.

mod access;
mod acl;
mod ahead;
mod blocking;
mod client;
mod evict_clients;
mod execute;
mod gate;
mod histogram;
mod log;
mod memory;
mod meter;
mod notify;
mod observe;
mod open;
mod outbox;
mod parts;
mod pause;
mod pubsub;
mod replay;
mod script;
mod slowlog;
mod spikes;
mod stats;
#[cfg(test)]
mod tests;
mod tick;
mod tracking;
mod transaction;

pub use access::Access;
pub use acl::{
    AuditLog, CATEGORIES, DEFAULT_USER, Denied, Entry as AuditEntry, RuleError, Selector, Terms, User, Users,
};
pub use ahead::AHEAD_MAX;
pub use client::{Blocked, Client, ClientIds, Clients, ConnectionInfo, ReplyMode, Transaction};
pub use execute::check_subscriber;
pub use gate::Gate;
pub use histogram::Histogram;
pub use log::{Log, NoLog};
pub use memory::{Memory, MemoryLimit, MemoryMeter};
pub use meter::{Held, Meter};
pub use notify::EventFlags;
pub use observe::{Notice, Observed, quote};
pub use open::{in_doubt, misconf};
pub use outbox::{NoWake, Outbox, Taken, Wake};
pub use parts::{Parts, Settings};
pub use pause::Pause;
pub use pubsub::PubSub;
pub use replay::Replaying;
pub use script::{Control, KillBy, hexadecimal};
pub use slowlog::SlowCall;
pub use spikes::{Series, Spike, Spikes};
pub use stats::{CommandStats, Stats};
pub use tracking::{Tracked, Tracking, TrackingOptions};

use crate::command::{ClientId, Command, CommandTable, Turn};
use crate::env::{Clock, Entropy, UnixMillis};
use crate::keyspace::{Keyspace, Snapshot};
use crate::resp::{Protocol, Reply};
use std::any::Any;
use std::sync::Arc;

/// A client that exists nowhere: turns that no connection asked for.
const NOBODY: ClientId = ClientId(0);

/// What a connection does after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Continue,
    /// The command waits (for a key, or for the script thread): nothing further is executed until it has ended.
    Parked,
    /// The log had no room and the command was not begun: give it again when there is.
    LogFull,
    /// Clients are paused and the command was not begun: give it again when the outbox wakes the connection.
    Paused,
    /// Send what is queued, then end the connection.
    Close,
}

/// The data and all that acts on it. One caller at a time.
pub struct Engine {
    pub store: Keyspace,
    pub parts: Parts,
    pub log: Box<dyn Log>,
    /// Wall clock as of the last look; one look serves a batch.
    now: UnixMillis,
    turn: Turn,
    turn_db: u32,
    /// The client has been answered already.
    unheard: bool,
    reply: Reply,
}

/// The families of this room and of those below.
pub fn families() -> Vec<&'static [Command]> {
    let mut families = crate::command::data_families();
    families.extend([pubsub::COMMANDS, transaction::COMMANDS]);
    families.extend(script::FAMILIES);
    families
}

impl Engine {
    /// An engine over a keyspace. `families`: all command declarations; `server`: what the server's own commands need.
    pub fn new(
        store: Keyspace,
        families: &[&'static [Command]],
        clock: Arc<dyn Clock>,
        entropy: Box<dyn Entropy>,
        server: Box<dyn Any + Send>,
    ) -> Self {
        let table = Arc::new(CommandTable::new(families));
        let parts = Parts {
            clients: Clients::default(),
            access: Access { users: Users::new(&table), log: AuditLog::default() },
            tracking: Tracking::default(),
            pubsub: PubSub::default(),
            blocking: blocking::Blocking::default(),
            watches: transaction::Watches::default(),
            scripts: script::Scripts::default(),
            stats: Stats::new(table.all().len()),
            observed: Observed::default(),
            pause: Pause::default(),
            settings: Settings::default(),
            clock,
            entropy,
            table,
            server,
            memory: Memory::default(),
            looked: std::time::Duration::ZERO,
            outgoing: Vec::new(),
            outgoing_last: Vec::new(),
            unblock: Vec::new(),
            acting: NOBODY,
            describe_client: |client, _, _| format!("id={}", client.id.0),
        };
        Self {
            store,
            parts,
            log: Box::new(NoLog::at(1)),
            now: UnixMillis(0),
            turn: Turn::new(),
            turn_db: 0,
            unheard: false,
            reply: Reply::taking_runs(Protocol::Resp2),
        }
    }

    /// A new connection; its replies go into `outbox`.
    pub fn connect(&mut self, info: ConnectionInfo, outbox: Arc<Outbox>) -> ClientId {
        let id = self.parts.clients.ids().next();
        self.connect_as(id, info, outbox);
        id
    }

    /// As [`Engine::connect`], for one whose id was taken before.
    pub fn connect_as(&mut self, id: ClientId, info: ConnectionInfo, outbox: Arc<Outbox>) {
        let now = self.parts.clock.unix_millis();
        let user = self.parts.access.users.default_user();
        self.parts.clients.insert(Client::new(id, info, outbox, user, now));
        self.parts.stats.connections += 1;
    }

    /// Looks at the clock; what follows happens at that time. Whoever holds the engine for a batch looks once.
    pub fn look_at_clock(&mut self) {
        let now = self.parts.clock.unix_millis();
        if now.0.div_euclid(1000) != self.now.0.div_euclid(1000) {
            self.store.set_access_time(now);
        }
        self.now = now;
        self.parts.looked = self.parts.clock.monotonic();
    }

    /// All databases as they are now, for reading on any thread: O(databases), whatever they hold.
    ///
    /// The view stays what it is while the engine goes on. What is changed meanwhile is copied, a node at a time, so a view
    /// that lives long holds memory: at most as much again as the data. It shows keys that are due and not yet removed;
    /// whoever minds compares [`crate::keyspace::Entry::expiry`] with the time. Drop it where time does not matter: that
    /// frees what the engine has replaced since.
    ///
    /// ```
    /// # use graven::{engine::Engine, value::ValueRef};
    /// fn strings(engine: &Engine) -> std::thread::JoinHandle<usize> {
    ///     let view = engine.snapshot();
    ///     std::thread::spawn(move || {
    ///         let keys = view.databases().iter().flatten();
    ///         keys.filter(|entry| matches!(entry.value(), ValueRef::Str(_))).count()
    ///     })
    /// }
    /// ```
    pub fn snapshot(&self) -> Snapshot {
        self.store.snapshot()
    }

    /// The connection has ended; whatever it waited for or watched is forgotten.
    pub fn disconnect(&mut self, id: ClientId) {
        if self.parts.clients.get(id).is_none() {
            return;
        }
        self.parts.forget_subscriptions(id);
        self.parts.stop_tracking(id);
        self.parts.unwatch_all(id);
        self.parts.stop_monitoring(id);
        self.parts.forget_pause(id);
        if let Some(blocked) = self.parts.clients.remove(id).and_then(|client| client.blocked) {
            self.parts.blocking.unblock(id, &blocked);
        }
    }
}
