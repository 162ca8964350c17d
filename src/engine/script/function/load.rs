//! From a library's text to its functions.

use super::super::run::interpreter;
use super::super::shebang;
use super::super::vm::Purpose;
use super::libraries::{Libraries, Library};
use crate::command::{CommandError, quoted};
use crate::engine::parts::Parts;

impl Parts {
    /// Loads a library of a base.
    pub(in crate::engine) fn load_library(&mut self, text: &[u8]) -> Result<(), CommandError> {
        let mut libraries = std::mem::take(&mut self.scripts.libraries);
        let loaded = self.load_into(&mut libraries, text, false, false);
        self.scripts.libraries = libraries;
        self.scripts.count_functions();
        loaded.map(|_| ())
    }

    /// Puts libraries of these texts beside those that are there (`keep`; `replace`: in the place of those of the same
    /// names), or in the place of them all.
    ///
    /// # Errors
    /// Why one of them cannot be loaded: nothing has changed then.
    pub fn put_libraries(&mut self, texts: &[Vec<u8>], keep: bool, replace: bool) -> Result<(), CommandError> {
        let mut fresh = Libraries::default();
        for text in texts {
            self.load_into(&mut fresh, text, false, false)?;
        }
        let libraries = &mut self.scripts.libraries;
        if keep {
            libraries.join(fresh, replace).map_err(|reason| CommandError::new(format!("ERR {reason}")))?;
        } else {
            *libraries = fresh;
        }
        self.scripts.count_functions();
        Ok(())
    }

    /// Runs a library's body and adds what it registers to `libraries`; its name. `timed`: it may not take long, as
    /// somebody waits for it.
    pub(super) fn load_into(
        &mut self,
        libraries: &mut Libraries,
        text: &[u8],
        replace: bool,
        timed: bool,
    ) -> Result<String, CommandError> {
        let (name, body) = shebang::of_library(text)?;
        if !replace && libraries.contains(&name) {
            return Err(CommandError::new(format!("ERR Library '{name}' already exists")));
        }
        let around = self.surroundings();
        let vm = self.scripts.take_vm(Purpose::Functions, around)?;
        let loaded = vm.load_library(body, timed);
        *self.scripts.vm_mut(Purpose::Functions) = Some(vm);
        let functions = loaded
            .map_err(interpreter)?
            .map_err(|failure| CommandError::new(format!("ERR {}", quoted(&failure).replace(['\r', '\n'], " "))))?;
        if functions.is_empty() {
            return Err(CommandError::fixed("ERR No functions registered"));
        }
        libraries
            .insert(Library { name: name.clone(), text: text.to_vec(), functions })
            .map_err(|function| CommandError::new(format!("ERR Function {function} already exists")))?;
        Ok(name)
    }
}
