//! DEBUG RELOAD: the data set as it comes back from a dump.

use std::sync::Arc;

use crate::command::{Args, CommandError, Cx, Ttl};
use crate::env::disk::OsDisk;
use crate::env::{Disk, OpenMode, UnixMillis};
use crate::persist::rdb::{FileSource, RdbEntry, RdbSink, Refusal, read};
use crate::server::Server;
use crate::server::saving;
use crate::value::Value;

/// The keys of a dump.
#[derive(Default)]
struct Keys(Vec<(u32, Vec<u8>, Value, Option<UnixMillis>)>);

impl RdbSink for Keys {
    fn entry(&mut self, entry: RdbEntry<'_>) -> Result<(), Refusal> {
        self.0.push((entry.db, entry.key.to_vec(), entry.value, entry.expiry));
        Ok(())
    }

    /// Functions are no keys: those that are loaded stay.
    fn library(&mut self, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }
}

/// Saves, forgets, loads. The engine is held meanwhile, which is what is asked for.
///
/// Loading anything but what was saved just now would leave an append-only file behind that tells another story, so that
/// is refused where there is one. The file is read to its end before anything is forgotten.
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
    let shared = Server::of(cx)?.shared()?;
    if !save && shared.log().is_some() {
        return Err(CommandError::fixed("ERR DEBUG RELOAD NOSAVE is not possible while the append-only file is on"));
    }
    if save {
        saving::save_now(cx)?;
    }
    let settings = shared.settings();
    let failed = |error: String| {
        tracing::warn!("DEBUG RELOAD: {error}");
        CommandError::fixed("ERR Error trying to load the RDB dump, check server logs")
    };
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let path = settings.dump_path();
    let file = disk.open(&path, OpenMode::Read).map_err(|error| failed(format!("{}: {error}", path.display())))?;
    let mut keys = Keys::default();
    let mut source = FileSource::new(&*file).map_err(|error| failed(error.to_string()))?;
    read(&mut source, &cx.limits(), &mut keys).map_err(|error| failed(error.to_string()))?;
    let (stamp, present) = (cx.turn.stamp, cx.store.len());
    let held = |cx: &Cx<'_>, db: u32, key: &[u8]| cx.store.db(db).contains(key, UnixMillis(i64::MIN));
    for (db, key, ..) in &keys.0 {
        if *db >= present {
            return Err(failed(format!("database {db} is beyond what this server has")));
        }
        if !flush && !merge && held(cx, *db, key) {
            return Err(failed(format!("the key '{}' is there already", key.escape_ascii())));
        }
    }
    if flush {
        cx.store.flush_all(stamp);
    }
    for (db, key, value, expiry) in keys.0 {
        cx.store.db_mut(db).set(&key, value, Ttl::from(expiry), stamp);
    }
    cx.reads_all();
    tracing::warn!("DB reloaded by DEBUG RELOAD");
    cx.reply.ok();
    Ok(())
}
