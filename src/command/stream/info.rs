//! XINFO: what a stream, its groups and their consumers are like.

use super::{DECLARATION, NONDETERMINISTIC, named, reply_entry, reply_id};
use crate::command::{Args, Command, CommandError, Cx, Flags, KeyFlags, KeySpec};
use crate::resp::Reply;
use crate::value::{Consumer, Group, Stream, StreamId};

const READ: &[KeySpec] = &[KeySpec::at(2, KeyFlags::RO.and(KeyFlags::ACCESS))];

pub(super) const COMMANDS: &[Command] = &[Command {
    name: "xinfo",
    arity: -2,
    since: "5.0.0",
    complexity: "Depends on subcommand.",
    summary: "Commands that look into streams.",
    subcommands: &[
        Command {
            name: "consumers",
            arity: 4,
            flags: Flags::READONLY,
            keys: READ,
            run: consumers,
            since: "5.0.0",
            complexity: "O(N), N being the number of consumers",
            summary: "Returns the consumers of a consumer group.",
            syntax: "key groupname",
            tips: NONDETERMINISTIC,
            ..DECLARATION
        },
        Command {
            name: "groups",
            arity: 3,
            flags: Flags::READONLY,
            keys: READ,
            run: groups,
            since: "5.0.0",
            complexity: "O(N), N being the number of groups",
            summary: "Returns the consumer groups of a stream.",
            syntax: "key",
            ..DECLARATION
        },
        Command {
            name: "help",
            arity: 2,
            flags: Flags::LOADING.and(Flags::STALE),
            run: help,
            since: "5.0.0",
            complexity: "O(1)",
            summary: "Explains the subcommands.",
            ..DECLARATION
        },
        Command {
            name: "stream",
            arity: -3,
            flags: Flags::READONLY,
            keys: READ,
            run: stream,
            since: "5.0.0",
            complexity: "O(N), N being the number of nodes of a hundred entries",
            summary: "Returns what is known of a stream.",
            syntax: "key [FULL full:([COUNT count:integer])]",
            ..DECLARATION
        },
    ],
    ..DECLARATION
}];

/// What FULL shows of each list when it is not told.
const COUNT: usize = 10;

fn stream(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    let (stream, reply) = cx.read::<Stream>(key)?;
    let stream = stream.ok_or(CommandError::NO_SUCH_KEY)?;
    if args.is_empty() {
        reply.map(10);
        common(stream, reply);
        reply.bulk("groups");
        reply.count(stream.group_len());
        reply.bulk("first-entry");
        match stream.range(StreamId::MIN, StreamId::MAX).next() {
            Some(entry) => reply_entry(reply, entry),
            None => reply.null(),
        }
        reply.bulk("last-entry");
        match stream.range_back(StreamId::MIN, StreamId::MAX).next() {
            Some(entry) => reply_entry(reply, entry),
            None => reply.null(),
        }
        return Ok(());
    }
    let refused = CommandError::subcommand_syntax("XINFO", args.argv()[1]);
    let options = args.remaining();
    if !matches!(options, 1 | 3) || !args.word("full") || (options == 3 && !args.word("count")) {
        return Err(refused);
    }
    let count = match options {
        1 => COUNT,
        _ => match args.int() {
            0 => usize::MAX,
            count => usize::try_from(count).unwrap_or(COUNT),
        },
    };
    args.finish()?;
    reply.map(9);
    common(stream, reply);
    reply.bulk("entries");
    let entries = stream.len().min(count);
    reply.array(entries);
    stream.range(StreamId::MIN, StreamId::MAX).take(entries).for_each(|entry| reply_entry(reply, entry));
    reply.bulk("groups");
    reply.array(stream.group_len());
    stream.groups().for_each(|group| full_group(stream, group, count, reply));
    Ok(())
}

fn common(stream: &Stream, reply: &mut Reply) {
    for (name, count) in [
        ("length", stream.len()),
        ("radix-tree-keys", stream.node_count()),
        ("radix-tree-nodes", stream.radix_tree_nodes()),
    ] {
        reply.bulk(name);
        reply.count(count);
    }
    reply.bulk("last-generated-id");
    reply_id(reply, stream.last_id());
    reply.bulk("max-deleted-entry-id");
    reply_id(reply, stream.max_deleted_id());
    reply.bulk("entries-added");
    reply.int(stream.entries_added() as i64);
    reply.bulk("recorded-first-entry-id");
    reply_id(reply, stream.first_entry_id().unwrap_or_default());
}

