//! FCALL, FCALL_RO and FUNCTION.

use super::super::control::{KillBy, What};
use super::super::eval::{EVAL, EVAL_KEYS, EVAL_RO, EVAL_RO_KEYS};
use super::super::run::{Run, Words, run};
use super::super::vm::{Chunk, Purpose};
use super::libraries::Libraries;
use crate::command::{Args, Command, CommandError, Cx, Flags, Group, glob_matches_nocase, quoted};
use crate::engine::parts::Parts;
use crate::value::payload::{dump_libraries, restore_libraries};

pub static COMMANDS: &[Command] = &[
    Command {
        name: "fcall",
        arity: -3,
        flags: EVAL,
        keys: EVAL_KEYS,
        run: fcall,
        group: Group::Scripting,
        since: "7.0.0",
        complexity: "Depends on the function that is executed.",
        summary: "Invokes a function.",
        syntax: "function numkeys:integer [key [key ...]] [arg [arg ...]]",
        ..Command::DEFAULT
    },
    Command {
        name: "fcall_ro",
        arity: -3,
        flags: EVAL_RO,
        keys: EVAL_RO_KEYS,
        run: fcall_ro,
        group: Group::Scripting,
        since: "7.0.0",
        complexity: "Depends on the function that is executed.",
        summary: "Invokes a read-only function.",
        syntax: "function numkeys:integer [key [key ...]] [arg [arg ...]]",
        ..Command::DEFAULT
    },
    Command {
        name: "function",
        arity: -2,
        group: Group::Scripting,
        since: "7.0.0",
        complexity: "Depends on subcommand.",
        summary: "A container for function commands.",
        subcommands: SUBCOMMANDS,
        ..Command::DEFAULT
    },
];

const ALL_SHARDS: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];

static SUBCOMMANDS: &[Command] = &[
    Command {
        name: "load",
        arity: -3,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::NOSCRIPT),
        run: load,
        group: Group::Scripting,
        since: "7.0.0",
        complexity: "O(1) (considering compilation time is redundant)",
        summary: "Creates a library.",
        syntax: "[REPLACE] function-code",
        tips: ALL_SHARDS,
        ..Command::DEFAULT
    },
    Command {
        name: "delete",
        arity: 3,
        flags: Flags::WRITE.and(Flags::NOSCRIPT),
        run: delete,
        group: Group::Scripting,
        since: "7.0.0",
        complexity: "O(1)",
        summary: "Deletes a library and its functions.",
        syntax: "library-name",
        tips: ALL_SHARDS,
        ..Command::DEFAULT
    },
    Command {
        name: "flush",
        arity: -2,
        flags: Flags::WRITE.and(Flags::NOSCRIPT),
        run: flush,
        group: Group::Scripting,
        since: "7.0.0",
        complexity: "O(N) where N is the number of functions deleted",
        summary: "Deletes all libraries and functions.",
        syntax: "[async:<ASYNC | SYNC>]",
        tips: ALL_SHARDS,
        ..Command::DEFAULT
    },
    Command {
        name: "list",
        arity: -2,
        flags: Flags::NOSCRIPT,
        run: list,
        group: Group::Scripting,
        since: "7.0.0",
        complexity: "O(N) where N is the number of functions",
        summary: "Returns information about all libraries.",
        syntax: "[LIBRARYNAME library-name-pattern] [WITHCODE]",
        tips: &["nondeterministic_output_order"],
        ..Command::DEFAULT
    },
    Command {
        name: "stats",
        arity: 2,
        flags: Flags::NOSCRIPT.and(Flags::ALLOW_BUSY),
        run: stats,
        group: Group::Scripting,
        since: "7.0.0",
        complexity: "O(1)",
        summary: "Returns information about a function during execution.",
        tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
        ..Command::DEFAULT
    },
    Command {
        name: "kill",
        arity: 2,
        flags: Flags::NOSCRIPT.and(Flags::ALLOW_BUSY),
        run: kill,
        group: Group::Scripting,
        since: "7.0.0",
        complexity: "O(1)",
        summary: "Terminates a function during execution.",
        tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
        ..Command::DEFAULT
    },
    Command {
        name: "dump",
        arity: 2,
        flags: Flags::NOSCRIPT,
        run: dump,
        group: Group::Scripting,
        since: "7.0.0",
        complexity: "O(N) where N is the number of functions",
        summary: "Dumps all libraries into a serialized binary payload.",
        ..Command::DEFAULT
    },
    Command {
        name: "restore",
        arity: -3,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::NOSCRIPT),
        run: restore,
        group: Group::Scripting,
        since: "7.0.0",
        complexity: "O(N) where N is the number of functions on the payload",
        summary: "Restores all libraries from a payload.",
        syntax: "serialized-value [policy:<FLUSH | APPEND | REPLACE>]",
        tips: ALL_SHARDS,
        ..Command::DEFAULT
    },
    Command {
        name: "help",
        arity: 2,
        flags: Flags::LOADING.and(Flags::STALE),
        run: help,
        group: Group::Scripting,
        since: "7.0.0",
        complexity: "O(1)",
        summary: "Returns helpful text about the different subcommands.",
        ..Command::DEFAULT
    },
];

