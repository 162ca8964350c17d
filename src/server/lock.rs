//! The one lock in front of the engine: fair, and one that waiters can give up on.
//!
//! Invariants
//! - Whoever waits is served before whoever comes later, because every release hands over to the longest waiter.
//! - While a script is past its time (`busy`), nobody goes on waiting: `lock` returns at once, and the caller answers
//!   -BUSY without the engine.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

/// How long a waiter sleeps before it looks whether a script has become too long.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// See the module's header.
#[derive(Debug)]
pub struct FairLock<T> {
    value: Mutex<T>,
}

/// The lock is held by a script that is past its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

impl<T> FairLock<T> {
    pub fn new(value: T) -> Self {
        Self { value: Mutex::new(value) }
    }

    /// Waits for its turn. `is_busy` tells whether the holder is a script past its time.
    ///
    /// # Errors
    /// [`Busy`] as soon as it is.
    pub fn lock(&self, is_busy: impl Fn() -> bool) -> Result<Fair<'_, T>, Busy> {
        if let Some(guard) = self.value.try_lock() {
            return Ok(Fair(Some(guard)));
        }
        loop {
            if is_busy() {
                return Err(Busy);
            }
            if let Some(guard) = self.value.try_lock_for(LOOK_AGAIN) {
                return Ok(Fair(Some(guard)));
            }
        }
    }

    /// Waits for its turn, at most this long.
    pub fn lock_within(&self, limit: Duration) -> Option<Fair<'_, T>> {
        self.value.try_lock_for(limit).map(|guard| Fair(Some(guard)))
    }

    /// Waits for its turn, however long a script runs: for threads that serve no connection.
    pub fn lock_patiently(&self) -> Fair<'_, T> {
        Fair(Some(self.value.lock()))
    }
}

/// The lock, held.
pub struct Fair<'a, T>(Option<MutexGuard<'a, T>>);

impl<T> Deref for Fair<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(guard) => guard,
            None => unreachable!("the guard is taken only when this is dropped"),
        }
    }
}

impl<T> DerefMut for Fair<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.0 {
            Some(guard) => guard,
            None => unreachable!("the guard is taken only when this is dropped"),
        }
    }
}

impl<T> Drop for Fair<'_, T> {
    fn drop(&mut self) {
        if let Some(guard) = self.0.take() {
            MutexGuard::unlock_fair(guard);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Busy, FairLock};
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    /// How often each of four threads gets the lock that all of them take again and again.
    fn shares(rounds: u64) -> Vec<u64> {
        let lock = FairLock::new(0u64);
        let shares = [const { AtomicU64::new(0) }; 4];
        let start = std::sync::Barrier::new(shares.len());
        std::thread::scope(|scope| {
            for share in &shares {
                let (lock, start) = (&lock, &start);
                scope.spawn(move || {
                    start.wait();
                    loop {
                        let mut total = lock.lock(|| false).expect("no script runs");
                        if *total == rounds {
                            return;
                        }
                        *total += 1;
                        (0..5_000).for_each(|_| std::hint::spin_loop());
                        share.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        shares.iter().map(|share| share.load(Ordering::Relaxed)).collect()
    }

    /// A thread that the system does not run gets nothing, so one trial on a busy machine says little.
    #[test]
    fn nobody_is_kept_out_by_threads_that_come_back_at_once() {
        const ROUNDS: u64 = 4_000;
        let trials: Vec<Vec<u64>> = (0..10).map(|_| shares(ROUNDS)).collect();
        assert!(trials.iter().all(|shares| shares.iter().sum::<u64>() == ROUNDS));
        assert!(trials.iter().any(|shares| shares.iter().all(|share| *share > ROUNDS / 20)), "{trials:?}");
    }

    #[test]
    fn waiters_give_up_when_a_script_is_past_its_time() {
        let lock = FairLock::new(());
        let busy = AtomicBool::new(false);
        let try_it = || lock.lock(|| busy.load(Ordering::Relaxed)).map(drop);
        let held = lock.lock_patiently();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(try_it);
            busy.store(true, Ordering::Relaxed);
            assert_eq!(waiter.join().expect("no panic"), Err(Busy));
            assert_eq!(try_it(), Err(Busy));
            drop(held);
            assert_eq!(try_it(), Ok(()));
        });
    }
}
