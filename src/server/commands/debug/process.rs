//! What DEBUG does to the process: its clockwork, buffers, allocator, configuration file.

use std::sync::atomic::Ordering;

use crate::command::{Args, CommandError, Cx};
use crate::engine::Parts;
use crate::server::Server;
use crate::server::commands::configuration::rewrite_file;
use crate::server::knobs::PEAK_RESET_MILLIS;

/// DEBUG CHANGE-REPL-ID. That of a server with a log is the log's timeline, which is no passing thing.
pub(super) fn change_replication_id(cx: &mut Cx<'_>) -> Result<(), CommandError> {
    if Server::of(cx)?.shared()?.log().is_some() {
        return Err(CommandError::fixed(
            "ERR DEBUG CHANGE-REPL-ID is not possible while the append-only file is on: the replication ID is its timeline",
        ));
    }
    let mut id = [0; 20];
    Parts::of(cx).entropy.fill(&mut id);
    Server::of(cx)?.passing_replication_id = crate::engine::hexadecimal(&id);
    tracing::info!("Changing replication IDs after receiving DEBUG change-repl-id");
    cx.reply.ok();
    Ok(())
}

/// DEBUG CONFIG-REWRITE-FORCE-ALL.
pub(super) fn rewrite_whole_file(cx: &mut Cx<'_>) -> Result<(), CommandError> {
    match rewrite_file(cx, true)? {
        None => {}
        Some(Ok(())) => cx.reply.ok(),
        Some(Err(error)) => return Err(CommandError::new(format!("ERR CONFIG-REWRITE-FORCE-ALL failed: {error}"))),
    }
    Ok(())
}

/// DEBUG PAUSE-CRON.
pub(super) fn pause_cron(cx: &mut Cx<'_>, pause: bool) -> Result<(), CommandError> {
    Server::of(cx)?.shared()?.knobs.cron_paused.store(pause, Ordering::Relaxed);
    Parts::of(cx).settings.expiry_rests = pause;
    cx.reply.ok();
    Ok(())
}

/// DEBUG AOF-FLUSH-SLEEP.
pub(super) fn flush_sleep(cx: &mut Cx<'_>, micros: i64) -> Result<(), CommandError> {
    let micros = u64::try_from(micros).unwrap_or(0);
    Server::of(cx)?.shared()?.knobs.flush_sleep.store(micros, Ordering::Relaxed);
    cx.reply.ok();
    Ok(())
}

/// DEBUG REPLYBUFFER.
pub(super) fn reply_buffers(cx: &mut Cx<'_>, args: &mut Args<'_>, subcommand: &[u8]) -> Result<(), CommandError> {
    let shared = Server::of(cx)?.shared()?;
    if args.word("peak-reset-time") {
        let millis = if args.word("never") {
            -1
        } else if args.word("reset") {
            PEAK_RESET_MILLIS
        } else {
            args.int()
        };
        args.check()?;
        shared.knobs.peak_reset.store(millis, Ordering::Relaxed);
    } else if args.word("resizing") {
        shared.knobs.buffers_shrink.store(super::number(args.bytes()) != 0, Ordering::Relaxed);
    } else {
        return Err(CommandError::subcommand_syntax("debug", subcommand));
    }
    cx.reply.ok();
    Ok(())
}

/// DEBUG MALLCTL.
pub(super) fn allocator_number(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let name = String::from_utf8_lossy(args.bytes()).into_owned();
    let value = if args.is_empty() { None } else { Some(args.int()) };
    args.check()?;
    match (Server::of(cx)?.allocator.setting)(&name, value) {
        Ok(Some(before)) => cx.reply.int(before),
        Ok(None) => cx.reply.ok(),
        Err(reason) => return Err(CommandError::new(format!("ERR {reason}"))),
    }
    Ok(())
}

/// DEBUG MALLCTL-STR: reads; what jemalloc has of text to be set is fixed when the process starts.
pub(super) fn allocator_text(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let name = String::from_utf8_lossy(args.bytes()).into_owned();
    if !args.is_empty() {
        return Err(CommandError::fixed("ERR Operation not permitted"));
    }
    let text = (Server::of(cx)?.allocator.text)(&name);
    cx.reply.bulk(text.map_err(|reason| CommandError::new(format!("ERR {reason}")))?);
    Ok(())
}
