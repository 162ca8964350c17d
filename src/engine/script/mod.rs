//! Scripts and functions: EVAL and its kin, FCALL and its libraries, on a Lua interpreter for each of the two.

mod arguments;
mod cache;
mod control;
mod convert;
mod eval;
mod function;
mod host;
mod library;
mod number;
mod perform;
mod run;
mod shebang;
mod thrown;
mod vm;

pub use control::{Control, KillBy};
pub use vm::hexadecimal;

use crate::command::Command;
use cache::ScriptCache;
use function::Libraries;
use std::sync::Arc;
use vm::Vm;

/// Families of commands of this room.
pub(super) static FAMILIES: [&[Command]; 2] = [eval::COMMANDS, function::COMMANDS];

/// Known scripts, loaded libraries, and the interpreters, each made when it is first needed.
#[derive(Default)]
pub struct Scripts {
    cache: ScriptCache,
    libraries: Libraries,
    scripts_vm: Option<Vm>,
    functions_vm: Option<Vm>,
    control: Arc<Control>,
}

/// What scripts and functions take, in bytes and in numbers, as INFO shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScriptMemory {
    /// Of the interpreter of scripts.
    pub scripts_vm: usize,
    /// Of the interpreter of functions.
    pub functions_vm: usize,
    /// Of the scripts' texts and the means to find them.
    pub scripts: usize,
    /// Of the libraries' texts and the means to find their functions.
    pub functions: usize,
    pub cached_scripts: usize,
    pub library_count: usize,
    pub function_count: usize,
}

impl Scripts {
    pub fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control)
    }

    pub fn memory(&self) -> ScriptMemory {
        ScriptMemory {
            scripts_vm: self.scripts_vm.as_ref().map_or(0, Vm::used_bytes),
            functions_vm: self.functions_vm.as_ref().map_or(0, Vm::used_bytes),
            scripts: self.cache.used_bytes(),
            functions: self.libraries.used_bytes(),
            cached_scripts: self.cache.len(),
            library_count: self.libraries.len(),
            function_count: self.libraries.functions(),
        }
    }

    /// Texts of the libraries, for a snapshot.
    pub fn library_texts(&self) -> impl Iterator<Item = &[u8]> {
        self.libraries.iter().map(|library| &*library.text)
    }

    fn flush_scripts(&mut self) {
        self.cache = ScriptCache::default();
        self.scripts_vm = None;
    }

    /// FUNCTION STATS is answered without the engine: it must know how many there are.
    fn count_functions(&self) {
        self.control.count(self.libraries.len(), self.libraries.functions());
    }
}
