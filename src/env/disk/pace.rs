//! Bytes at a bounded rate, for work that nobody waits for: a pace, and a disk that is read at one.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::{Disk, DiskFile, DiskLayer, FileLayer, OpenMode};
use crate::env::Clock;

/// From so many bytes on what was read one behind the other is let go of together.
const STRETCH_BYTES: u64 = 1 << 20;

/// How fast, and whether to go on at all.
pub struct Pace {
    clock: Arc<dyn Clock>,
    /// Bytes a second; 0: any number.
    rate: AtomicU64,
    ended: AtomicBool,
    /// What was taken before is paid for by then: rest saves nothing up.
    paid_until: Mutex<Duration>,
    woken: Condvar,
}

impl Pace {
    /// At any speed, until it is told a rate.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            rate: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            paid_until: Mutex::default(),
            woken: Condvar::new(),
        })
    }

    /// Whoever waits goes on at the new rate: what was taken at another one is paid for.
    pub fn set_rate(&self, bytes_per_second: u64) {
        if self.rate.swap(bytes_per_second, Ordering::Relaxed) != bytes_per_second {
            *self.paid_until.lock() = Duration::ZERO;
            self.woken.notify_all();
        }
    }

    pub fn rate(&self) -> u64 {
        self.rate.load(Ordering::Relaxed)
    }

    /// Nobody waits from now on.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        let _waiting = self.paid_until.lock();
        self.woken.notify_all();
    }

    /// Waits until what was taken before is paid for, and takes so many bytes more; false when it has ended.
    pub fn take(&self, bytes: u64) -> bool {
        let arrived = self.clock.monotonic();
        let mut paid_until = self.paid_until.lock();
        loop {
            if self.ended.load(Ordering::Acquire) {
                return false;
            }
            let rate = self.rate();
            if rate == 0 {
                return true;
            }
            let from = (*paid_until).max(arrived);
            let now = self.clock.monotonic();
            if now >= from {
                *paid_until = from + Duration::from_secs_f64(bytes as f64 / rate as f64);
                return true;
            }
            self.woken.wait_for(&mut paid_until, from - now);
        }
    }
}

/// A disk that is read at a pace, and that leaves in the system's memory nothing of what it has read.
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
        let (file, pace) = (self.disk.open(path, mode)?, Arc::clone(&self.pace));
        Ok(Box::new(PacedFile { file, pace, stretch: Mutex::default() }))
    }
}

struct PacedFile {
    file: Box<dyn DiskFile>,
    pace: Arc<Pace>,
    /// What was read last, one behind the other.
    stretch: Mutex<(u64, u64)>,
}

impl FileLayer for PacedFile {
    fn below(&self) -> &dyn DiskFile {
        &*self.file
    }

    fn read_below(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if !self.pace.take(buf.len() as u64) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the server ends"));
        }
        let len = self.file.read_at(buf, offset)?;
        let (from, to) = &mut *self.stretch.lock();
        if offset != *to {
            *from = offset;
        }
        *to = offset + len as u64;
        if *to - *from >= STRETCH_BYTES {
            self.file.let_go(*from, *to - *from);
            *from = *to;
        }
        Ok(len)
    }

    fn sync_all_below(&self) -> io::Result<()> {
        self.file.sync_all()?;
        // What was written is read back from where it is kept.
        self.file.let_go(0, u64::MAX);
        Ok(())
    }
}

impl Drop for PacedFile {
    fn drop(&mut self) {
        self.file.let_go(0, u64::MAX);
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

    /// Whoever waits at a rate at which it would take for ever goes on when that is raised, or when all is over.
    #[test]
    fn a_new_rate_and_an_end_wake_whoever_waits() {
        for ends in [false, true] {
            let pace = Pace::new(Arc::new(SystemClock::new()));
            pace.set_rate(1);
            assert!(pace.take(1 << 40), "rest is no debt");
            std::thread::scope(|scope| {
                let waits = scope.spawn(|| pace.take(1));
                if ends {
                    pace.end()
                } else {
                    pace.set_rate(2)
                }
                assert_eq!(waits.join().expect("ends"), !ends);
            });
        }
    }

    /// Counts what is let go of.
    struct Counted(Arc<Mutex<Vec<(u64, u64)>>>);

    impl FileLayer for Counted {
        fn below(&self) -> &dyn DiskFile {
            unreachable!("this file has nothing below it")
        }

        fn read_below(&self, buf: &mut [u8], _: u64) -> io::Result<usize> {
            Ok(buf.len())
        }

        fn let_go_below(&self, offset: u64, len: u64) {
            self.0.lock().push((offset, len));
        }
    }

    #[test]
    fn what_was_read_is_let_go_of() {
        let (seen, pace) = (Arc::default(), Pace::new(Arc::new(SystemClock::new())));
        let file = PacedFile { file: Box::new(Counted(Arc::clone(&seen))), pace, stretch: Mutex::default() };
        let mut buf = vec![0; 400 << 10];
        for at in 0..3 {
            file.read_at(&mut buf, at * (400 << 10)).expect("read");
        }
        assert_eq!(*seen.lock(), [(0, 1200 << 10)], "in stretches");
        file.read_at(&mut buf, 9 << 20).expect("read");
        drop(file);
        assert_eq!(seen.lock().last(), Some(&(0, u64::MAX)), "and all of it in the end");
    }
}
