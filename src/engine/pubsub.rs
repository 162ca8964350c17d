//! Channels, patterns and who listens to them.
//!
//! Invariant: a channel or pattern stands here exactly as long as a client is subscribed to it.

use super::parts::Parts;
use crate::command::{Args, ClientId, Command, CommandError, Cx, Flags, Group, glob_matches};
use crate::resp::{Protocol, Reply};
use std::collections::BTreeMap;

type Listeners = BTreeMap<Vec<u8>, Vec<ClientId>>;

/// Subscriptions of all clients.
#[derive(Default)]
pub struct PubSub {
    channels: Listeners,
    patterns: Listeners,
    shard_channels: Listeners,
}

/// The three kinds of subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Channel,
    Pattern,
    Shard,
}

impl Scope {
    fn verbs(self) -> (&'static str, &'static str) {
        match self {
            Self::Channel => ("subscribe", "unsubscribe"),
            Self::Pattern => ("psubscribe", "punsubscribe"),
            Self::Shard => ("ssubscribe", "sunsubscribe"),
        }
    }
}

impl PubSub {
    fn listeners(&mut self, scope: Scope) -> &mut Listeners {
        match scope {
            Scope::Channel => &mut self.channels,
            Scope::Pattern => &mut self.patterns,
            Scope::Shard => &mut self.shard_channels,
        }
    }

    fn add(&mut self, scope: Scope, name: &[u8], id: ClientId) {
        self.listeners(scope).entry(name.to_vec()).or_default().push(id);
    }

    fn remove(&mut self, scope: Scope, name: &[u8], id: ClientId) {
        let listeners = self.listeners(scope);
        if let Some(ids) = listeners.get_mut(name) {
            ids.retain(|listener| *listener != id);
            if ids.is_empty() {
                listeners.remove(name);
            }
        }
    }

    pub fn channel_count(&self) -> usize {
        self.channels.len()
    }

    pub fn pattern_count(&self) -> usize {
        self.patterns.len()
    }

    pub fn shard_channel_count(&self) -> usize {
        self.shard_channels.len()
    }
}

impl Parts {
    /// Sends a message to everyone who listens; returns how many.
    pub fn publish(&mut self, channel: &[u8], message: &[u8]) -> usize {
        let mut deliveries: Vec<(ClientId, Option<Vec<u8>>)> = Vec::new();
        if let Some(ids) = self.pubsub.channels.get(channel) {
            deliveries.extend(ids.iter().map(|id| (*id, None)));
        }
        for (pattern, ids) in &self.pubsub.patterns {
            if glob_matches(pattern, channel) {
                deliveries.extend(ids.iter().map(|id| (*id, Some(pattern.clone()))));
            }
        }
        for (id, pattern) in &deliveries {
            self.deliver(*id, |reply| match pattern {
                Some(pattern) => {
                    reply.push(4);
                    reply.bulk(b"pmessage");
                    reply.bulk(pattern);
                    reply.bulk(channel);
                    reply.bulk(message);
                }
                None => {
                    reply.push(3);
                    reply.bulk(b"message");
                    reply.bulk(channel);
                    reply.bulk(message);
                }
            });
        }
        deliveries.len()
    }

    fn publish_shard(&mut self, channel: &[u8], message: &[u8]) -> usize {
        let ids = self.pubsub.shard_channels.get(channel).cloned().unwrap_or_default();
        for id in &ids {
            self.deliver(*id, |reply| {
                reply.push(3);
                reply.bulk(b"smessage");
                reply.bulk(channel);
                reply.bulk(message);
            });
        }
        ids.len()
    }

    /// Queues a push message; it leaves, tagged, when the turn is over.
    fn deliver(&mut self, id: ClientId, write: impl FnOnce(&mut Reply)) {
        if let Some(client) = self.clients.get(id) {
            let mut reply = Reply::new(client.protocol);
            write(&mut reply);
            self.outgoing.push((id, reply.into_bytes()));
        }
    }

    /// Ends all subscriptions of a client that leaves or resets.
    pub fn forget_subscriptions(&mut self, id: ClientId) {
        for scope in [Scope::Channel, Scope::Pattern, Scope::Shard] {
            for name in std::mem::take(subscribed(self, id, scope)) {
                self.pubsub.remove(scope, &name, id);
            }
        }
    }
}

