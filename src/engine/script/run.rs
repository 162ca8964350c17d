//! Running a script or a function: what must hold before it may begin, the run itself as one turn, and its reply.
//!
//! Invariant: commands of a script run without anything between them, and nothing of them is logged unless all that
//! ran is.

use super::control::What;
use super::host::Ask;
use super::perform::{Rules, may_call, perform};
use super::shebang::ScriptFlags;
use super::vm::{Chunk, Ended, Failure, Purpose, Surroundings, Vm};
use super::{Scripts, convert};
use crate::command::{CommandError, Cx, quoted};
use crate::engine::execute::capture;
use crate::engine::parts::Parts;
use crate::resp::{Protocol, ReplyValue};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Words of a call.
pub type Words<'a> = &'a [&'a [u8]];

/// One call of a script or function.
pub struct Run<'r> {
    pub chunk: Chunk<'r>,
    /// What errors name it by: its SHA-1, or the function's name.
    pub name: &'r str,
    pub what: What,
    pub purpose: Purpose,
    /// `None`: it declared none.
    pub flags: Option<ScriptFlags>,
    /// By a `_RO` command.
    pub read_only: bool,
    pub keys: Words<'r>,
    pub args: Words<'r>,
}

pub fn interpreter(error: mlua::Error) -> CommandError {
    CommandError::new(format!("ERR {}", error.to_string().lines().next().unwrap_or("interpreter failed")))
}

impl Scripts {
    /// The interpreter of a purpose, taken out; made when it is first needed.
    pub(super) fn take_vm(&mut self, purpose: Purpose, around: Surroundings) -> Result<Vm, CommandError> {
        match self.vm_mut(purpose).take() {
            Some(vm) => Ok(vm),
            None => Vm::new(purpose, around).map_err(interpreter),
        }
    }

    pub(super) fn vm_mut(&mut self, purpose: Purpose) -> &mut Option<Vm> {
        match purpose {
            Purpose::Scripts => &mut self.scripts_vm,
            Purpose::Functions => &mut self.functions_vm,
        }
    }
}

impl Parts {
    /// What an interpreter needs of the engine.
    pub(super) fn surroundings(&mut self) -> Surroundings {
        Surroundings {
            clock: Arc::clone(&self.clock),
            control: self.scripts.control(),
            seed: self.entropy.next_u64() as i32,
            memory_max: self.settings.script_bytes_max,
        }
    }
}

/// What must hold before a script that declared its flags begins.
fn admit(cx: &mut Cx<'_>, flags: Option<ScriptFlags>, read_only: bool) -> Result<Rules, CommandError> {
    let Some(flags) = flags else { return Ok(Rules { read_only, may_grow: false }) };
    if !flags.has(ScriptFlags::NO_WRITES) {
        if let Some(doubt) = &cx.turn.doubt {
            return Err(CommandError::new(doubt.clone()));
        }
        if read_only {
            return Err(CommandError::fixed("ERR Can not execute a script with write flag using *_ro command."));
        }
    }
    let may_grow = flags.has(ScriptFlags::ALLOW_OOM) || flags.has(ScriptFlags::NO_WRITES);
    if !may_grow && Parts::of(cx).memory_exhausted() {
        // In stock a call by itself is refused before the script is looked at, one within EXEC by the script.
        return Err(if cx.turn.may_block {
            CommandError::OUT_OF_MEMORY
        } else {
            CommandError::fixed(
                "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
            )
        });
    }
    Ok(Rules { read_only: read_only || flags.has(ScriptFlags::NO_WRITES), may_grow })
}

/// Runs it; its reply goes into `cx.reply`.
pub fn run(cx: &mut Cx<'_>, call: Run<'_>) -> Result<(), CommandError> {
    let mut rules = admit(cx, call.flags, call.read_only)?;
    let (client, db) = (cx.client, cx.db);
    let parts = Parts::of(cx);
    let around = parts.surroundings();
    let vm = parts.scripts.take_vm(call.purpose, around)?;
    let (control, clock) = (parts.scripts.control(), Arc::clone(&parts.clock));
    control.begin(call.what, clock.monotonic(), parts.settings.busy_reply_threshold);
    cx.log_nothing();
    if call.purpose == Purpose::Functions {
        // The function itself came with a write.
        cx.reads_all();
    }
    let could_block = std::mem::replace(&mut cx.turn.may_block, false);
    let was_in_script = std::mem::replace(&mut cx.turn.in_script, true);
    let shared = vm.shared();
    let ended = vm.run(&call.chunk, call.keys, call.args, &mut |lua, ask, argv| {
        let resp3 = shared.protocol.load(Ordering::Relaxed) == 3;
        let protocol = if resp3 { Protocol::Resp3 } else { Protocol::Resp2 };
        let dirty = cx.turn.dirty;
        let reply = capture(cx, protocol, |cx| match argv {
            Ok(argv) if ask == Ask::MayCall => may_call(cx, &argv),
            Ok(argv) => rules.may_grow |= perform(cx, &argv, rules, shared.logged.load(Ordering::Relaxed)),
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
    let resp3 = shared.protocol.load(Ordering::Relaxed) == 3;
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
    *parts.scripts.vm_mut(call.purpose) = Some(vm);
    match ended.map_err(interpreter)? {
        Ended::Value(value) => match convert::returned_error(&value) {
            Some((text, counted)) => fail(&text, counted),
            None => {
                convert::lua_to_reply(&value, resp3, cx.reply);
                Ok(())
            }
        },
        Ended::Failed(Failure { text, place, counted, bare }) => {
            let mut text = convert::status_line(&text);
            if bare {
                text.splice(..0, format!("ERR Error running script {}, ", call.name).into_bytes());
            }
            if let Some((source, line)) = place {
                text.extend_from_slice(format!(" script: {}, on ", call.name).as_bytes());
                text.extend_from_slice(&source);
                text.extend_from_slice(format!(":{line}.").as_bytes());
            }
            fail(&text, counted)
        }
    }
}

/// The script's error as its command's; one that a command inside it gave is counted there.
fn fail(text: &[u8], counted: bool) -> Result<(), CommandError> {
    let error = CommandError::new(quoted(text));
    Err(if counted { error.counted() } else { error })
}
