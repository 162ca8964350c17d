//! DEBUG RELOAD: the data set as it comes back from a dump.

use std::path::Path;

use super::replace::put;
use crate::command::{Args, CommandError, Cx, forget_all};
use crate::engine::Parts;
use crate::env::disk::OsDisk;
use crate::env::{Disk, OpenMode, UnixMillis};
use crate::keyspace::{AccessClock, Entry};
use crate::persist::rdb::{FileSource, RdbEntry, RdbSink, Refusal, read};
use crate::server::Server;
use crate::server::saving;
use crate::value::payload::{dump, dump_libraries};

/// What a dump holds: its keys with their databases, and the texts of its libraries.
struct Dump {
    clock: AccessClock,
    now: UnixMillis,
    keys: Vec<(u32, Entry)>,
    libraries: Vec<Vec<u8>>,
}

impl RdbSink for Dump {
    fn entry(&mut self, entry: RdbEntry<'_>) -> Result<(), Refusal> {
        if entry.expiry.is_none_or(|due| due >= self.now) {
            self.keys.push((entry.db, entry.into_entry(self.clock)));
        }
        Ok(())
    }

    fn library(&mut self, text: &[u8]) -> Result<(), Refusal> {
        self.libraries.push(text.to_vec());
        Ok(())
    }
}

/// Saves, forgets, loads. The engine is held meanwhile, which is what is asked for. The file is read to its end before
/// anything is forgotten.
///
/// What was saved just now is what the log holds already; anything else goes into the log as what was loaded.
pub(super) fn reload(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (mut save, mut flush, mut merge) = (true, true, false);
    while !args.is_empty() {
        if args.word("nosave") {
            save = false;
        } else if args.word("noflush") {
            flush = false;
        } else if args.word("merge") {
            merge = true;
        } else {
            return Err(CommandError::fixed("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options."));
        }
    }
    if save {
        saving::save_now(cx)?;
    }
    let failed = |error: String| {
        tracing::warn!("DEBUG RELOAD: {error}");
        CommandError::fixed("ERR Error trying to load the RDB dump, check server logs")
    };
    let shared = Server::of(cx)?.shared()?;
    let dump = read_dump(cx, &shared.settings().dump_path()).map_err(failed)?;
    let present = cx.store.len();
    for (db, entry) in &dump.keys {
        if *db >= present {
            return Err(failed(format!("database {db} is beyond what this server has")));
        }
        if !flush && !merge && cx.store.db(*db).contains(entry.key(), UnixMillis(i64::MIN)) {
            return Err(failed(format!("the key '{}' is there already", entry.key().escape_ascii())));
        }
    }
    let put_libraries = Parts::of(cx).put_libraries(&dump.libraries, !flush, merge);
    put_libraries.map_err(|error| failed(error.text().to_owned()))?;
    if flush {
        forget_all(cx);
    }
    if !save && shared.log().is_some() {
        log(cx, &dump, flush);
    }
    let mut keys = dump.keys.into_iter().peekable();
    while let Some(&(db, _)) = keys.peek() {
        let of_db = std::iter::from_fn(|| keys.next_if(|(of, _)| *of == db)).map(|(_, entry)| entry);
        put(cx, db, of_db).map_err(failed)?;
    }
    cx.reads_all();
    tracing::warn!("DB reloaded by DEBUG RELOAD");
    cx.reply.ok();
    Ok(())
}

fn read_dump(cx: &Cx<'_>, path: &Path) -> Result<Dump, String> {
    let mut dump =
        Dump { clock: cx.store.db(0).access_clock(), now: cx.now(), keys: Vec::new(), libraries: Vec::new() };
    let file = OsDisk.open(path, OpenMode::Read).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut source = FileSource::new(&*file).map_err(|error| error.to_string())?;
    read(&mut source, &cx.limits(), &mut dump).map_err(|error| error.to_string())?;
    Ok(dump)
}

/// Logs what has the effect of loading the dump.
fn log(cx: &mut Cx<'_>, loaded: &Dump, flush: bool) {
    let compression = cx.host.payload_rules().compression;
    if flush {
        cx.log_as(&[b"FUNCTION", b"FLUSH"]);
        cx.log_as(&[b"FLUSHALL"]);
    }
    if !loaded.libraries.is_empty() {
        let payload = dump_libraries(loaded.libraries.iter().map(Vec::as_slice), compression);
        cx.log_as(&[b"FUNCTION", b"RESTORE", &payload, b"REPLACE"]);
    }
    let selected = cx.db;
    for (db, entry) in &loaded.keys {
        cx.db = *db;
        let due = entry.expiry().map_or(0, |due| due.0);
        let payload = dump(entry.value(), compression);
        cx.log_as(&[
            b"RESTORE",
            entry.key(),
            itoa::Buffer::new().format(due).as_bytes(),
            &payload,
            b"ABSTTL",
            b"REPLACE",
        ]);
    }
    cx.db = selected;
}
