//! An RDB file as redis-check-rdb tells of it.

use super::{Bench, Failed, os_text};
use crate::env::{OpenMode, UnixMillis};
use crate::persist::rdb::{self, FileSource, RdbEntry, RdbSink, Refusal};
use crate::value::Limits;
use crate::value::payload::Source;
use std::cell::Cell;
use std::io;
use std::path::Path;

/// Checks a file and says what is in it; the offset behind its RDB part.
///
/// # Errors
/// When it is damaged or cannot be read.
pub fn check(bench: &mut Bench<'_>, path: &Path, shown: &str) -> Result<u64, Failed> {
    bench.say(format_args!("[offset 0] Checking RDB file {shown}"));
    let file = bench.disk.open(path, OpenMode::Read).map_err(|error| {
        // Stock says nothing more.
        complain!("Cannot open file {shown}: {}", os_text(&error));
        Failed::said()
    })?;
    let offset = Cell::new(0);
    let source = FileSource::new(&*file).map_err(|error| Failed::because(os_text(&error)))?;
    let mut source = Watched { source, offset: &offset };
    let now = bench.now;
    let mut told = Told { bench, offset: &offset, now, keys: 0, expires: 0, expired: 0 };
    let read = rdb::read(&mut source, &Limits::default(), &mut told);
    let Told { bench, keys, expires, expired, .. } = told;
    let result = match read {
        Ok(loaded) => {
            let end = loaded.end;
            match loaded.checksum {
                Some(_) => bench.say(format_args!("[offset {end}] Checksum OK")),
                None => bench
                    .say(format_args!("[offset {end}] RDB file was saved with checksum disabled: no check performed.")),
            }
            bench.say(format_args!("[offset {end}] \\o/ RDB looks OK! \\o/"));
            Ok(end)
        }
        Err(error) => {
            bench.say("--- RDB ERROR DETECTED ---");
            bench.say(format_args!("[offset {}] {}", offset.get(), error.problem));
            bench.say(format_args!("[additional info] While doing: {}", error.reading));
            Err(Failed::said())
        }
    };
    bench.say(format_args!("[info] {keys} keys read"));
    bench.say(format_args!("[info] {expires} expires"));
    bench.say(format_args!("[info] {expired} already expired"));
    result
}

struct Told<'t, 'b> {
    bench: &'t mut Bench<'b>,
    offset: &'t Cell<u64>,
    now: UnixMillis,
    keys: u64,
    expires: u64,
    expired: u64,
}

impl RdbSink for Told<'_, '_> {
    fn entry(&mut self, entry: RdbEntry<'_>) -> Result<(), Refusal> {
        self.keys += 1;
        self.expires += u64::from(entry.expiry.is_some());
        self.expired += u64::from(entry.expiry.is_some_and(|expiry| expiry < self.now));
        Ok(())
    }

    fn library(&mut self, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    fn aux(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        self.bench.say(format_args!("[offset {}] AUX FIELD {name} = '{value}'", self.offset.get()));
        Ok(())
    }

    fn database(&mut self, db: u32) {
        self.bench.say(format_args!("[offset {}] Selecting DB ID {db}", self.offset.get()));
    }
}

/// A source that tells those who hear of its content where it stands.
struct Watched<'w, 'f> {
    source: FileSource<'f>,
    offset: &'w Cell<u64>,
}

impl Source for Watched<'_, '_> {
    fn offset(&self) -> u64 {
        self.source.offset()
    }

    fn remaining(&self) -> u64 {
        self.source.remaining()
    }

    fn take(&mut self, len: usize) -> io::Result<&[u8]> {
        let taken = self.source.take(len)?;
        self.offset.set(self.offset.get() + taken.len() as u64);
        Ok(taken)
    }

    fn checksum(&mut self) -> u64 {
        self.source.checksum()
    }
}
