//! EVAL and its kin, and SCRIPT.

use super::cache::{Origin, Script};
use super::control::{KillBy, What};
use super::run::{Run, Words, interpreter, run};
use super::shebang;
use super::vm::{Chunk, Purpose, sha1_hex};
use crate::command::{Args, Begin, Command, CommandError, Cx, Find, Flags, Group, KeyFlags, KeySpec, quoted};
use crate::engine::parts::Parts;

pub const EVAL_KEYS: &[KeySpec] = &[KeySpec {
    flags: KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::UPDATE),
    begin: Begin::Index(2),
    find: Find::Count { at: 0, first: 1, step: 1 },
}];

pub const EVAL_RO_KEYS: &[KeySpec] = &[KeySpec {
    flags: KeyFlags::RO.and(KeyFlags::ACCESS),
    begin: Begin::Index(2),
    find: Find::Count { at: 0, first: 1, step: 1 },
}];

pub const EVAL: Flags = Flags::NOSCRIPT
    .and(Flags::STALE)
    .and(Flags::SKIP_MONITOR)
    .and(Flags::MAY_REPLICATE)
    .and(Flags::NO_MANDATORY_KEYS)
    .and(Flags::MOVABLEKEYS)
    .and(Flags::SCRIPT);

pub const EVAL_RO: Flags = Flags::NOSCRIPT
    .and(Flags::READONLY)
    .and(Flags::STALE)
    .and(Flags::SKIP_MONITOR)
    .and(Flags::NO_MANDATORY_KEYS)
    .and(Flags::MOVABLEKEYS)
    .and(Flags::SCRIPT);

pub static COMMANDS: &[Command] = &[
    Command {
        name: "eval",
        arity: -3,
        flags: EVAL,
        keys: EVAL_KEYS,
        run: eval,
        group: Group::Scripting,
        since: "2.6.0",
        complexity: "Depends on the script that is executed.",
        summary: "Executes a server-side Lua script.",
        syntax: "script numkeys:integer [key [key ...]] [arg [arg ...]]",
        ..Command::DEFAULT
    },
    Command {
        name: "evalsha",
        arity: -3,
        flags: EVAL,
        keys: EVAL_KEYS,
        run: evalsha,
        group: Group::Scripting,
        since: "2.6.0",
        complexity: "Depends on the script that is executed.",
        summary: "Executes a server-side Lua script by SHA1 digest.",
        syntax: "sha1 numkeys:integer [key [key ...]] [arg [arg ...]]",
        ..Command::DEFAULT
    },
    Command {
        name: "eval_ro",
        arity: -3,
        flags: EVAL_RO,
        keys: EVAL_RO_KEYS,
        run: eval_ro,
        group: Group::Scripting,
        since: "7.0.0",
        complexity: "Depends on the script that is executed.",
        summary: "Executes a read-only server-side Lua script.",
        syntax: "script numkeys:integer [key [key ...]] [arg [arg ...]]",
        ..Command::DEFAULT
    },
    Command {
        name: "evalsha_ro",
        arity: -3,
        flags: EVAL_RO,
        keys: EVAL_RO_KEYS,
        run: evalsha_ro,
        group: Group::Scripting,
        since: "7.0.0",
        complexity: "Depends on the script that is executed.",
        summary: "Executes a read-only server-side Lua script by SHA1 digest.",
        syntax: "sha1 numkeys:integer [key [key ...]] [arg [arg ...]]",
        ..Command::DEFAULT
    },
    Command {
        name: "script",
        arity: -2,
        group: Group::Scripting,
        since: "2.6.0",
        complexity: "Depends on subcommand.",
        summary: "A container for Lua scripts management commands.",
        subcommands: SUBCOMMANDS,
        ..Command::DEFAULT
    },
];

