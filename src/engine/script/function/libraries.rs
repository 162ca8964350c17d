//! The libraries that are loaded, and their functions by name.
//!
//! Invariant: a function name, in whatever case, belongs to one library.

use super::super::host::Registered;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A library: what it was made from, and what it registered.
pub struct Library {
    pub name: String,
    pub text: Vec<u8>,
    pub functions: Vec<Registered>,
}

#[derive(Default)]
pub struct Libraries {
    by_name: BTreeMap<String, Arc<Library>>,
    /// By name in lower case: the library, and which of its functions.
    functions: HashMap<String, (Arc<Library>, usize)>,
}

/// A function to be called.
#[derive(Clone)]
pub struct Found {
    library: Arc<Library>,
    at: usize,
}

impl Found {
    pub fn function(&self) -> &Registered {
        &self.library.functions[self.at]
    }
}

impl Libraries {
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    pub fn functions(&self) -> usize {
        self.functions.len()
    }

    /// Bytes of texts, names and descriptions, and of what it takes to find them.
    pub fn used_bytes(&self) -> usize {
        let of_function = |function: &Registered| {
            size_of::<Registered>()
                + size_of::<(String, (Arc<Library>, usize))>()
                + 2 * function.name.len()
                + function.description.as_ref().map_or(0, Vec::len)
        };
        let of_library = |library: &Arc<Library>| {
            let functions: usize = library.functions.iter().map(of_function).sum();
            size_of::<Library>() + 2 * library.name.len() + library.text.len() + functions
        };
        self.by_name.values().map(of_library).sum()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Library> {
        self.by_name.values().map(|library| &**library)
    }

    pub fn contains(&self, library: &str) -> bool {
        self.by_name.contains_key(library)
    }

    /// A function by its name in any case.
    pub fn find(&self, name: &[u8]) -> Option<Found> {
        let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
        self.functions.get(&name).map(|(library, at)| Found { library: Arc::clone(library), at: *at })
    }

    /// Adds a library, in the place of one of its name.
    ///
    /// # Errors
    /// The name of a function that another library has: nothing has changed then.
    pub fn insert(&mut self, library: Library) -> Result<(), String> {
        let taken = library.functions.iter().find(|function| {
            let other = self.functions.get(&function.name.to_ascii_lowercase());
            other.is_some_and(|(other, _)| other.name != library.name)
        });
        if let Some(function) = taken {
            return Err(function.name.clone());
        }
        self.remove(&library.name);
        let library = Arc::new(library);
        for (at, function) in library.functions.iter().enumerate() {
            // Of names that differ in case only, the first is called.
            let name = function.name.to_ascii_lowercase();
            self.functions.entry(name).or_insert_with(|| (Arc::clone(&library), at));
        }
        self.by_name.insert(library.name.clone(), library);
        Ok(())
    }

    pub fn remove(&mut self, name: &str) -> bool {
        if self.by_name.remove(name).is_none() {
            return false;
        }
        self.functions.retain(|_, (library, _)| library.name != name);
        true
    }

    /// Takes over all libraries of another set. `replace`: in the place of those of the same names.
    ///
    /// # Errors
    /// Why not: nothing has changed then.
    pub fn join(&mut self, others: Self, replace: bool) -> Result<(), String> {
        if !replace && let Some(known) = others.by_name.keys().find(|name| self.contains(name)) {
            return Err(format!("Library {known} already exists"));
        }
        for (name, (library, at)) in &others.functions {
            // A function of a library that is about to be replaced is no obstacle.
            let owner = self.functions.get(name).map(|(owner, _)| &owner.name);
            if owner.is_some_and(|owner| !others.contains(owner)) {
                return Err(format!("Function {} already exists", library.functions[*at].name));
            }
        }
        for name in others.by_name.keys() {
            self.remove(name);
        }
        self.functions.extend(others.functions);
        self.by_name.extend(others.by_name);
        Ok(())
    }
}
