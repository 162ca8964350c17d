//! An io loop: waits for sockets, reads and parses without the engine, executes what came together in one hold of it,
//! sends what may leave.
//!
//! The loop is level-triggered epoll on a thread of its own. Its connections are shared state, not the thread's: while
//! a script runs past its time on the loop's own thread, a stand-in thread runs the same loop, so that -BUSY, SCRIPT
//! KILL and SHUTDOWN NOSAVE stay reachable with one io thread too, and a script that is quick costs no hand-over. The
//! same holds for a write of the log: the loop does it itself, and is stood in for should it hang.
//!
//! Invariants
//! - The engine is held for at most [`BATCH_MAX`] requests or [`HOLD_MAX`] at a time; never while reading or writing.
//! - Waking a loop costs at most one write to its eventfd, and none from its own thread or while it is awake.
//! - A connection is worked on by whoever holds its mutex, and requests of one connection never overtake each other.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::Mutex;

use super::acceptor::Acceptor;
use super::config::Settings;
use super::connection::{BATCH_MAX, Connection, Interest, NextTurn, Sent};
use super::listener::ListenError;
use super::lock::Fair;
use super::shared::Shared;
use crate::engine::{Engine, Wake};
use crate::env::UnixMillis;
use crate::persist::SyncPolicy;

/// Stack of a thread that runs scripts: room for the interpreter's own bounds of nesting, with the host's code between.
pub const SCRIPT_STACK_BYTES: usize = 64 << 20;

/// Longest hold of the engine.
const HOLD_MAX: Duration = Duration::from_micros(100);
/// What a pass logs goes to the writer as one batch at the pass's end, or in parts when it takes longer than this.
const SETTLE_AFTER: Duration = Duration::from_millis(1);
/// Bytes read from one connection at a time.
const READ_BYTES: usize = 64 << 10;
/// How often a command that found no room in the log is given again.
const LOG_FULL_RETRY_MILLIS: u16 = 1;
/// Replies that wait for a write alone go ahead of it after this time.
const STUCK_WRITE_MILLIS: u16 = 10;
const EVENTS_MAX: usize = 256;
/// So many bytes to be freed are not left lying until the ticker comes by itself.
const GARBAGE_URGENT: usize = 1 << 20;
/// How often timeouts are looked at.
const TEND_EVERY: Duration = Duration::from_secs(1);

/// Tokens of epoll events that are no connection.
const TOKEN_WAKE: u64 = u64::MAX;
/// Listeners have tokens from here to `TOKEN_WAKE`.
pub(super) const TOKEN_LISTENERS: u64 = u64::MAX - 1024;

thread_local! {
    /// The loop that this thread runs.
    static CURRENT: RefCell<Option<Arc<IoLoop>>> = const { RefCell::new(None) };
}

/// See the module's header.
pub struct IoLoop {
    epoll: Epoll,
    wake_up: EventFd,
    /// The thread is in, or about to enter, `epoll_wait`.
    asleep: AtomicBool,
    /// Connections whose outbox was filled from elsewhere.
    woken: Mutex<Vec<u64>>,
    connections: Mutex<Slab>,
    /// Lowest log position that a connection here waits for.
    lowest_gated: AtomicU64,
    gated: Mutex<BinaryHeap<Reverse<(u64, u64)>>>,
    /// Connections that are over and that the engine still knows.
    departed: Mutex<Vec<crate::command::ClientId>>,
    acceptor: OnceLock<Acceptor>,
    stand_in: Mutex<Option<StandIn>>,
}

