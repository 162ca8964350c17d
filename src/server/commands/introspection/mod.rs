//! COMMAND: what this server knows of its own commands.

mod describe;
mod docs;

use crate::command::{Args, CallKeys, Command, CommandError, Cx, Flags, Group, Resolved, glob_matches_nocase};
use crate::engine::Parts;
use describe::{describe, words};
use docs::document;

const BASE: Flags = Flags::LOADING.and(Flags::STALE).and(Flags::CONNECTION).and(Flags::KEY_READ);

const SUB: Command = Command { group: Group::Server, flags: BASE, ..Command::DEFAULT };

pub static COMMANDS: &[Command] = &[Command {
    name: "command",
    arity: -1,
    run: all,
    since: "2.8.13",
    complexity: "O(N) where N is the total number of Redis commands",
    summary: "Returns detailed information about all commands.",
    subcommands: SUBCOMMANDS,
    tips: &["nondeterministic_output_order"],
    ..SUB
}];

static SUBCOMMANDS: &[Command] = &[
    Command {
        name: "count",
        arity: 2,
        run: count,
        since: "2.8.13",
        complexity: "O(1)",
        summary: "Returns a count of commands.",
        ..SUB
    },
    Command {
        name: "info",
        arity: -2,
        run: info,
        since: "2.8.13",
        complexity: "O(N) where N is the number of commands to look up",
        summary: "Returns information about one, multiple or all commands.",
        syntax: "[command-name [command-name ...]]",
        tips: &["nondeterministic_output_order"],
        ..SUB
    },
    Command {
        name: "list",
        arity: -2,
        run: list,
        since: "7.0.0",
        complexity: "O(N) where N is the total number of Redis commands",
        summary: "Returns a list of command names.",
        syntax: "[FILTERBY filterby:<MODULE module-name | ACLCAT category | PATTERN pattern:pattern>]",
        tips: &["nondeterministic_output_order"],
        ..SUB
    },
    Command {
        name: "docs",
        arity: -2,
        run: docs,
        since: "7.0.0",
        complexity: "O(N) where N is the number of commands to look up",
        summary: "Returns documentary information about one, multiple or all commands.",
        syntax: "[command-name [command-name ...]]",
        tips: &["nondeterministic_output_order"],
        ..SUB
    },
    Command {
        name: "getkeys",
        arity: -3,
        run: getkeys,
        since: "2.8.13",
        complexity: "O(N) where N is the number of arguments to the command",
        summary: "Extracts the key names from an arbitrary command.",
        syntax: "command [arg [arg ...]]",
        ..SUB
    },
    Command {
        name: "getkeysandflags",
        arity: -3,
        run: getkeysandflags,
        since: "7.0.0",
        complexity: "O(N) where N is the number of arguments to the command",
        summary: "Extracts the key names and access flags for an arbitrary command.",
        syntax: "command [arg [arg ...]]",
        ..SUB
    },
    Command {
        name: "help",
        arity: 2,
        run: help,
        since: "5.0.0",
        complexity: "O(1)",
        summary: "Returns helpful text about the different subcommands.",
        ..SUB
    },
];

fn all(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    describe_all(cx);
    Ok(())
}

fn describe_all(cx: &mut Cx<'_>) {
    let table = Parts::of(cx).table.clone();
    cx.reply.array(table.commands().count());
    for resolved in table.commands() {
        describe(cx.reply, resolved);
    }
}

fn count(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    let count = Parts::of(cx).table.commands().count();
    cx.reply.count(count);
    Ok(())
}

fn info(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let names = args.rest();
    if names.is_empty() {
        describe_all(cx);
        return Ok(());
    }
    let table = Parts::of(cx).table.clone();
    cx.reply.array(names.len());
    for name in names {
        match table.lookup(name) {
            Some(resolved) => describe(cx.reply, &resolved),
            None => cx.reply.null(),
        }
    }
    Ok(())
}

