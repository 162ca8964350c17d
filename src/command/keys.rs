//! Keys by name: deleting, counting, renaming, copying, moving them, and what OBJECT tells of them.

use crate::command::{Args, Command, CommandError, Cx, Event, Flags, Group, KeyFlags, KeySpec, Ttl, parse_i64};
use crate::keyspace::{AccessPolicy, Entry};
use crate::value::{StrRef, ValueRef};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "del",
        arity: -2,
        flags: Flags::WRITE,
        keys: &[KeySpec::all(KeyFlags::RM.and(KeyFlags::DELETE))],
        run: del,
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(N), N being the number of keys.",
        summary: "Deletes keys.",
        syntax: "key [key ...]",
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        ..Command::DEFAULT
    },
    Command {
        name: "unlink",
        arity: -2,
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::all(KeyFlags::RM.and(KeyFlags::DELETE))],
        run: del,
        group: Group::Generic,
        since: "4.0.0",
        complexity: "O(N), N being the number of keys.",
        summary: "Deletes keys; what they held is freed in the background.",
        syntax: "key [key ...]",
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        ..Command::DEFAULT
    },
    Command {
        name: "exists",
        arity: -2,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::all(KeyFlags::RO)],
        run: exists,
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(N), N being the number of keys.",
        summary: "How many of the keys are there; a key named twice counts twice.",
        syntax: "key [key ...]",
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        ..Command::DEFAULT
    },
    Command {
        name: "touch",
        arity: -2,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::all(KeyFlags::RO)],
        run: touch,
        group: Group::Generic,
        since: "3.2.1",
        complexity: "O(N), N being the number of keys.",
        summary: "Renews the access time of keys; how many of them are there.",
        syntax: "key [key ...]",
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        ..Command::DEFAULT
    },
    Command {
        name: "type",
        arity: 2,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RO)],
        run: kind,
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "The type of the value at a key.",
        syntax: "key",
        ..Command::DEFAULT
    },
    Command {
        name: "rename",
        arity: 3,
        flags: Flags::WRITE,
        keys: &[
            KeySpec::first(KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::DELETE)),
            KeySpec::at(2, KeyFlags::OW.and(KeyFlags::UPDATE)),
        ],
        run: rename,
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Renames a key, replacing what has the new name.",
        syntax: "key newkey:key",
        ..Command::DEFAULT
    },
    Command {
        name: "renamenx",
        arity: 3,
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[
            KeySpec::first(KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::DELETE)),
            KeySpec::at(2, KeyFlags::OW.and(KeyFlags::INSERT)),
        ],
        run: renamenx,
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Renames a key if nothing has the new name.",
        syntax: "key newkey:key",
        ..Command::DEFAULT
    },
    Command {
        name: "copy",
        arity: -3,
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS)), KeySpec::at(2, KeyFlags::OW.and(KeyFlags::UPDATE))],
        run: copy,
        group: Group::Generic,
        since: "6.2.0",
        complexity: "O(1)",
        summary: "Copies the value and expiry of a key to another key.",
        syntax: "source:key destination:key [DB destination-db:integer] [REPLACE]",
        ..Command::DEFAULT
    },
    Command {
        name: "move",
        arity: 3,
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::UPDATE))],
        run: move_key,
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Moves a key to another database, unless one of its name is there.",
        syntax: "key db:integer",
        ..Command::DEFAULT
    },
    Command {
        name: "object",
        arity: -2,
        subcommands: &[
            Command {
                name: "encoding",
                arity: 3,
                flags: Flags::READ,
                keys: &[KeySpec::at(2, KeyFlags::RO)],
                run: encoding,
                group: Group::Generic,
                since: "2.2.3",
                complexity: "O(1)",
                summary: "How the value at a key is stored.",
                syntax: "key",
                tips: &["nondeterministic_output"],
                ..Command::DEFAULT
            },
            Command {
                name: "freq",
                arity: 3,
                flags: Flags::READ,
                keys: &[KeySpec::at(2, KeyFlags::RO)],
                run: freq,
                group: Group::Generic,
                since: "4.0.0",
                complexity: "O(1)",
                summary: "The access frequency counter of a key.",
                syntax: "key",
                tips: &["nondeterministic_output"],
                ..Command::DEFAULT
            },
            Command {
                name: "help",
                arity: 2,
                flags: Flags::LOADING.and(Flags::STALE),
                run: help,
                group: Group::Generic,
                since: "6.2.0",
                complexity: "O(1)",
                summary: "Explains the subcommands.",
                ..Command::DEFAULT
            },
            Command {
                name: "idletime",
                arity: 3,
                flags: Flags::READ,
                keys: &[KeySpec::at(2, KeyFlags::RO)],
                run: idletime,
                group: Group::Generic,
                since: "2.2.3",
                complexity: "O(1)",
                summary: "The seconds since a key was last accessed.",
                syntax: "key",
                tips: &["nondeterministic_output"],
                ..Command::DEFAULT
            },
            Command {
                name: "refcount",
                arity: 3,
                flags: Flags::READ,
                keys: &[KeySpec::at(2, KeyFlags::RO)],
                run: refcount,
                group: Group::Generic,
                since: "2.2.3",
                complexity: "O(1)",
                summary: "The number of references to the value at a key.",
                syntax: "key",
                tips: &["nondeterministic_output"],
                ..Command::DEFAULT
            },
        ],
        group: Group::Generic,
        since: "2.2.3",
        complexity: "As of the subcommand.",
        summary: "What a key's value is made of.",
        ..Command::DEFAULT
    },
];

