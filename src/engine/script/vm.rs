//! The Lua interpreter: Lua 5.1, without files, processes, bytecode or lasting globals.
//!
//! Invariants
//! - Nothing a script does outlives it, except through commands, what functions of one library share, and the options
//!   of cjson.
//! - A script can always be stopped from outside (see [`Control`]), unless it has written.
//! - It takes no more memory than it may: what would need more fails, in the script.

use super::control::Control;
use super::host::{self, Ask, Registered, Shared};
use super::thrown::Thrown;
use crate::env::Clock;
use mlua::{Function, HookTriggers, Lua, LuaOptions, StdLib, Table, Value, VmState};
use parking_lot::Mutex;
use sha1::{Digest, Sha1};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const PRELUDE: &str = include_str!("prelude.lua");

/// Instructions between looks at the clock and at the wish to stop.
const HOOK_INSTRUCTIONS: u32 = 10_000;
/// What loading a library may take.
const LOAD_TIME_MAX: Duration = Duration::from_millis(500);

/// Performs one command for a script: words in, reply value and whether it is an error out.
pub type Perform<'p> = dyn FnMut(&Lua, Ask, Result<Vec<Vec<u8>>, &'static str>) -> mlua::Result<(Value, bool)> + 'p;

/// What an interpreter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Scripts,
    Functions,
}

impl Purpose {
    fn chunk_name(self) -> &'static str {
        match self {
            Self::Scripts => "@user_script",
            Self::Functions => "@user_function",
        }
    }
}

/// What an interpreter needs of its owner.
#[derive(Clone)]
pub struct Surroundings {
    pub clock: Arc<dyn Clock>,
    pub control: Arc<Control>,
    /// Of `math.random`.
    pub seed: i32,
    /// Bytes that it may take.
    pub memory_max: usize,
}

/// An interpreter with its sandbox.
pub struct Vm {
    lua: Lua,
    /// `compile` of scripts, `load` of libraries.
    enter: Function,
    run: Function,
    shared: Shared,
    around: Surroundings,
    stopped_at: StoppedAt,
}

/// Source and line of the last step of a script that was ended by force.
type StoppedAt = Arc<Mutex<Option<(Vec<u8>, i64)>>>;

/// How a script ended.
pub enum Ended {
    Value(Value),
    Failed(Failure),
}

/// An error that nothing in the script caught.
pub struct Failure {
    /// With its code in front.
    pub text: Vec<u8>,
    /// Source and line, if known.
    pub place: Option<(Vec<u8>, i64)>,
    /// The statistics have it already.
    pub counted: bool,
    /// The interpreter's own words, where no handler could run.
    pub bare: bool,
}

/// What runs: a compiled script or a function of a library, and how many lines its text has is known to be one.
pub struct Chunk<'c> {
    pub function: &'c Function,
    pub single_line: bool,
}

impl Vm {
    pub fn new(purpose: Purpose, around: Surroundings) -> mlua::Result<Self> {
        // Safety of the debug library: scripts never see it, the prelude keeps it to itself.
        let lua = new_interpreter(StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::DEBUG)?;
        let shared = Shared::default();
        let host = host::functions(&lua, &shared, Arc::clone(&around.clock), around.seed)?;
        let made: Table = lua.load(PRELUDE).set_name("=prelude").call((host, purpose.chunk_name()))?;
        let enter = made.raw_get(if purpose == Purpose::Scripts { "compile" } else { "load" })?;
        Ok(Self { enter, run: made.raw_get("run")?, lua, shared, around, stopped_at: StoppedAt::default() })
    }

    /// Has the script that is about to run looked after. Removing the hook of one run removes it for all later ones.
    fn watch(&self) -> mlua::Result<()> {
        let (control, clock) = (Arc::clone(&self.around.control), Arc::clone(&self.around.clock));
        let stopped_at = Arc::clone(&self.stopped_at);
        *stopped_at.lock() = None;
        self.lua.set_global_hook(HookTriggers::new().every_nth_instruction(HOOK_INSTRUCTIONS), move |lua, _| {
            if control.should_stop(clock.monotonic()) {
                return end_by_force(lua, "Script killed by user with SCRIPT KILL...", &stopped_at);
            }
            Ok(VmState::Continue)
        })
    }

    /// As [`Vm::watch`], for the loading of a library. `timed`: it may not take long.
    fn watch_loading(&self, timed: bool) -> mlua::Result<()> {
        let (clock, stopped_at) = (Arc::clone(&self.around.clock), Arc::clone(&self.stopped_at));
        let began = clock.monotonic();
        self.lua.set_global_hook(HookTriggers::new().every_nth_instruction(HOOK_INSTRUCTIONS), move |lua, _| {
            if timed && clock.monotonic().saturating_sub(began) > LOAD_TIME_MAX {
                return end_by_force(lua, "FUNCTION LOAD timeout", &stopped_at);
            }
            Ok(VmState::Continue)
        })
    }

    /// Compiles a script; the error is the compiler's.
    pub fn compile(&self, text: &[u8]) -> mlua::Result<Result<Function, Vec<u8>>> {
        let (function, failure): (Option<Function>, Option<mlua::LuaString>) =
            self.enter.call(self.lua.create_string(text)?)?;
        Ok(function.ok_or_else(|| failure.map(|text| text.as_bytes().to_vec()).unwrap_or_default()))
    }

