//! COMMAND: what this server knows of its own commands.

use crate::command::{
    Args, Begin, Command, CommandError, Cx, Find, Flags, Group, KeySpec, Resolved, glob_matches_nocase,
};
use crate::engine::Parts;
use crate::resp::Reply;

const BASE: Flags = Flags::LOADING.and(Flags::STALE).and(Flags::CONNECTION);

const SUB: Command = Command { group: Group::Server, flags: BASE, ..Command::DEFAULT };

pub static COMMANDS: &[Command] = &[Command {
    name: "command",
    arity: -1,
    run: all,
    since: "2.8.13",
    complexity: "O(N) where N is the total number of Redis commands",
    summary: "Returns detailed information about all commands.",
    subcommands: SUBCOMMANDS,
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
        ..SUB
    },
    Command {
        name: "list",
        arity: -2,
        run: list,
        since: "7.0.0",
        complexity: "O(N) where N is the total number of Redis commands",
        summary: "Returns a list of command names.",
        syntax: "[FILTERBY MODULE module-name|ACLCAT category|PATTERN pattern]",
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
        match named(table.all(), name) {
            Some(resolved) => describe(cx.reply, resolved),
            None => cx.reply.null(),
        }
    }
    Ok(())
}

/// A command, or a subcommand as `container|name`.
fn named<'t>(all: &'t [Resolved], name: &[u8]) -> Option<&'t Resolved> {
    all.iter().find(|resolved| resolved.full_name().as_bytes().eq_ignore_ascii_case(name))
}

fn describe(reply: &mut Reply, resolved: &Resolved) {
    let command = resolved.command;
    let (first, last, step) = legacy_range(command.keys);
    reply.array(10);
    reply.bulk(resolved.full_name());
    reply.int(i64::from(command.arity));
    words(reply, command.flags.names(), "");
    for position in [first, last, step] {
        reply.int(position);
    }
    words(reply, categories(command).into_iter(), "@");
    reply.array(0);
    reply.array(command.keys.len());
    for spec in command.keys {
        describe_spec(reply, spec);
    }
    reply.array(command.subcommands.len());
    for sub in command.subcommands {
        describe(reply, &Resolved { command: sub, parent: Some(command), index: 0 });
    }
}

fn words<'w>(reply: &mut Reply, words: impl Iterator<Item = &'w str>, prefix: &str) {
    let words: Vec<&str> = words.collect();
    reply.set(words.len());
    for word in words {
        reply.simple(format!("{prefix}{word}"));
    }
}

/// First key, last key and step as they were before key specs: what the plain ranges cover together.
fn legacy_range(specs: &[KeySpec]) -> (i64, i64, i64) {
    let ranges = specs.iter().filter_map(|spec| match (spec.begin, spec.find) {
        (Begin::Index(first), Find::Range { last, step, .. }) => {
            let first = first as i64;
            Some((first, if last >= 0 { first + i64::from(last) } else { i64::from(last) }, step as i64))
        }
        _ => None,
    });
    // A last key counted from the end lies behind every one that is counted from the beginning.
    let later = |a: i64, b: i64| if a < 0 || b < 0 { a.min(b) } else { a.max(b) };
    ranges.reduce(|a, b| (a.0.min(b.0), later(a.1, b.1), a.2.max(b.2))).unwrap_or((0, 0, 0))
}

fn categories(command: &Command) -> Vec<&'static str> {
    let flags = command.flags;
    let mut categories = Vec::new();
    for (flag, name) in [
        (Flags::KEYSPACE, "keyspace"),
        (Flags::READONLY, "read"),
        (Flags::WRITE, "write"),
        (Flags::ADMIN, "admin"),
        (Flags::PUBSUB, "pubsub"),
        (Flags::BLOCKING, "blocking"),
    ] {
        if flags.has(flag) && !(name == "read" && command.group == Group::Scripting) {
            categories.push(name);
        }
    }
    if let Some(group) = command.group.category().map(|category| category.trim_start_matches('@'))
        && !categories.contains(&group)
        && group != "keyspace"
        && group != "connection"
    {
        categories.push(group);
    }
    categories.push(if flags.has(Flags::FAST) { "fast" } else { "slow" });
    if flags.has(Flags::ADMIN) || flags.has(Flags::DANGEROUS) {
        categories.push("dangerous");
    }
    if flags.has(Flags::CONNECTION) {
        categories.push("connection");
    }
    categories
}