fn del(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let removed = args.rest().iter().filter(|key| cx.remove(key)).count();
    cx.reply.count(removed);
    Ok(())
}

fn exists(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let found = args.rest().iter().filter(|key| cx.seen(key).0.is_some()).count();
    cx.reply.count(found);
    Ok(())
}

fn touch(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let found = args.rest().iter().filter(|key| cx.exists(key)).count();
    cx.reply.count(found);
    Ok(())
}

fn kind(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    args.finish()?;
    let (found, reply) = cx.seen(key);
    reply.simple(found.map_or("none", |entry| entry.value().kind().name()));
    Ok(())
}

fn rename(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (from, to) = (args.bytes(), args.bytes());
    args.finish()?;
    rename_to(cx, from, to, true)?;
    cx.reply.ok();
    Ok(())
}

fn renamenx(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (from, to) = (args.bytes(), args.bytes());
    args.finish()?;
    let renamed = rename_to(cx, from, to, false)?;
    cx.reply.int(i64::from(renamed));
    Ok(())
}

fn rename_to(cx: &mut Cx<'_>, from: &[u8], to: &[u8], replace: bool) -> Result<bool, CommandError> {
    cx.delete_if_due(from);
    let kind = cx.use_entry(from).map(|entry| entry.value().kind()).ok_or(CommandError::NO_SUCH_KEY)?;
    if from == to {
        return Ok(false);
    }
    cx.delete_if_due(to);
    if !replace && cx.use_entry(to).is_some() {
        return Ok(false);
    }
    let (now, stamp, db) = (cx.turn.expiry_now(), cx.turn.stamp, cx.db);
    cx.database().rename(from, to, now, stamp);
    cx.dirty(1);
    cx.announce_new(to);
    for key in [from, to] {
        cx.host.key_modified(db, key);
    }
    cx.host.key_ready(db, to, kind);
    cx.notify(Event::Generic, "rename_from", from);
    cx.notify(Event::Generic, "rename_to", to);
    Ok(true)
}

/// A database's number as SELECT, COPY and MOVE read it.
pub fn target_database(cx: &Cx<'_>, arg: &[u8]) -> Result<u32, CommandError> {
    let number = parse_i64(arg).ok_or(CommandError::NOT_INTEGER)?;
    if i32::try_from(number).is_err() {
        let (min, max) = (i32::MIN, i32::MAX);
        return Err(CommandError::new(format!("ERR value is out of range, value must between {min} and {max}")));
    }
    present_database(cx, number)
}

/// The database of this number.
pub(super) fn present_database(cx: &Cx<'_>, number: i64) -> Result<u32, CommandError> {
    u32::try_from(number).ok().filter(|db| *db < cx.store.len()).ok_or(CommandError::DB_OUT_OF_RANGE)
}

