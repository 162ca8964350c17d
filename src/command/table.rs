//! Finding a declaration by name.

use super::{Command, CommandError};
use crate::resp::Request;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

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
    by_name: HashMap<Name, Entry, BuildHasherDefault<NameHasher>>,
    all: Vec<Resolved>,
}

struct Entry {
    resolved: Resolved,
    subcommands: Vec<Resolved>,
}

impl CommandTable {
    /// # Panics
    /// When two declarations have one name, or one is too long: a mistake in the source.
    pub fn new(families: &[&'static [Command]]) -> Self {
        let mut table = Self { by_name: HashMap::default(), all: Vec::new() };
        for command in families.iter().flat_map(|family| family.iter()) {
            let resolved = table.number(command, None);
            let subcommands = command.subcommands.iter().map(|sub| table.number(sub, Some(command))).collect();
            let name = Name::new(command.name.as_bytes()).expect("a command's name fits");
            let previous = table.by_name.insert(name, Entry { resolved, subcommands });
            assert!(previous.is_none(), "command {} declared twice", command.name);
        }
        table
    }

    /// Gives a top-level command another name, or none (`rename-command`).
    ///
    /// # Errors
    /// There is no such command, or the new name is taken or too long.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), &'static str> {
        let from = Name::new(from).and_then(|name| self.by_name.remove(&name));
        let entry = from.ok_or("No such command in rename-command")?;
        if to.is_empty() {
            return Ok(());
        }
        match self.by_name.insert(Name::new(to).ok_or("Target command name is too long")?, entry) {
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
        self.by_name.get(&Name::new(name)?)
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

    /// The command of a request, its subcommand included; `None` where [`CommandTable::resolve`] has an error to give.
    pub fn known(&self, request: &Request) -> Option<Resolved> {
        let entry = self.entry(request.name())?;
        let resolved = match request.get(1) {
            Some(word) if !entry.subcommands.is_empty() => {
                *entry.subcommands.iter().find(|sub| word.eq_ignore_ascii_case(sub.command.name.as_bytes()))?
            }
            _ => entry.resolved,
        };
        resolved.command.arity_fits(request.len()).then_some(resolved)
    }

    /// As [`CommandTable::known`], for a request that follows one whose command was found: pipelines repeat themselves.
    pub fn known_behind(&self, request: &Request, before: &Request, command: Option<Resolved>) -> Option<Resolved> {
        match command {
            Some(same)
                if same.parent.is_none()
                    && same.command.subcommands.is_empty()
                    && request.name() == before.name()
                    && same.command.arity_fits(request.len()) =>
            {
                Some(same)
            }
            _ => self.known(request),
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

/// A command's name as it is compared: in lower case, of a fixed size.
#[derive(PartialEq, Eq)]
struct Name {
    words: [u64; 4],
    len: usize,
}

impl Name {
    /// `None` when it is longer than any command's name.
    fn new(name: &[u8]) -> Option<Self> {
        let mut lower = [0; 32];
        lower.get_mut(..name.len())?.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(lower.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Some(Self { words, len: name.len() })
    }
}

impl Hash for Name {
    /// Names come from our own table, so nobody can choose colliding ones.
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let [a, b, c, d] = self.words;
        hasher.write_u64(a ^ b.rotate_left(17) ^ c.rotate_left(31) ^ d.rotate_left(47));
    }
}

#[derive(Default)]
struct NameHasher(u64);

impl Hasher for NameHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a name is hashed as one word");
    }

    fn write_u64(&mut self, word: u64) {
        // The golden ratio's bits; the table takes both ends of the product, so the high half is folded into the low one.
        let mixed = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}
