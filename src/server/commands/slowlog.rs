//! SLOWLOG: calls that took long.

use crate::command::{Args, Command, CommandError, Cx, Flags, Group};
use crate::engine::Parts;

const ADMIN: Flags = Flags::ADMIN.and(Flags::LOADING).and(Flags::STALE).and(Flags::OPERATOR);

const SUB: Command = Command { group: Group::Server, flags: ADMIN, since: "2.2.12", ..Command::DEFAULT };

pub static COMMANDS: &[Command] = &[Command {
    name: "slowlog",
    arity: -2,
    flags: Flags::NONE,
    complexity: "Depends on subcommand.",
    summary: "A container for slow log commands.",
    subcommands: SUBCOMMANDS,
    ..SUB
}];

static SUBCOMMANDS: &[Command] = &[
    Command {
        name: "get",
        arity: -2,
        run: get,
        complexity: "O(N) where N is the number of entries returned",
        summary: "Returns the slow log's entries.",
        syntax: "[count:integer]",
        tips: &["request_policy:all_nodes", "nondeterministic_output"],
        ..SUB
    },
    Command {
        name: "len",
        arity: 2,
        run: len,
        complexity: "O(1)",
        summary: "Returns the number of entries in the slow log.",
        tips: &["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"],
        ..SUB
    },
    Command {
        name: "reset",
        arity: 2,
        run: reset,
        complexity: "O(N) where N is the number of entries in the slowlog",
        summary: "Clears all entries from the slow log.",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        ..SUB
    },
    Command {
        name: "help",
        arity: 2,
        flags: Flags::LOADING.and(Flags::STALE),
        run: help,
        since: "6.2.0",
        complexity: "O(1)",
        summary: "Shows helpful text about the different subcommands.",
        ..SUB
    },
];

/// Entries shown when no number is given.
const SHOWN: i64 = 10;

fn get(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    const COUNT: CommandError = CommandError::fixed("ERR count should be greater than or equal to -1");
    if args.remaining() > 1 {
        return Err(CommandError::subcommand_syntax("slowlog", args.argv()[1]));
    }
    let count = if args.is_empty() { SHOWN } else { args.int_within(-1..=i64::MAX, COUNT) };
    args.check()?;
    let calls = Parts::of(cx).observed.slowlog.iter();
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(calls.len());
    let entries: Vec<_> = calls
        .take(count)
        .map(|call| (call.id, call.at, call.time, call.argv.clone(), call.address.clone(), call.name.clone()))
        .collect();
    cx.reply.array(entries.len());
    for (id, at, time, argv, address, name) in entries {
        cx.reply.array(6);
        cx.reply.int(id as i64);
        cx.reply.int(at);
        cx.reply.int(time.as_micros() as i64);
        cx.reply.array(argv.len());
        argv.iter().for_each(|word| cx.reply.bulk(word));
        cx.reply.bulk(address);
        cx.reply.bulk(name);
    }
    Ok(())
}

fn len(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    let len = Parts::of(cx).observed.slowlog.iter().len();
    cx.reply.count(len);
    Ok(())
}

fn reset(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    Parts::of(cx).observed.slowlog.clear();
    cx.reply.ok();
    Ok(())
}

fn help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    cx.help(
        "SLOWLOG",
        &[
            "GET [<count>]",
            "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
            "    Entries are made of:",
            "    id, timestamp, time in microseconds, arguments array, client IP and port,",
            "    client name",
            "LEN",
            "    Return the length of the slowlog.",
            "RESET",
            "    Reset the slowlog.",
        ],
    );
    Ok(())
}