fn subscribed(parts: &mut Parts, id: ClientId, scope: Scope) -> &mut std::collections::BTreeSet<Vec<u8>> {
    let client = parts.client_mut(id);
    match scope {
        Scope::Channel => &mut client.channels,
        Scope::Pattern => &mut client.patterns,
        Scope::Shard => &mut client.shard_channels,
    }
}

fn count(parts: &mut Parts, id: ClientId, scope: Scope) -> i64 {
    let client = parts.client_mut(id);
    match scope {
        Scope::Shard => client.shard_channels.len() as i64,
        _ => client.subscriptions() as i64,
    }
}

fn confirm(cx: &mut Cx<'_>, verb: &str, name: Option<&[u8]>, count: i64) {
    cx.reply.push(3);
    cx.reply.bulk(verb.as_bytes());
    match name {
        Some(name) => cx.reply.bulk(name),
        None => cx.reply.null(),
    }
    cx.reply.int(count);
}

fn subscribe_to(cx: &mut Cx<'_>, args: &mut Args<'_>, scope: Scope) -> Result<(), CommandError> {
    let (id, verb) = (cx.client, scope.verbs().0);
    for name in args.rest() {
        let parts = Parts::of(cx);
        if subscribed(parts, id, scope).insert(name.to_vec()) {
            parts.pubsub.add(scope, name, id);
        }
        let count = count(parts, id, scope);
        confirm(cx, verb, Some(name), count);
    }
    Ok(())
}

fn unsubscribe_from(cx: &mut Cx<'_>, args: &mut Args<'_>, scope: Scope) -> Result<(), CommandError> {
    let (id, verb) = (cx.client, scope.verbs().1);
    let parts = Parts::of(cx);
    let names: Vec<Vec<u8>> = match args.rest() {
        [] => subscribed(parts, id, scope).iter().cloned().collect(),
        named => named.iter().map(|name| name.to_vec()).collect(),
    };
    if names.is_empty() {
        let count = count(parts, id, scope);
        confirm(cx, verb, None, count);
    }
    for name in names {
        let parts = Parts::of(cx);
        if subscribed(parts, id, scope).remove(&name) {
            parts.pubsub.remove(scope, &name, id);
        }
        let count = count(parts, id, scope);
        confirm(cx, verb, Some(&name), count);
    }
    Ok(())
}

/// RESP2 connections inside a script or transaction cannot switch to subscriber mode in the middle of a reply.
fn may_subscribe(cx: &mut Cx<'_>, command: &str) -> Result<(), CommandError> {
    let id = cx.client;
    let resp2 = Parts::of(cx).client_mut(id).protocol == Protocol::Resp2;
    if !cx.turn.may_block && resp2 && cx.turn.in_script {
        return Err(CommandError::new(format!("ERR {command} is not allowed from script")));
    }
    Ok(())
}

