//! Applying the log again: the same handlers, without clock, log or connections.
//!
//! Invariant: replay deletes nothing that the log does not delete, whatever the time is. The time that commands see is
//! that of the log.

use super::acl::{DEFAULT_USER, User};
use super::ahead::{AHEAD_MAX, Wanted};
use super::client::{Client, ConnectionInfo};
use super::execute::call;
use super::outbox::{NoWake, Outbox};
use super::{Engine, NOBODY};
use crate::command::{Call, CommandError, Resolved};
use crate::env::UnixMillis;
use crate::keyspace::{Batch, Entry};
use crate::persist::Block;
use crate::resp::Reply;
use arrayvec::ArrayVec;
use std::sync::Arc;

/// Applies commands and base keys to an engine that serves nobody yet.
pub struct Replaying<'e> {
    engine: &'e mut Engine,
    db: u32,
    commands: u64,
    /// When the commands being applied were logged, as far as is known: the time for what remembers one.
    logged_at: UnixMillis,
    /// Commands met lately, by their names as they are written.
    known: [Option<(ArrayVec<u8, NAME_MAX>, Resolved)>; KNOWN],
}

/// How many commands met lately are known, and how long their names are at most.
const KNOWN: usize = 32;
const NAME_MAX: usize = 24;

impl Engine {
    /// Begins a replay; it ends when the guard is dropped.
    pub fn replay(&mut self) -> Replaying<'_> {
        let outbox = Arc::new(Outbox::new(Box::new(NoWake)));
        let anybody = Arc::new(User::unrestricted(DEFAULT_USER, &self.parts.table));
        self.parts.clients.insert(Client::new(NOBODY, ConnectionInfo::default(), outbox, anybody, UnixMillis(0)));
        self.turn.replaying = true;
        self.look_at_clock();
        Replaying { engine: self, db: 0, commands: 0, logged_at: UnixMillis(0), known: [const { None }; KNOWN] }
    }
}

