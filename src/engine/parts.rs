//! All of the engine that is not the keyspace: clients, subscriptions, waiting commands, scripts, statistics.
//!
//! Commands of this room and of the rooms above reach it from their `Cx` by [`Parts::of`].

use super::access::Access;
use super::blocking::Blocking;
use super::client::{Client, Clients};
use super::memory::{Memory, MemoryLimit};
use super::notify::EventFlags;
use super::observe::{Notice, Observed};
use super::pause::Pause;
use super::pubsub::PubSub;
use super::script::Scripts;
use super::stats::Stats;
use super::tracking::Tracking;
use super::transaction::Watches;
use crate::command::{ClientId, CommandTable, Cx, Event, Host, PayloadRules};
use crate::env::{Clock, Entropy, UnixMillis};
use crate::value::Type;
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

/// Settings that commands of the engine obey; the server keeps them in step with its configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    pub notify: EventFlags,
    pub string_bytes_max: usize,
    pub payload: PayloadRules,
    /// Why no write is let in, if none is.
    pub writes_refused: Option<&'static str>,
    /// Due keys are deleted by themselves (DEBUG SET-ACTIVE-EXPIRE).
    pub active_expire: bool,
    /// For the time being they are not (DEBUG PAUSE-CRON).
    pub expiry_rests: bool,
    /// The data is not there yet: what needs it is refused.
    pub loading: bool,
    /// Scripts may call what is not for scripts (DEBUG SET-DISABLE-DENY-SCRIPTS).
    pub any_command_in_scripts: bool,
    /// Milliseconds after which a running script lets others in with -BUSY; 0: never.
    pub busy_reply_threshold: u64,
    pub notice: Notice,
    /// Each command's times are counted (`latency-tracking`).
    pub latency_tracking: bool,
    /// Memory that one interpreter may take, in bytes.
    pub script_bytes_max: usize,
    pub memory: MemoryLimit,
    /// New users and selectors may use every channel (`acl-pubsub-default`).
    pub acl_all_channels: bool,
    /// Entries of ACL LOG (`acllog-max-len`).
    pub acl_log_len_max: usize,
    /// Keys remembered for client-side caching (`tracking-table-max-keys`); 0: any number.
    pub tracking_keys_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            notify: EventFlags::NONE,
            string_bytes_max: 512 << 20,
            payload: PayloadRules::default(),
            writes_refused: None,
            active_expire: true,
            expiry_rests: false,
            loading: false,
            any_command_in_scripts: false,
            busy_reply_threshold: 5000,
            notice: Notice::NEVER,
            latency_tracking: true,
            script_bytes_max: 1 << 30,
            memory: MemoryLimit::default(),
            acl_all_channels: false,
            acl_log_len_max: 128,
            tracking_keys_max: 1_000_000,
        }
    }
}

/// See the module's header.
pub struct Parts {
    pub clients: Clients,
    pub access: Access,
    pub tracking: Tracking,
    pub pubsub: PubSub,
    pub blocking: Blocking,
    pub watches: Watches,
    pub scripts: Scripts,
    pub stats: Stats,
    pub observed: Observed,
    pub pause: Pause,
    pub settings: Settings,
    pub memory: Memory,
    pub clock: Arc<dyn Clock>,
    pub entropy: Box<dyn Entropy>,
    /// Monotonic time as of the last look: a command's time is counted from the end of the one before, which spares
    /// every second look.
    pub looked: std::time::Duration,
    pub table: Arc<CommandTable>,
    /// What the server keeps here, for its own commands.
    pub server: Box<dyn Any + Send>,
    /// Messages of the turn in progress; they leave when its place in the log is known.
    pub outgoing: Vec<(ClientId, Vec<u8>)>,
    /// What is told behind those.
    pub outgoing_last: Vec<(ClientId, Vec<u8>)>,
    /// Waits to be ended after this turn (CLIENT UNBLOCK): the client, and whether with an error.
    pub unblock: Vec<(ClientId, bool)>,
    /// Whose turn it is; nobody's between turns.
    pub acting: ClientId,
    /// A client's line in CLIENT LIST, which the room above knows how to write.
    pub describe_client: fn(&Client, &Parts, UnixMillis) -> String,
}

impl Parts {
    /// The engine behind a call.
    ///
    /// # Panics
    /// When `cx` was not made by this engine: a mistake in the source.
    pub fn of<'c>(cx: &'c mut Cx<'_>) -> &'c mut Self {
        match cx.host.as_any().downcast_mut() {
            Some(parts) => parts,
            None => unreachable!("every Cx is made by the engine"),
        }
    }

    /// The client a command runs for.
    ///
    /// # Panics
    /// When it is gone, which cannot be while its command runs.
    pub fn client_mut(&mut self, id: ClientId) -> &mut Client {
        match self.clients.get_mut(id) {
            Some(client) => client,
            None => unreachable!("a running command's client is connected"),
        }
    }
}

impl Host for Parts {
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    fn key_modified(&mut self, db: u32, key: &[u8]) {
        self.invalidate_key(key);
        self.key_touched(db, key);
    }

    fn key_touched(&mut self, db: u32, key: &[u8]) {
        self.blocking.key_modified(db, key);
        if !self.watches.is_empty() {
            for id in self.watches.watching(db, key) {
                if let Some(client) = self.clients.get_mut(*id) {
                    client.watch_failed = true;
                }
            }
        }
    }

    fn key_ready(&mut self, db: u32, key: &[u8], kind: Type) {
        self.blocking.key_ready(db, key, kind);
    }

    fn watched_keys(&self, db: u32) -> Vec<Vec<u8>> {
        self.watches.keys_of(db).map(<[u8]>::to_vec).collect()
    }

    fn awaited_keys(&self, db: u32) -> Vec<Vec<u8>> {
        self.blocking.keys_of(db)
    }

    fn notify(&mut self, class: Event, event: &str, key: &[u8], db: u32) {
        let flags = self.settings.notify;
        if flags.wants(class) {
            if flags.keyspace() {
                let channel = [format!("__keyspace@{db}__:").as_bytes(), key].concat();
                self.publish(&channel, event.as_bytes());
            }
            if flags.keyevent() {
                self.publish(format!("__keyevent@{db}__:{event}").as_bytes(), key);
            }
        }
    }

    fn may_read_every_key(&mut self, client: ClientId, argv: &[&[u8]]) -> bool {
        let user = self.clients.get(client).map(|client| &client.user);
        user.zip(self.table.named(argv)).is_none_or(|(user, resolved)| user.may_read_every_key(resolved, argv))
    }

    fn flushed(&mut self) {
        self.invalidate_all();
    }

    fn entropy(&mut self) -> &mut dyn Entropy {
        &mut *self.entropy
    }

    fn looked_up(&mut self, hit: bool) {
        if hit {
            self.stats.keyspace_hits += 1;
        } else {
            self.stats.keyspace_misses += 1;
        }
    }

    fn expired(&mut self, key: &[u8]) {
        self.stats.expired_keys += 1;
        self.broadcast_expiry(key);
    }

    fn spike_clock(&self) -> Option<Duration> {
        self.settings.notice.spike_from().map(|_| self.clock.monotonic())
    }

    fn spike_since(&mut self, event: &'static str, began: Option<Duration>) {
        if let Some(began) = began {
            self.spike(event, self.clock.monotonic().saturating_sub(began));
        }
    }

    fn string_bytes_max(&self) -> usize {
        self.settings.string_bytes_max
    }

    fn payload_rules(&self) -> PayloadRules {
        self.settings.payload
    }

    fn payload_checked(&mut self) {
        self.stats.payloads_checked += 1;
    }
}
