//! The access clock of a key: 24 bits that say when it was last used (LRU) or how often (LFU).
//!
//! LRU: seconds, modulo 2^24. LFU: 16 bits of minutes, when the counter last decayed, and 8 bits of a counter that
//! grows with the logarithm of the number of uses. Both as the stock server has them, so that OBJECT IDLETIME and
//! OBJECT FREQ, and the values in RDB files, mean the same.

use crate::env::UnixMillis;

/// What new keys start with, so that they are not the first to be evicted.
const COUNTER_FRESH: u8 = 5;
const SECONDS_MASK: u32 = (1 << 24) - 1;
const MINUTES_MASK: u32 = (1 << 16) - 1;

/// Which of the two the clocks hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessPolicy {
    Lru,
    Lfu {
        /// `lfu-log-factor`: how many uses it takes to raise the counter.
        log_factor: u32,
        /// `lfu-decay-time`: minutes until an unused counter falls by one; 0 never.
        decay_minutes: u32,
    },
}

/// Makes and reads access clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct AccessClock {
    policy: AccessPolicy,
    seconds: u64,
}

impl AccessClock {
    pub fn new(policy: AccessPolicy, now: UnixMillis) -> Self {
        Self { policy, seconds: (now.0 / 1000).max(0) as u64 }
    }

    pub fn policy(self) -> AccessPolicy {
        self.policy
    }

    /// The clock of a key that is created now.
    pub fn fresh(self) -> u32 {
        match self.policy {
            AccessPolicy::Lru => self.seconds as u32 & SECONDS_MASK,
            AccessPolicy::Lfu { .. } => self.with_frequency(COUNTER_FRESH),
        }
    }

    /// The clock of a key that is used now; `random` is uniform over all numbers.
    pub fn used(self, clock: u32, random: u64) -> u32 {
        match self.policy {
            AccessPolicy::Lru => self.fresh(),
            AccessPolicy::Lfu { log_factor, .. } => {
                let counter = self.frequency(clock);
                let above = u64::from(counter.saturating_sub(COUNTER_FRESH));
                let odds = above * u64::from(log_factor) + 1;
                let raise = counter < u8::MAX && random.is_multiple_of(odds);
                self.with_frequency(counter + u8::from(raise))
            }
        }
    }

    /// Seconds since the last use (LRU).
    pub fn idle_seconds(self, clock: u32) -> u64 {
        u64::from((self.seconds as u32).wrapping_sub(clock) & SECONDS_MASK)
    }

    /// When the key was last used, in seconds; comparable while the clocks have not gone round (LRU).
    pub(super) fn last_use(self, clock: u32) -> u64 {
        // Counted from so far back that no clock lies before it.
        (self.seconds + u64::from(SECONDS_MASK) + 1) - self.idle_seconds(clock)
    }

    /// The counter, less what it lost since it was written (LFU).
    pub fn frequency(self, clock: u32) -> u8 {
        let counter = clock as u8;
        let AccessPolicy::Lfu { decay_minutes, .. } = self.policy else { return counter };
        let elapsed = (self.minutes().wrapping_sub(clock >> 8)) & MINUTES_MASK;
        let lost = elapsed.checked_div(decay_minutes).unwrap_or(0);
        counter.saturating_sub(u8::try_from(lost).unwrap_or(u8::MAX))
    }

    /// The clock of a key that was last used so long ago (LRU), as RDB files and RESTORE give it.
    pub fn with_idle_seconds(self, idle: u64) -> u32 {
        (self.seconds.saturating_sub(idle)) as u32 & SECONDS_MASK
    }

    /// The clock of a key with this counter now (LFU).
    pub fn with_frequency(self, counter: u8) -> u32 {
        self.minutes() << 8 | u32::from(counter)
    }

    fn minutes(self) -> u32 {
        (self.seconds / 60) as u32 & MINUTES_MASK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LFU: AccessPolicy = AccessPolicy::Lfu { log_factor: 10, decay_minutes: 1 };

    fn at(policy: AccessPolicy, seconds: i64) -> AccessClock {
        AccessClock::new(policy, UnixMillis(seconds * 1000))
    }

    #[test]
    fn idle_time_survives_the_wrap_of_24_bits() {
        for start in [0, 1_700_000_000, (1 << 24) - 3] {
            let clock = at(AccessPolicy::Lru, start).fresh();
            assert_eq!(at(AccessPolicy::Lru, start + 7).idle_seconds(clock), 7);
        }
        let now = at(AccessPolicy::Lru, 1_700_000_000);
        assert_eq!(now.idle_seconds(now.with_idle_seconds(1234)), 1234);
    }

    #[test]
    fn counters_decay_by_the_minute() {
        let clock = at(LFU, 1_700_000_000).with_frequency(100);
        for (later, left) in [(0, 100), (60, 99), (600, 90), (100 * 60, 0), (1000 * 60, 0)] {
            assert_eq!(at(LFU, 1_700_000_000 + later).frequency(clock), left, "{later}");
        }
    }

    #[test]
    fn counters_grow_with_the_logarithm_of_uses() {
        let now = at(LFU, 1_700_000_000);
        let mut random = 1_u64;
        let mut after = |uses: u32| {
            (0..uses).fold(now.fresh(), |clock, _| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                now.used(clock, random ^ random >> 32)
            })
        };
        let counters = [100, 1000, 100_000].map(|uses| now.frequency(after(uses)));
        // The stock documentation's table for factor 10: 10, 18, 142.
        assert!((7..14).contains(&counters[0]), "{counters:?}");
        assert!((14..24).contains(&counters[1]), "{counters:?}");
        assert!((120..165).contains(&counters[2]), "{counters:?}");
    }
}
