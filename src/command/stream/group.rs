//! XGROUP: groups and their consumers come and go.

use super::claim::log_consumer;
use super::{DECLARATION, edit_group, id, named, peek};
use crate::command::{Args, Command, CommandError, Cx, Event, Flags, KeyFlags, KeySpec, Ttl};
use crate::value::{Group, Stream, StreamId, Type};

const INSERT: KeyFlags = KeyFlags::RW.and(KeyFlags::INSERT);
const DELETE: KeyFlags = KeyFlags::RW.and(KeyFlags::DELETE);

pub(super) const COMMANDS: &[Command] = &[Command {
    name: "xgroup",
    arity: -2,
    since: "5.0.0",
    complexity: "Depends on subcommand.",
    summary: "Commands that manage consumer groups.",
    subcommands: &[
        Command {
            name: "create",
            arity: -5,
            flags: Flags::WRITE.and(Flags::DENYOOM),
            keys: &[KeySpec::at(2, INSERT)],
            run: create,
            since: "5.0.0",
            complexity: "O(log(N)), N being the number of groups",
            summary: "Creates a consumer group.",
            syntax: "key groupname id:<id | new_id:$> [MKSTREAM] [ENTRIESREAD entries_read:integer]",
            ..DECLARATION
        },
        Command {
            name: "createconsumer",
            arity: 5,
            flags: Flags::WRITE.and(Flags::DENYOOM),
            keys: &[KeySpec::at(2, INSERT)],
            run: create_consumer,
            since: "6.2.0",
            complexity: "O(log(N)), N being the number of consumers",
            summary: "Creates a consumer in a consumer group.",
            syntax: "key groupname consumername",
            ..DECLARATION
        },
        Command {
            name: "delconsumer",
            arity: 5,
            flags: Flags::WRITE,
            keys: &[KeySpec::at(2, DELETE)],
            run: delete_consumer,
            since: "5.0.0",
            complexity: "O(M*log(N)), M being the number of entries pending for the consumer",
            summary: "Deletes a consumer with what is pending for it from a consumer group.",
            syntax: "key groupname consumername",
            ..DECLARATION
        },
        Command {
            name: "destroy",
            arity: 4,
            flags: Flags::WRITE,
            keys: &[KeySpec::at(2, DELETE)],
            run: destroy,
            since: "5.0.0",
            complexity: "O(N), N being the number of entries pending in the group",
            summary: "Destroys a consumer group.",
            syntax: "key groupname",
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
            name: "setid",
            arity: -5,
            flags: Flags::WRITE,
            keys: &[KeySpec::at(2, KeyFlags::RW.and(KeyFlags::UPDATE))],
            run: set_id,
            since: "5.0.0",
            complexity: "O(log(N)), N being the number of groups",
            summary: "Sets the last ID that a consumer group has handed out.",
            syntax: "key groupname id:<id | new_id:$> [ENTRIESREAD entries_read:integer]",
            ..DECLARATION
        },
    ],
    ..DECLARATION
}];

const NO_KEY: CommandError = CommandError::fixed(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option \
     to create an empty stream automatically.",
);

/// XGROUP CREATE and XGROUP SETID take each option once.
const WORDS_MAX: usize = 8;

#[derive(Default)]
struct Options {
    make_stream: bool,
    entries_read: Option<u64>,
}

impl Options {
    fn parse(args: &mut Args<'_>, creating: bool) -> Result<Self, CommandError> {
        let mut options = Self::default();
        while !args.is_empty() {
            if creating && args.word("mkstream") {
                options.make_stream = true;
            } else if args.remaining() > 1 && args.word("entriesread") {
                let read = args.int();
                args.check()?;
                options.entries_read = match read {
                    -1 => None,
                    read => Some(
                        u64::try_from(read)
                            .map_err(|_| CommandError::fixed("ERR value for ENTRIESREAD must be positive or -1"))?,
                    ),
                };
            } else {
                return Err(CommandError::subcommand_syntax("XGROUP", args.argv()[1]));
            }
        }
        Ok(options)
    }
}

/// The stream must be there, and the group in it.
fn require_group(cx: &mut Cx<'_>, key: &[u8], group: &[u8]) -> Result<(), CommandError> {
    if !cx.writable::<Stream>(key)? {
        return Err(NO_KEY);
    }
    match peek(cx, key).and_then(|stream| stream.group(group)) {
        Some(_) => Ok(()),
        None => {
            let (key, group) = (named(key), named(group));
            Err(CommandError::new(format!("NOGROUP No such consumer group '{group}' for key name '{key}'")))
        }
    }
}

