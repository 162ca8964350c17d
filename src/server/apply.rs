//! Putting changed settings into effect where more than a new value is needed.

use super::config::Settings;
use super::memory::AllocatorProbe;
use super::shared::Shared;
use super::{log_line, title};
use crate::env::UnixMillis;

/// A change that could not be made; nothing was changed.
#[derive(Debug)]
pub struct Refused {
    pub directive: &'static str,
    pub reason: String,
}

fn refused(directive: &'static str, reason: &str) -> Refused {
    Refused { directive, reason: reason.into() }
}

/// Makes `after` effective; called with the engine held.
///
/// # Errors
/// A change cannot be made.
pub fn apply(shared: &Shared, before: &Settings, after: &Settings) -> Result<(), Refused> {
    if before.appendonly != after.appendonly {
        // The ticker does it: what begins or ends there must not happen inside of a turn.
        shared.ticker.ring(UnixMillis(i64::MIN));
    }
    if before.maxclients != after.maxclients && super::limits::open_files_for(after.maxclients) < after.maxclients {
        return Err(refused(
            "maxclients",
            "The operating system is not able to handle the specified number of clients",
        ));
    }
    if (&before.bind, before.port) != (&after.bind, after.port)
        && let Some(io) = shared.loops().first()
        && io.listen_again(before, after).is_err()
    {
        return Err(if before.port == after.port {
            refused("bind", "Failed to bind to specified addresses.")
        } else {
            refused("port", "Unable to listen on this port. Check server logs.")
        });
    }
    if before.oom_score != after.oom_score
        && let Err(error) = super::host::apply_oom_score(Some(before.oom_score), after.oom_score)
    {
        tracing::warn!("Unable to write oom_score_adj: {}", super::listener::os_text(&error));
        return Err(refused("oom-score-adj", "Failed to apply new oom_score_adj configuration, check server logs."));
    }
    if before.collation != after.collation && !crate::env::collation::set(&after.collation) {
        return Err(refused("locale-collate", "Invalid locale name"));
    }
    if before.purges_aside != after.purges_aside {
        purge_aside(shared.gauge.probe(), after.purges_aside);
    }
    title::show(after);
    tell_log(shared, after);
    if before.memory != after.memory {
        let (max, used) = (after.memory.max, shared.gauge.used().saturating_sub(shared.gauge.log_bytes()));
        if before.memory.max != max && max > 0 && max < used {
            tracing::warn!(
                "WARNING: the new maxmemory value set via CONFIG SET ({max}) is smaller than the current memory usage \
                 ({used}). This will result in key eviction and/or the inability to accept new write commands \
                 depending on the maxmemory-policy."
            );
        }
        // What is too much now goes now, whether or not anybody sends a command.
        shared.ticker.ring(UnixMillis(i64::MIN));
    }
    if before.loglevel != after.loglevel
        && let Some(log) = log_line::installed()
    {
        log.set_level(after.loglevel);
    }
    if before.log_form != after.log_form
        && let Some(log) = log_line::installed()
    {
        log.set_form(after.log_form);
    }
    Ok(())
}

/// Has free pages go back to the system on threads of the allocator's own, where it has such, or not: then whoever allocates
/// does it now and then, for milliseconds after much was freed.
pub fn purge_aside(allocator: AllocatorProbe, purges_aside: bool) {
    // Where it cannot, it goes on as before.
    let _ = (allocator.setting)("background_thread", Some(purges_aside.into()));
}

/// Has the log go by these settings.
pub fn tell_log(shared: &Shared, settings: &Settings) {
    if let Some(log) = shared.log() {
        log.progress.set_policy(super::start::sync_policy(settings.appendfsync));
        log.buffer.set_unsynced_max(settings.unsynced_bytes_max);
        log.buffer.set_timestamps(settings.log_timestamps);
        log.buffer.set_layout(settings.preallocate, settings.align);
    }
}
