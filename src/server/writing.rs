//! A snapshot on its way to a file: how far it is, how fast it may go, whether it is to be given up; and the disk that it is
//! written through, which holds it to that.
//!
//! Shared by the thread that writes, which obeys, and the ticker, which decides.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use crate::env::disk::{DiskLayer, FileLayer, Pace};
use crate::env::{Clock, Disk, DiskFile, OpenMode};

/// How often progress is logged.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// See the module's header.
pub struct Writing {
    clock: Arc<dyn Clock>,
    /// What is written, as log lines begin.
    name: &'static str,
    keys: AtomicU64,
    keys_total: u64,
    bytes: AtomicU64,
    pace: Arc<Pace>,
    hurried: AtomicBool,
    given_up: AtomicBool,
    begun: Duration,
    told: Mutex<Duration>,
}

impl Writing {
    pub fn new(name: &'static str, keys_total: u64, clock: Arc<dyn Clock>) -> Arc<Self> {
        let begun = clock.monotonic();
        Arc::new(Self {
            pace: Pace::new(Arc::clone(&clock)),
            clock,
            name,
            keys: AtomicU64::new(0),
            keys_total,
            bytes: AtomicU64::new(0),
            hurried: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            begun,
            told: Mutex::new(begun),
        })
    }

    /// Keys written, and keys to write.
    pub fn keys(&self) -> (u64, u64) {
        (self.keys.load(Ordering::Relaxed), self.keys_total)
    }

    /// Bytes written.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes that all of it will take, as far as what is written tells.
    pub fn bytes_expected(&self) -> u64 {
        let (keys, total) = self.keys();
        let bytes = u128::from(self.bytes()) * u128::from(total) / u128::from(keys.max(1));
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Since it began.
    pub fn took(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.begun)
    }

    /// Tells the writer what it may write in a second, in bytes; 0: any number. It may change on the way.
    pub fn set_rate(&self, rate: u64) {
        self.pace.set_rate(rate);
    }

    /// No rate holds any more: it retains too much memory.
    pub fn hurry(&self) {
        self.hurried.store(true, Ordering::Relaxed);
        self.pace.end();
    }

    pub fn is_hurried(&self) -> bool {
        self.hurried.load(Ordering::Relaxed)
    }

    /// The writer ends at its next step.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
        self.pace.end();
    }

    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    /// Called by the writer behind each step.
    pub fn note(&self, keys: u64) {
        self.keys.store(keys, Ordering::Relaxed);
        let (took, mut told) = (self.took(), self.told.lock());
        let now = self.begun + took;
        if now.saturating_sub(*told) < TOLD_EVERY {
            return;
        }
        *told = now;
        drop(told);
        let (bytes, total, seconds) = (self.bytes(), self.keys_total, took.as_secs_f64());
        tracing::info!(
            "{}: {:.1}% ({keys} of {total} keys, {} MB at {:.1} MB/s), about {:.0} s to go",
            self.name,
            keys as f64 * 100.0 / total.max(1) as f64,
            bytes >> 20,
            bytes as f64 / 1e6 / seconds.max(1e-6),
            seconds * total.saturating_sub(keys) as f64 / keys.max(1) as f64,
        );
    }
}

/// A disk on which writing goes at a snapshot's pace.
pub struct PacedDisk {
    disk: Arc<dyn Disk>,
    writing: Arc<Writing>,
    on_removed: OnRemoved,
}

/// Told how long the removal of a file has taken.
type OnRemoved = Box<dyn Fn(Duration) + Send + Sync>;

impl PacedDisk {
    pub fn new(disk: Arc<dyn Disk>, writing: Arc<Writing>, on_removed: OnRemoved) -> Self {
        Self { disk, writing, on_removed }
    }
}

impl DiskLayer for PacedDisk {
    fn below(&self) -> &dyn Disk {
        &*self.disk
    }

    fn open_through(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let file = Arc::from(self.disk.open(path, mode)?);
        Ok(Box::new(PacedFile { file, writing: Arc::clone(&self.writing), syncing: Mutex::new(None) }))
    }

