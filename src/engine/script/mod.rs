//! EVAL and its kin: a script is one turn, logged by what it did as one unit.
//!
//! Invariant: commands of a script run without anything between them, and nothing of them is logged unless all that
//! ran is.

mod cjson;
mod control;
mod convert;
mod number;
mod vm;

pub use control::{Control, KillAnswer};

use super::execute::{capture, shown_call};
use super::parts::Parts;
use crate::command::{Args, Call, Command, CommandError, Cx, Find, Flags, Group, KeyFlags, KeySpec};
use crate::command::{Begin, CommandTable};
use crate::resp::{Protocol, ReplyValue};
use mlua::Function;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vm::{Ended, Vm};

/// The scripts known by their SHA-1, and the interpreter, made when first needed.
#[derive(Default)]
pub struct Scripts {
    known: HashMap<String, Script>,
    vm: Option<Vm>,
    control: Arc<Control>,
    text_bytes: usize,
}

#[derive(Clone)]
struct Script {
    function: Function,
    flags: ScriptFlags,
    text_bytes: usize,
}

/// Flags of a script's first line (`#!lua flags=...`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ScriptFlags {
    no_writes: bool,
}

impl Scripts {
    pub fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control)
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Memory of the interpreter, in bytes.
    pub fn used_bytes(&self) -> usize {
        self.vm.as_ref().map_or(0, Vm::used_bytes)
    }

    /// Bytes of the texts of known scripts.
    pub fn cached_bytes(&self) -> usize {
        self.text_bytes
    }

    fn flush(&mut self) {
        self.known.clear();
        self.text_bytes = 0;
        self.vm = None;
    }
}

const EVAL_KEYS: &[KeySpec] = &[KeySpec {
    flags: KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::UPDATE),
    begin: Begin::Index(2),
    find: Find::Count { at: 0, first: 1, step: 1 },
}];

const EVAL_RO_KEYS: &[KeySpec] = &[KeySpec {
    flags: KeyFlags::RO.and(KeyFlags::ACCESS),
    begin: Begin::Index(2),
    find: Find::Count { at: 0, first: 1, step: 1 },
}];

const EVAL: Flags = Flags::NOSCRIPT
    .and(Flags::STALE)
    .and(Flags::SKIP_MONITOR)
    .and(Flags::MAY_REPLICATE)
    .and(Flags::NO_MANDATORY_KEYS)
    .and(Flags::MOVABLEKEYS)
    .and(Flags::SCRIPT);

const EVAL_RO: Flags = Flags::NOSCRIPT
    .and(Flags::READONLY)
    .and(Flags::STALE)
    .and(Flags::SKIP_MONITOR)
    .and(Flags::NO_MANDATORY_KEYS)
    .and(Flags::MOVABLEKEYS)
    .and(Flags::SCRIPT);

pub(super) static COMMANDS: &[Command] = &[
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
        flags: Flags::NOSCRIPT.and(Flags::STALE),
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
        flags: Flags::NOSCRIPT,
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
        flags: Flags::NOSCRIPT,
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
        flags: Flags::NOSCRIPT.and(Flags::ALLOW_BUSY),
        run: script_kill,
        group: Group::Scripting,
        since: "2.6.0",
        complexity: "O(1)",
        summary: "Terminates a server-side Lua script during execution.",
        tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
        ..Command::DEFAULT
    },
    Command {
        name: "debug",
        arity: 3,
        flags: Flags::NOSCRIPT,
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
    let sha = vm::sha1_hex(text);
    let script = define(Parts::of(cx), &sha, text)?;
    run(cx, &sha, &script, keys, rest, read_only)
}

fn run_known(cx: &mut Cx<'_>, args: &mut Args<'_>, read_only: bool) -> Result<(), CommandError> {
    let sha = String::from_utf8_lossy(args.bytes()).to_lowercase();
    let (keys, rest) = keys_and_args(args)?;
    let script = Parts::of(cx).scripts.known.get(&sha).cloned().ok_or(CommandError::NO_SCRIPT)?;
    run(cx, &sha, &script, keys, rest, read_only)
}

type Words<'a> = &'a [&'a [u8]];

fn keys_and_args<'a>(args: &mut Args<'a>) -> Result<(Words<'a>, Words<'a>), CommandError> {
    let count = args.int();
    args.check()?;
    if count < 0 {
        return Err(CommandError::fixed("ERR Number of keys can't be negative"));
    }
    if count as u64 > args.remaining() as u64 {
        return Err(CommandError::fixed("ERR Number of keys can't be greater than number of args"));
    }
    Ok((args.take(count as usize), args.rest()))
}

