//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! Invariant: the commands of a transaction run without anything between them and are logged as one unit.

use super::client::Transaction;
use super::execute::run_nested;
use super::parts::Parts;
use crate::command::{Args, ClientId, Command, CommandError, Cx, Flags, Group, KeyFlags, KeySpec};
use std::collections::BTreeMap;

/// Which clients watch which keys.
#[derive(Default)]
pub struct Watches {
    by_key: BTreeMap<(u32, Vec<u8>), Vec<ClientId>>,
}

impl Watches {
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    pub fn watching(&self, db: u32, key: &[u8]) -> &[ClientId] {
        self.by_key.get(&(db, key.to_vec())).map_or(&[], Vec::as_slice)
    }

    /// Watched keys of one database.
    pub fn keys_of(&self, db: u32) -> impl Iterator<Item = &[u8]> {
        self.by_key.range((db, Vec::new())..).take_while(move |((at, _), _)| *at == db).map(|((_, key), _)| &key[..])
    }

    fn add(&mut self, db: u32, key: &[u8], id: ClientId) {
        self.by_key.entry((db, key.to_vec())).or_default().push(id);
    }

    fn remove(&mut self, db: u32, key: Vec<u8>, id: ClientId) {
        let place = (db, key);
        if let Some(ids) = self.by_key.get_mut(&place) {
            ids.retain(|watching| *watching != id);
            if ids.is_empty() {
                self.by_key.remove(&place);
            }
        }
    }
}

impl Parts {
    pub fn unwatch_all(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        client.watch_failed = false;
        for (db, key) in std::mem::take(&mut client.watches) {
            self.watches.remove(db, key, id);
        }
    }

    /// Ends the transaction of a client without running it.
    pub fn discard_transaction(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id) {
            client.transaction = None;
        }
        self.unwatch_all(id);
    }

    /// Queued or being queued: a refused command makes EXEC abort.
    pub fn refuse_transaction(&mut self, id: ClientId) {
        if let Some(transaction) = self.clients.get_mut(id).and_then(|client| client.transaction.as_mut()) {
            transaction.refused = true;
        }
    }
}

const BASE: Flags = Flags::NOSCRIPT
    .and(Flags::LOADING)
    .and(Flags::STALE)
    .and(Flags::FAST)
    .and(Flags::ALLOW_BUSY)
    .and(Flags::KEY_READ)
    .and(Flags::TRANSACTION);

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "multi",
        arity: 1,
        flags: BASE,
        run: multi,
        group: Group::Transactions,
        since: "1.2.0",
        complexity: "O(1)",
        summary: "Starts a transaction.",
        ..Command::DEFAULT
    },
    Command {
        name: "exec",
        arity: 1,
        flags: Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::SKIP_SLOWLOG).and(Flags::TRANSACTION),
        run: exec,
        group: Group::Transactions,
        since: "1.2.0",
        complexity: "Depends on commands in the transaction",
        summary: "Executes all commands in a transaction.",
        ..Command::DEFAULT
    },
    Command {
        name: "discard",
        arity: 1,
        flags: BASE,
        run: discard,
        group: Group::Transactions,
        since: "2.0.0",
        complexity: "O(N), when N is the number of queued commands",
        summary: "Discards a transaction.",
        ..Command::DEFAULT
    },
    Command {
        name: "watch",
        arity: -2,
        flags: BASE,
        keys: &[KeySpec::all(KeyFlags::RO)],
        run: watch,
        group: Group::Transactions,
        since: "2.2.0",
        complexity: "O(1) for every key.",
        summary: "Monitors changes to keys to determine the execution of a transaction.",
        syntax: "key [key ...]",
        ..Command::DEFAULT
    },
    Command {
        name: "unwatch",
        arity: 1,
        flags: Flags::NOSCRIPT
            .and(Flags::LOADING)
            .and(Flags::STALE)
            .and(Flags::FAST)
            .and(Flags::ALLOW_BUSY)
            .and(Flags::KEY_READ),
        run: unwatch,
        group: Group::Transactions,
        since: "2.2.0",
        complexity: "O(1)",
        summary: "Forgets about watched keys of a transaction.",
        ..Command::DEFAULT
    },
];

fn multi(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    args.finish()?;
    let id = cx.client;
    let client = Parts::of(cx).client_mut(id);
    if client.transaction.is_some() {
        return Err(CommandError::NESTED_MULTI);
    }
    client.transaction = Some(Transaction::default());
    cx.reply.ok();
    Ok(())
}

fn exec(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    args.finish()?;
    let id = cx.client;
    let Some(transaction) = Parts::of(cx).client_mut(id).transaction.take() else {
        return Err(CommandError::EXEC_WITHOUT_MULTI);
    };
    if transaction.refused {
        Parts::of(cx).unwatch_all(id);
        return Err(CommandError::EXEC_ABORT);
    }
    let failed = Parts::of(cx).client_mut(id).watch_failed || watched_key_expired(cx);
    Parts::of(cx).unwatch_all(id);
    cx.log_nothing();
    if failed {
        cx.reply.null_array();
        return Ok(());
    }
    let could_block = std::mem::replace(&mut cx.turn.may_block, false);
    cx.turn.reads_all = true;
    cx.reply.array(transaction.queued.len());
    for queued in &transaction.queued {
        run_nested(cx, queued);
    }
    cx.turn.may_block = could_block;
    Ok(())
}

/// A key that was there when it was watched and has come due since: nothing has deleted it yet.
fn watched_key_expired(cx: &mut Cx<'_>) -> bool {
    let id = cx.client;
    let watched = Parts::of(cx).client_mut(id).watches.clone();
    watched.iter().any(|(db, key)| cx.is_due(*db, key))
}

fn discard(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    args.finish()?;
    let id = cx.client;
    if Parts::of(cx).client_mut(id).transaction.is_none() {
        return Err(CommandError::DISCARD_WITHOUT_MULTI);
    }
    Parts::of(cx).discard_transaction(id);
    cx.reply.ok();
    Ok(())
}

fn watch(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (id, db) = (cx.client, cx.db);
    if Parts::of(cx).client_mut(id).transaction.is_some() {
        return Err(CommandError::WATCH_IN_MULTI);
    }
    for key in args.rest() {
        // A key already due counts as absent: only what happens from here on matters.
        cx.delete_if_due(key);
        let parts = Parts::of(cx);
        let client = parts.client_mut(id);
        if !client.watches.iter().any(|(at, watched)| *at == db && watched == key) {
            client.watches.push((db, key.to_vec()));
            parts.watches.add(db, key, id);
        }
    }
    cx.reply.ok();
    Ok(())
}

fn unwatch(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    args.finish()?;
    let id = cx.client;
    Parts::of(cx).unwatch_all(id);
    cx.reply.ok();
    Ok(())
}