fn fcall(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    call(cx, args, false)
}

fn fcall_ro(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    call(cx, args, true)
}

fn call(cx: &mut Cx<'_>, args: &mut Args<'_>, read_only: bool) -> Result<(), CommandError> {
    let words = args.argv();
    let name = args.bytes();
    let found = Parts::of(cx).scripts.libraries.find(name);
    let found = found.ok_or(CommandError::fixed("ERR Function not found"))?;
    let (keys, rest) = keys_and_args(args)?;
    let function = found.function();
    let command = words.iter().map(|word| word.to_vec()).collect();
    let what = What::Function { name: function.name.clone(), command };
    run(
        cx,
        Run {
            chunk: Chunk { function: &function.callback, single_line: false },
            name: &function.name,
            what,
            purpose: Purpose::Functions,
            flags: Some(function.flags),
            read_only,
            keys,
            args: rest,
        },
    )
}

fn keys_and_args<'a>(args: &mut Args<'a>) -> Result<(Words<'a>, Words<'a>), CommandError> {
    let count = args.int_or(CommandError::fixed("ERR Bad number of keys provided"));
    args.check()?;
    super::super::eval::split_keys(args, count)
}

fn load(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let mut replace = false;
    while args.remaining() > 1 {
        if args.word("REPLACE") {
            replace = true;
        } else {
            let option = quoted(args.bytes()).into_owned();
            return Err(CommandError::new(format!("ERR Unknown option given: {option}")));
        }
    }
    let text = args.bytes();
    args.finish()?;
    let timed = !cx.turn.replaying;
    let name = changing(cx, |parts, libraries| parts.load_into(libraries, text, replace, timed))?;
    cx.reply.bulk(name);
    Ok(())
}

/// Changes the libraries; what was changed is logged as it was sent.
fn changing<R>(
    cx: &mut Cx<'_>,
    change: impl FnOnce(&mut Parts, &mut Libraries) -> Result<R, CommandError>,
) -> Result<R, CommandError> {
    let parts = Parts::of(cx);
    let mut libraries = std::mem::take(&mut parts.scripts.libraries);
    let outcome = change(parts, &mut libraries);
    parts.scripts.libraries = libraries;
    parts.scripts.count_functions();
    let result = outcome?;
    cx.dirty(1);
    Ok(result)
}

fn delete(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let name = String::from_utf8_lossy(args.bytes()).into_owned();
    args.finish()?;
    changing(cx, |_, libraries| match libraries.remove(&name) {
        true => Ok(()),
        false => Err(CommandError::fixed("ERR Library not found")),
    })?;
    cx.reply.ok();
    Ok(())
}