    /// Runs the body of a library; what it registered, or the text of the error, without a code.
    pub fn load_library(&self, body: &[u8], timed: bool) -> mlua::Result<Result<Vec<Registered>, Vec<u8>>> {
        self.shared.registered.lock().clear();
        self.watch_loading(timed)?;
        let text = self.lua.create_string(body)?;
        let outcome = self.limited(|| self.enter.call::<(bool, Option<mlua::LuaString>, bool)>(text));
        self.lua.remove_hook();
        let registered = std::mem::take(&mut *self.shared.registered.lock());
        let (fine, failure, compiling) = match outcome {
            Ok((fine, failure, compiling)) => (fine, failure.map(|text| text.as_bytes().to_vec()), compiling),
            // Ended by force.
            Err(error) => (false, Some(Thrown::of(&error).text().to_vec()), false),
        };
        if fine {
            return Ok(Ok(registered));
        }
        let what: &[u8] = if compiling { b"Error compiling function: " } else { b"Error registering functions: " };
        let failure = failure.unwrap_or(b"ERR unknown error".to_vec());
        Ok(Err([what, &failure].concat()))
    }

    /// Runs something of Lua's under the limit of memory. Outside of it, what the host allocates in the interpreter
    /// is bounded by the host, and spared the protection that a limit needs.
    fn limited<R>(&self, run: impl FnOnce() -> mlua::Result<R>) -> mlua::Result<R> {
        self.lua.set_memory_limit(self.around.memory_max)?;
        let outcome = run();
        self.lua.set_memory_limit(0)?;
        outcome
    }

    /// Runs a compiled script or a function. `perform` executes its commands.
    pub fn run(
        &self,
        chunk: &Chunk<'_>,
        keys: &[&[u8]],
        args: &[&[u8]],
        perform: &mut Perform<'_>,
    ) -> mlua::Result<Ended> {
        self.watch()?;
        self.shared.protocol.store(2, Ordering::Relaxed);
        self.shared.logged.store(true, Ordering::Relaxed);
        let (keys, args) = (self.strings(keys)?, self.strings(args)?);
        let outcome = self.lua.scope(|scope| {
            let (memory_max, asked) = (self.around.memory_max, Arc::clone(&self.shared.asked));
            let performer = scope.create_function_mut(move |lua, ()| {
                let Some((ask, argv)) = asked.lock().take() else { return Ok((Value::Nil, false)) };
                lua.set_memory_limit(0)?;
                let answer = perform(lua, ask, argv);
                lua.set_memory_limit(memory_max)?;
                answer
            })?;
            *self.shared.performer.lock() = Some(performer);
            let call = || self.run.call::<(bool, Value)>((chunk.function, keys, args, chunk.single_line));
            let outcome = self.limited(call);
            *self.shared.performer.lock() = None;
            outcome
        });
        self.lua.remove_hook();
        if self.lua.used_memory() > self.around.memory_max / 2 {
            // The interpreter collects by how much it had before, and knows nothing of the limit.
            self.lua.gc_collect()?;
        }
        Ok(match outcome {
            Ok((true, value)) => Ended::Value(value),
            Ok((false, failure)) => Ended::Failed(failed(&failure)),
            Err(error) => {
                let text = Thrown::of(&error).coded();
                Ended::Failed(Failure { text, place: self.stopped_at.lock().take(), counted: false, bare: false })
            }
        })
    }

    /// What the running script has asked of its host, see [`Shared`].
    pub fn shared(&self) -> Shared {
        self.shared.clone()
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
    // A panic of the host is not for scripts to catch.
    let options = LuaOptions::new().catch_rust_panics(false);
    // SAFETY: only the prelude holds the debug library, and it calls nothing but getinfo.
    Ok(unsafe { Lua::unsafe_new_with(libraries, options) })
}

/// From now on at every step, so that a pcall around the failing call does not save the script. `at`: where it was last.
fn end_by_force(lua: &Lua, text: &'static str, at: &StoppedAt) -> mlua::Result<VmState> {
    note_place(lua, at);
    let at = Arc::clone(at);
    lua.set_hook(HookTriggers::new().every_nth_instruction(1), move |lua, _| {
        note_place(lua, &at);
        Err(Thrown::table(text))
    })?;
    Err(Thrown::table(text))
}

/// Notes where the script is: in its innermost function that is not one of the prelude.
fn note_place(lua: &Lua, at: &StoppedAt) {
    let place_at = |level| {
        lua.inspect_stack(level, |debug| {
            let source = debug.source().source?;
            let line = debug.current_line()?;
            source.starts_with("@user_").then(|| (source.as_bytes().to_vec(), line as i64))
        })
    };
    // None at all: the stack ends here.
    let place = (0..).map_while(place_at).flatten().next();
    if place.is_some() {
        *at.lock() = place;
    }
}

/// What the prelude's handler made of an error; where no handler could run, the interpreter's own text.
fn failed(failure: &Value) -> Failure {
    let Value::Table(failure) = failure else {
        let text = match failure {
            Value::String(text) => text.as_bytes().to_vec(),
            _ => b"execution failure".to_vec(),
        };
        return Failure { text, place: None, counted: false, bare: true };
    };
    let text = match failure.raw_get::<Value>("err") {
        Ok(Value::String(text)) => text.as_bytes().to_vec(),
        Ok(number @ (Value::Integer(_) | Value::Number(_))) => super::arguments::number_text(&number),
        _ => b"ERR unknown error".to_vec(),
    };
    let source = failure.raw_get::<mlua::LuaString>("source").map(|source| source.as_bytes().to_vec());
    let place = source.ok().zip(failure.raw_get::<i64>("line").ok());
    let counted = failure.raw_get::<bool>(super::thrown::COUNTED).unwrap_or(false);
    Failure { text, place, counted, bare: false }
}

/// Lower-case hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The identity of a script.
pub fn sha1_hex(text: &[u8]) -> String {
    hexadecimal(&Sha1::digest(text))
}
