//! Work that several threads do and one receives, in the order in which it was given.
//!
//! Invariants
//! - Results come in the order of their jobs, so whatever is found in them first is the first in the file.
//! - What is given and not yet received is bounded in bytes, but for one job, which may be larger.
//! - Nobody waits for ever: when any side gives up (it was refused something, or it panics) all others come to an end.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

/// A queue of jobs `J` that become results `R`.
pub struct Ordered<J, R> {
    state: Mutex<State<J, R>>,
    /// Something was received: there may be room.
    room: Condvar,
    /// There is a job, or there will be none any more.
    work: Condvar,
    /// A job is done, or there will be none any more.
    done: Condvar,
    bytes_max: usize,
}

struct State<J, R> {
    slots: VecDeque<Slot<J, R>>,
    /// Number of the first slot, counted from the beginning.
    first: u64,
    /// Number of the first slot whose job nobody has taken; the jobs before it are all taken.
    untaken: u64,
    bytes: usize,
    /// No job comes any more.
    closed: bool,
    given_up: bool,
}

struct Slot<J, R> {
    bytes: usize,
    stage: Stage<J, R>,
}

enum Stage<J, R> {
    Waiting(J),
    Taken,
    Done(R),
}

impl<J, R> Ordered<J, R> {
    /// A queue in which jobs of about so many bytes may wait for being received.
    pub fn new(bytes_max: usize) -> Self {
        let state = State { slots: VecDeque::new(), first: 0, untaken: 0, bytes: 0, closed: false, given_up: false };
        Self { state: Mutex::new(state), room: Condvar::new(), work: Condvar::new(), done: Condvar::new(), bytes_max }
    }

    /// Adds a job when there is room for it. False when nobody will do it any more.
    pub fn give(&self, job: J, bytes: usize) -> bool {
        let mut state = self.state.lock();
        while state.bytes > 0 && state.bytes + bytes > self.bytes_max && !state.given_up {
            self.room.wait(&mut state);
        }
        if state.given_up {
            return false;
        }
        state.bytes += bytes;
        state.slots.push_back(Slot { bytes, stage: Stage::Waiting(job) });
        drop(state);
        self.work.notify_one();
        // The receiver does what nobody else does.
        self.done.notify_one();
        true
    }

    /// Says that no job comes any more.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.work.notify_all();
        self.done.notify_all();
    }

    /// Ends everything: what was given is not done any more.
    pub fn give_up(&self) {
        self.state.lock().given_up = true;
        self.room.notify_all();
        self.work.notify_all();
        self.done.notify_all();
    }

    /// Does jobs until there are no more.
    pub fn work(&self, run: impl Fn(J) -> R) {
        let _guard = GiveUpOnPanic(self);
        let mut state = self.state.lock();
        while !state.given_up {
            match state.take() {
                Some((number, job)) => {
                    drop(state);
                    let result = run(job);
                    state = self.state.lock();
                    self.put(&mut state, number, result);
                }
                None if state.closed => return,
                None => self.work.wait(&mut state),
            }
        }
    }

    /// The next result, doing jobs while it is not there; `None` behind the last one, and when somebody gave up.
    pub fn receive(&self, run: impl Fn(J) -> R) -> Option<R> {
        let _guard = GiveUpOnPanic(self);
        let mut state = self.state.lock();
        loop {
            if state.given_up {
                return None;
            }
            if matches!(state.slots.front(), Some(Slot { stage: Stage::Done(_), .. })) {
                let slot = state.slots.pop_front()?;
                state.first += 1;
                state.bytes -= slot.bytes;
                self.room.notify_one();
                let Stage::Done(result) = slot.stage else { return None };
                return Some(result);
            }
            match state.take() {
                Some((number, job)) => {
                    drop(state);
                    let result = run(job);
                    state = self.state.lock();
                    self.put(&mut state, number, result);
                }
                None if state.closed && state.slots.is_empty() => return None,
                None => self.done.wait(&mut state),
            }
        }
    }

    fn put(&self, state: &mut State<J, R>, number: u64, result: R) {
        let at = (number - state.first) as usize;
        state.slots[at].stage = Stage::Done(result);
        if at == 0 {
            self.done.notify_one();
        }
    }
}

impl<J, R> State<J, R> {
    /// The first job that nobody has taken, and its number.
    fn take(&mut self) -> Option<(u64, J)> {
        let number = self.untaken;
        let slot = self.slots.get_mut((number - self.first) as usize)?;
        self.untaken += 1;
        match std::mem::replace(&mut slot.stage, Stage::Taken) {
            Stage::Waiting(job) => Some((number, job)),
            _ => unreachable!("jobs are taken in order"),
        }
    }
}

/// Whoever panics takes nobody down with waiting: the panic itself is passed on where the threads are joined.
struct GiveUpOnPanic<'a, J, R>(&'a Ordered<J, R>);

impl<J, R> Drop for GiveUpOnPanic<'_, J, R> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.give_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ordered;

    #[test]
    fn results_come_in_order_however_many_work() {
        for workers in 0..4 {
            let queue = Ordered::<u64, u64>::new(10);
            let run = |n: u64| (0..n % 7 * 1000).fold(n, |sum, _| std::hint::black_box(sum));
            let mut received = Vec::new();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    // Some are larger than all that may wait.
                    assert!((0..3000).all(|n| queue.give(n, if n % 100 == 0 { 25 } else { 3 })));
                    queue.close();
                });
                (0..workers).for_each(|_| drop(scope.spawn(|| queue.work(run))));
                received.extend(std::iter::from_fn(|| queue.receive(run)));
            });
            assert!(received.into_iter().eq(0..3000), "{workers}");
        }
    }

    #[test]
    fn who_gives_up_ends_all_others() {
        let queue = Ordered::<u64, u64>::new(10);
        std::thread::scope(|scope| {
            let giver = scope.spawn(|| (0..).take_while(|n| queue.give(*n, 1)).count());
            scope.spawn(|| queue.work(|n| n));
            assert_eq!(queue.receive(|n| n), Some(0));
            queue.give_up();
            assert_eq!(queue.receive(|n| n), None);
            assert!(giver.join().expect("the giver ends") >= 1);
        });
    }

    /// A job that panics must not leave the receiver waiting for its result.
    #[test]
    fn a_panic_reaches_whoever_joins() {
        let queue = Ordered::<u64, u64>::new(10);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            std::thread::scope(|scope| {
                scope.spawn(|| queue.work(|n| if n == 0 { panic!("meant to") } else { n }));
                scope.spawn(|| while queue.give(0, 1) {});
                while queue.receive(|_| panic!("meant to")).is_some() {}
            });
        }));
        assert!(outcome.is_err());
    }
}