impl Replaying<'_> {
    /// Says when the commands that follow were logged.
    pub fn logged_at(&mut self, time: Option<UnixMillis>) {
        self.logged_at = time.unwrap_or(self.logged_at);
    }

    /// Applies one command of the log. MULTI and EXEC mark units, which whoever replays hands over whole: they do
    /// nothing here.
    ///
    /// # Errors
    /// When there is no such command or database: the log holds what this version does not know. The error of a known
    /// command is part of history (it was the reply then) and none here.
    pub fn command(&mut self, argv: &[&[u8]]) -> Result<(), CommandError> {
        self.apply(argv, None)
    }

    fn apply(&mut self, argv: &[&[u8]], known: Option<Resolved>) -> Result<(), CommandError> {
        let Some(name) = argv.first() else { return Ok(()) };
        if name.eq_ignore_ascii_case(b"select") {
            let index = argv.get(1).and_then(|word| crate::command::parse_i64(word));
            return self.select(index.and_then(|index| u32::try_from(index).ok()).unwrap_or(u32::MAX));
        }
        if name.eq_ignore_ascii_case(b"multi") || name.eq_ignore_ascii_case(b"exec") {
            return Ok(());
        }
        let resolved = known.map_or_else(|| self.engine.parts.table.resolve(argv), Ok)?;
        self.engine.turn.begin(self.logged_at, 0);
        self.engine.turn.may_block = false;
        self.engine.reply.clear();
        let mut cx = self.engine.nobody(self.db);
        call(&mut cx, resolved, Call { argv, raw: None });
        // What a library has lost is not to be seen from its calls alone, which fail one by one and later.
        if resolved.parent.is_some_and(|parent| parent.name == "function")
            && let Some(error) = self.engine.reply.as_bytes().strip_prefix(b"-")
        {
            tracing::warn!("FUNCTION in the log: {}", String::from_utf8_lossy(error).trim_end());
        }
        self.engine.parts.outgoing.clear();
        self.engine.parts.outgoing_last.clear();
        self.commands += 1;
        Ok(())
    }

    /// The command of this name, where it is one that an ordinary call names by its first word alone.
    fn known(&mut self, name: &[u8]) -> Option<Resolved> {
        let (first, last) = (*name.first()?, *name.last()?);
        let place = &mut self.known[(usize::from(first) + 5 * usize::from(last) + name.len()) % KNOWN];
        if let Some((known, resolved)) = place
            && known.as_slice() == name
        {
            return Some(*resolved);
        }
        let resolved = self.engine.parts.table.find(name).filter(|found| found.command.subcommands.is_empty())?;
        *place = Some((ArrayVec::try_from(name).ok()?, resolved));
        Some(resolved)
    }

    /// Applies the commands of a block: what several look up is fetched together before they run.
    ///
    /// # Errors
    /// As for [`Replaying::command`]; with the command, of which none behind it is applied.
    pub fn block(&mut self, block: &Block) -> Result<(), (usize, CommandError)> {
        self.logged_at(block.time);
        let mut argv = Vec::new();
        for first in (0..block.len()).step_by(AHEAD_MAX) {
            let window = first..block.len().min(first + AHEAD_MAX);
            let known: ArrayVec<Option<Resolved>, AHEAD_MAX> =
                window.clone().map(|command| self.known(block.word(command, 0)?)).collect();
            let calls = window.clone().zip(&known).filter_map(|(command, known)| {
                Wanted::by((*known)?, block.word_count(command), |at| block.word(command, at))
            });
            self.engine.fetch(self.db, calls);
            for (command, known) in window.zip(known) {
                block.fill(command, &mut argv);
                let known = known.filter(|known| known.command.arity_fits(argv.len()));
                self.apply(&argv, known).map_err(|error| (command, error))?;
            }
        }
        Ok(())
    }

    /// # Errors
    /// When there is no such database.
    pub fn select(&mut self, db: u32) -> Result<(), CommandError> {
        if db >= self.engine.store.len() {
            return Err(CommandError::DB_OUT_OF_RANGE);
        }
        self.db = db;
        if let Some(client) = self.engine.parts.clients.get_mut(NOBODY) {
            client.db = db;
        }
        Ok(())
    }

    /// Makes room for so many keys of a base.
    ///
    /// # Errors
    /// When there is no such database.
    pub fn expect(&mut self, db: u32, keys: u64) -> Result<(), CommandError> {
        self.select(db)?;
        self.engine.store.db_mut(db).reserve(usize::try_from(keys).unwrap_or(usize::MAX));
        Ok(())
    }

    /// Puts keys of a base, due or not. Gives back one that the database holds already, which a sound base never has.
    ///
    /// # Errors
    /// When there is no such database.
    pub fn keys(&mut self, db: u32, batch: Batch) -> Result<Result<(), Entry>, CommandError> {
        self.select(db)?;
        Ok(self.engine.store.db_mut(db).load(batch, 0))
    }

    /// Loads a library of functions of a base.
    ///
    /// # Errors
    /// When it cannot be loaded, or is there already.
    pub fn library(&mut self, text: &[u8]) -> Result<(), CommandError> {
        self.engine.parts.load_library(text)
    }

    /// Commands applied so far.
    pub fn commands(&self) -> u64 {
        self.commands
    }

    /// Whether the command of this name exists.
    pub fn knows(&self, name: &[u8]) -> bool {
        self.engine.parts.table.find(name).is_some()
    }
}

impl Drop for Replaying<'_> {
    fn drop(&mut self) {
        self.engine.parts.clients.remove(NOBODY);
        self.engine.turn.replaying = false;
        self.engine.turn.begin(UnixMillis(0), 1);
        self.engine.parts.stats.reset();
        self.engine.parts.stats.dirty = 0;
        let protocol = self.engine.reply.protocol();
        self.engine.reply = Reply::taking_runs(protocol);
    }
}
