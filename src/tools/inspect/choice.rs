//! Which commands and keys are wanted.

use crate::command::{CommandTable, glob_matches};
use crate::env::UnixMillis;
use crate::persist::{Lsn, Spot};
use crate::tools::{dataset, moment};
use clap::Args;

/// The options that choose.
#[derive(Args, Debug, Default)]
pub struct Choice {
    /// Only keys that match this pattern, and commands that name one.
    #[arg(long, value_name = "GLOB")]
    pub key: Option<String>,
    /// Only this database.
    #[arg(long, value_name = "N")]
    pub db: Option<u32>,
    /// Only this command.
    #[arg(long, value_name = "NAME")]
    pub command: Option<String>,
    /// Only what begins at this position or behind it.
    #[arg(long, value_name = "LSN")]
    pub from_lsn: Option<u64>,
    /// Only what begins before this position.
    #[arg(long, value_name = "LSN")]
    pub to_lsn: Option<u64>,
    /// Only what was logged at this time or later (RFC 3339, or seconds since 1970).
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    pub from_time: Option<UnixMillis>,
    /// Only what was logged before this time.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    pub to_time: Option<UnixMillis>,
}

impl Choice {
    /// Whether something is asked of a log that keys do not have.
    pub fn is_of_log(&self) -> bool {
        self.has_range() || self.command.is_some()
    }

    fn has_range(&self) -> bool {
        self.from_lsn.is_some() || self.to_lsn.is_some() || self.from_time.is_some() || self.to_time.is_some()
    }

    /// # Errors
    /// What cannot be meant.
    pub fn makes_sense(&self) -> Result<(), String> {
        fn is_backwards<T: PartialOrd>(range: (Option<T>, Option<T>)) -> bool {
            range.0.zip(range.1).is_some_and(|(from, to)| to < from)
        }
        if is_backwards((self.from_lsn, self.to_lsn)) || is_backwards((self.from_time, self.to_time)) {
            return Err("the range that is asked for ends before it begins".into());
        }
        match &self.command {
            Some(name) if CommandTable::new(&dataset::families()).find(name.as_bytes()).is_none() => {
                Err(format!("there is no command '{}'", name.escape_default()))
            }
            _ => Ok(()),
        }
    }

    pub fn prepared(&self) -> Chosen {
        let Self { key, db, command, from_lsn, to_lsn, from_time, to_time } = self;
        Chosen {
            key: key.clone().map(String::into_bytes),
            db: *db,
            command: command.clone().map(String::into_bytes),
            lsn: (from_lsn.map(Lsn), to_lsn.map(Lsn)),
            time: (*from_time, *to_time),
            table: Some(CommandTable::new(&dataset::families())),
        }
    }
}

/// See [`Choice`].
pub struct Chosen {
    key: Option<Vec<u8>>,
    db: Option<u32>,
    command: Option<Vec<u8>>,
    lsn: (Option<Lsn>, Option<Lsn>),
    time: (Option<UnixMillis>, Option<UnixMillis>),
    /// Tells which words are keys.
    table: Option<CommandTable>,
}

impl Chosen {
    pub fn keys_only(&mut self) {
        self.table = None;
    }

    /// Whether a place is within the ranges; what has no position or time is in none of them.
    pub fn is_within(&self, lsn: Option<Lsn>, time: Option<UnixMillis>) -> bool {
        fn within<T: PartialOrd + Copy>(value: Option<T>, range: (Option<T>, Option<T>)) -> bool {
            let (from, to) = range;
            (from.is_none() && to.is_none())
                || value.is_some_and(|value| from.is_none_or(|from| value >= from) && to.is_none_or(|to| value < to))
        }
        within(lsn, self.lsn) && within(time, self.time)
    }

    /// Whether everything from here on is behind the ranges: positions only grow.
    pub fn is_behind(&self, lsn: Option<Lsn>) -> bool {
        matches!((lsn, self.lsn.1), (Some(lsn), Some(to)) if lsn >= to)
    }

    pub fn takes_db(&self, db: u32) -> bool {
        self.db.is_none_or(|wanted| wanted == db)
    }

    pub fn takes_key(&self, db: u32, key: &[u8]) -> bool {
        self.takes_db(db) && self.matches(key)
    }

    fn matches(&self, key: &[u8]) -> bool {
        self.key.as_ref().is_none_or(|pattern| pattern == b"*" || glob_matches(pattern, key))
    }

    pub fn takes_command(&self, spot: &Spot<'_>, words: &[&[u8]]) -> bool {
        let named = self.command.as_ref().is_none_or(|name| words[0].eq_ignore_ascii_case(name));
        named
            && self.takes_db(spot.db)
            && self.is_within(spot.lsn, spot.time)
            && (self.key.is_none() || self.keys(words).any(|key| self.matches(key)))
    }

    /// Whether nothing is chosen among the commands of a frame.
    pub fn takes_every_command(&self) -> bool {
        self.key.is_none() && self.command.is_none() && self.db.is_none()
    }

    /// The keys that a command names.
    pub fn keys<'w>(&self, words: &'w [&'w [u8]]) -> impl Iterator<Item = &'w [u8]> + use<'w> {
        let resolved = self.table.as_ref().and_then(|table| table.named(words));
        let found = resolved.and_then(|resolved| resolved.command.keys_of_call(words)).unwrap_or_default();
        found.into_iter().filter_map(|(at, _)| words.get(at).copied())
    }
}