struct StandIn {
    thread: std::thread::JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

/// Connections by token: index in the low half, generation in the high half.
#[derive(Default)]
struct Slab {
    slots: Vec<(u32, Option<Arc<Mutex<Connection>>>)>,
    free: Vec<u32>,
}

impl Slab {
    fn reserve(&mut self) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            self.slots.len() as u32 - 1
        });
        token(index, self.slots[index as usize].0)
    }

    fn fill(&mut self, token: u64, connection: Arc<Mutex<Connection>>) {
        self.slots[token as u32 as usize].1 = Some(connection);
    }

    fn get(&self, token: u64) -> Option<Arc<Mutex<Connection>>> {
        let (generation, connection) = self.slots.get(token as u32 as usize)?;
        (*generation == (token >> 32) as u32).then(|| connection.clone()).flatten()
    }

    fn remove(&mut self, token: u64) {
        if let Some((generation, connection)) = self.slots.get_mut(token as u32 as usize)
            && *generation == (token >> 32) as u32
            && connection.take().is_some()
        {
            // The highest generations stay clear of the reserved tokens.
            *generation = (*generation + 1) & 0x7fff_ffff;
            self.free.push(token as u32);
        }
    }

    fn all(&self) -> Vec<(u64, Arc<Mutex<Connection>>)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(i, (g, c))| c.clone().map(|c| (token(i as u32, *g), c))).collect()
    }
}

fn token(index: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(index)
}

/// What one pass of a loop works with; kept to be filled again.
struct Pass {
    events: Vec<EpollEvent>,
    scratch: Vec<u8>,
    ready: Vec<(u64, Arc<Mutex<Connection>>)>,
    /// Connections with requests left over from the pass before.
    again: Vec<(u64, Arc<Mutex<Connection>>)>,
    /// Connections that wait for room in the log.
    soon: Vec<(u64, Arc<Mutex<Connection>>)>,
    tokens: Vec<u64>,
    settings: Arc<Settings>,
    generation: u64,
    tended: Duration,
}

impl Pass {
    fn new(shared: &Shared) -> Self {
        Self {
            events: vec![EpollEvent::empty(); EVENTS_MAX],
            scratch: vec![0; READ_BYTES],
            ready: Vec::new(),
            again: Vec::new(),
            soon: Vec::new(),
            tokens: Vec::new(),
            settings: shared.settings(),
            generation: shared.settings_generation(),
            tended: shared.clock.monotonic(),
        }
    }
}

