//! How fast a backup reads, so that the disk stays the server's.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use crate::env::Clock;

/// Bytes read at once where a rate holds: at a low one a large read would be followed by a long pause.
const CHUNK_BYTES: usize = 64 << 10;

/// Bytes a second, over all files of a backup together.
pub struct Pace {
    clock: Arc<dyn Clock>,
    /// 0: any number.
    rate: u64,
    began: Duration,
    read: u64,
}

impl Pace {
    pub fn new(clock: Arc<dyn Clock>, bytes_per_second: u64) -> Self {
        Self { began: clock.monotonic(), clock, rate: bytes_per_second, read: 0 }
    }

    /// Counts bytes that were read; for how long that is ahead of the rate.
    fn ahead(&mut self, bytes: usize) -> Duration {
        self.read += bytes as u64;
        if self.rate == 0 {
            return Duration::ZERO;
        }
        let due = Duration::from_secs_f64(self.read as f64 / self.rate as f64);
        due.saturating_sub(self.clock.monotonic().saturating_sub(self.began))
    }
}

/// Reads at a pace.
pub(super) struct Paced<'p, R> {
    pub(super) content: R,
    pub(super) pace: &'p mut Pace,
}

impl<R: Read> Read for Paced<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = if self.pace.rate == 0 { buf.len() } else { buf.len().min(CHUNK_BYTES) };
        let read = self.content.read(&mut buf[..want])?;
        let ahead = self.pace.ahead(read);
        if !ahead.is_zero() {
            // Woken early, it reads a little early.
            std::thread::park_timeout(ahead);
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{ManualClock, UnixMillis};

    #[test]
    fn it_waits_for_what_it_is_ahead_of_the_rate() {
        let clock = Arc::new(ManualClock::at(UnixMillis(0)));
        let mut pace = Pace::new(clock.clone(), 1000);
        assert_eq!(pace.ahead(500), Duration::from_millis(500));
        clock.advance(Duration::from_millis(400));
        assert_eq!(pace.ahead(100), Duration::from_millis(200));
        clock.advance(Duration::from_secs(1));
        assert_eq!(pace.ahead(100), Duration::ZERO);
        assert_eq!(Pace::new(clock, 0).ahead(1 << 40), Duration::ZERO);
    }
}
