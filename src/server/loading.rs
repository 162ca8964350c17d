//! Loading the data: how far it has come, for INFO and for whoever asks too early.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::env::disk::{DiskLayer, FileLayer};
use crate::env::{Clock, Disk, DiskFile, OpenMode, UnixMillis};

/// A start that takes less than this is not worth an error to those who come meanwhile: they wait.
pub const LOADED_AT_ONCE: Duration = Duration::from_millis(200);

/// Time between two lines of the log that say how far loading has come.
const SAID_EVERY: Duration = Duration::from_secs(5);

/// How far loading has come.
pub struct Loading {
    under_way: AtomicBool,
    clock: Arc<dyn Clock>,
    started_at: UnixMillis,
    started: Duration,
    total_bytes: AtomicU64,
    read_bytes: AtomicU64,
    /// What the base says of itself: bytes of memory that its writer used.
    pub used_memory: Arc<AtomicU64>,
    /// Lines of the log that have said so.
    said: AtomicU64,
}

impl Loading {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            under_way: AtomicBool::new(true),
            started_at: clock.unix_millis(),
            started: clock.monotonic(),
            clock,
            total_bytes: AtomicU64::new(0),
            read_bytes: AtomicU64::new(0),
            used_memory: Arc::default(),
            said: AtomicU64::new(0),
        }
    }

    /// Counts bytes that were read, and says in the log now and then how far that is.
    fn count(&self, bytes: usize) {
        self.read_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let said = self.said.load(Ordering::Relaxed);
        let due = SAID_EVERY.saturating_mul(u32::try_from(said + 1).unwrap_or(u32::MAX));
        if self.elapsed() < due {
            return;
        }
        // Several threads read: one of them says it.
        let lines = (self.elapsed().as_secs() / SAID_EVERY.as_secs()).max(said + 1);
        if self.said.compare_exchange(said, lines, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let Figures { total, read, percent, eta } = self.figures();
            tracing::info!("Loading: {percent:.1} % ({read} of {total} bytes) read, about {eta} seconds to go");
        }
    }

    fn figures(&self) -> Figures {
        let (total, read) = (self.total_bytes.load(Ordering::Relaxed), self.read_bytes.load(Ordering::Relaxed));
        let total = total.max(read);
        let percent = read as f64 * 100.0 / total.max(1) as f64;
        let eta = (total - read) * self.elapsed().as_secs().max(1) / read.max(1);
        Figures { total, read, percent, eta }
    }

    pub fn is_under_way(&self) -> bool {
        self.under_way.load(Ordering::Acquire)
    }

    pub fn finish(&self) {
        self.under_way.store(false, Ordering::Release);
    }

    pub fn set_total(&self, bytes: u64) {
        self.total_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Time since loading began.
    pub fn elapsed(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.started)
    }

    /// The fields of INFO.
    pub fn describe(&self, out: &mut String) {
        let Figures { total, read, percent, eta } = self.figures();
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "loading_start_time:{}\r\nloading_total_bytes:{total}\r\nloading_rdb_used_mem:{}\r\n\
             loading_loaded_bytes:{read}\r\nloading_loaded_perc:{percent:.2}\r\nloading_eta_seconds:{eta}\r\n",
            self.started_at.0 / 1000,
            self.used_memory.load(Ordering::Relaxed)
        );
    }
}

/// How far loading has come: bytes, and seconds still to go at the pace so far.
struct Figures {
    total: u64,
    read: u64,
    percent: f64,
    eta: u64,
}

/// A disk that counts what is read from it while data is being loaded.
pub struct CountingDisk {
    disk: Arc<dyn Disk>,
    loading: Arc<Loading>,
}

impl CountingDisk {
    pub fn new(disk: Arc<dyn Disk>, loading: Arc<Loading>) -> Self {
        Self { disk, loading }
    }
}

impl DiskLayer for CountingDisk {
    fn below(&self) -> &dyn Disk {
        &*self.disk
    }

    fn open_through(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let file = self.disk.open(path, mode)?;
        if mode == OpenMode::Read && self.loading.is_under_way() {
            return Ok(Box::new(CountingFile { file, loading: Arc::clone(&self.loading) }));
        }
        Ok(file)
    }
}

struct CountingFile {
    file: Box<dyn DiskFile>,
    loading: Arc<Loading>,
}

impl FileLayer for CountingFile {
    fn below(&self) -> &dyn DiskFile {
        &*self.file
    }

    fn read_below(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let len = self.file.read_at(buf, offset)?;
        self.loading.count(len);
        Ok(len)
    }
}

/// Bytes of the files that loading may read: those of the log's directory, and the dump.
pub fn total_bytes(disk: &dyn Disk, log_directory: &Path, dump: &Path) -> u64 {
    let size = |path: &Path| disk.open(path, OpenMode::Read).and_then(|file| file.len()).unwrap_or(0);
    let segments = disk.list(log_directory).unwrap_or_default();
    let log: u64 = segments.iter().map(|name| size(&log_directory.join(name))).sum();
    if log > 0 { log } else { size(dump) }
}

#[cfg(test)]
mod tests {
    use super::{CountingDisk, Loading, total_bytes};
    use crate::env::disk::{OsDisk, read_file};
    use crate::env::{Disk, ManualClock, UnixMillis};
    use std::sync::Arc;

    #[test]
    fn what_is_read_is_counted_until_loading_ends() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("a");
        #[expect(clippy::disallowed_methods, reason = "a file for the test")]
        std::fs::write(&path, [7; 300]).expect("write");
        let loading = Arc::new(Loading::new(Arc::new(ManualClock::at(UnixMillis(5000)))));
        let disk: Arc<dyn Disk> = Arc::new(CountingDisk::new(Arc::new(OsDisk), Arc::clone(&loading)));
        loading.set_total(total_bytes(&*disk, &dir.path().join("none"), &path) * 2);
        let shown = || {
            let mut text = String::new();
            loading.describe(&mut text);
            text
        };
        read_file(&*disk, &path).expect("read");
        assert!(shown().contains("loading_total_bytes:600\r\n"), "{}", shown());
        assert!(shown().contains("loading_loaded_bytes:300\r\nloading_loaded_perc:50.00\r\n"), "{}", shown());
        loading.finish();
        read_file(&*disk, &path).expect("read");
        assert!(shown().contains("loading_loaded_bytes:300\r\n"), "{}", shown());
    }
}
