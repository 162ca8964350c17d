//! Finding a declaration by name.

use super::{Command, CommandError};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A command found for a call.
#[derive(Clone, Copy)]
pub struct Resolved {
    pub command: &'static Command,
    /// The container, for a subcommand.
    pub parent: Option<&'static Command>,
    /// Position in statistics, dense from 0.
    pub index: usize,
}

impl Resolved {
    /// `get`, or `config|get` for a subcommand.
    pub fn full_name(&self) -> String {
        match self.parent {
            Some(parent) => format!("{}|{}", parent.name, self.command.name),
            None => self.command.name.to_owned(),
        }
    }

    /// Index of the first argument behind the names.
    pub fn first_argument(&self) -> usize {
        1 + usize::from(self.parent.is_some())
    }
}

/// All families joined.
pub struct CommandTable {
    by_name: HashMap<&'static [u8], Entry, BuildHasherDefault<NameHasher>>,
    all: Vec<Resolved>,
}

struct Entry {
    resolved: Resolved,
    subcommands: Vec<Resolved>,
}

impl CommandTable {
    /// # Panics
    /// When two declarations have one name: a mistake in the source.
    pub fn new(families: &[&'static [Command]]) -> Self {
        let mut table = Self { by_name: HashMap::default(), all: Vec::new() };
        for command in families.iter().flat_map(|family| family.iter()) {
            let resolved = table.number(command, None);
            let subcommands = command.subcommands.iter().map(|sub| table.number(sub, Some(command))).collect();
            let previous = table.by_name.insert(command.name.as_bytes(), Entry { resolved, subcommands });
            assert!(previous.is_none(), "command {} declared twice", command.name);
        }
        table
    }

    /// Gives a top-level command another name, or none (`rename-command`). The new name lives as long as the process.
    ///
    /// # Errors
    /// There is no such command, or the new name is taken.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), &'static str> {
        let entry = self.by_name.remove(from).ok_or("No such command in rename-command")?;
        if to.is_empty() {
            return Ok(());
        }
        let name: &'static [u8] = Box::leak(to.to_ascii_lowercase().into_boxed_slice());
        match self.by_name.insert(name, entry) {
            None => Ok(()),
            Some(_) => Err("Target command name already exists"),
        }
    }

    fn number(&mut self, command: &'static Command, parent: Option<&'static Command>) -> Resolved {
        let resolved = Resolved { command, parent, index: self.all.len() };
        self.all.push(resolved);
        resolved
    }

    /// Commands and subcommands, in the order of their indexes.
    pub fn all(&self) -> &[Resolved] {
        &self.all
    }

    /// Top-level commands that can be called, in the order of their indexes.
    pub fn commands(&self) -> impl Iterator<Item = &Resolved> {
        let mut commands: Vec<&Resolved> = self.by_name.values().map(|entry| &entry.resolved).collect();
        commands.sort_by_key(|resolved| resolved.index);
        commands.into_iter()
    }

    /// A command by its name as COMMAND INFO takes it: `get`, or `config|get`.
    pub fn lookup(&self, name: &[u8]) -> Option<Resolved> {
        let mut words = name.splitn(2, |byte| *byte == b'|');
        let entry = self.entry(words.next()?)?;
        match words.next() {
            None => Some(entry.resolved),
            Some(sub) => {
                entry.subcommands.iter().find(|known| sub.eq_ignore_ascii_case(known.command.name.as_bytes())).copied()
            }
        }
    }

    /// A top-level command by name, in any case.
    pub fn find(&self, name: &[u8]) -> Option<Resolved> {
        self.entry(name).map(|entry| entry.resolved)
    }

    fn entry(&self, name: &[u8]) -> Option<&Entry> {
        let mut lower = [0; 32];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.by_name.get(&*lower)
    }

    /// The command of a call, its subcommand included, whether or not the number of arguments fits.
    pub fn named(&self, argv: &[&[u8]]) -> Option<Resolved> {
        let entry = self.entry(argv.first()?)?;
        match argv.get(1) {
            Some(word) if !entry.subcommands.is_empty() => {
                entry.subcommands.iter().find(|sub| word.eq_ignore_ascii_case(sub.command.name.as_bytes())).copied()
            }
            _ => Some(entry.resolved),
        }
    }

    /// The command of a call, its subcommand included; arity is checked.
    pub fn resolve(&self, argv: &[&[u8]]) -> Result<Resolved, CommandError> {
        let Some(entry) = self.entry(argv[0]) else {
            return Err(CommandError::unknown_command(argv));
        };
        let mut resolved = entry.resolved;
        if let (false, Some(word)) = (entry.subcommands.is_empty(), argv.get(1)) {
            let found = entry.subcommands.iter().find(|sub| word.eq_ignore_ascii_case(sub.command.name.as_bytes()));
            resolved = *found.ok_or_else(|| CommandError::unknown_subcommand(resolved.command.name, word))?;
        }
        if !resolved.command.arity_fits(argv.len()) {
            return Err(CommandError::wrong_arity(&resolved.full_name()));
        }
        Ok(resolved)
    }
}

/// Eight bytes at a time: names are short and come from our own table, so nobody can choose colliding ones.
#[derive(Default)]
struct NameHasher(u64);

impl Hasher for NameHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        // The golden ratio's bits; the table takes both ends of the sum, so the high half is folded into the low one.
        let mixed = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn write_usize(&mut self, length: usize) {
        self.write_u64(length as u64);
    }
}