static SUBCOMMANDS: &[Command] = &[
    Command {
        name: "load",
        arity: 3,
        flags: Flags::NOSCRIPT.and(Flags::STALE).and(Flags::KEY_READ),
        run: script_load,
        group: Group::Scripting,
        since: "2.6.0",
        complexity: "O(N) with N being the length in bytes of the script body.",
        summary: "Loads a server-side Lua script to the script cache.",
        syntax: "script",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        ..Command::DEFAULT
    },
    Command {
        name: "exists",
        arity: -3,
        flags: Flags::NOSCRIPT.and(Flags::KEY_READ),
        run: script_exists,
        group: Group::Scripting,
        since: "2.6.0",
        complexity: "O(N) with N being the number of scripts to check (so checking a single script is an O(1) \
                     operation).",
        summary: "Determines whether server-side Lua scripts exist in the script cache.",
        syntax: "sha1 [sha1 ...]",
        tips: &["request_policy:all_shards", "response_policy:agg_logical_and"],
        ..Command::DEFAULT
    },
    Command {
        name: "flush",
        arity: -2,
        flags: Flags::NOSCRIPT.and(Flags::KEY_READ),
        run: script_flush,
        group: Group::Scripting,
        since: "2.6.0",
        complexity: "O(N) with N being the number of scripts in cache",
        summary: "Removes all server-side Lua scripts from the script cache.",
        syntax: "[async:<ASYNC | SYNC> {6.2.0}]",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        ..Command::DEFAULT
    },
    Command {
        name: "kill",
        arity: 2,
        flags: Flags::NOSCRIPT.and(Flags::ALLOW_BUSY).and(Flags::KEY_READ),
        run: script_kill,
        group: Group::Scripting,
        since: "2.6.0",
        complexity: "O(1)",
        summary: "Terminates a server-side Lua script during execution.",
        tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
        ..Command::DEFAULT
    },
    Command {
        name: "show",
        arity: 3,
        flags: Flags::NOSCRIPT.and(Flags::KEY_READ),
        run: script_show,
        group: Group::Scripting,
        since: "8.0.0",
        complexity: "O(1).",
        summary: "Returns the text of a script in the script cache.",
        syntax: "sha1",
        ..Command::DEFAULT
    },
    Command {
        name: "debug",
        arity: 3,
        flags: Flags::NOSCRIPT.and(Flags::KEY_READ),
        run: script_debug,
        group: Group::Scripting,
        since: "3.2.0",
        complexity: "O(1)",
        summary: "Sets the debug mode of server-side Lua scripts.",
        syntax: "mode:<YES | SYNC | NO>",
        ..Command::DEFAULT
    },
    Command {
        name: "help",
        arity: 2,
        flags: Flags::LOADING.and(Flags::STALE),
        run: script_help,
        group: Group::Scripting,
        since: "5.0.0",
        complexity: "O(1)",
        summary: "Returns helpful text about the different subcommands.",
        ..Command::DEFAULT
    },
];

fn eval(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    run_text(cx, args, false)
}

fn eval_ro(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    run_text(cx, args, true)
}

fn evalsha(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    run_known(cx, args, false)
}

fn evalsha_ro(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    run_known(cx, args, true)
}

fn run_text(cx: &mut Cx<'_>, args: &mut Args<'_>, read_only: bool) -> Result<(), CommandError> {
    let text = args.bytes();
    let (keys, rest) = keys_and_args(args)?;
    let sha = sha1_hex(text);
    let script = define(Parts::of(cx), &sha, text, Origin::Eval)?;
    run_script(cx, &sha, &script, (keys, rest), read_only)
}

/// Characters of a SHA1 digest in hexadecimal; what is longer or shorter names no script.
const SHA1_HEX_LEN: usize = 40;

fn run_known(cx: &mut Cx<'_>, args: &mut Args<'_>, read_only: bool) -> Result<(), CommandError> {
    let sha = sha_of(args.bytes());
    if sha.len() != SHA1_HEX_LEN {
        return Err(CommandError::NO_SCRIPT);
    }
    let (keys, rest) = keys_and_args(args)?;
    let script = Parts::of(cx).scripts.cache.get(&sha).ok_or(CommandError::NO_SCRIPT)?;
    run_script(cx, &sha, &script, (keys, rest), read_only)
}

fn run_script(
    cx: &mut Cx<'_>,
    sha: &str,
    script: &Script,
    (keys, args): (Words<'_>, Words<'_>),
    read_only: bool,
) -> Result<(), CommandError> {
    let newline = script.text.iter().position(|byte| *byte == b'\n');
    run(
        cx,
        Run {
            chunk: Chunk {
                function: &script.function,
                single_line: newline.is_none_or(|at| at + 1 == script.text.len()),
            },
            name: sha,
            what: What::Script,
            purpose: Purpose::Scripts,
            flags: script.flags,
            read_only,
            keys,
            args,
        },
    )
}

fn keys_and_args<'a>(args: &mut Args<'a>) -> Result<(Words<'a>, Words<'a>), CommandError> {
    let count = args.int();
    args.check()?;
    split_keys(args, count)
}

