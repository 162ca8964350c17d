//! A selector: commands, keys and channels that go together. A user has one of its own and any number in parentheses;
//! a call is allowed when one of them allows all of it.
//!
//! Invariant: `rules` made the bits of `allowed` and the first arguments, so applying them again in order makes the same.

use super::rules::{RuleError, has_spaces};
use crate::command::{Command, CommandTable, Resolved};
use std::collections::BTreeMap;

/// Categories in the order of ACL CAT.
pub const CATEGORIES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// See the module's header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Every command, those that come to be known later too.
    pub(super) all_commands: bool,
    /// The rules begin with every command, and take some away.
    begins_with_all: bool,
    pub(super) allowed: CommandSet,
    /// By command: first arguments with which it is allowed though it is not allowed as a whole.
    pub(super) first_arguments: BTreeMap<usize, Vec<Vec<u8>>>,
    /// Rules about commands behind the first `+@all` or `-@all`, in the order in which they count.
    rules: Vec<CommandRule>,
    pub(super) all_keys: bool,
    pub(super) keys: Vec<KeyPattern>,
    pub(super) all_channels: bool,
    pub(super) channels: Vec<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct CommandRule {
    allow: bool,
    /// Lower case: a command, `command|subcommand`, `command|argument` or `@category`.
    name: Vec<u8>,
}

/// A pattern and what may be done with keys that match it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPattern {
    pub pattern: Vec<u8>,
    pub read: bool,
    pub write: bool,
}

/// Commands by their statistics index; the last word is not zero, so that equal sets are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandSet(Vec<u64>);

impl CommandSet {
    fn all(count: usize) -> Self {
        let mut set = Self(vec![0; count.div_ceil(64)]);
        (0..count).for_each(|index| set.set(index, true));
        set
    }

    pub fn has(&self, index: usize) -> bool {
        self.0.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    fn set(&mut self, index: usize, allow: bool) {
        if self.0.len() <= index / 64 {
            self.0.resize(index / 64 + 1, 0);
        }
        let bit = 1 << (index % 64);
        if allow {
            self.0[index / 64] |= bit;
        } else {
            self.0[index / 64] &= !bit;
        }
        let used = self.0.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        self.0.truncate(used);
    }
}

impl KeyPattern {
    /// `~pattern`, or `%R~pattern` with its permissions.
    fn parse(rule: &[u8]) -> Result<Self, RuleError> {
        let (mut read, mut write) = (false, false);
        let pattern = match rule.strip_prefix(b"~") {
            Some(pattern) => {
                (read, write) = (true, true);
                pattern
            }
            None => {
                let mut rest = rule.get(1..).unwrap_or_default();
                loop {
                    match rest {
                        [b'R' | b'r', tail @ ..] if !read => (read, rest) = (true, tail),
                        [b'W' | b'w', tail @ ..] if !write => (write, rest) = (true, tail),
                        [b'~', tail @ ..] => break tail,
                        [] => break rest,
                        _ => return Err(RuleError::Syntax),
                    }
                }
            }
        };
        if !(read || write) || has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        Ok(Self { pattern: pattern.to_vec(), read, write })
    }

    fn describe(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(match (self.read, self.write) {
            (true, true) => b"~",
            (true, false) => b"%R~",
            _ => b"%W~",
        });
        out.extend_from_slice(&self.pattern);
    }
}

impl Selector {
    /// Nothing is allowed, but channels where `acl-pubsub-default` says so.
    pub fn new(all_channels: bool) -> Self {
        Self { all_channels, ..Self::default() }
    }

    /// Everything is allowed.
    pub fn is_unrestricted(&self) -> bool {
        self.all_commands && self.all_keys && self.all_channels
    }

    /// Applies one rule about commands, keys or channels.
    ///
    /// # Errors
    /// The rule says nothing that is known; then nothing has changed.
    pub fn apply(&mut self, rule: &[u8], table: &CommandTable) -> Result<(), RuleError> {
        match rule.to_ascii_lowercase().as_slice() {
            b"allkeys" | b"~*" => {
                self.all_keys = true;
                self.keys.clear();
                return Ok(());
            }
            b"resetkeys" => {
                self.all_keys = false;
                self.keys.clear();
                return Ok(());
            }
            b"allchannels" | b"&*" => {
                self.all_channels = true;
                self.channels.clear();
                return Ok(());
            }
            b"resetchannels" => {
                self.all_channels = false;
                self.channels.clear();
                return Ok(());
            }
            b"allcommands" | b"+@all" => {
                self.reset_commands(true);
                self.allowed = CommandSet::all(table.all().len());
                return Ok(());
            }
            b"nocommands" | b"-@all" => {
                self.reset_commands(false);
                self.allowed = CommandSet::default();
                return Ok(());
            }
            _ => {}
        }
        match rule {
            [b'~' | b'%', ..] => self.add_key_pattern(rule),
            [b'&', pattern @ ..] => self.add_channel(pattern),
            [sign @ (b'+' | b'-'), category @ ..] if category.starts_with(b"@") => {
                self.change_category(category, *sign == b'+', table)
            }
            [b'+', name @ ..] => self.allow_command(name, table),
            [b'-', name @ ..] => {
                let command = declared(table, name).ok_or(RuleError::UnknownCommand)?;
                self.change_command(command, false, table);
                self.note_rule(command.full_name().as_bytes(), false);
                Ok(())
            }
            _ => Err(RuleError::Syntax),
        }
    }

