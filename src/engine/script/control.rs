//! What others may see of a running script, and ask of it, without holding the engine.

use crate::command::CommandError;
use crate::resp::Reply;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Shared between the script's thread and everyone who waits for the engine.
#[derive(Default)]
pub struct Control {
    running: AtomicBool,
    /// Past its threshold: others are answered -BUSY.
    busy: AtomicBool,
    wrote: AtomicBool,
    kill: AtomicBool,
    /// Set by SHUTDOWN NOSAVE: the script ends whatever it has done.
    abandon: AtomicBool,
    started_nanos: AtomicU64,
    threshold_nanos: AtomicU64,
    on_busy: Mutex<Option<Box<dyn Fn() + Send>>>,
    what: Mutex<What>,
    libraries: AtomicU64,
    functions: AtomicU64,
}

/// What runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum What {
    #[default]
    Nothing,
    /// A script of EVAL or its kin.
    Script,
    /// A function: its name and the words of its call.
    Function { name: String, command: Vec<Vec<u8>> },
}

/// By which command a kill was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillBy {
    Script,
    Function,
}

impl Control {
    /// Called once each time a script passes its threshold: whoever waits for the engine looks again.
    pub fn on_busy(&self, notify: Box<dyn Fn() + Send>) {
        *self.on_busy.lock() = Some(notify);
    }

    pub(super) fn begin(&self, what: What, now: Duration, threshold_millis: u64) {
        *self.what.lock() = what;
        self.started_nanos.store(now.as_nanos() as u64, Ordering::Relaxed);
        let threshold = threshold_millis.saturating_mul(1_000_000);
        self.threshold_nanos.store(if threshold == 0 { u64::MAX } else { threshold }, Ordering::Relaxed);
        self.kill.store(false, Ordering::Relaxed);
        self.wrote.store(false, Ordering::Relaxed);
        self.busy.store(false, Ordering::Relaxed);
        self.running.store(true, Ordering::Release);
    }

    pub(super) fn end(&self) {
        self.running.store(false, Ordering::Release);
        self.busy.store(false, Ordering::Release);
        *self.what.lock() = What::Nothing;
    }

    pub(super) fn wrote(&self) {
        self.wrote.store(true, Ordering::Release);
    }

    /// How many libraries and functions there are, for FUNCTION STATS.
    pub(super) fn count(&self, libraries: usize, functions: usize) {
        self.libraries.store(libraries as u64, Ordering::Relaxed);
        self.functions.store(functions as u64, Ordering::Relaxed);
    }

    /// Looked at every few thousand instructions.
    pub(super) fn should_stop(&self, now: Duration) -> bool {
        let spent = (now.as_nanos() as u64).saturating_sub(self.started_nanos.load(Ordering::Relaxed));
        if spent > self.threshold_nanos.load(Ordering::Relaxed) && !self.busy.swap(true, Ordering::AcqRel) {
            tracing::warn!(
                "Slow script detected: still in execution after {} milliseconds. You can try killing the script using \
                 the {} command.",
                spent / 1_000_000,
                if matches!(*self.what.lock(), What::Function { .. }) { "FUNCTION KILL" } else { "SCRIPT KILL" }
            );
            if let Some(notify) = &*self.on_busy.lock() {
                notify();
            }
        }
        self.kill.load(Ordering::Acquire) || self.abandon.load(Ordering::Acquire)
    }

    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    /// A script runs for longer than its threshold.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    pub fn has_written(&self) -> bool {
        self.wrote.load(Ordering::Acquire)
    }

    /// The error for whoever wants to run something beside a script past its threshold.
    pub fn busy_error(&self) -> CommandError {
        match *self.what.lock() {
            What::Function { .. } => CommandError::BUSY_FUNCTION,
            _ => CommandError::BUSY,
        }
    }

    /// SCRIPT KILL and FUNCTION KILL.
    ///
    /// # Errors
    /// Nothing runs, or the other kind does, or it has written: stopping it would leave half of it done.
    pub fn kill(&self, by: KillBy) -> Result<(), CommandError> {
        if !self.running.load(Ordering::Acquire) {
            return Err(CommandError::fixed("NOTBUSY No scripts in execution right now."));
        }
        match (&*self.what.lock(), by) {
            (What::Function { .. }, KillBy::Script) => return Err(CommandError::BUSY_FUNCTION),
            (What::Script, KillBy::Function) => return Err(CommandError::BUSY),
            _ => {}
        }
        if self.has_written() {
            return Err(CommandError::fixed(
                "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait \
                 the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
            ));
        }
        self.kill.store(true, Ordering::Release);
        Ok(())
    }

    /// The reply of FUNCTION STATS.
    ///
    /// # Errors
    /// A script runs that is no function.
    pub fn write_stats(&self, now: Duration, reply: &mut Reply) -> Result<(), CommandError> {
        let what = self.what.lock().clone();
        if what == What::Script {
            return Err(CommandError::BUSY);
        }
        reply.map(2);
        reply.bulk("running_script");
        if let What::Function { name, command } = what {
            let spent = (now.as_nanos() as u64).saturating_sub(self.started_nanos.load(Ordering::Relaxed));
            reply.map(3);
            reply.bulk("name");
            reply.bulk(name);
            reply.bulk("command");
            reply.array(command.len());
            for word in command {
                reply.bulk(word);
            }
            reply.bulk("duration_ms");
            reply.int((spent / 1_000_000) as i64);
        } else {
            reply.null();
        }
        reply.bulk("engines");
        reply.map(1);
        reply.bulk("LUA");
        reply.map(2);
        reply.bulk("libraries_count");
        reply.int(self.libraries.load(Ordering::Relaxed) as i64);
        reply.bulk("functions_count");
        reply.int(self.functions.load(Ordering::Relaxed) as i64);
        Ok(())
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandon.load(Ordering::Acquire)
    }

    /// The server ends without saving.
    pub fn abandon(&self) {
        self.abandon.store(true, Ordering::Release);
    }
}