impl IoLoop {
    /// # Errors
    /// The system has no epoll or eventfd to give.
    pub fn new() -> std::io::Result<Arc<Self>> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let wake_up = EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        epoll.add(&wake_up, EpollEvent::new(EpollFlags::EPOLLIN, TOKEN_WAKE))?;
        Ok(Arc::new(Self {
            epoll,
            wake_up,
            asleep: AtomicBool::new(false),
            woken: Mutex::default(),
            connections: Mutex::default(),
            lowest_gated: AtomicU64::new(u64::MAX),
            gated: Mutex::default(),
            departed: Mutex::default(),
            acceptor: OnceLock::new(),
            stand_in: Mutex::new(None),
        }))
    }

    /// Gives this loop the listening sockets. Called once, before it runs.
    ///
    /// # Errors
    /// epoll refuses one.
    pub fn accept_with(&self, acceptor: Acceptor) -> std::io::Result<()> {
        acceptor.watch(&self.epoll)?;
        // Called once; a second acceptor would be a mistake in `start`.
        let _ = self.acceptor.set(acceptor);
        Ok(())
    }

    /// Opens the sockets of changed `bind` and `port` settings in place of the present ones.
    ///
    /// # Errors
    /// They cannot be opened; then those of before are open again.
    pub fn listen_again(&self, before: &Settings, after: &Settings) -> Result<(), ListenError> {
        let Some(acceptor) = self.acceptor.get() else { return Err(ListenError::Nowhere) };
        acceptor.close_tcp(&self.epoll);
        let opened = acceptor.open_tcp(&self.epoll, after);
        if opened.is_err() {
            // They were open a moment ago; if they are not to be had any more, the log says so.
            let _ = acceptor.open_tcp(&self.epoll, before);
        }
        opened
    }

    /// Adds a connection; `make` builds it around the wake-up of its outbox.
    pub fn adopt(self: &Arc<Self>, shared: &Shared, make: impl FnOnce(Box<dyn Wake>) -> Connection) {
        let token = self.connections.lock().reserve();
        let connection = make(Box::new(WakeConnection { io: Arc::clone(self), token }));
        let connection = Arc::new(Mutex::new(connection));
        self.connections.lock().fill(token, Arc::clone(&connection));
        // Everybody takes a connection before the engine, never the other way round. While a script is past its time
        // the engine learns of the connection with its first request.
        let mut held = connection.lock();
        held.threaded = self.acceptor.get().is_none();
        if let Ok(mut engine) = shared.lock() {
            held.connect(&mut engine);
        }
        if self.epoll.add(held.stream(), EpollEvent::new(EpollFlags::EPOLLIN, token)).is_err() {
            held.hung_up();
            self.note_woken(token);
        }
    }

    /// Makes the loop look at everything that may have changed.
    pub fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            // The counter of an eventfd that is written once per sleep cannot overflow.
            let _ = self.wake_up.write(1);
        }
    }

    /// The gate has moved; wakes the loop if somebody here waited for that.
    pub fn gate_moved(&self, released: u64) {
        if self.awaits_gate(released) {
            self.wake();
        }
    }

    /// The log is in trouble, or out of it: everybody who waits for it is looked at.
    pub fn trouble_changed(&self) {
        let waiting: Vec<u64> = self.gated.lock().iter().map(|Reverse((_, token))| *token).collect();
        self.woken.lock().extend(waiting);
        self.wake();
    }

    fn awaits_gate(&self, released: u64) -> bool {
        let lowest = self.lowest_gated.load(Ordering::SeqCst);
        lowest != u64::MAX && lowest <= released
    }

    fn note_woken(&self, token: u64) {
        self.woken.lock().push(token);
        self.wake();
    }

    /// Runs the loop on this thread until the server stops.
    pub fn run(self: &Arc<Self>, shared: &Arc<Shared>) {
        CURRENT.with(|current| *current.borrow_mut() = Some(Arc::clone(self)));
        let mut pass = Pass::new(shared);
        while !shared.is_stopping() {
            self.turn(shared, &mut pass);
            if self.dismiss_stand_in() {
                // What it had read and not finished is this thread's now.
                pass.again = self.connections.lock().all();
            }
        }
        self.finish(shared, &mut pass);
        CURRENT.with(|current| *current.borrow_mut() = None);
    }

    /// The loop whose own thread this is; `None` on a stand-in's.
    fn current() -> Option<Arc<Self>> {
        CURRENT.with(|current| current.borrow().clone())
    }

    /// Called on the thread that runs a script when the script is past its time: has this thread's loop run by another
    /// thread until the script has ended.
    pub fn call_stand_in(shared: &Arc<Shared>) {
        if let Some(io) = Self::current() {
            io.stand_in(shared);
        }
    }

    /// Has the loop run by another thread until its own comes back to it.
    pub fn stand_in(self: &Arc<Self>, shared: &Arc<Shared>) {
        let mut place = self.stand_in.lock();
        if place.is_some() {
            return;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, shared) = (Arc::clone(&stop), Arc::clone(shared));
        let worker = Arc::clone(self);
        let builder = std::thread::Builder::new().name("stand-in".into()).stack_size(SCRIPT_STACK_BYTES);
        let thread = builder.spawn(move || {
            let mut pass = Pass::new(&shared);
            // What was read before the script began is answered too, and first.
            pass.again = worker.connections.lock().all();
            while !stopped.load(Ordering::Acquire) && !shared.is_stopping() {
                worker.turn(&shared, &mut pass);
            }
        });
        match thread {
            Ok(thread) => *place = Some(StandIn { thread, stop }),
            Err(error) => tracing::warn!("No thread to stand in for one that is kept: {error}"),
        }
    }

    /// Ends the stand-in's work; false when there is none.
    fn dismiss_stand_in(&self) -> bool {
        let Some(stand_in) = self.stand_in.lock().take() else { return false };
        stand_in.stop.store(true, Ordering::Release);
        // It may be about to sleep: write to the eventfd whatever `asleep` says.
        let _ = self.wake_up.write(1);
        let _ = stand_in.thread.join();
        true
    }

    /// Waits for something to happen and does all that it asks for.
    fn turn(self: &Arc<Self>, shared: &Arc<Shared>, pass: &mut Pass) {
        shared.counters.turns.fetch_add(1, Ordering::Relaxed);
        let generation = shared.settings_generation();
        if generation != pass.generation {
            pass.generation = generation;
            pass.settings = shared.settings();
        }
        let now = self.wait(shared, pass);
        self.collect_woken(shared, pass, false);
        self.execute(shared, pass, now);
        self.collect_woken(shared, pass, true);
        self.send(shared, pass, now);
        if now.saturating_sub(pass.tended) >= TEND_EVERY {
            pass.tended = now;
            self.tend(shared, pass, now);
        }
        self.forget_departed(shared);
        let busy = shared.clock.monotonic().saturating_sub(now).as_micros() as u64;
        shared.counters.busy_micros.fetch_add(busy, Ordering::Relaxed);
        pass.ready.clear();
    }

    /// Sleeps until a socket or a wake-up, and reads what the sockets have; returns when it awoke.
    fn wait(self: &Arc<Self>, shared: &Arc<Shared>, pass: &mut Pass) -> Duration {
        self.asleep.store(true, Ordering::SeqCst);
        let pending = !pass.again.is_empty()
            || self.awaits_gate(shared.gate.released())
            || !self.woken.lock().is_empty()
            || shared.is_stopping();
        let runs_ahead = self.may_run_ahead(shared);
        let timeout = match (pending, pass.soon.is_empty()) {
            (true, _) => EpollTimeout::ZERO,
            (false, false) => EpollTimeout::from(LOG_FULL_RETRY_MILLIS),
            (false, true) if runs_ahead => EpollTimeout::from(STUCK_WRITE_MILLIS),
            (false, true) => EpollTimeout::from(1000u16),
        };
        let before = shared.gate.released();
        let mut events = std::mem::take(&mut pass.events);
        let count = self.epoll.wait(&mut events, timeout).unwrap_or(0);
        if count == 0 && runs_ahead && !pending && before == shared.gate.released() {
            self.run_ahead(shared);
        }
        self.asleep.store(false, Ordering::SeqCst);
        pass.ready.append(&mut pass.again);
        pass.ready.append(&mut pass.soon);
        let now = shared.clock.monotonic();
        for event in &events[..count] {
            match event.data() {
                TOKEN_WAKE => {
                    let _ = self.wake_up.read();
                }
                token @ TOKEN_LISTENERS.. => {
                    if let Some(acceptor) = self.acceptor.get() {
                        acceptor.accept(token, shared, &pass.settings);
                    }
                }
                token => {
                    let Some(connection) = self.connections.lock().get(token) else { continue };
                    self.receive(shared, pass, token, connection, event.events(), now);
                }
            }
        }
        pass.events = events;
        now
    }

    /// Whether replies here wait for a write alone, not for a sync.
    fn may_run_ahead(&self, shared: &Shared) -> bool {
        self.lowest_gated.load(Ordering::SeqCst) != u64::MAX
            && shared.log().is_some_and(|log| log.progress.policy() != SyncPolicy::Always)
    }

    /// A write has been stuck for a while (not: its thread had no turn yet): where syncs are not waited for, replies do not wait for it either. How far
    /// they may be ahead is bounded by what the log lets wait.
    fn run_ahead(&self, shared: &Shared) {
        if let Some(log) = shared.log()
            && log.progress.is_behind()
            && log.progress.trouble().is_none()
            && shared.gate.release(log.progress.appended().0)
        {
            let released = shared.gate.released();
            shared.loops().iter().for_each(|io| io.gate_moved(released));
        }
    }

    fn receive(
        &self,
        shared: &Shared,
        pass: &mut Pass,
        token: u64,
        connection: Arc<Mutex<Connection>>,
        events: EpollFlags,
        now: Duration,
    ) {
        // Held by the thread whose script this one stands in for: its requests have to wait, and so does its socket.
        let Some(mut held) = connection.try_lock() else {
            std::thread::yield_now();
            return;
        };
        if shared.is_draining() {
            return;
        }
        if events.contains(EpollFlags::EPOLLIN) {
            held.receive(&mut pass.scratch, shared, &pass.settings, now);
        } else if events.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            held.hung_up();
        }
        drop(held);
        pass.ready.push((token, connection));
    }

    /// Adds connections whose outbox was filled elsewhere, or whose log position is reached. Once this pass has
    /// executed its requests, those that wait for a key are left to the next one.
    fn collect_woken(&self, shared: &Shared, pass: &mut Pass, executed: bool) {
        std::mem::swap(&mut *self.woken.lock(), &mut pass.tokens);
        let released = shared.gate.released();
        if self.awaits_gate(released) {
            let mut gated = self.gated.lock();
            while let Some(Reverse((_, token))) = gated.peek().copied().filter(|Reverse((tag, _))| *tag <= released) {
                gated.pop();
                pass.tokens.push(token);
            }
            let lowest = gated.peek().map_or(u64::MAX, |Reverse((tag, _))| *tag);
            self.lowest_gated.store(lowest, Ordering::SeqCst);
        }
        if pass.tokens.is_empty() {
            return;
        }
        let connections = self.connections.lock();
        for token in pass.tokens.drain(..) {
            let Some(connection) = connections.get(token) else { continue };
            if executed && connection.try_lock().is_some_and(|held| held.is_parked()) {
                pass.again.push((token, connection));
            } else {
                pass.ready.push((token, connection));
            }
        }
    }

    /// Executes requests of the ready connections.
    fn execute(&self, shared: &Arc<Shared>, pass: &mut Pass, began: Duration) {
        if shared.is_draining() {
            return;
        }
        let mut hold: Option<Hold<'_>> = None;
        let mut left = None;
        for (_, connection) in &pass.ready {
            let Some(mut connection) = connection.try_lock() else { continue };
            // From here on a wake-up is a new one: it may tell of the end of a wait that begins in this very pass.
            connection.clear_woken();
            while connection.has_work() {
                if hold.as_ref().is_some_and(Hold::is_over) {
                    Hold::end(hold.take(), shared);
                    if shared.clock.monotonic().saturating_sub(began) >= SETTLE_AFTER {
                        // Not written here: this connection is held.
                        shared.settle_log();
                    }
                }
                let held = match &mut hold {
                    Some(held) => held,
                    none => match shared.lock() {
                        Ok(mut engine) => {
                            engine.look_at_clock();
                            left.get_or_insert_with(|| engine.store.left());
                            none.insert(Hold { since: engine.parts.looked, engine, requests: 0 })
                        }
                        Err(_) => {
                            connection.answer_busy(shared, &pass.settings);
                            break;
                        }
                    },
                };
                held.requests += 1;
                if !connection.step(&mut held.engine, shared, &pass.settings) {
                    break;
                }
            }
        }
        let leaves = hold.as_ref().is_some_and(|hold| left.is_some_and(|left| left != hold.engine.store.left()));
        if let Some(hold) = &mut hold {
            hold.engine.finish_pass();
        }
        Hold::end(hold, shared);
        Self::write_log(shared);
        shared.gauge.report();
        if leaves {
            shared.brake.hold_back();
        }
    }

    /// Sees to it that what this pass has logged is written.
    fn write_log(shared: &Shared) {
        let Some(log) = shared.log().filter(|log| log.buffer.take_wake()) else { return };
        let may_write = shared.knobs.flush_sleep().is_none();
        let written =
            may_write && Self::current().is_some_and(|io| log.writer.write_at_once(io, &log.progress, &*shared.clock));
        if !written {
            log.progress.wake_writer();
        }
    }

    fn send(&self, shared: &Shared, pass: &mut Pass, now: Duration) {
        for (token, connection) in pass.ready.drain(..) {
            let Some(mut held) = connection.try_lock() else { continue };
            let sent = held.send(shared, &pass.settings, now);
            match sent {
                Sent::Closed => {
                    self.close(shared, token, &mut held);
                    continue;
                }
                Sent::Gated(tag) => self.await_gate(&mut held, token, tag),
                Sent::Open => held.gated = None,
            }
            if held.interest != held.watched {
                self.watch(token, &mut held);
            }
            let turn = held.next_turn(shared, &pass.settings);
            drop(held);
            match turn {
                NextTurn::WhenWoken => {}
                NextTurn::AtOnce => pass.again.push((token, connection)),
                NextTurn::Soon => pass.soon.push((token, connection)),
            }
        }
    }

    fn watch(&self, token: u64, connection: &mut Connection) {
        connection.watched = connection.interest;
        let Interest { read, write } = connection.interest;
        let mut flags = EpollFlags::empty();
        flags.set(EpollFlags::EPOLLIN, read);
        flags.set(EpollFlags::EPOLLOUT, write);
        // A socket that epoll knows can be modified; if it is closed already, closing it is all that is left to do.
        let _ = self.epoll.modify(connection.stream(), &mut EpollEvent::new(flags, token));
    }

    fn await_gate(&self, connection: &mut Connection, token: u64, tag: u64) {
        if connection.gated == Some(tag) {
            return;
        }
        connection.gated = Some(tag);
        let mut gated = self.gated.lock();
        gated.push(Reverse((tag, token)));
        let lowest = gated.peek().map_or(u64::MAX, |Reverse((tag, _))| *tag);
        self.lowest_gated.store(lowest, Ordering::SeqCst);
    }

    /// Lets go of a connection that is over. It may come up several times in one pass.
    fn close(&self, shared: &Shared, token: u64, connection: &mut Connection) {
        if std::mem::replace(&mut connection.closed, true) {
            return;
        }
        let _ = self.epoll.delete(connection.stream().as_fd());
        self.connections.lock().remove(token);
        shared.counters.connected.fetch_sub(1, Ordering::Relaxed);
        if let Some(id) = connection.id {
            self.departed.lock().push(id);
        }
    }

    /// Takes connections that are over out of the engine.
    fn forget_departed(&self, shared: &Shared) {
        let mut departed = self.departed.lock();
        if departed.is_empty() {
            return;
        }
        if let Ok(mut engine) = shared.lock() {
            for id in departed.drain(..) {
                engine.disconnect(id);
            }
        }
    }

    fn tend(&self, shared: &Shared, pass: &Pass, now: Duration) {
        if shared.knobs.is_cron_paused() {
            return;
        }
        let all = self.connections.lock().all();
        for (token, connection) in all {
            let Some(mut held) = connection.try_lock() else { continue };
            if held.tend(shared, &pass.settings, now) {
                self.close(shared, token, &mut held);
            }
        }
    }

    /// The server stops: what may still leave is sent.
    fn finish(self: &Arc<Self>, shared: &Arc<Shared>, pass: &mut Pass) {
        pass.ready = self.connections.lock().all();
        self.send(shared, pass, shared.clock.monotonic());
    }
}

/// One hold of the engine.
struct Hold<'a> {
    engine: Fair<'a, Engine>,
    since: Duration,
    requests: usize,
}

impl Hold<'_> {
    fn is_over(&self) -> bool {
        self.requests >= BATCH_MAX || self.engine.parts.looked.saturating_sub(self.since) >= HOLD_MAX
    }

    /// Lets go of the engine; the ticker is called when there is work for it.
    fn end(hold: Option<Self>, shared: &Shared) {
        let Some(hold) = hold else { return };
        let engine = &hold.engine;
        if engine.parts.memory.is_evicting() || engine.store.garbage_bytes() >= GARBAGE_URGENT {
            shared.ticker.ring(UnixMillis(i64::MIN));
        }
    }
}

/// Wakes the loop of one connection.
struct WakeConnection {
    io: Arc<IoLoop>,
    token: u64,
}

impl Wake for WakeConnection {
    fn wake(&self) {
        self.io.note_woken(self.token);
    }
}
