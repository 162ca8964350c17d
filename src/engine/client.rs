//! What the engine knows of its connections.

use super::acl::User;
use super::outbox::Outbox;
use super::tracking::Tracked;
use crate::command::{ClientId, TimeoutReply};
use crate::env::UnixMillis;
use crate::resp::{Protocol, Request};
use crate::value::Type;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a connection came in.
#[derive(Clone, Debug, Default)]
pub struct ConnectionInfo {
    /// `address:port`, or the path of the unix socket with `:0`.
    pub address: String,
    pub local_address: String,
    pub descriptor: i32,
    pub unix_socket: bool,
}

/// One connection.
pub struct Client {
    pub id: ClientId,
    pub info: ConnectionInfo,
    pub outbox: Arc<Outbox>,
    pub db: u32,
    pub protocol: Protocol,
    /// It has shown who it is, or nobody had to when it came.
    pub authenticated: bool,
    /// Whom it acts as.
    pub user: Arc<User>,
    /// Client-side caching.
    pub tracking: Option<Box<Tracked>>,
    pub name: Vec<u8>,
    pub library_name: Vec<u8>,
    pub library_version: Vec<u8>,
    /// It can follow redirections (CLIENT CAPA).
    pub redirects: bool,
    pub connected_at: UnixMillis,
    pub active_at: UnixMillis,
    pub reply_mode: ReplyMode,
    pub no_evict: bool,
    pub no_touch: bool,
    /// Statistics index of the last command.
    pub last_command: Option<usize>,
    pub commands: u64,
    pub transaction: Option<Transaction>,
    pub watches: Vec<(u32, Vec<u8>)>,
    /// A watched key was changed.
    pub watch_failed: bool,
    pub channels: BTreeSet<Vec<u8>>,
    pub patterns: BTreeSet<Vec<u8>>,
    pub shard_channels: BTreeSet<Vec<u8>>,
    pub blocked: Option<Blocked>,
    /// Its command runs on the script thread.
    pub scripting: bool,
    pub closing: bool,
}

impl Client {
    pub fn new(id: ClientId, info: ConnectionInfo, outbox: Arc<Outbox>, user: Arc<User>, now: UnixMillis) -> Self {
        Self {
            id,
            info,
            outbox,
            db: 0,
            protocol: Protocol::Resp2,
            authenticated: user.is_open(),
            user,
            tracking: None,
            name: Vec::new(),
            library_name: Vec::new(),
            library_version: Vec::new(),
            redirects: false,
            connected_at: now,
            active_at: now,
            reply_mode: ReplyMode::On,
            no_evict: false,
            no_touch: false,
            last_command: None,
            commands: 0,
            transaction: None,
            watches: Vec::new(),
            watch_failed: false,
            channels: BTreeSet::new(),
            patterns: BTreeSet::new(),
            shard_channels: BTreeSet::new(),
            blocked: None,
            scripting: false,
            closing: false,
        }
    }

    pub fn subscriptions(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    /// What the connection holds in memory, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let subscriptions = [&self.channels, &self.patterns, &self.shard_channels];
        let names = subscriptions.iter().flat_map(|set| set.iter()).chain(self.watches.iter().map(|(_, key)| key));
        size_of::<Self>()
            + self.name.capacity()
            + self.outbox.heap_bytes()
            + self.outbox.meter.read().total()
            + self.transaction.as_ref().map_or(0, |transaction| transaction.bytes)
            + names.map(|name| size_of::<Vec<u8>>() + name.capacity()).sum::<usize>()
    }

    /// A RESP2 connection with subscriptions takes only commands about them.
    pub fn is_subscriber(&self) -> bool {
        self.subscriptions() + self.shard_channels.len() > 0
    }
}

/// CLIENT REPLY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyMode {
    On,
    Off,
    /// The command after the present one gets no reply.
    SkipNext,
    Skip,
}

/// A transaction being collected.
#[derive(Default)]
pub struct Transaction {
    pub queued: Vec<Request>,
    /// A command was refused while queueing: EXEC aborts.
    pub refused: bool,
    /// Bytes of the queued commands.
    pub bytes: usize,
    /// One of the queued commands may need more memory.
    pub grows: bool,
}

/// A command that waits for a key.
pub struct Blocked {
    pub call: Request,
    pub db: u32,
    pub keys: Vec<Vec<u8>>,
    pub kind: Type,
    pub deadline: Option<UnixMillis>,
    pub on_timeout: TimeoutReply,
    /// Order of arrival.
    pub ticket: u64,
}

/// All connections.
#[derive(Default)]
pub struct Clients {
    by_id: HashMap<ClientId, Client, BuildHasherDefault<IdHasher>>,
    ids: ClientIds,
}

/// Gives out ids, each once; clones share them.
#[derive(Clone, Debug, Default)]
pub struct ClientIds(Arc<AtomicU64>);

impl ClientIds {
    pub fn next(&self) -> ClientId {
        ClientId(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl Clients {
    /// Where ids of new ones come from.
    pub fn ids(&self) -> &ClientIds {
        &self.ids
    }

    pub fn insert(&mut self, client: Client) {
        self.by_id.insert(client.id, client);
    }

    pub fn remove(&mut self, id: ClientId) -> Option<Client> {
        self.by_id.remove(&id)
    }

    pub fn get(&self, id: ClientId) -> Option<&Client> {
        self.by_id.get(&id)
    }

    pub fn get_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        self.by_id.get_mut(&id)
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// In order of their ids.
    pub fn sorted(&self) -> Vec<&Client> {
        let mut all: Vec<&Client> = self.by_id.values().collect();
        all.sort_by_key(|client| client.id);
        all
    }

    pub fn iter(&self) -> impl Iterator<Item = &Client> {
        self.by_id.values()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Client> {
        self.by_id.values_mut()
    }
}

/// Ids are dense and ours: multiplication spreads them well enough.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