const FLAGS: Flags = Flags::PUBSUB.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE).and(Flags::KEY_READ);

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "subscribe",
        arity: -2,
        flags: FLAGS,
        run: subscribe,
        group: Group::Pubsub,
        since: "2.0.0",
        complexity: "O(N) where N is the number of channels to subscribe to.",
        summary: "Listens for messages published to channels.",
        syntax: "channel [channel ...]",
        ..Command::DEFAULT
    },
    Command {
        name: "unsubscribe",
        arity: -1,
        flags: FLAGS,
        run: unsubscribe,
        group: Group::Pubsub,
        since: "2.0.0",
        complexity: "O(N) where N is the number of channels to unsubscribe.",
        summary: "Stops listening to messages posted to channels.",
        syntax: "[channel [channel ...]]",
        ..Command::DEFAULT
    },
    Command {
        name: "psubscribe",
        arity: -2,
        flags: FLAGS,
        run: psubscribe,
        group: Group::Pubsub,
        since: "2.0.0",
        complexity: "O(N) where N is the number of patterns to subscribe to.",
        summary: "Listens for messages published to channels that match one or more patterns.",
        syntax: "pattern:pattern [pattern ...]",
        ..Command::DEFAULT
    },
    Command {
        name: "punsubscribe",
        arity: -1,
        flags: FLAGS,
        run: punsubscribe,
        group: Group::Pubsub,
        since: "2.0.0",
        complexity: "O(N) where N is the number of patterns to unsubscribe.",
        summary: "Stops listening to messages published to channels that match one or more patterns.",
        syntax: "[pattern:pattern [pattern ...]]",
        ..Command::DEFAULT
    },
    Command {
        name: "ssubscribe",
        arity: -2,
        flags: FLAGS,
        run: ssubscribe,
        group: Group::Pubsub,
        since: "7.0.0",
        complexity: "O(N) where N is the number of shard channels to subscribe to.",
        summary: "Listens for messages published to shard channels.",
        keys: SHARD_KEYS,
        syntax: "shardchannel [shardchannel ...]",
        ..Command::DEFAULT
    },
    Command {
        name: "sunsubscribe",
        arity: -1,
        flags: FLAGS,
        run: sunsubscribe,
        group: Group::Pubsub,
        since: "7.0.0",
        complexity: "O(N) where N is the number of shard channels to unsubscribe.",
        summary: "Stops listening to messages posted to shard channels.",
        keys: SHARD_KEYS,
        syntax: "[shardchannel [shardchannel ...]]",
        ..Command::DEFAULT
    },
    Command {
        name: "publish",
        arity: 3,
        flags: PUBLISH,
        run: publish,
        group: Group::Pubsub,
        since: "2.0.0",
        complexity: "O(N+M) where N is the number of clients subscribed to the receiving channel and M is the total \
                     number of subscribed patterns (by any client).",
        summary: "Posts a message to a channel.",
        syntax: "channel message",
        ..Command::DEFAULT
    },
    Command {
        name: "spublish",
        arity: 3,
        flags: PUBLISH,
        keys: &[crate::command::KeySpec::first(crate::command::KeyFlags::NOT_KEY)],
        run: spublish,
        group: Group::Pubsub,
        since: "7.0.0",
        complexity: "O(N) where N is the number of clients subscribed to the receiving shard channel.",
        summary: "Post a message to a shard channel",
        syntax: "shardchannel message",
        ..Command::DEFAULT
    },
    Command {
        name: "pubsub",
        arity: -2,
        group: Group::Pubsub,
        since: "2.8.0",
        complexity: "Depends on subcommand.",
        summary: "A container for Pub/Sub commands.",
        subcommands: SUBCOMMANDS,
        ..Command::DEFAULT
    },
];

const SHARD_KEYS: &[crate::command::KeySpec] = &[crate::command::KeySpec::all(crate::command::KeyFlags::NOT_KEY)];

const QUERY: Flags = Flags::PUBSUB.and(Flags::LOADING).and(Flags::STALE).and(Flags::KEY_READ);
const PUBLISH: Flags = QUERY.and(Flags::FAST).and(Flags::MAY_REPLICATE);

static SUBCOMMANDS: &[Command] = &[
    Command {
        name: "channels",
        arity: -2,
        flags: QUERY,
        run: pubsub_channels,
        group: Group::Pubsub,
        since: "2.8.0",
        complexity: "O(N) where N is the number of active channels, and assuming constant time pattern matching \
                     (relatively short channels and patterns)",
        summary: "Returns the active channels.",
        syntax: "[pattern:pattern]",
        ..Command::DEFAULT
    },
    Command {
        name: "numsub",
        arity: -2,
        flags: QUERY,
        run: pubsub_numsub,
        group: Group::Pubsub,
        since: "2.8.0",
        complexity: "O(N) for the NUMSUB subcommand, where N is the number of requested channels",
        summary: "Returns a count of subscribers to channels.",
        syntax: "[channel [channel ...]]",
        ..Command::DEFAULT
    },
    Command {
        name: "numpat",
        arity: 2,
        flags: QUERY,
        run: pubsub_numpat,
        group: Group::Pubsub,
        since: "2.8.0",
        complexity: "O(1)",
        summary: "Returns a count of unique pattern subscriptions.",
        ..Command::DEFAULT
    },
    Command {
        name: "shardchannels",
        arity: -2,
        flags: QUERY,
        run: pubsub_shardchannels,
        group: Group::Pubsub,
        since: "7.0.0",
        complexity: "O(N) where N is the number of active shard channels, and assuming constant time pattern matching \
                     (relatively short shard channels).",
        summary: "Returns the active shard channels.",
        syntax: "[pattern:pattern]",
        ..Command::DEFAULT
    },
    Command {
        name: "shardnumsub",
        arity: -2,
        flags: QUERY,
        run: pubsub_shardnumsub,
        group: Group::Pubsub,
        since: "7.0.0",
        complexity: "O(N) for the SHARDNUMSUB subcommand, where N is the number of requested shard channels",
        summary: "Returns the count of subscribers of shard channels.",
        syntax: "[shardchannel [shardchannel ...]]",
        ..Command::DEFAULT
    },
    Command {
        name: "help",
        arity: 2,
        flags: Flags::LOADING.and(Flags::STALE),
        run: pubsub_help,
        group: Group::Pubsub,
        since: "6.2.0",
        complexity: "O(1)",
        summary: "Returns helpful text about the different subcommands.",
        ..Command::DEFAULT
    },
];

