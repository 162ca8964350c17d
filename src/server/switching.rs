//! The append-only file switched on and off while the server runs.
//!
//! Switched on, what is executed is logged from one moment on, to a log that does not count yet; the data of that moment
//! becomes its base (`rewriting.rs`), and when the manifest names both, replies go by it. Until then the server is one without a log.
//!
//! Switched off, the log is closed as at the end of the server; replies that wait for it still do.
//!
//! Invariant: both happen between turns, with the engine held, and neither waits for a disk there.

use std::io;
use std::sync::Arc;

use super::config::Settings;
use super::log_driver::RunningLog;
use super::shared::Shared;
use super::standing::{prune, tell_manifest};
use super::state::Server;
use crate::engine::Engine;
use crate::env::disk::{OsDisk, parent, replace_file};
use crate::env::{Disk, SystemEntropy};
use crate::persist::log::WriterOptions;
use crate::persist::{
    Cut, Founding, LogBuffer, LogWriter, Lsn, Position, Progress, SavedDump, Timeline, Trouble, clear_unnamed, found,
};

/// Where a log goes, by these settings.
fn log_options(settings: &Settings) -> WriterOptions {
    WriterOptions {
        directory: settings.dir.join(&settings.append_dirname),
        prefix: settings.append_filename.clone(),
        segment_bytes_max: settings.segment_bytes_max,
    }
}

/// Sees whether a log can be begun: its directory is there and can be written. Another `dir` than that of the start is
/// locked, too. In a transaction, where nobody can wait for that, it is seen when the log begins (`found_log`).
///
/// # Errors
/// Why not.
pub fn prepare(shared: &Shared, settings: &Settings) -> io::Result<()> {
    shared.hold_directory(&OsDisk, &settings.dir)?;
    let options = log_options(settings);
    match OsDisk.create_dir(&options.directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => OsDisk.sync_dir(&settings.dir)?,
    }
    // Under a name that no start reads, should this process end here.
    let probe = options.directory.join(format!("{}.probe.tmp", options.prefix));
    replace_file(&OsDisk, &probe, b"")?;
    OsDisk.remove(&probe)
}

/// Has the engine log to a new log that stands where the engine does; its writer begins later.
pub fn begin(engine: &mut Engine, shared: &Shared, settings: &Settings) -> Option<(Arc<RunningLog>, Founding)> {
    let next = Lsn(engine.log.next());
    let standing = shared.standing.lock();
    let standing = standing.as_ref()?;
    let progress = Arc::new(Progress::unfounded(next, super::start::sync_policy(settings.appendfsync)));
    let time = shared.clock.unix_millis().0;
    let buffer = Arc::new(LogBuffer::new(next, 0, time, settings.unsynced_bytes_max, progress));
    buffer.set_timestamps(settings.log_timestamps);
    buffer.set_layout(settings.preallocate, settings.align);
    let (lineage, options) = (standing.lineage, log_options(settings));
    let saved_dump =
        standing.known_dump.map(|identity| SavedDump { timeline: lineage.timeline, lsn: Lsn::FIRST, identity });
    let founding = Founding {
        options: options.clone(),
        position: Position { lineage, lsn: next },
        descends: standing.log_below(settings).is_some(),
        saved_dump,
    };
    engine.keep_log(&buffer);
    let log = RunningLog::new(buffer, lineage, options);
    shared.set_log(Some(Arc::clone(&log)));
    Some((log, founding))
}

/// The writer of a log that was begun, and where its base belongs.
///
/// # Errors
/// Its directory cannot be written, or what it holds cannot be read.
pub fn found_log(shared: &Shared, log: &RunningLog, founding: Founding) -> io::Result<(LogWriter, Cut)> {
    shared.wait_for_ended_log();
    shared.hold_directory(&OsDisk, parent(&log.options.directory))?;
    let entropy = SystemEntropy::new()?;
    // Whoever notes a save in the manifest sees the new log from now on.
    let _turn = shared.manifest.lock();
    found(Arc::new(OsDisk), Arc::clone(&shared.clock), Box::new(entropy), Arc::clone(&log.buffer), founding)
}

/// A log that was begun will not be: the engine goes on without one, and what was written is removed.
pub fn abandon(shared: &Shared, log: &Arc<RunningLog>) {
    {
        let mut engine = shared.engine.lock_patiently();
        if shared.log().is_some_and(|kept| Arc::ptr_eq(&kept, log)) {
            engine.leave_log();
            shared.set_log(None);
        }
    }
    log.buffer.give_up();
    log.join();
    let cleared = {
        let _turn = shared.manifest.lock();
        clear_unnamed(&OsDisk, &log.options)
    };
    if let Err(error) = cleared {
        tracing::warn!("What was begun in {} stays until the next start: {error}", log.options.directory.display());
    }
    let noted = shared.standing.lock().as_ref().and_then(|standing| standing.noted);
    if let Some(saved) = noted
        && let Err(error) = tell_manifest(shared, saved, false)
    {
        tracing::warn!("The last dump cannot be noted in the manifest: {error}");
    }
}

/// A log counts from now on: the data descends from no other.
pub fn founded(shared: &Shared, log: &RunningLog) {
    if let Err(error) = crate::persist::remove_mark(&OsDisk, &log.options) {
        tracing::warn!("The mark of a new log stays in {}: {error}", log.options.directory.display());
    }
    if let Some(standing) = &mut *shared.standing.lock() {
        standing.directory = log.options.directory.parent().unwrap_or(&standing.directory).to_owned();
        standing.log_below = None;
    }
    tracing::warn!("The append-only file in {} is on", log.options.directory.display());
    shared.log_moved(log);
    shared.keeping.look_again();
    shared.ticker.ring(crate::env::UnixMillis(i64::MIN));
    prune(shared);
}

/// Tells those who still wait for a log that was switched off and cannot be made durable: their writes are in memory, and
/// nothing keeps them. Nobody else goes by that log any more.
pub fn tell_the_lost(engine: &mut Engine, shared: &Shared) {
    let Some(log) = shared.ended_log() else { return };
    let Some(trouble) = log.lost() else { return };
    let Trouble { path, error, .. } = &trouble;
    tracing::warn!(
        "The append-only file is off, and its end from LSN {} on is not durable: {trouble}",
        log.progress.durable()
    );
    let text =
        format!("-MISCONF {path} {error}: result in doubt, applied in memory, and the append-only file is off\r\n");
    for client in engine.parts.clients.iter() {
        client.outbox.fail_waiting(&shared.gate, text.as_bytes());
    }
    log.note_told();
    shared.log_moved(&log);
    for client in engine.parts.clients.iter() {
        client.outbox.wake();
    }
}

/// Ends the log where it is no longer wanted.
pub fn tick(engine: &mut Engine, shared: &Shared) {
    let Some(log) = shared.log() else { return };
    if shared.settings().appendonly || shared.is_draining() {
        return;
    }
    let Ok(server) = Server::in_parts(&mut engine.parts) else { return };
    if !server.rewriting.give_up_for_the_end(log.progress.is_founded()) {
        return;
    }
    engine.leave_log();
    let next = Lsn(engine.log.next());
    if let Some(standing) = &mut *shared.standing.lock() {
        // Another history than that of whoever starts on the log.
        let timeline = Timeline::draw(&mut *engine.parts.entropy);
        standing.lineage = log.lineage.child(timeline, next);
        standing.log_below = Some(log.lineage.timeline);
    }
    shared.set_log(None);
    tracing::warn!("The append-only file is off from LSN {next} on");
}
