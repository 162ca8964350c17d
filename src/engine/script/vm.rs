//! The Lua interpreter: Lua 5.1, without files, processes, bytecode or lasting globals.
//!
//! Invariants
//! - Nothing a script does outlives it, except through commands.
//! - A script can always be stopped from outside (see [`Control`]), unless it has written.

use super::control::Control;
use super::number::Random48;
use super::{cjson, convert};
use crate::env::Clock;
use mlua::{Function, HookTriggers, Lua, LuaOptions, MultiValue, StdLib, Table, Value, VmState};
use parking_lot::Mutex;
use sha1::{Digest, Sha1};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const PRELUDE: &str = include_str!("prelude.lua");

/// Instructions between looks at the clock and at the wish to stop.
const HOOK_INSTRUCTIONS: u32 = 10_000;

/// Performs one command for a script: words in, reply value and whether it is an error out.
pub type Perform<'p> = dyn FnMut(&Lua, Result<Vec<Vec<u8>>, &'static str>) -> mlua::Result<(Value, bool)> + 'p;

/// An interpreter with its sandbox.
pub struct Vm {
    lua: Lua,
    compile: Function,
    run: Function,
    resp: Arc<AtomicU8>,
    control: Arc<Control>,
    clock: Arc<dyn Clock>,
    performer: Performer,
}

/// The function that performs commands for the script that runs.
type Performer = Arc<Mutex<Option<Function>>>;

/// How a script ended.
pub enum Ended {
    Value(Value),
    /// Error text with its code, and the line in the script if known.
    Failed(Vec<u8>, Option<i64>),
}

impl Vm {
    /// `seed`: of `math.random`.
    pub fn new(clock: Arc<dyn Clock>, control: Arc<Control>, seed: i32) -> mlua::Result<Self> {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::DEBUG;
        // Safety of the debug library: scripts never see it, the prelude keeps it to itself.
        let lua = new_interpreter(libraries)?;
        let random = Arc::new(Mutex::new(Random48::seeded(seed)));
        let resp = Arc::new(AtomicU8::new(2));
        let host = host_functions(&lua, &random, &resp, Arc::clone(&clock))?;
        let performer = Performer::default();
        add_calls(&lua, &host, &performer)?;
        let made: Table = lua.load(PRELUDE).set_name("=prelude").call(host)?;
        Ok(Self { compile: made.raw_get("compile")?, run: made.raw_get("run")?, lua, resp, control, clock, performer })
    }

    /// Has the script that is about to run looked after. Removing the hook of one run removes it for all later ones.
    fn watch(&self) -> mlua::Result<()> {
        let (control, clock) = (Arc::clone(&self.control), Arc::clone(&self.clock));
        self.lua.set_global_hook(HookTriggers::new().every_nth_instruction(HOOK_INSTRUCTIONS), move |lua, _| {
            if control.should_stop(clock.monotonic()) {
                // From now on at every step, so that a pcall around the failing call does not save the script.
                lua.set_hook(HookTriggers::new().every_nth_instruction(1), |_, _| Err(stopped()))?;
                return Err(stopped());
            }
            Ok(VmState::Continue)
        })
    }

    /// Compiles a script; the error is the compiler's.
    pub fn compile(&self, text: &[u8]) -> mlua::Result<Result<Function, Vec<u8>>> {
        let (function, failure): (Option<Function>, Option<mlua::LuaString>) =
            self.compile.call(self.lua.create_string(text)?)?;
        Ok(function.ok_or_else(|| failure.map(|text| text.as_bytes().to_vec()).unwrap_or_default()))
    }

    /// Runs a compiled script. `perform` executes its commands.
    pub fn run(
        &self,
        script: &Function,
        keys: &[&[u8]],
        args: &[&[u8]],
        perform: &mut Perform<'_>,
    ) -> mlua::Result<Ended> {
        self.watch()?;
        self.resp.store(2, Ordering::Relaxed);
        let (keys, args) = (self.strings(keys)?, self.strings(args)?);
        let outcome = self.lua.scope(|scope| {
            let performer = scope.create_function_mut(|lua, words: MultiValue| {
                let argv: Option<Vec<Vec<u8>>> = words.iter().map(convert::argument).collect();
                let argv = match argv {
                    Some(argv) if argv.is_empty() => {
                        Err("ERR Please specify at least one argument for this redis lib call")
                    }
                    Some(argv) => Ok(argv),
                    None => Err("ERR Lua redis lib command arguments must be strings or integers"),
                };
                perform(lua, argv)
            })?;
            *self.performer.lock() = Some(performer);
            let outcome = self.run.call::<(bool, Value)>((script, keys, args));
            *self.performer.lock() = None;
            outcome
        });
        self.lua.remove_hook();
        Ok(match outcome {
            Ok((true, value)) => Ended::Value(value),
            Ok((false, failure)) => failed(&failure),
            Err(error) => Ended::Failed(error_text(&error), None),
        })
    }

    /// The protocol version that the running script asked replies in (`redis.setresp`).
    pub fn resp_flag(&self) -> Arc<AtomicU8> {
        Arc::clone(&self.resp)
    }

    pub fn used_bytes(&self) -> usize {
        self.lua.used_memory()
    }

    fn strings(&self, words: &[&[u8]]) -> mlua::Result<Table> {
        let table = self.lua.create_table_with_capacity(words.len(), 0)?;
        for (at, word) in words.iter().enumerate() {
            table.raw_set(at + 1, self.lua.create_string(word)?)?;
        }
        Ok(table)
    }
}