fn list(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    enum Filter<'a> {
        All,
        Nothing,
        Category(&'a [u8]),
        Pattern(&'a [u8]),
    }
    let filter = if args.is_empty() {
        Filter::All
    } else if args.remaining() == 3 && args.word("filterby") {
        let (kind, value) = (args.bytes(), args.bytes());
        match kind.to_ascii_lowercase().as_slice() {
            b"module" => Filter::Nothing,
            b"aclcat" => Filter::Category(value),
            b"pattern" => Filter::Pattern(value),
            _ => return Err(CommandError::SYNTAX),
        }
    } else {
        return Err(CommandError::SYNTAX);
    };
    let wanted = |resolved: &Resolved| match filter {
        Filter::All => true,
        Filter::Nothing => false,
        Filter::Category(category) => {
            resolved.command.categories().iter().any(|known| known.as_bytes().eq_ignore_ascii_case(category))
        }
        Filter::Pattern(pattern) => glob_matches_nocase(pattern, resolved.full_name().as_bytes()),
    };
    let table = Parts::of(cx).table.clone();
    let at = cx.reply.begin_array();
    let mut count = 0;
    for resolved in table.commands() {
        let subcommands = resolved.command.subcommands.iter();
        let subcommands = subcommands.map(|sub| Resolved { command: sub, parent: Some(resolved.command), index: 0 });
        for one in std::iter::once(*resolved).chain(subcommands).filter(wanted) {
            cx.reply.bulk(one.full_name());
            count += 1;
        }
    }
    cx.reply.end_array(at, count);
    Ok(())
}

fn docs(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let names = args.rest();
    let table = Parts::of(cx).table.clone();
    let wanted: Vec<Resolved> = if names.is_empty() {
        table.commands().copied().collect()
    } else {
        names.iter().filter_map(|name| table.lookup(name)).collect()
    };
    cx.reply.map(wanted.len());
    for resolved in wanted {
        document(cx.reply, &resolved);
    }
    Ok(())
}

fn getkeys(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (argv, keys) = keys_of(cx, args)?;
    cx.reply.array(keys.len());
    for (position, _) in keys {
        cx.reply.bulk(argv[position]);
    }
    Ok(())
}

fn getkeysandflags(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (argv, keys) = keys_of(cx, args)?;
    cx.reply.array(keys.len());
    for (position, flags) in keys {
        cx.reply.array(2);
        cx.reply.bulk(argv[position]);
        words(cx.reply, flags.names(), "");
    }
    Ok(())
}

type Words<'a> = &'a [&'a [u8]];

fn keys_of<'a>(cx: &mut Cx<'_>, args: &mut Args<'a>) -> Result<(Words<'a>, CallKeys), CommandError> {
    let argv = args.rest();
    let named = Parts::of(cx).table.named(argv);
    let command = named.ok_or(CommandError::fixed("ERR Invalid command specified"))?.command;
    if !command.has_keys() {
        return Err(CommandError::fixed("ERR The command has no key arguments"));
    }
    if !command.arity_fits(argv.len()) {
        return Err(CommandError::fixed("ERR Invalid number of arguments specified for command"));
    }
    match command.keys_of_call(argv).filter(|keys| !keys.is_empty()) {
        Some(keys) => Ok((argv, keys)),
        None if command.flags.has(Flags::NO_MANDATORY_KEYS) => Ok((argv, CallKeys::new())),
        None => Err(CommandError::fixed("ERR Invalid arguments specified for command")),
    }
}

fn help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    cx.help(
        "COMMAND",
        &[
            "(no subcommand)",
            "    Return details about all Redis commands.",
            "COUNT",
            "    Return the total number of commands in this Redis server.",
            "LIST",
            "    Return a list of all commands in this Redis server.",
            "INFO [<command-name> ...]",
            "    Return details about multiple Redis commands.",
            "    If no command names are given, documentation details for all",
            "    commands are returned.",
            "DOCS [<command-name> ...]",
            "    Return documentation details about multiple Redis commands.",
            "    If no command names are given, documentation details for all",
            "    commands are returned.",
            "GETKEYS <full-command>",
            "    Return the keys from a full Redis command.",
            "GETKEYSANDFLAGS <full-command>",
            "    Return the keys and the access flags from a full Redis command.",
        ],
    );
    Ok(())
}
