//! The scripts known by their SHA-1.
//!
//! Invariant: of scripts that only EVAL brought, the [`EVAL_SCRIPTS_MAX`] used last are kept; what SCRIPT LOAD brought
//! stays until SCRIPT FLUSH.

use super::shebang::ScriptFlags;
use mlua::Function;
use std::collections::{BTreeMap, HashMap};

/// As in Redis 7.4 and Valkey 8.
pub const EVAL_SCRIPTS_MAX: usize = 500;

/// A script, compiled.
#[derive(Clone)]
pub struct Script {
    pub function: Function,
    /// `None`: none declared, each command is judged by itself.
    pub flags: Option<ScriptFlags>,
    pub text: Vec<u8>,
}

/// Whether a script may leave the cache by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Eval,
    Load,
}

#[derive(Default)]
pub struct ScriptCache {
    known: HashMap<String, Entry>,
    /// Scripts of EVAL by when they were used last.
    by_use: BTreeMap<u64, String>,
    uses: u64,
    bytes: usize,
}

struct Entry {
    script: Script,
    /// Its key in `by_use`; none for one that stays.
    used: Option<u64>,
}

impl ScriptCache {
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Bytes of texts and of what it takes to find them.
    pub fn used_bytes(&self) -> usize {
        self.bytes
    }

    pub fn contains(&self, sha: &str) -> bool {
        self.known.contains_key(sha)
    }

    pub fn text(&self, sha: &str) -> Option<&[u8]> {
        self.known.get(sha).map(|entry| &*entry.script.text)
    }

    /// A known script, which counts as used now.
    pub fn get(&mut self, sha: &str) -> Option<Script> {
        let entry = self.known.get_mut(sha)?;
        if let Some(used) = &mut entry.used {
            self.by_use.remove(used);
            self.uses += 1;
            *used = self.uses;
            self.by_use.insert(self.uses, sha.to_owned());
        }
        Some(entry.script.clone())
    }

    /// SCRIPT LOAD of a script that EVAL brought makes it stay.
    pub fn pin(&mut self, sha: &str) {
        if let Some(used) = self.known.get_mut(sha).and_then(|entry| entry.used.take()) {
            self.by_use.remove(&used);
        }
    }

    /// Adds a script that is not known; how many had to leave for it.
    pub fn insert(&mut self, sha: &str, script: Script, origin: Origin) -> u64 {
        let mut evicted = 0;
        let mut used = None;
        if origin == Origin::Eval {
            while self.by_use.len() >= EVAL_SCRIPTS_MAX
                && let Some((_, oldest)) = self.by_use.pop_first()
            {
                if let Some(entry) = self.known.remove(&oldest) {
                    self.bytes -= cost(&entry.script.text);
                }
                evicted += 1;
            }
            self.uses += 1;
            self.by_use.insert(self.uses, sha.to_owned());
            used = Some(self.uses);
        }
        self.bytes += cost(&script.text);
        self.known.insert(sha.to_owned(), Entry { script, used });
        evicted
    }
}

/// A text, its SHA-1 in hexadecimal, and the entry that both stand in.
fn cost(text: &[u8]) -> usize {
    const SHA_HEX: usize = 40;
    text.len() + SHA_HEX + size_of::<(String, Entry)>()
}
