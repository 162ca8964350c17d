//! Threads that serve no connection: the ticker, the reaper, and the one of [`super::defrag`].

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::cpus::Work;
use super::shared::Shared;
use super::state::Server;
use super::{defrag, rewriting, saving, switching};
use crate::command::ClientId;
use crate::engine::Engine;
use crate::env::UnixMillis;
use crate::keyspace::Garbage;

/// The ticker comes at least this often.
const TICK_MILLIS: i64 = 100;

/// Starts them.
///
/// # Errors
/// The system has no thread to give.
pub fn start(shared: &Arc<Shared>) -> std::io::Result<Vec<JoinHandle<()>>> {
    let (discard, garbage) = channel();
    let (ticker, mover, freeing) = (Arc::clone(shared), Arc::clone(shared), Arc::clone(shared));
    Ok(vec![
        Builder::new().name("ticker".into()).spawn(move || tick(&ticker, &discard))?,
        Builder::new().name("defrag".into()).spawn(move || defrag::run(&mover))?,
        Builder::new().name("reaper".into()).spawn(move || reap(&garbage, &freeing))?,
    ])
}

/// Expires keys, ends waits, goes on evicting, ends connections that hold too much, samples rates, collects garbage, sets the gauge right.
fn tick(shared: &Arc<Shared>, discard: &Sender<Garbage>) {
    shared.settings().cpus.take(Work::Serving);
    let mut sampled = shared.clock.monotonic();
    let mut calibrated = sampled;
    let mut looked_at_disk = None;
    let (mut snapshots, mut retained) = (false, 0);
    while !shared.is_stopping() {
        let now = shared.clock.monotonic();
        rewriting::look_at_disk(shared, &mut looked_at_disk);
        let (next, garbage) = {
            let mut engine = shared.engine.lock_patiently();
            let rests = shared.knobs.is_cron_paused();
            engine.parts.settings.expiry_rests = rests;
            let next = engine.tick();
            look_again_at_syncs(&mut engine, shared);
            switching::tell_the_lost(&mut engine, shared);
            shared.waits.collect(&mut engine.parts);
            // Nothing is to be saved before it is there.
            if !rests && !shared.loading.is_under_way() {
                saving::tick(&mut engine, shared);
                switching::tick(&mut engine, shared);
                rewriting::tick(&mut engine, shared);
            }
            let client_bytes_max = shared.settings().client_bytes_max;
            if client_bytes_max > 0 && !rests {
                engine.parts.evict_clients(client_bytes_max as usize, shared.clock.unix_millis());
            }
            let elapsed = now.saturating_sub(sampled);
            if !rests && elapsed >= Duration::from_millis(TICK_MILLIS as u64) {
                sampled = now;
                let commands = engine.parts.stats.commands;
                if let Ok(server) = Server::in_parts(&mut engine.parts) {
                    server.rates.sample(commands, &shared.counters, elapsed);
                }
            }
            let garbage = engine.store.take_garbage();
            shared.gauge.doom(&garbage);
            if let Ok(server) = Server::in_parts(&mut engine.parts) {
                snapshots = server.retention.is_watching();
                retained += server.retention.take_ended();
            }
            (next, garbage)
        };
        shared.settle_log();
        if !garbage.is_empty() {
            // The reaper ends with this thread; nobody else is told.
            let _ = discard.send(garbage);
        }
        shared.gauge.report();
        if now.saturating_sub(calibrated) >= Duration::from_millis(TICK_MILLIS as u64) {
            calibrated = now;
            let figures = shared.gauge.calibrate();
            shared.defrag.consider(figures, &shared.settings().defrag, snapshots, std::mem::take(&mut retained), now);
        }
        let latest = shared.clock.unix_millis().0 + TICK_MILLIS;
        let deadline = next.map_or(latest, |next| next.0.min(latest));
        shared.ticker.sleep_until(UnixMillis(deadline), &*shared.clock);
    }
}

/// Ends WAITAOFs whose position is durable.
fn look_again_at_syncs(engine: &mut Engine, shared: &Shared) {
    let durable = match shared.founded_log() {
        Some(log) => log.progress.durable().0,
        // Switched off: they are told.
        None if !shared.settings().appendonly => u64::MAX,
        None => 0,
    };
    let Ok(server) = Server::in_parts(&mut engine.parts) else { return };
    let ready: Vec<ClientId> =
        server.awaiting_sync.iter().filter(|(_, position)| **position <= durable).map(|(id, _)| *id).collect();
    for id in &ready {
        engine.look_again(*id);
    }
    let Engine { parts, .. } = engine;
    let gone: Vec<ClientId> = match Server::in_parts(parts) {
        Ok(server) => server.awaiting_sync.keys().copied().collect(),
        Err(_) => return,
    };
    for id in gone {
        let waits = parts.clients.get(id).is_some_and(|client| client.blocked.is_some());
        if let (false, Ok(server)) = (waits, Server::in_parts(parts)) {
            server.awaiting_sync.remove(&id);
        }
    }
    if let Some(lowest) = Server::in_parts(parts).ok().and_then(|server| server.awaiting_sync.values().min().copied()) {
        shared.await_sync(lowest);
    }
}

/// Frees what the ticker collects, away from the engine.
fn reap(garbage: &Receiver<Garbage>, shared: &Shared) {
    shared.settings().cpus.take(Work::Aside);
    let gauge = &shared.gauge;
    gauge.report();
    while let Ok(garbage) = garbage.recv() {
        gauge.free(garbage);
    }
}
