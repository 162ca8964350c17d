//! DEBUG LOADAOF: the data set as it comes back from the log.

use std::sync::Arc;
use std::time::Duration;

use super::replace::put;
use crate::command::{CommandError, Cx};
use crate::engine::{Engine, families};
use crate::env::SystemEntropy;
use crate::env::disk::OsDisk;
use crate::keyspace::Keyspace;
use crate::persist::{OpenOptions, Reading, examine};
use crate::server::Server;
use crate::server::log_driver::RunningLog;
use crate::server::shared::Shared;

/// Writes what waits to be written, loads the log as a start would, and only then forgets what was there. The engine is held
/// meanwhile, which is what is asked for: the log and the data are of one moment.
pub(super) fn reload_log(cx: &mut Cx<'_>) -> Result<(), CommandError> {
    if !cx.turn.may_block {
        // What the transaction has changed so far is not in the log.
        return Err(CommandError::fixed("ERR DEBUG LOADAOF is not possible inside a transaction or a script"));
    }
    let shared = Server::of(cx)?.shared()?;
    let Some(log) = shared.founded_log() else {
        return Err(CommandError::fixed("ERR DEBUG LOADAOF needs the append-only file, which is off"));
    };
    let failed = |error: String| {
        tracing::warn!("DEBUG LOADAOF: {error}");
        CommandError::fixed("ERR Error trying to load the AOF files, check server logs")
    };
    write_out(&shared, &log).map_err(failed)?;
    let (Some(directory), Some(name)) = (log.options.directory.parent(), log.options.directory.file_name()) else {
        return Err(failed(format!("{} is no directory of a log", log.options.directory.display())));
    };
    let limits = cx.limits();
    let options = OpenOptions {
        directory: directory.to_owned(),
        append_directory: name.to_string_lossy().into_owned(),
        append_file: log.options.prefix.clone(),
        dump_file: shared.settings().dump_filename.clone(),
        limits,
        reading: Reading { clock: cx.store.db(0).access_clock(), ..Reading::default() },
        ..OpenOptions::default()
    };
    let entropy = SystemEntropy::new().map_err(|error| failed(error.to_string()))?;
    let store = Keyspace::new(cx.store.len(), limits);
    let mut loaded = Engine::new(store, &families(), Arc::clone(&shared.clock), Box::new(entropy), Box::new(()));
    examine(Arc::new(OsDisk), &options, &mut loaded.replay()).map_err(|error| failed(error.to_string()))?;
    let stamp = cx.turn.stamp;
    cx.store.flush_all(stamp);
    for (db, database) in (0..).zip(loaded.store.databases()) {
        put(cx, db, database.iter().cloned()).map_err(failed)?;
    }
    cx.reads_all();
    tracing::warn!("Append Only File loaded by DEBUG LOADAOF");
    cx.reply.ok();
    Ok(())
}

/// Waits until all that was appended is written.
fn write_out(shared: &Shared, log: &RunningLog) -> Result<(), String> {
    log.buffer.settle();
    while log.progress.written() < log.buffer.next() {
        if let Some(trouble) = log.progress.trouble() {
            return Err(format!("{} cannot be written: {}", trouble.path, trouble.error));
        }
        shared.wait_for_log(Duration::from_millis(100));
    }
    Ok(())
}