#[expect(unsafe_code, reason = "mlua marks the debug library unsafe; the prelude keeps it away from scripts")]
fn new_interpreter(libraries: StdLib) -> mlua::Result<Lua> {
    // SAFETY: only the prelude holds the debug library, and it calls nothing but getinfo.
    Ok(unsafe { Lua::unsafe_new_with(libraries, LuaOptions::new().catch_rust_panics(true)) })
}

fn stopped() -> mlua::Error {
    mlua::Error::RuntimeError("Script killed by user with SCRIPT KILL.".into())
}

fn failed(failure: &Value) -> Ended {
    let Value::Table(failure) = failure else { return Ended::Failed(b"ERR unknown error".to_vec(), None) };
    let text = failure.raw_get::<mlua::LuaString>("err").map(|text| text.as_bytes().to_vec());
    let line = failure.raw_get::<Option<i64>>("line").ok().flatten();
    Ended::Failed(text.unwrap_or_else(|_| b"ERR unknown error".to_vec()), line)
}

/// The first line of an interpreter's error, with a code in front.
fn error_text(error: &mlua::Error) -> Vec<u8> {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or("unknown error");
    let line = line.strip_prefix("runtime error: ").unwrap_or(line);
    format!("ERR {line}").into_bytes()
}

fn host_functions(
    lua: &Lua,
    random: &Arc<Mutex<Random48>>,
    resp: &Arc<AtomicU8>,
    clock: Arc<dyn Clock>,
) -> mlua::Result<Table> {
    let host = lua.create_table()?;
    let generator = Arc::clone(random);
    host.raw_set("draw", lua.create_function(move |_, ()| Ok(generator.lock().next()))?)?;
    let generator = Arc::clone(random);
    host.raw_set(
        "randomseed",
        lua.create_function(move |_, seed: f64| {
            *generator.lock() = Random48::seeded(seed as i64 as i32);
            Ok(())
        })?,
    )?;
    host.raw_set("clock", lua.create_function(move |_, ()| Ok(clock.monotonic().as_secs_f64()))?)?;
    host.raw_set(
        "sha1hex",
        lua.create_function(|_, text: mlua::LuaString| Ok(hexadecimal(&Sha1::digest(&*text.as_bytes()))))?,
    )?;
    host.raw_set(
        "error_text",
        lua.create_function(|lua, text: mlua::LuaString| lua.create_string(coded(&text.as_bytes())))?,
    )?;
    host.raw_set(
        "log",
        lua.create_function(|_, (level, text): (f64, mlua::LuaString)| {
            let text = text.to_string_lossy();
            match level as i64 {
                0 => tracing::debug!("{text}"),
                1 => tracing::info!(target: "verbose", "{text}"),
                2 => tracing::info!("{text}"),
                _ => tracing::warn!("{text}"),
            }
            Ok(())
        })?,
    )?;
    let protocol = Arc::clone(resp);
    host.raw_set(
        "setresp",
        lua.create_function(move |_, version: f64| {
            protocol.store(version as u8, Ordering::Relaxed);
            Ok(())
        })?,
    )?;
    host.raw_set("version", crate::REDIS_VERSION)?;
    host.raw_set("version_number", 0x0007_0204)?;
    let wrap: Function = lua
        .load(
            "local raw = ... local error = error
             return function(...)
                 local value, failure = raw(...)
                 if failure then error(failure, 2) end
                 return value
             end",
        )
        .set_name("=cjson")
        .into_function()?;
    host.raw_set("cjson", cjson::library(lua, &wrap)?)?;
    Ok(host)
}

/// `call` and `pcall`: functions of the host's, so that `return redis.call(...)` keeps its place in the script.
fn add_calls(lua: &Lua, host: &Table, performer: &Performer) -> mlua::Result<()> {
    let raised: Arc<Mutex<Option<Value>>> = Arc::default();
    let (performing, raising) = (Arc::clone(performer), Arc::clone(&raised));
    host.raw_set(
        "call",
        lua.create_function(move |_, words: MultiValue| {
            let (reply, failed) = perform_with(&performing, words)?;
            if failed {
                *raising.lock() = Some(reply);
                return Err(mlua::Error::RuntimeError("command failed".into()));
            }
            Ok(reply)
        })?,
    )?;
    let performing = Arc::clone(performer);
    host.raw_set(
        "pcall",
        lua.create_function(move |_, words: MultiValue| perform_with(&performing, words).map(|(reply, _)| reply))?,
    )?;
    host.raw_set("take_raised", lua.create_function(move |_, ()| Ok(raised.lock().take()))?)
}

fn perform_with(performer: &Performer, words: MultiValue) -> mlua::Result<(Value, bool)> {
    let function = performer.lock().clone();
    match function {
        Some(function) => function.call(words),
        None => Err(mlua::Error::RuntimeError("no script is running".into())),
    }
}

/// An error given by a script: a leading code stays, a text without one gets ERR.
fn coded(text: &[u8]) -> Vec<u8> {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let text = text.strip_suffix(b"\r\n").unwrap_or(text);
    if text.contains(&b' ') { text.to_vec() } else { [b"ERR ", text].concat() }
}

/// Lower-case hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The identity of a script.
pub fn sha1_hex(text: &[u8]) -> String {
    hexadecimal(&Sha1::digest(text))
}