fn interpreter(error: mlua::Error) -> CommandError {
    CommandError::new(format!("ERR {}", error.to_string().lines().next().unwrap_or("interpreter failed")))
}

/// Compiles a script unless it is known.
fn define(parts: &mut Parts, sha: &str, text: &[u8]) -> Result<Script, CommandError> {
    if let Some(script) = parts.scripts.known.get(sha) {
        return Ok(script.clone());
    }
    let (body, flags) = shebang(text)?;
    let scripts = &mut parts.scripts;
    let vm = match &mut scripts.vm {
        Some(vm) => vm,
        none => {
            let seed = parts.entropy.next_u64() as i32;
            none.insert(Vm::new(Arc::clone(&parts.clock), Arc::clone(&scripts.control), seed).map_err(interpreter)?)
        }
    };
    let function = vm.compile(&body).map_err(interpreter)?.map_err(|failure| {
        CommandError::new(format!(
            "ERR Error compiling script (new function): {}",
            String::from_utf8_lossy(&failure).replace(['\r', '\n'], " ")
        ))
    })?;
    let script = Script { function, flags, text_bytes: text.len() };
    scripts.text_bytes += script.text_bytes;
    scripts.known.insert(sha.to_owned(), script.clone());
    Ok(script)
}

/// The body and the flags of its `#!lua flags=a,b` line; the line itself stays as an empty one, so that numbers hold.
fn shebang(text: &[u8]) -> Result<(Vec<u8>, ScriptFlags), CommandError> {
    let mut flags = ScriptFlags::default();
    if !text.starts_with(b"#!") {
        return Ok((text.to_vec(), flags));
    }
    let Some(end) = text.iter().position(|byte| *byte == b'\n') else {
        return Err(CommandError::fixed("ERR Invalid script shebang"));
    };
    let line = String::from_utf8_lossy(&text[2..end]).into_owned();
    let mut words = line.split_whitespace();
    let engine = words.next().unwrap_or("");
    if !engine.eq_ignore_ascii_case("lua") {
        return Err(CommandError::new(format!("ERR Unexpected engine in script shebang: #!{engine}")));
    }
    for word in words {
        let Some(list) = word.strip_prefix("flags=") else {
            return Err(CommandError::new(format!("ERR Unknown lua shebang option: {word}")));
        };
        for flag in list.split(',').filter(|flag| !flag.is_empty()) {
            match flag {
                "no-writes" => flags.no_writes = true,
                "allow-oom" | "allow-stale" | "no-cluster" | "allow-cross-slot-keys" => {}
                _ => return Err(CommandError::new(format!("ERR Unexpected flag in script shebang: {flag}"))),
            }
        }
    }
    Ok((text[end..].to_vec(), flags))
}

fn run(
    cx: &mut Cx<'_>,
    sha: &str,
    script: &Script,
    keys: Words<'_>,
    args: Words<'_>,
    read_only: bool,
) -> Result<(), CommandError> {
    let read_only = read_only || script.flags.no_writes;
    let (client, db) = (cx.client, cx.db);
    let parts = Parts::of(cx);
    let Some(vm) = parts.scripts.vm.take() else { return Err(CommandError::NO_SCRIPT) };
    let (control, clock) = (parts.scripts.control(), Arc::clone(&parts.clock));
    control.begin(clock.monotonic(), parts.settings.busy_reply_threshold);
    cx.log_nothing();
    cx.reads_all();
    let could_block = std::mem::replace(&mut cx.turn.may_block, false);
    let was_in_script = std::mem::replace(&mut cx.turn.in_script, true);
    let resp = vm.resp_flag();
    let ended = vm.run(&script.function, keys, args, &mut |lua, argv| {
        let resp3 = resp.load(Ordering::Relaxed) == 3;
        let protocol = if resp3 { Protocol::Resp3 } else { Protocol::Resp2 };
        let dirty = cx.turn.dirty;
        let reply = capture(cx, protocol, |cx| match argv {
            Ok(argv) => perform(cx, &argv, read_only),
            Err(text) => cx.reply.error(text),
        });
        if cx.turn.dirty > dirty {
            control.wrote();
        }
        let value = match ReplyValue::decode(&reply) {
            Ok(Some((value, _))) => value,
            _ => ReplyValue::Error(b"ERR command gave no reply".to_vec()),
        };
        convert::reply_to_lua(lua, value, resp3)
    });
    let resp3 = vm.resp_flag().load(Ordering::Relaxed) == 3;
    control.end();
    if control.is_abandoned() {
        // Half a script is not logged: the server ends, and what it had done ends with it.
        cx.turn.unit.clear();
    }
    cx.turn.may_block = could_block;
    cx.turn.in_script = was_in_script;
    cx.db = db;
    let parts = Parts::of(cx);
    if let Some(client) = parts.clients.get_mut(client) {
        client.db = db;
    }
    parts.scripts.vm = Some(vm);
    match ended.map_err(interpreter)? {
        Ended::Value(value) => convert::lua_to_reply(&value, resp3, cx.reply),
        Ended::Failed(text, line) => {
            let text = String::from_utf8_lossy(&text).replace(['\r', '\n'], " ");
            let place = line.map_or(String::new(), |line| format!(" script: {sha}, on @user_script:{line}."));
            return Err(CommandError::new(format!("{text}{place}")));
        }
    }
    Ok(())
}

