//! What the writer does for others: it ends a segment at a cut, and stores the manifest that a compaction or a save asks
//! for, because nobody else stores one while the log is open.
//!
//! A manifest of which it is in doubt whether it was stored is the one that later stores go on from; it is stored again
//! until that succeeds. Writing goes on meanwhile: both name every file that is needed, and nobody removes one before the
//! promise is kept.

use super::{LogWriter, State, backoff};
use crate::persist::log::orders::{Done, Order, Promise};
use crate::persist::manifest::{FileEntry, Manifest, StoreError};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A change of the manifest that is made, but perhaps not stored.
pub(super) struct Unstored {
    promise: Arc<Promise>,
    done: Done,
    pub(super) retry_at: Duration,
    attempts: u32,
}

impl LogWriter {
    /// Looks at one order, or stores again what is in doubt; false when there is nothing to do now.
    pub(super) fn obey(&mut self, now: Duration) -> bool {
        if !matches!(self.state, State::Healthy | State::WriteFailed { .. }) {
            return false;
        }
        if let Some(unstored) = &self.unstored {
            if now < unstored.retry_at {
                return false;
            }
            self.store_again(now);
            return true;
        }
        let Some((order, promise)) = self.buffer.orders().take() else { return false };
        if order == Order::Superseded {
            // Of a log that does not count yet nothing is; a store in doubt has been waited for.
            let superseded = if self.unfounded { Vec::new() } else { self.manifest.history().cloned().collect() };
            promise.settle(Ok(Done::Stored { superseded }));
            return true;
        }
        let (mut manifest, base) = (self.manifest.clone(), matches!(order, Order::Base { .. }));
        match order {
            Order::Base { entry, identity, kept_from } => manifest.rebase(entry, identity, kept_from),
            Order::Forget(names) => manifest.forget(&names),
            Order::Saved(dump) => manifest.saved_dump = Some(dump),
            Order::Superseded => {}
        }
        let superseded: Vec<FileEntry> = manifest.history().cloned().collect();
        let done = Done::Stored { superseded };
        let founds = self.unfounded && base;
        self.unfounded &= !base;
        match self.store(manifest.clone()) {
            Ok(()) => promise.settle(Ok(done)),
            Err(failed) if failed.in_doubt => {
                let path = self.options.manifest_path();
                tracing::warn!("Storing {} failed: {}; it is tried again", path.display(), failed.error);
                self.manifest = manifest;
                self.unstored = Some(Unstored { promise, done, retry_at: now + backoff(1), attempts: 1 });
            }
            Err(failed) => {
                let path = self.options.manifest_path();
                promise.settle(Err(format!("{}: {}", path.display(), failed.error)));
                self.unfounded |= founds;
                return true;
            }
        }
        if base {
            self.measure();
        }
        true
    }

    fn store_again(&mut self, now: Duration) {
        if self.store(self.manifest.clone()).is_err()
            && let Some(unstored) = &mut self.unstored
        {
            unstored.attempts += 1;
            unstored.retry_at = now + backoff(unstored.attempts);
        }
    }

    /// Stores a manifest and goes on from it. With it is stored what was in doubt before.
    pub(super) fn store(&mut self, manifest: Manifest) -> Result<(), StoreError> {
        if !self.unfounded {
            manifest.store(&*self.disk, &self.options.manifest_path())?;
            self.progress.publish_founded();
        }
        self.manifest = manifest;
        if let Some(Unstored { promise, done, .. }) = self.unstored.take() {
            promise.settle(Ok(done));
        }
        Ok(())
    }

    /// Counts the bytes of what the manifest names now, after a change of base.
    fn measure(&self) {
        let (mut size, mut base_size) = (0, 0);
        let base = self.manifest.base();
        for file in self.manifest.incremental().chain(base) {
            let path = self.options.directory.join(&file.name);
            let opened = self.disk.open(&path, crate::env::OpenMode::Read);
            // For INFO and the next rewrite's moment alone: a file that does not tell counts nothing.
            let bytes = opened.and_then(|file| file.len()).unwrap_or(0);
            // What is filled ahead is not written.
            let bytes = if file.name == self.segment.name() { self.segment.size() } else { bytes };
            size += bytes;
            base_size = if base.is_some_and(|base| base.name == file.name) { bytes } else { base_size };
        }
        let stats = &self.progress.stats;
        stats.size.store(size, Ordering::Relaxed);
        // As stock: what was written beside the rewrite counts as part of what the next one is measured against.
        stats.base_size.store(size.max(base_size), Ordering::Relaxed);
    }

    pub(super) fn settle_cut(&mut self, rolled: Result<(), String>) {
        if let Some(cut) = self.cut.take() {
            let sequence = self.segment.sequence();
            cut.settle(rolled.map(|()| Done::Rolled { sequence }));
        }
    }

    /// The log ends: nothing further is done for anybody.
    pub(super) fn refuse_orders(&mut self) {
        self.settle_cut(Err("the log is closed".into()));
        if let Some(Unstored { promise, .. }) = self.unstored.take() {
            promise.settle(Err("the log was closed before its manifest was stored for certain".into()));
        }
        self.buffer.orders().end();
    }
}