fn describe_spec(reply: &mut Reply, spec: &KeySpec) {
    reply.map(3);
    reply.bulk("flags");
    words(reply, spec.flags.names(), "");
    reply.bulk("begin_search");
    reply.map(2);
    reply.bulk("type");
    match spec.begin {
        Begin::Index(index) => {
            reply.bulk("index");
            fields(reply, &[("index", index as i64)]);
        }
        Begin::Keyword { word, from } => {
            reply.bulk("keyword");
            reply.bulk("spec");
            reply.map(2);
            reply.bulk("keyword");
            reply.bulk(word);
            reply.bulk("startfrom");
            reply.int(i64::from(from));
        }
        Begin::Unknown => {
            reply.bulk("unknown");
            fields(reply, &[]);
        }
    }
    reply.bulk("find_keys");
    reply.map(2);
    reply.bulk("type");
    match spec.find {
        Find::Range { last, step, limit } => {
            reply.bulk("range");
            fields(reply, &[("lastkey", i64::from(last)), ("keystep", step as i64), ("limit", limit as i64)]);
        }
        Find::Count { at, first, step } => {
            reply.bulk("keynum");
            fields(reply, &[("keynumidx", at as i64), ("firstkey", first as i64), ("keystep", step as i64)]);
        }
        Find::Unknown => {
            reply.bulk("unknown");
            fields(reply, &[]);
        }
    }
}

fn fields(reply: &mut Reply, fields: &[(&str, i64)]) {
    reply.bulk("spec");
    reply.map(fields.len());
    for (name, value) in fields {
        reply.bulk(name);
        reply.int(*value);
    }
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
    } else if args.word("filterby") && args.remaining() == 2 {
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
    let table = Parts::of(cx).table.clone();
    let at = cx.reply.begin_array();
    let mut count = 0;
    for resolved in table.all() {
        let name = resolved.full_name();
        let wanted = match filter {
            Filter::All => resolved.parent.is_none(),
            Filter::Nothing => false,
            Filter::Category(category) => {
                categories(resolved.command).iter().any(|known| known.as_bytes().eq_ignore_ascii_case(category))
            }
            Filter::Pattern(pattern) => glob_matches_nocase(pattern, name.as_bytes()),
        };
        if wanted {
            cx.reply.bulk(name);
            count += 1;
        }
    }
    cx.reply.end_array(at, count);
    Ok(())
}

fn docs(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let names = args.rest();
    let table = Parts::of(cx).table.clone();
    let wanted: Vec<&Resolved> = if names.is_empty() {
        table.commands().collect()
    } else {
        names.iter().filter_map(|name| named(table.all(), name)).collect()
    };
    cx.reply.map(wanted.len());
    for resolved in wanted {
        document(cx.reply, resolved);
    }
    Ok(())
}

fn document(reply: &mut Reply, resolved: &Resolved) {
    let command = resolved.command;
    reply.bulk(resolved.full_name());
    reply.map(4 + usize::from(!command.subcommands.is_empty()));
    for (field, text) in [
        ("summary", command.summary),
        ("since", command.since),
        ("group", command.group.name()),
        ("complexity", command.complexity),
    ] {
        reply.bulk(field);
        reply.bulk(text);
    }
    if !command.subcommands.is_empty() {
        reply.bulk("subcommands");
        reply.map(command.subcommands.len());
        for sub in command.subcommands {
            document(reply, &Resolved { command: sub, parent: Some(command), index: 0 });
        }
    }
}

fn getkeys(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (argv, _, positions) = keys_of(cx, args)?;
    cx.reply.array(positions.len());
    for position in positions {
        cx.reply.bulk(argv[position]);
    }
    Ok(())
}

fn getkeysandflags(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (argv, resolved, positions) = keys_of(cx, args)?;
    cx.reply.array(positions.len());
    for position in positions {
        cx.reply.array(2);
        cx.reply.bulk(argv[position]);
        match resolved.command.keys.first() {
            Some(spec) => words(cx.reply, spec.flags.names(), ""),
            None => cx.reply.set(0),
        }
    }
    Ok(())
}

type Words<'a> = &'a [&'a [u8]];

fn keys_of<'a>(cx: &mut Cx<'_>, args: &mut Args<'a>) -> Result<(Words<'a>, Resolved, Vec<usize>), CommandError> {
    let argv = args.rest();
    let table = Parts::of(cx).table.clone();
    if table.find(argv[0]).is_none() {
        return Err(CommandError::fixed("ERR Invalid command specified"));
    }
    let resolved = table
        .resolve(argv)
        .map_err(|_| CommandError::fixed("ERR Invalid number of arguments specified for command"))?;
    if resolved.command.keys.is_empty() {
        return Err(CommandError::fixed("ERR The command has no key arguments"));
    }
    let positions = resolved.command.key_positions(argv);
    let positions = positions.ok_or(CommandError::fixed("ERR Invalid arguments specified for command"))?;
    Ok((argv, resolved, positions))
}

fn help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    cx.help(
        "COMMAND",
        &[
            "(no subcommand)",
            "    Return details about all commands.",
            "COUNT",
            "    Return the total number of commands in this server.",
            "DOCS [<command-name> ...]",
            "    Return documentation details about multiple commands.",
            "GETKEYS <full-command>",
            "    Return the keys from a full command.",
            "GETKEYSANDFLAGS <full-command>",
            "    Return the keys and the access flags from a full command.",
            "INFO [<command-name> ...]",
            "    Return details about multiple commands.",
            "LIST",
            "    Return a list of all commands in this server.",
        ],
    );
    Ok(())
}