/// The keys behind their count, and what follows them.
pub fn split_keys<'a>(args: &mut Args<'a>, count: i64) -> Result<(Words<'a>, Words<'a>), CommandError> {
    if count > args.remaining() as i64 {
        return Err(CommandError::fixed("ERR Number of keys can't be greater than number of args"));
    }
    let Ok(count) = usize::try_from(count) else {
        return Err(CommandError::fixed("ERR Number of keys can't be negative"));
    };
    Ok((args.take(count), args.rest()))
}

fn sha_of(given: &[u8]) -> String {
    String::from_utf8_lossy(given).to_ascii_lowercase()
}

/// Compiles a script unless it is known.
fn define(parts: &mut Parts, sha: &str, text: &[u8], origin: Origin) -> Result<Script, CommandError> {
    if let Some(script) = parts.scripts.cache.get(sha) {
        return Ok(script);
    }
    let (body, flags) = shebang::of_script(text)?;
    let around = parts.surroundings();
    let vm = parts.scripts.take_vm(Purpose::Scripts, around)?;
    let compiled = vm.compile(body);
    *parts.scripts.vm_mut(Purpose::Scripts) = Some(vm);
    let function = compiled.map_err(interpreter)?.map_err(|failure| {
        CommandError::new(format!(
            "ERR Error compiling script (new function): {}",
            quoted(&failure).replace(['\r', '\n'], " ")
        ))
    })?;
    let script = Script { function, flags, text: text.to_vec() };
    parts.stats.evicted_scripts += parts.scripts.cache.insert(sha, script.clone(), origin);
    Ok(script)
}

fn script_load(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let text = args.bytes();
    args.finish()?;
    let sha = sha1_hex(text);
    let parts = Parts::of(cx);
    define(parts, &sha, text, Origin::Load)?;
    parts.scripts.cache.pin(&sha);
    cx.reply.bulk(sha);
    Ok(())
}

fn script_show(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let sha = sha_of(args.bytes());
    args.finish()?;
    let text = Parts::of(cx).scripts.cache.text(&sha).map(<[u8]>::to_vec).ok_or(CommandError::NO_SCRIPT)?;
    cx.reply.bulk(text);
    Ok(())
}

fn script_exists(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let asked = args.rest();
    cx.reply.array(asked.len());
    for sha in asked {
        let known = Parts::of(cx).scripts.cache.contains(&sha_of(sha));
        cx.reply.int(i64::from(known));
    }
    Ok(())
}

fn script_flush(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    if !args.is_empty() && !args.word("SYNC") && !args.word("ASYNC") || !args.is_empty() {
        return Err(CommandError::fixed("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    Parts::of(cx).scripts.flush_scripts();
    cx.reply.ok();
    Ok(())
}

/// Reached only when no script runs: a running one is killed without the engine, see [`Control`].
///
/// [`Control`]: super::Control
fn script_kill(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    args.finish()?;
    Parts::of(cx).scripts.control().kill(KillBy::Script)?;
    cx.reply.ok();
    Ok(())
}

fn script_debug(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    if args.word("NO") {
        args.finish()?;
        cx.reply.ok();
        return Ok(());
    }
    if args.word("YES") || args.word("SYNC") {
        return Err(CommandError::fixed("ERR SCRIPT DEBUG is not supported: scripts run without a debugger"));
    }
    Err(CommandError::fixed("ERR Use SCRIPT DEBUG YES/SYNC/NO"))
}

fn script_help(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    args.finish()?;
    cx.help(
        "SCRIPT",
        &[
            "DEBUG (YES|SYNC|NO)",
            "    Set the debug mode for subsequent scripts executed.",
            "EXISTS <sha1> [<sha1> ...]",
            "    Return information about the existence of the scripts in the script cache.",
            "FLUSH [ASYNC|SYNC]",
            "    Flush the Lua scripts cache. Very dangerous on replicas.",
            "    When called without the optional mode argument, the behavior is determined by the",
            "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
            "    * ASYNC: Asynchronously flush the scripts cache.",
            "    * SYNC: Synchronously flush the scripts cache.",
            "KILL",
            "    Kill the currently executing Lua script.",
            "LOAD <script>",
            "    Load a script into the scripts cache without executing it.",
            "SHOW <sha1>",
            "    Show a script from the scripts cache.",
        ],
    );
    Ok(())
}