fn copy(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (from, to) = (args.bytes(), args.bytes());
    let source = cx.db;
    let (mut target, mut replace) = (source, false);
    while !args.is_empty() {
        if args.word("replace") {
            replace = true;
        } else if args.remaining() > 1 && args.word("db") {
            target = target_database(cx, args.bytes())?;
        } else {
            return Err(CommandError::SYNTAX);
        }
    }
    if source == target && from == to {
        return Err(CommandError::SAME_OBJECT);
    }
    let Some((value, expiry)) = cx.entry(from).0.map(|entry| (entry.to_value(), entry.expiry())) else {
        cx.reply.int(0);
        return Ok(());
    };
    cx.db = target;
    cx.delete_if_due(to);
    let copied = replace || cx.use_entry(to).is_none();
    if copied {
        cx.remove_silently(to);
        cx.put(to, value, Ttl::from(expiry));
        cx.dirty(1);
        cx.notify(Event::Generic, "copy_to", to);
    }
    cx.db = source;
    cx.reply.int(i64::from(copied));
    Ok(())
}

fn move_key(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    let target = target_database(cx, args.bytes())?;
    args.finish()?;
    let source = cx.db;
    if source == target {
        return Err(CommandError::SAME_OBJECT);
    }
    cx.delete_if_due(key);
    let Some(kind) = cx.use_entry(key).map(|entry| entry.value().kind()) else {
        cx.reply.int(0);
        return Ok(());
    };
    cx.db = target;
    cx.delete_if_due(key);
    cx.db = source;
    let (now, stamp) = (cx.turn.expiry_now(), cx.turn.stamp);
    let moved = cx.store.move_key(source, target, key, now, stamp);
    if moved {
        cx.dirty(1);
        for db in [source, target] {
            cx.host.key_modified(db, key);
        }
        cx.host.key_ready(target, key, kind);
        cx.host.notify(Event::New, "new", key, target);
        cx.notify(Event::Generic, "move_from", key);
        cx.host.notify(Event::Generic, "move_to", key, target);
    }
    cx.reply.int(i64::from(moved));
    Ok(())
}

/// Integers below this number are shared by all keys of a stock server.
const SHARED_INTEGERS: i64 = 10_000;
const REFERENCES_OF_SHARED: i64 = i32::MAX as i64;

/// Replies what `tell` says of the entry, or null.
fn reply_object(
    cx: &mut Cx<'_>,
    args: &mut Args<'_>,
    tell: impl FnOnce(&Entry, &mut crate::resp::Reply) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let key = args.bytes();
    args.finish()?;
    match cx.inspect(key) {
        (Some(entry), reply) => tell(entry, reply)?,
        (None, reply) => reply.null(),
    }
    Ok(())
}

fn encoding(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    reply_object(cx, args, |entry, reply| {
        reply.bulk(entry.value().encoding());
        Ok(())
    })
}

fn refcount(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    reply_object(cx, args, |entry, reply| {
        let shared =
            matches!(entry.value(), ValueRef::Str(StrRef::Int(number)) if (0..SHARED_INTEGERS).contains(&number));
        reply.int(if shared { REFERENCES_OF_SHARED } else { 1 });
        Ok(())
    })
}

fn idletime(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let clock = cx.database().access_clock();
    reply_object(cx, args, |entry, reply| {
        if !matches!(clock.policy(), AccessPolicy::Lru) {
            return Err(CommandError::fixed(
                "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching \
                 between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        reply.int(i64::try_from(clock.idle_seconds(entry.clock())).unwrap_or(i64::MAX));
        Ok(())
    })
}

fn freq(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let clock = cx.database().access_clock();
    reply_object(cx, args, |entry, reply| {
        if !matches!(clock.policy(), AccessPolicy::Lfu { .. }) {
            return Err(CommandError::fixed(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
                 switching between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        reply.int(i64::from(clock.frequency(entry.clock())));
        Ok(())
    })
}

fn help(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    args.finish()?;
    cx.help(
        "OBJECT",
        &[
            "ENCODING <key>",
            "    How the value at the key is stored.",
            "FREQ <key>",
            "    The key's access frequency counter, under an LFU policy.",
            "IDLETIME <key>",
            "    Seconds since the key was last accessed, unless under an LFU policy.",
            "REFCOUNT <key>",
            "    Number of references to the value at the key.",
        ],
    );
    Ok(())
}