fn subscribe(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    may_subscribe(cx, "SUBSCRIBE")?;
    subscribe_to(cx, args, Scope::Channel)
}

fn unsubscribe(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    unsubscribe_from(cx, args, Scope::Channel)
}

fn psubscribe(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    may_subscribe(cx, "PSUBSCRIBE")?;
    subscribe_to(cx, args, Scope::Pattern)
}

fn punsubscribe(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    unsubscribe_from(cx, args, Scope::Pattern)
}

fn ssubscribe(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    may_subscribe(cx, "SSUBSCRIBE")?;
    subscribe_to(cx, args, Scope::Shard)
}

fn sunsubscribe(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    unsubscribe_from(cx, args, Scope::Shard)
}

fn publish(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (channel, message) = (args.bytes(), args.bytes());
    args.finish()?;
    let receivers = Parts::of(cx).publish(channel, message);
    cx.reply.int(receivers as i64);
    Ok(())
}

fn spublish(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (channel, message) = (args.bytes(), args.bytes());
    args.finish()?;
    let receivers = Parts::of(cx).publish_shard(channel, message);
    cx.reply.int(receivers as i64);
    Ok(())
}

fn active(cx: &mut Cx<'_>, args: &mut Args<'_>, scope: Scope) -> Result<(), CommandError> {
    let pattern = args.next();
    if !args.is_empty() {
        return Err(CommandError::subcommand_syntax("pubsub", args.argv()[1]));
    }
    let names: Vec<Vec<u8>> = Parts::of(cx)
        .pubsub
        .listeners(scope)
        .keys()
        .filter(|name| pattern.is_none_or(|pattern| glob_matches(pattern, name)))
        .cloned()
        .collect();
    cx.reply.array(names.len());
    for name in names {
        cx.reply.bulk(&name);
    }
    Ok(())
}

fn listener_counts(cx: &mut Cx<'_>, args: &mut Args<'_>, scope: Scope) -> Result<(), CommandError> {
    let names = args.rest();
    cx.reply.array(names.len() * 2);
    for name in names {
        let count = Parts::of(cx).pubsub.listeners(scope).get(*name).map_or(0, Vec::len);
        cx.reply.bulk(name);
        cx.reply.int(count as i64);
    }
    Ok(())
}

fn pubsub_channels(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    active(cx, args, Scope::Channel)
}

fn pubsub_shardchannels(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    active(cx, args, Scope::Shard)
}

fn pubsub_numsub(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    listener_counts(cx, args, Scope::Channel)
}

fn pubsub_shardnumsub(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    listener_counts(cx, args, Scope::Shard)
}

fn pubsub_numpat(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    args.finish()?;
    let patterns = Parts::of(cx).pubsub.pattern_count();
    cx.reply.int(patterns as i64);
    Ok(())
}

fn pubsub_help(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    args.finish()?;
    cx.help(
        "PUBSUB",
        &[
            "CHANNELS [<pattern>]",
            "    Return the currently active channels matching a <pattern> (default: '*').",
            "NUMPAT",
            "    Return number of subscriptions to patterns.",
            "NUMSUB [<channel> ...]",
            "    Return the number of subscribers for the specified channels, excluding",
            "    pattern subscriptions(default: no channels).",
            "SHARDCHANNELS [<pattern>]",
            "    Return the currently active shard level channels matching a <pattern> (default: '*').",
            "SHARDNUMSUB [<shardchannel> ...]",
            "    Return the number of subscribers for the specified shard level channel(s)",
        ],
    );
    Ok(())
}