    fn remove_below(&self, path: &Path) -> io::Result<()> {
        let began = self.writing.clock.monotonic();
        let outcome = self.disk.remove(path);
        (self.on_removed)(self.writing.clock.monotonic().saturating_sub(began));
        outcome
    }
}

/// A file whose syncs on the way go on beside the writing. What one of them finds wrong the next call tells.
struct PacedFile {
    file: Arc<dyn DiskFile>,
    writing: Arc<Writing>,
    syncing: Mutex<Option<JoinHandle<io::Result<()>>>>,
}

impl PacedFile {
    /// Waits for the sync that goes on, if one does.
    fn synced(&self) -> io::Result<()> {
        let Some(thread) = self.syncing.lock().take() else { return Ok(()) };
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that synced has ended")))
    }
}

impl FileLayer for PacedFile {
    fn below(&self) -> &dyn DiskFile {
        &*self.file
    }

    fn write_below(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let written = self.file.write_at(buf, offset)?;
        self.writing.bytes.fetch_add(written as u64, Ordering::Relaxed);
        self.writing.pace.take(written as u64);
        Ok(written)
    }

    fn sync_data_below(&self) -> io::Result<()> {
        self.synced()?;
        let file = Arc::clone(&self.file);
        match Builder::new().name("rdb-sync".into()).spawn(move || file.sync_data()) {
            Ok(thread) => *self.syncing.lock() = Some(thread),
            Err(_) => self.file.sync_data()?,
        }
        Ok(())
    }

    fn sync_all_below(&self) -> io::Result<()> {
        self.synced()?;
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SystemClock;
    use crate::env::disk::sim::{Fault, FaultSpec, Op, SimDisk};

    fn file(writing: &Arc<Writing>) -> Box<dyn DiskFile> {
        let disk = PacedDisk::new(Arc::new(SimDisk::new()), Arc::clone(writing), Box::new(|_| {}));
        disk.open(Path::new("/f"), OpenMode::CreateNew).expect("a file")
    }

    #[test]
    fn a_rate_holds_the_writer_back_until_it_is_lifted() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        for how in ["slowly", "hurried", "given up", "without a rate"] {
            let writing = Writing::new("Test", 100, Arc::clone(&clock));
            writing.set_rate(if how == "without a rate" { 0 } else { 100_000 });
            match how {
                "hurried" => writing.hurry(),
                "given up" => writing.give_up(),
                _ => {}
            }
            let file = file(&writing);
            let began = clock.monotonic();
            for at in 0..20 {
                file.write_all_at(&[0; 1000], at * 1000).expect("written");
            }
            let took = clock.monotonic().saturating_sub(began);
            assert_eq!(took >= Duration::from_millis(190), how == "slowly", "{how}: {took:?}");
            assert_eq!(writing.bytes(), 20_000);
        }
    }

    #[test]
    fn a_sync_beside_the_writing_tells_its_error_later() {
        let disk = SimDisk::new();
        let writing = Writing::new("Test", 1, Arc::new(SystemClock::new()));
        let paced = PacedDisk::new(Arc::new(disk.clone()), writing, Box::new(|_| {}));
        let file = paced.open(Path::new("/f"), OpenMode::CreateNew).expect("a file");
        file.write_all_at(b"x", 0).expect("written");
        file.sync_data().expect("begun");
        file.sync_all().expect("synced");
        disk.fail(FaultSpec::new(Op::Sync, Fault::Eio));
        file.write_all_at(b"y", 1).expect("written");
        file.sync_data().expect("begun");
        assert!(file.sync_all().is_err());
    }

    #[test]
    fn the_whole_is_expected_from_the_part() {
        let writing = Writing::new("Test", 1000, Arc::new(SystemClock::new()));
        file(&writing).write_all_at(&[0; 5000], 0).expect("written");
        writing.note(250);
        assert_eq!((writing.keys(), writing.bytes_expected()), ((250, 1000), 20_000));
    }
}