fn create(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, name, from) = (args.bytes(), args.bytes(), args.bytes());
    let options = Options::parse(args, true)?;
    let there = cx.writable::<Stream>(key)?;
    if !there && !options.make_stream {
        return Err(NO_KEY);
    }
    if args.argv().len() > WORDS_MAX {
        return Err(CommandError::subcommand_syntax("XGROUP", args.argv()[1]));
    }
    let last = match from {
        b"$" => peek(cx, key).map_or(StreamId::MIN, Stream::last_id),
        id => id::strict(id, 0)?,
    };
    if !there {
        cx.put(key, Stream::new().into(), Ttl::Clear);
    }
    let group = Group::new(name, last, options.entries_read);
    let added = cx.edit_quietly::<Stream, _>(key, |stream| stream.add_group(group));
    if added != Some(true) {
        return Err(CommandError::fixed("BUSYGROUP Consumer Group name already exists"));
    }
    cx.dirty(1);
    cx.notify(Event::Stream, "xgroup-create", key);
    cx.reply.ok();
    Ok(())
}

fn set_id(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, name, from) = (args.bytes(), args.bytes(), args.bytes());
    let options = Options::parse(args, false)?;
    require_group(cx, key, name)?;
    if args.argv().len() > WORDS_MAX {
        return Err(CommandError::subcommand_syntax("XGROUP", args.argv()[1]));
    }
    let last = match from {
        b"$" => peek(cx, key).map_or(StreamId::MIN, Stream::last_id),
        id => id::or_extreme(id, 0)?,
    };
    edit_group(cx, key, name, |group| {
        group.last_id = last;
        group.entries_read = options.entries_read;
    });
    cx.dirty(1);
    cx.notify(Event::Stream, "xgroup-setid", key);
    cx.reply.ok();
    Ok(())
}

fn destroy(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, name) = (args.bytes(), args.bytes());
    args.finish()?;
    if !cx.writable::<Stream>(key)? {
        return Err(NO_KEY);
    }
    let destroyed = cx.edit_quietly::<Stream, _>(key, |stream| stream.remove_group(name)) == Some(true);
    if destroyed {
        cx.dirty(1);
        cx.notify(Event::Stream, "xgroup-destroy", key);
        // Those who wait for entries as this group are to learn that it is gone.
        cx.host.key_ready(cx.db, key, Type::Stream);
    }
    cx.reply.int(destroyed.into());
    Ok(())
}

fn create_consumer(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, name, consumer) = (args.bytes(), args.bytes(), args.bytes());
    args.finish()?;
    require_group(cx, key, name)?;
    let created = ensure_consumer(cx, key, name, consumer);
    cx.reply.int(created.into());
    Ok(())
}

/// Makes sure that a group, which is there, has a consumer of this name; whether it had none. A new one is counted,
/// notified and logged.
pub(super) fn ensure_consumer(cx: &mut Cx<'_>, key: &[u8], group: &[u8], consumer: &[u8]) -> bool {
    let now = cx.now().0;
    let known = peek(cx, key).and_then(|stream| stream.group(group)?.consumer(consumer)).is_some();
    if known {
        return false;
    }
    edit_group(cx, key, group, |group| group.add_consumer(consumer, now));
    cx.dirty(1);
    log_consumer(cx, key, group, consumer);
    cx.notify(Event::Stream, "xgroup-createconsumer", key);
    true
}

fn delete_consumer(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, name, consumer) = (args.bytes(), args.bytes(), args.bytes());
    args.finish()?;
    require_group(cx, key, name)?;
    let pending = edit_group(cx, key, name, |group| group.remove_consumer(consumer)).flatten();
    if pending.is_some() {
        cx.dirty(1);
        cx.notify(Event::Stream, "xgroup-delconsumer", key);
    }
    cx.reply.count(pending.unwrap_or_default());
    Ok(())
}

fn help(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    args.finish()?;
    cx.help(
        "XGROUP",
        &[
            "CREATE <key> <groupname> <id|$> [option]",
            "    Create a new consumer group. Options are:",
            "    * MKSTREAM",
            "      Create the empty stream if it does not exist.",
            "    * ENTRIESREAD entries_read",
            "      Set the group's entries_read counter (internal use).",
            "CREATECONSUMER <key> <groupname> <consumer>",
            "    Create a new consumer in the specified group.",
            "DELCONSUMER <key> <groupname> <consumer>",
            "    Remove the specified consumer.",
            "DESTROY <key> <groupname>",
            "    Remove the specified group.",
            "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
            "    Set the current group ID and entries_read counter.",
        ],
    );
    Ok(())
}