/// One command of a script, its reply or error into `cx.reply`.
fn perform(cx: &mut Cx<'_>, argv: &[Vec<u8>], read_only: bool) {
    let words: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
    let table: Arc<CommandTable> = Arc::clone(&Parts::of(cx).table);
    let refused = match table.resolve(&words) {
        Ok(resolved) if resolved.command.flags.has(Flags::NOSCRIPT) => {
            "ERR This Redis command is not allowed from script"
        }
        Ok(resolved) if read_only && resolved.command.flags.has(Flags::WRITE) => {
            "ERR Write commands are not allowed from read-only scripts."
        }
        Ok(resolved) => {
            let id = cx.client;
            shown_call(cx, resolved, Call { argv: &words, raw: None });
            // SELECT within a script lasts until its end.
            if let Some(client) = Parts::of(cx).clients.get(id) {
                cx.db = client.db;
            }
            return;
        }
        Err(_) if table.find(words[0]).is_none() => "ERR Unknown Redis command called from script",
        Err(error) if error.text().starts_with("ERR unknown subcommand") => {
            "ERR Unknown Redis command called from script"
        }
        Err(_) => "ERR Wrong number of args calling Redis command from script",
    };
    cx.reply.error(refused);
}

fn script_load(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let text = args.bytes();
    args.finish()?;
    let sha = vm::sha1_hex(text);
    define(Parts::of(cx), &sha, text)?;
    cx.reply.bulk(sha);
    Ok(())
}

fn script_exists(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let asked = args.rest();
    cx.reply.array(asked.len());
    for sha in asked {
        let sha = String::from_utf8_lossy(sha).to_lowercase();
        let known = Parts::of(cx).scripts.known.contains_key(&sha);
        cx.reply.int(i64::from(known));
    }
    Ok(())
}

fn script_flush(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    if !args.is_empty() && !args.word("SYNC") && !args.word("ASYNC") || !args.is_empty() {
        return Err(CommandError::fixed("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    Parts::of(cx).scripts.flush();
    cx.reply.ok();
    Ok(())
}

/// Reached only when no script runs: a running one is killed without the engine, see [`Control`].
fn script_kill(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    args.finish()?;
    let control = Parts::of(cx).scripts.control();
    control.kill().answer()?;
    cx.reply.ok();
    Ok(())
}

impl KillAnswer {
    /// The reply of SCRIPT KILL.
    pub fn answer(self) -> Result<(), CommandError> {
        match self {
            Self::Killed => Ok(()),
            Self::NotBusy => Err(CommandError::fixed("NOTBUSY No scripts in execution right now.")),
            Self::Unkillable => Err(CommandError::fixed(
                "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait \
                 the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
            )),
        }
    }
}

fn script_debug(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    if args.word("NO") {
        args.finish()?;
        cx.reply.ok();
        return Ok(());
    }
    Err(CommandError::fixed("ERR SCRIPT DEBUG is not supported: scripts run without a debugger"))
}

fn script_help(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    args.finish()?;
    cx.help(
        "SCRIPT",
        &[
            "EXISTS <sha1> [<sha1> ...]",
            "    Return information about the existence of the scripts in the script cache.",
            "FLUSH [ASYNC|SYNC]",
            "    Flush the Lua scripts cache. Very dangerous on replicas.",
            "    When called without the optional mode argument, the behavior is determined",
            "    by the lazyfree-lazy-user-flush configuration directive. Valid modes are:",
            "    * ASYNC: Asynchronously flush the scripts cache.",
            "    * SYNC: Synchronously flush the scripts cache.",
            "KILL",
            "    Kill the currently executing Lua script.",
            "LOAD <script>",
            "    Load a script into the scripts cache without executing it.",
        ],
    );
    Ok(())
}