fn flush(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    if args.remaining() > 1 {
        return Err(CommandError::subcommand_syntax("function", args.argv()[1]));
    }
    if !args.is_empty() && !args.word("SYNC") && !args.word("ASYNC") {
        return Err(CommandError::fixed("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    changing(cx, |parts, libraries| {
        *libraries = Libraries::default();
        *parts.scripts.vm_mut(Purpose::Functions) = None;
        Ok(())
    })?;
    cx.reply.ok();
    Ok(())
}

fn list(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (mut with_code, mut pattern) = (false, None);
    while !args.is_empty() {
        if !with_code && args.word("WITHCODE") {
            with_code = true;
        } else if pattern.is_none() && args.word("LIBRARYNAME") {
            if args.is_empty() {
                return Err(CommandError::fixed("ERR library name argument was not given"));
            }
            pattern = Some(args.bytes());
        } else {
            let word = quoted(args.bytes()).into_owned();
            return Err(CommandError::new(format!("ERR Unknown argument {word}")));
        }
    }
    let fits = |name: &str| pattern.is_none_or(|pattern| glob_matches_nocase(pattern, name.as_bytes()));
    cx.reads_all();
    let reply = &mut *cx.reply;
    // The reply is written beside the libraries that it shows.
    let Some(parts) = cx.host.as_any().downcast_mut::<Parts>() else { return Ok(()) };
    let at = reply.begin_array();
    let mut shown = 0;
    for library in parts.scripts.libraries.iter().filter(|library| fits(&library.name)) {
        shown += 1;
        reply.map(if with_code { 4 } else { 3 });
        reply.bulk("library_name");
        reply.bulk(&library.name);
        reply.bulk("engine");
        reply.bulk("LUA");
        reply.bulk("functions");
        reply.array(library.functions.len());
        for function in &library.functions {
            reply.map(3);
            reply.bulk("name");
            reply.bulk(&function.name);
            reply.bulk("description");
            reply.bulk_or_null(function.description.as_ref());
            reply.bulk("flags");
            let names = function.flags.names();
            reply.set(names.len());
            for name in names {
                reply.simple(name);
            }
        }
        if with_code {
            reply.bulk("library_code");
            reply.bulk(&library.text);
        }
    }
    reply.end_array(at, shown);
    Ok(())
}

fn stats(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    args.finish()?;
    let parts = Parts::of(cx);
    let (control, now) = (parts.scripts.control(), parts.clock.monotonic());
    control.write_stats(now, cx.reply)
}

/// Reached only when no function runs: a running one is killed without the engine, see [`Control`].
///
/// [`Control`]: super::super::Control
fn kill(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    args.finish()?;
    Parts::of(cx).scripts.control().kill(KillBy::Function)?;
    cx.reply.ok();
    Ok(())
}

fn dump(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    args.finish()?;
    let parts = Parts::of(cx);
    let texts = parts.scripts.libraries.iter().map(|library| &*library.text);
    let payload = dump_libraries(texts, parts.settings.payload.compression);
    cx.reply.bulk(payload);
    Ok(())
}

/// What happens to the libraries that are there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    Flush,
    Append,
    Replace,
}

fn restore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let payload = args.bytes();
    if args.remaining() > 1 {
        return Err(CommandError::subcommand_syntax("function", args.argv()[1]));
    }
    let policy = if args.is_empty() || args.word("APPEND") {
        Policy::Append
    } else if args.word("REPLACE") {
        Policy::Replace
    } else if args.word("FLUSH") {
        Policy::Flush
    } else {
        return Err(CommandError::fixed(
            "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
        ));
    };
    let any_checksum = Parts::of(cx).settings.payload.any_checksum;
    let texts = restore_libraries(payload, any_checksum).map_err(|error| CommandError::new(format!("ERR {error}")))?;
    Parts::of(cx).put_libraries(&texts, policy != Policy::Flush, policy == Policy::Replace)?;
    cx.dirty(1);
    cx.reply.ok();
    Ok(())
}

fn help(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    args.finish()?;
    cx.help(
        "FUNCTION",
        &[
            "LOAD [REPLACE] <FUNCTION CODE>",
            "    Create a new library with the given library name and code.",
            "DELETE <LIBRARY NAME>",
            "    Delete the given library.",
            "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
            "    Return general information on all the libraries:",
            "    * Library name",
            "    * The engine used to run the Library",
            "    * Library description",
            "    * Functions list",
            "    * Library code (if WITHCODE is given)",
            "    It also possible to get only function that matches a pattern using LIBRARYNAME argument.",
            "STATS",
            "    Return information about the current function running:",
            "    * Function name",
            "    * Command used to run the function",
            "    * Duration in MS that the function is running",
            "    If no function is running, return nil",
            "    In addition, returns a list of available engines.",
            "KILL",
            "    Kill the current running function.",
            "FLUSH [ASYNC|SYNC]",
            "    Delete all the libraries.",
            "    When called without the optional mode argument, the behavior is determined by the",
            "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
            "    * ASYNC: Asynchronously flush the libraries.",
            "    * SYNC: Synchronously flush the libraries.",
            "DUMP",
            "    Return a serialized payload representing the current libraries, can be restored using FUNCTION RESTORE \
             command",
            "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
            "    Restore the libraries represented by the given payload, it is possible to give a restore policy to",
            "    control how to handle existing libraries (default APPEND):",
            "    * FLUSH: delete all existing libraries.",
            "    * APPEND: appends the restored libraries to the existing libraries. On collision, abort.",
            "    * REPLACE: appends the restored libraries to the existing libraries, On collision, replace the old",
            "      libraries with the new libraries (notice that even on this option there is a chance of failure",
            "      in case of functions name collision with another library).",
        ],
    );
    Ok(())
}