    fn reset_commands(&mut self, all: bool) {
        self.all_commands = all;
        self.begins_with_all = all;
        self.first_arguments.clear();
        self.rules.clear();
    }

    fn add_key_pattern(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        if self.all_keys {
            return Err(RuleError::PatternAfterAllKeys);
        }
        let added = KeyPattern::parse(rule)?;
        match self.keys.iter_mut().find(|known| known.pattern == added.pattern) {
            Some(known) => {
                known.read |= added.read;
                known.write |= added.write;
            }
            None => self.keys.push(added),
        }
        Ok(())
    }

    fn add_channel(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_channels {
            return Err(RuleError::PatternAfterAllChannels);
        }
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        if !self.channels.iter().any(|known| known == pattern) {
            self.channels.push(pattern.to_vec());
        }
        Ok(())
    }

    fn change_category(&mut self, category: &[u8], allow: bool, table: &CommandTable) -> Result<(), RuleError> {
        let known = CATEGORIES.iter().find(|known| category[1..].eq_ignore_ascii_case(known.as_bytes()));
        let known = known.ok_or(RuleError::UnknownCommand)?;
        for resolved in table.all() {
            if resolved.command.categories().contains(known) {
                self.change_command(*resolved, allow, table);
            }
        }
        self.note_rule(category, allow);
        Ok(())
    }

    fn allow_command(&mut self, name: &[u8], table: &CommandTable) -> Result<(), RuleError> {
        let Some(bar) = name.iter().rposition(|byte| *byte == b'|') else {
            let command = declared(table, name).ok_or(RuleError::UnknownCommand)?;
            self.change_command(command, true, table);
            self.note_rule(command.full_name().as_bytes(), true);
            return Ok(());
        };
        let (container, sub) = (&name[..bar], &name[bar + 1..]);
        let container = declared(table, container).ok_or(RuleError::UnknownCommand)?;
        if container.parent.is_some() {
            return Err(RuleError::FirstArgumentOfSubcommand);
        }
        if sub.is_empty() {
            return Err(RuleError::Syntax);
        }
        if container.command.subcommands.is_empty() {
            let words = self.first_arguments.entry(container.index).or_default();
            if !words.iter().any(|known| known.eq_ignore_ascii_case(sub)) {
                words.push(sub.to_vec());
            }
        } else {
            let command = declared(table, name).ok_or(RuleError::UnknownCommand)?;
            self.change_command(command, true, table);
        }
        self.note_rule(name, true);
        Ok(())
    }

    /// A container stands for its subcommands too.
    fn change_command(&mut self, resolved: Resolved, allow: bool, table: &CommandTable) {
        let whole = |other: &&Resolved| {
            let within = other.parent.is_some_and(|parent| std::ptr::eq(parent, resolved.command));
            other.index == resolved.index || within
        };
        for changed in table.all().iter().filter(whole) {
            self.allowed.set(changed.index, allow);
        }
        self.first_arguments.remove(&resolved.index);
    }

    /// The latest rule about a command or category is the one that counts, and a rule about a container outdoes those
    /// about its subcommands.
    fn note_rule(&mut self, name: &[u8], allow: bool) {
        let name = name.to_ascii_lowercase();
        self.rules.retain(|rule| {
            let rest = rule.name.strip_prefix(name.as_slice());
            !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"|"))
        });
        self.rules.push(CommandRule { allow, name });
        // A rule that takes something away is outdone only by one that gives all of it back.
        self.all_commands = self.begins_with_all && self.rules.iter().all(|rule| rule.allow);
    }

    /// The rules about commands, as ACL LIST writes them.
    pub fn describe_commands(&self) -> Vec<u8> {
        let mut out = if self.begins_with_all { b"+@all".to_vec() } else { b"-@all".to_vec() };
        for rule in &self.rules {
            out.extend_from_slice(if rule.allow { b" +" } else { b" -" });
            out.extend_from_slice(&rule.name);
        }
        out
    }

    /// Key patterns, as ACL GETUSER writes them.
    pub fn describe_keys(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let mut out = Vec::new();
        for (at, key) in self.keys.iter().enumerate() {
            if at > 0 {
                out.push(b' ');
            }
            key.describe(&mut out);
        }
        out
    }

    /// Channel patterns, as ACL GETUSER writes them.
    pub fn describe_channels(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        let marked: Vec<Vec<u8>> = self.channels.iter().map(|channel| [b"&", channel.as_slice()].concat()).collect();
        marked.join(&b' ')
    }

    /// Rules that make an equal selector of a new one.
    pub fn describe(&self) -> Vec<u8> {
        let mut parts = vec![self.describe_keys()];
        if !self.all_channels {
            parts.push(b"resetchannels".to_vec());
        }
        parts.push(self.describe_channels());
        parts.push(self.describe_commands());
        parts.retain(|part| !part.is_empty());
        parts.join(&b' ')
    }
}

/// A command by its declared name, whatever `rename-command` has made of it.
fn declared(table: &CommandTable, name: &[u8]) -> Option<Resolved> {
    let mut words = name.splitn(2, |byte| *byte == b'|');
    let (first, second) = (words.next()?, words.next());
    let is = |command: &Command, word: &[u8]| command.name.as_bytes().eq_ignore_ascii_case(word);
    let found = table.all().iter().find(|resolved| match (resolved.parent, second) {
        (None, None) => is(resolved.command, first),
        (Some(parent), Some(second)) => is(parent, first) && is(resolved.command, second),
        _ => false,
    });
    found.copied()
}
