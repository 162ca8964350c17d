//! Where the engine and persistence are joined: opening a data directory, and appending to its log.

use super::log::Log;
use super::replay::Replaying;
use super::{Engine, NoLog};
use crate::command::CommandError;
use crate::env::UnixMillis;
use crate::persist::{self, LogBuffer, OpenError, OpenOptions, Opened, Piece, Replay, Trouble, World};
use crate::resp::WovenSlice;
use std::sync::Arc;

impl Engine {
    /// Opens a data directory and loads what it holds; the engine must be empty. Afterwards the engine appends to the
    /// log that is returned, which its caller drives.
    ///
    /// # Errors
    /// See [`OpenError`]: nothing on disk was changed then.
    pub fn open(&mut self, world: World, options: &OpenOptions) -> Result<Opened, OpenError> {
        let opened = persist::open(world, options, &mut self.replay())?;
        match &opened.log {
            Some(log) => self.keep_log(&log.buffer),
            None => self.log = Box::new(NoLog::at(opened.report.end.0)),
        }
        Ok(opened)
    }

    /// Takes over what another engine has loaded: its data, its libraries of functions, and its log.
    ///
    /// # Errors
    /// A library cannot be loaded a second time.
    pub fn adopt(&mut self, loaded: Self) -> Result<(), CommandError> {
        let limits = self.store.limits;
        self.store = loaded.store;
        self.store.limits = limits;
        self.log = loaded.log;
        let mut texts = loaded.parts.scripts.library_texts();
        texts.try_for_each(|text| self.parts.load_library(text))
    }

    /// What is executed from now on is logged here; the buffer stands where the engine does.
    pub fn keep_log(&mut self, buffer: &Arc<LogBuffer>) {
        self.log = Box::new(AofLog { buffer: Arc::clone(buffer) });
    }

    /// From now on nothing is logged.
    pub fn leave_log(&mut self) {
        self.log = Box::new(NoLog::at(self.log.next()));
    }
}

impl Replay for Replaying<'_> {
    fn piece(&mut self, piece: Piece) -> Result<(), String> {
        match piece {
            Piece::FileBegins => self.select(0).map_err(|error| error.text().to_owned()),
            Piece::Expected { db, keys } => self.expect(db, keys).map_err(|error| error.text().to_owned()),
            Piece::Keys { db, batch } => match self.keys(db, batch) {
                Ok(Ok(())) => Ok(()),
                Ok(Err(twice)) => {
                    let name = String::from_utf8_lossy(twice.key()).into_owned();
                    Err(format!("the key '{name}' occurs twice in database {db}"))
                }
                Err(error) => Err(format!("database {db}: {}", error.text())),
            },
            Piece::Library(text) => self.library(&text).map_err(|error| format!("a library: {}", error.text())),
            Piece::Commands(block) => self.block(&block).map_err(|(command, error)| {
                let name = String::from_utf8_lossy(block.word(command, 0).unwrap_or_default());
                if self.knows(name.as_bytes()) {
                    format!("command '{name}': {}", error.text())
                } else {
                    format!("Unknown command '{name}' reading the append only file")
                }
            }),
        }
    }
}

/// The log as the engine sees it.
struct AofLog {
    buffer: Arc<LogBuffer>,
}

impl Log for AofLog {
    fn next(&self) -> u64 {
        self.buffer.next().0
    }

    fn append(&mut self, db: u32, unit: WovenSlice<'_>, now: UnixMillis) {
        self.buffer.append(db, unit, now.0);
    }

    fn has_room(&self) -> bool {
        self.buffer.has_room()
    }

    fn doubt(&self) -> Option<String> {
        // A log that does not count yet keeps nobody from writing: it is given up.
        let progress = self.buffer.progress();
        let trouble = progress.trouble().filter(|_| progress.is_founded()).map(|trouble| misconf(&trouble));
        trouble.or_else(|| progress.restricted().map(|text| text.to_string()))
    }
}

/// The error that tells a client of a log in trouble.
pub fn misconf(trouble: &Trouble) -> String {
    let Trouble { path, error, .. } = trouble;
    format!(
        "MISCONF Errors writing to the AOF file {path}: {error}. New writes are refused until it can be written again; \
         reads, DEL, UNLINK and FLUSH are served"
    )
}

/// The error that replaces a reply whose write is applied but not durable while the log is in trouble.
pub fn in_doubt(trouble: &Trouble) -> String {
    let Trouble { path, error, .. } = trouble;
    format!("MISCONF {path} {error}: result in doubt, applied in memory, made durable when the log is back")
}