fn full_group(stream: &Stream, group: &Group, count: usize, reply: &mut Reply) {
    reply.map(7);
    reply.bulk("name");
    reply.bulk(group.name());
    progress(stream, group, reply);
    reply.bulk("pel-count");
    reply.count(group.pending_len());
    reply.bulk("pending");
    reply.array(group.pending_len().min(count));
    for pending in group.pending_from(StreamId::MIN).take(count) {
        reply.array(4);
        reply_id(reply, pending.id);
        reply.bulk(pending.consumer());
        reply.int(pending.delivered_at);
        reply.int(pending.deliveries as i64);
    }
    reply.bulk("consumers");
    reply.array(group.consumer_len());
    group.consumers().for_each(|consumer| full_consumer(group, consumer, count, reply));
}

fn full_consumer(group: &Group, consumer: &Consumer, count: usize, reply: &mut Reply) {
    reply.map(5);
    reply.bulk("name");
    reply.bulk(consumer.name());
    reply.bulk("seen-time");
    reply.int(consumer.seen_at);
    reply.bulk("active-time");
    reply.int(consumer.active_at.unwrap_or(-1));
    reply.bulk("pel-count");
    reply.count(consumer.pending_len());
    reply.bulk("pending");
    reply.array(consumer.pending_len().min(count));
    for pending in consumer.pending_from(StreamId::MIN).take(count).filter_map(|id| group.pending(id)) {
        reply.array(3);
        reply_id(reply, pending.id);
        reply.int(pending.delivered_at);
        reply.int(pending.deliveries as i64);
    }
}

/// How far a group has come.
fn progress(stream: &Stream, group: &Group, reply: &mut Reply) {
    reply.bulk("last-delivered-id");
    reply_id(reply, group.last_id);
    for (name, number) in [("entries-read", group.entries_read.map(|read| read as i64)), ("lag", stream.lag(group))] {
        reply.bulk(name);
        match number {
            Some(number) => reply.int(number),
            None => reply.null(),
        }
    }
}

fn groups(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    args.finish()?;
    let (stream, reply) = cx.read::<Stream>(key)?;
    let stream = stream.ok_or(CommandError::NO_SUCH_KEY)?;
    reply.array(stream.group_len());
    for group in stream.groups() {
        reply.map(6);
        reply.bulk("name");
        reply.bulk(group.name());
        reply.bulk("consumers");
        reply.count(group.consumer_len());
        reply.bulk("pending");
        reply.count(group.pending_len());
        progress(stream, group, reply);
    }
    Ok(())
}

fn consumers(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, name) = (args.bytes(), args.bytes());
    args.finish()?;
    let now = cx.now().0;
    let (stream, reply) = cx.read::<Stream>(key)?;
    let stream = stream.ok_or(CommandError::NO_SUCH_KEY)?;
    let group = stream.group(name).ok_or_else(|| {
        let (key, name) = (named(key), named(name));
        CommandError::new(format!("NOGROUP No such consumer group '{name}' for key name '{key}'"))
    })?;
    reply.array(group.consumer_len());
    for consumer in group.consumers() {
        let since = |moment: i64| now.saturating_sub(moment).max(0);
        reply.map(4);
        reply.bulk("name");
        reply.bulk(consumer.name());
        reply.bulk("pending");
        reply.count(consumer.pending_len());
        reply.bulk("idle");
        reply.int(since(consumer.seen_at));
        reply.bulk("inactive");
        reply.int(consumer.active_at.map_or(-1, since));
    }
    Ok(())
}

fn help(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    args.finish()?;
    cx.help(
        "XINFO",
        &[
            "CONSUMERS <key> <groupname>",
            "    Show consumers of <groupname>.",
            "GROUPS <key>",
            "    Show the stream consumer groups.",
            "STREAM <key> [FULL [COUNT <count>]",
            "    Show information about the stream.",
        ],
    );
    Ok(())
}
