//! Reading at a bounded rate, for work that nobody waits for; and a way to end it in the middle of a file.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::env::disk::{DiskLayer, FileLayer};
use crate::env::{Clock, Disk, DiskFile, OpenMode};

/// How fast, and whether to go on at all.
pub struct Pace {
    clock: Arc<dyn Clock>,
    /// Bytes a second; 0: any number.
    rate: AtomicU64,
    ended: AtomicBool,
    /// What was read before is paid for by then: rest saves nothing up.
    paid_until: Mutex<Duration>,
    woken: Condvar,
}

impl Pace {
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            rate: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            paid_until: Mutex::default(),
            woken: Condvar::new(),
        })
    }

    pub fn set_rate(&self, bytes_per_second: u64) {
        self.rate.store(bytes_per_second, Ordering::Relaxed);
        self.woken.notify_all();
    }

    /// Whoever reads is told an error from now on.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.woken.notify_all();
    }

    /// Waits until as many bytes may be read.
    fn pay(&self, bytes: usize) -> io::Result<()> {
        let mut paid_until = self.paid_until.lock();
        let from = (*paid_until).max(self.clock.monotonic());
        loop {
            if self.ended.load(Ordering::Acquire) {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the server ends"));
            }
            let rate = self.rate.load(Ordering::Relaxed);
            if rate == 0 {
                return Ok(());
            }
            let until = from + Duration::from_secs_f64(bytes as f64 / rate as f64);
            let now = self.clock.monotonic();
            if now >= from {
                *paid_until = until;
                return Ok(());
            }
            self.woken.wait_for(&mut paid_until, from - now);
        }
    }
}

/// A disk that is read at a pace.
pub struct PacedReads {
    disk: Arc<dyn Disk>,
    pace: Arc<Pace>,
}

impl PacedReads {
    pub fn new(disk: Arc<dyn Disk>, pace: Arc<Pace>) -> Self {
        Self { disk, pace }
    }
}

impl DiskLayer for PacedReads {
    fn below(&self) -> &dyn Disk {
        &*self.disk
    }

    fn open_through(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(PacedFile { file: self.disk.open(path, mode)?, pace: Arc::clone(&self.pace) }))
    }
}

struct PacedFile {
    file: Box<dyn DiskFile>,
    pace: Arc<Pace>,
}

impl FileLayer for PacedFile {
    fn below(&self) -> &dyn DiskFile {
        &*self.file
    }

    fn read_below(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.pace.pay(buf.len())?;
        self.file.read_at(buf, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SystemClock;
    use crate::env::disk::SimDisk;
    use crate::env::disk::{read_file, replace_file};

    #[test]
    fn a_rate_holds_the_reader_back_and_an_end_sends_it_away() {
        let (disk, path) = (SimDisk::new(), Path::new("/f"));
        replace_file(&disk, path, &[0; 1000]).expect("a file");
        for rate in [0, 20_000] {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
            let pace = Pace::new(Arc::clone(&clock));
            pace.set_rate(rate);
            let paced = PacedReads::new(Arc::new(disk.clone()), Arc::clone(&pace));
            let began = clock.monotonic();
            for _ in 0..3 {
                read_file(&paced, path).expect("read");
            }
            let took = clock.monotonic().saturating_sub(began);
            assert!(rate == 0 || took >= Duration::from_millis(100), "{took:?}");
            pace.end();
            assert_eq!(read_file(&paced, path).expect_err("ended").kind(), io::ErrorKind::TimedOut);
        }
    }
}
