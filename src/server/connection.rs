//! One connection: bytes in, requests to the engine, bytes out.
//!
//! Invariants
//! - Requests are executed in the order in which they came, each once; while one waits (parked, or the log has no room)
//!   none behind it is begun.
//! - What is sent is what the outbox gave out, in its order.
//! - An error of the protocol is answered behind the replies of the requests before it, and ends the connection.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::aside::{Answer, Aside};
use super::config::{BufferLimit, Settings};
use super::shared::Shared;
use super::unsent::Unsent;
use crate::command::{ClientId, Flags, Resolved};
use crate::engine::{AHEAD_MAX, ConnectionInfo, Engine, Flow, Held, Outbox, Taken};
use crate::env::UnixMillis;
use crate::resp::{Limits, ProtocolError, Request, RequestReader};

/// Requests executed in one hold of the engine, at most.
pub const BATCH_MAX: usize = 64;
/// Bytes of a long argument read at a time, before other connections have their turn.
const LONG_READ_MAX: usize = 1 << 20;
/// Buffers of a quiet connection are freed beyond this.
const QUIET_BYTES_MAX: usize = 16 << 10;

/// A connected socket, never blocking.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&mut &*stream).read(buffer),
            Self::Unix(stream) => (&mut &*stream).read(buffer),
        }
    }

    /// Appends what has arrived, at most so many bytes, for which there must be room already; returns their number.
    fn read_onto(&self, bytes: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        let before = bytes.len();
        let read = match self {
            Self::Tcp(stream) => (&mut &*stream).take(most as u64).read_to_end(bytes),
            Self::Unix(stream) => (&mut &*stream).take(most as u64).read_to_end(bytes),
        };
        // What came before an error is there.
        if bytes.len() > before { Ok(bytes.len() - before) } else { read }
    }

    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&mut &*stream).write(bytes),
            Self::Unix(stream) => (&mut &*stream).write(bytes),
        }
    }

    pub fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&mut &*stream).write_vectored(slices),
            Self::Unix(stream) => (&mut &*stream).write_vectored(slices),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

/// What the io loop must watch a socket for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    pub read: bool,
    pub write: bool,
}

/// How a connection stands after its output was sent as far as possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Nothing is left, or the socket takes no more for now.
    Open,
    /// The rest waits for this log position.
    Gated(u64),
    /// The connection is over.
    Closed,
}

/// When a connection wants to be looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextTurn {
    /// When its socket or its outbox has something.
    WhenWoken,
    /// It has requests left.
    AtOnce,
    /// It waits for room in the log.
    Soon,
}

/// See the module's header.
pub struct Connection {
    pub id: Option<ClientId>,
    pub outbox: Arc<Outbox>,
    pub interest: Interest,
    /// What the io loop watches at present.
    pub watched: Interest,
    /// The position for which the io loop wakes it.
    pub gated: Option<u64>,
    /// The io loop has let go of it.
    pub closed: bool,
    /// Its io loop is not the first.
    pub threaded: bool,
    stream: Stream,
    info: ConnectionInfo,
    reader: RequestReader,
    /// Requests read and not executed yet: `batch[next..filled]`; the others keep their buffers for later.
    batch: Vec<Waiting>,
    next: usize,
    filled: usize,
    /// What the requests before this one look up has been fetched.
    ahead: usize,
    /// Input ended with this.
    protocol_error: Option<ProtocolError>,
    unsent: Unsent,
    /// The most that its buffer held in this period, or the one before.
    send_peak: usize,
    peak_since: Duration,
    state: State,
    /// What is known of the client without the engine.
    aside: Aside,
    /// Who it will be when the engine meets it, if that was told already.
    promised: Option<ClientId>,
    /// Bytes that it held when it last called for a look at all that connections hold.
    rung_at: u64,
    active_at: Duration,
    soft_limit_since: Option<Duration>,
}

/// A request that was read, and its command, if there is one of that name which takes such arguments.
#[derive(Default)]
struct Waiting {
    request: Request,
    command: Option<Resolved>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// A command waits for a key, or for the end of a pause.
    Parked,
    /// A command waits for room in the log.
    LogFull,
    /// Ends when its output is sent.
    Ending,
    Dead,
}

impl Connection {
    pub fn new(stream: Stream, mut info: ConnectionInfo, outbox: Arc<Outbox>, now: Duration) -> Self {
        info.descriptor = stream.as_fd().as_raw_fd();
        Self {
            id: None,
            outbox,
            interest: Interest { read: true, write: false },
            watched: Interest { read: true, write: false },
            gated: None,
            closed: false,
            threaded: false,
            stream,
            info,
            reader: RequestReader::new(),
            batch: Vec::new(),
            next: 0,
            filled: 0,
            ahead: 0,
            protocol_error: None,
            unsent: Unsent::default(),
            send_peak: 0,
            peak_since: now,
            state: State::Open,
            aside: Aside::default(),
            promised: None,
            rung_at: 0,
            active_at: now,
            soft_limit_since: None,
        }
    }

    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Introduces the connection to the engine.
    pub fn connect(&mut self, engine: &mut Engine) -> ClientId {
        let id = match self.id {
            Some(id) => id,
            None => {
                let id = self.promised.unwrap_or_else(|| engine.parts.clients.ids().next());
                engine.connect_as(id, self.info.clone(), Arc::clone(&self.outbox));
                self.id = Some(id);
                self.note_client(engine, id);
                id
            }
        };
        if self.aside.tell(engine, id) {
            self.note_client(engine, id);
        }
        id
    }

    /// Reads what has arrived, once.
    pub fn receive(&mut self, scratch: &mut [u8], shared: &Shared, settings: &Settings, now: Duration) {
        let received = match self.reader.long() {
            // A long argument is read to where it stays.
            Some((bytes, room)) => self.stream.read_onto(bytes, room.min(LONG_READ_MAX)),
            None => self.stream.read(scratch).inspect(|len| self.reader.feed(&scratch[..*len])),
        };
        match received {
            Ok(0) => self.input_ended(),
            Ok(len) => {
                self.active_at = now;
                shared.counters.bytes_in.fetch_add(len as u64, Ordering::Relaxed);
                shared.counters.reads.fetch_add(1, Ordering::Relaxed);
                shared.counters.threaded_reads.fetch_add(u64::from(self.threaded), Ordering::Relaxed);
                self.parse(shared, settings);
                self.report(shared, settings);
                if self.reader.pending_bytes() > settings.query_buffer_bytes_max {
                    shared.counters.query_limit_disconnections.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!("Closing client that reached max query buffer length: addr={}", self.info.address);
                    self.state = State::Dead;
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.state = State::Dead,
        }
    }

    /// Keeps the figures up to date by which the engine knows what the connection holds in memory.
    fn meter(&self) {
        let query = self.reader.pending_bytes();
        self.outbox.meter.report(Held {
            query,
            query_free: self.reader.heap_bytes().saturating_sub(query),
            requests: self.batch[self.next.min(self.filled)..self.filled]
                .iter()
                .map(|waiting| waiting.request.heap_bytes())
                .sum(),
            unsent: self.unsent.len(),
            send_buffer: self.unsent.capacity(),
            runs: self.unsent.run_bytes(),
            send_peak: self.send_peak,
        });
    }

    /// Tells the engine what the connection holds in memory.
    fn report(&mut self, shared: &Shared, settings: &Settings) {
        self.meter();
        // Otherwise the ticker looks at all connections soon enough.
        let held = (self.outbox.meter.read().total() + self.outbox.heap_bytes()) as u64;
        if settings.client_bytes_max > 0 && held > self.rung_at + settings.client_bytes_max / 8 {
            shared.ticker.ring(UnixMillis(i64::MIN));
            self.rung_at = held;
        }
        self.rung_at = self.rung_at.min(held);
    }

    /// The peer sends nothing more. Replies that are on their way still reach it.
    fn input_ended(&mut self) {
        self.interest.read = false;
        let idle = self.state == State::Open && self.next == self.filled;
        self.state =
            if idle && !(self.outbox.is_empty() && self.unsent.is_empty()) { State::Ending } else { State::Dead };
    }

    /// The socket failed or both sides have closed it.
    pub fn hung_up(&mut self) {
        self.state = State::Dead;
    }

    /// Makes requests of received bytes while none is waiting.
    fn parse(&mut self, shared: &Shared, settings: &Settings) {
        if self.next < self.filled || self.protocol_error.is_some() {
            return;
        }
        (self.next, self.filled, self.ahead) = (0, 0, 0);
        let unauthenticated = !self.aside.authenticated && shared.users.must_authenticate();
        let limits = Limits { bulk_bytes_max: settings.bulk_bytes_max, unauthenticated };
        // What a client may send changes with AUTH, so that its requests are read one by one until then.
        let most = if unauthenticated { 1 } else { BATCH_MAX };
        while self.filled < most {
            if self.filled == self.batch.len() {
                self.batch.push(Waiting::default());
            }
            let (before, rest) = self.batch.split_at_mut(self.filled);
            let Waiting { request, command } = &mut rest[0];
            match self.reader.next(&limits, request) {
                Ok(true) => {
                    *command = match before.last() {
                        Some(before) => shared.table.known_behind(request, &before.request, before.command),
                        None => shared.table.known(request),
                    };
                    // A browser that was made to post to this port: what follows are headers and a body, not requests.
                    if command.is_none() && is_http(request.name()) {
                        tracing::warn!(
                            "Possible SECURITY ATTACK detected: an HTTP request was sent. Connection closed."
                        );
                        self.end();
                        break;
                    }
                    self.filled += 1;
                }
                Ok(false) => break,
                Err(error) => {
                    self.protocol_error = Some(error);
                    break;
                }
            }
        }
    }

    /// Whether the engine has something to do for this connection.
    pub fn has_work(&self) -> bool {
        match self.state {
            State::Open => self.next < self.filled || self.protocol_error.is_some(),
            State::Parked | State::LogFull => true,
            State::Ending | State::Dead => false,
        }
    }

    /// What is told to the connection from now on wakes it anew.
    pub fn clear_woken(&self) {
        self.outbox.clear_woken();
    }

    /// Whether a command of it waits for a key, or for the end of a pause.
    pub fn is_parked(&self) -> bool {
        self.state == State::Parked
    }

    /// When to look at the connection again though nothing happens to it.
    pub fn next_turn(&mut self, shared: &Shared, settings: &Settings) -> NextTurn {
        match self.state {
            State::Open => {
                self.parse(shared, settings);
                if self.has_work() { NextTurn::AtOnce } else { NextTurn::WhenWoken }
            }
            State::LogFull => NextTurn::Soon,
            State::Parked | State::Ending | State::Dead => NextTurn::WhenWoken,
        }
    }

    /// Executes one request; false when there is nothing more to do for now.
    pub fn step(&mut self, engine: &mut Engine, shared: &Shared, settings: &Settings) -> bool {
        let id = self.connect(engine);
        match self.state {
            State::Parked if engine.parts.pause.holds(id) => return false,
            State::Parked if engine.parts.clients.get(id).is_some_and(|client| client.blocked.is_some()) => {
                return false;
            }
            State::Parked | State::LogFull => self.state = State::Open,
            State::Open => {}
            State::Ending | State::Dead => return false,
        }
        if self.next == self.filled {
            self.parse(shared, settings);
        }
        if self.next == self.filled {
            if let Some(error) = self.protocol_error.take() {
                self.outbox.reply(0, &protocol_error_line(error));
                engine.parts.stats.count_error("ERR");
                self.end();
            }
            return false;
        }
        if self.next >= self.ahead && self.filled - self.next > 1 {
            self.ahead = self.filled.min(self.next + AHEAD_MAX);
            let calls = self.batch[self.next..self.ahead].iter();
            engine.look_ahead(id, calls.filter_map(|waiting| Some((&waiting.request, waiting.command?))));
        }
        let Waiting { request, command } = &self.batch[self.next];
        // What reads or writes keys changes nothing in what is known of the client.
        let flags = command.map_or(Flags::NONE, |resolved| resolved.command.flags);
        let about_keys = (flags.has(Flags::READONLY) || flags.has(Flags::WRITE)) && !flags.has(Flags::SCRIPT);
        match engine.execute_known(id, request, *command) {
            Flow::Continue => {
                self.batch[self.next].request.let_go_of_blocks();
                self.next += 1;
            }
            Flow::Parked => {
                self.batch[self.next].request.let_go_of_blocks();
                self.next += 1;
                self.state = State::Parked;
                if let Some(deadline) = engine.parts.blocking.next_deadline() {
                    shared.ticker.ring(deadline);
                }
            }
            Flow::LogFull => self.state = State::LogFull,
            Flow::Paused => self.state = State::Parked,
            Flow::Close => {
                self.next = self.filled;
                self.end();
            }
        }
        // While the log is in trouble each reply that waits for it fails by itself, before the next one queues behind it.
        if let Some(error) = shared.in_doubt() {
            self.outbox.fail_waiting(&shared.gate, &error);
        }
        let goes_on = self.state == State::Open && (self.next < self.filled || self.protocol_error.is_some());
        if !(about_keys && goes_on) {
            self.note_client(engine, id);
        }
        goes_on
    }

    /// What is known of the client without the engine, as of now.
    fn note_client(&mut self, engine: &Engine, id: ClientId) {
        if let Some(client) = engine.parts.clients.get(id) {
            self.aside.note(client);
        }
    }

    /// Answers waiting requests while the engine is not to be had.
    pub fn answer_busy(&mut self, shared: &Shared, settings: &Settings) {
        while self.state == State::Open {
            if self.next == self.filled {
                self.parse(shared, settings);
            }
            if self.next == self.filled {
                if let Some(error) = self.protocol_error.take() {
                    self.outbox.reply(0, &protocol_error_line(error));
                    self.end();
                }
                return;
            }
            let id = self.id.unwrap_or_else(|| *self.promised.get_or_insert_with(|| shared.client_ids.next()));
            match self.aside.answer(shared, id, &self.batch[self.next].request) {
                Answer::Reply(bytes) => self.outbox.reply(0, &bytes),
                Answer::Last(bytes) => {
                    self.outbox.reply(0, &bytes);
                    self.state = State::Ending;
                }
            }
            self.next += 1;
        }
    }

    fn end(&mut self) {
        self.state = State::Ending;
        self.interest.read = false;
    }

    /// Sends what may leave, as far as the socket takes it.
    pub fn send(&mut self, shared: &Shared, settings: &Settings, now: Duration) -> Sent {
        if self.state == State::Dead {
            return Sent::Closed;
        }
        self.outbox.clear_woken();
        let room = self.unsent.capacity();
        let taken = loop {
            let mut taken = self.outbox.take(&shared.gate, self.unsent.space());
            if taken != Taken::All
                && let Some(error) = shared.in_doubt()
            {
                self.outbox.fail_waiting(&shared.gate, &error);
                taken = self.outbox.take(&shared.gate, self.unsent.space());
            }
            self.send_peak = self.send_peak.max(self.unsent.buffered());
            match self.write_some(shared) {
                Ok(true) if taken == Taken::All && !self.outbox.is_empty() => {}
                Ok(_) => break taken,
                Err(_) => {
                    self.state = State::Dead;
                    return Sent::Closed;
                }
            }
        };
        if self.unsent.capacity() > room {
            shared.counters.buffer_expands.fetch_add(1, Ordering::Relaxed);
        }
        let unsent = self.unsent.len();
        self.interest.write = unsent > 0;
        self.report(shared, settings);
        if self.outbox.wants_close() || (self.state == State::Ending && unsent == 0 && taken == Taken::All) {
            self.state = State::Dead;
            return Sent::Closed;
        }
        if self.exceeds_output_limit(unsent + self.outbox.len(), settings, now) {
            shared.counters.output_limit_disconnections.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                "Client addr={} closed for overcoming of output buffer limits ({} bytes waiting).",
                self.info.address,
                unsent + self.outbox.len()
            );
            self.state = State::Dead;
            return Sent::Closed;
        }
        match taken {
            Taken::Waiting(tag) => Sent::Gated(tag),
            Taken::All => Sent::Open,
        }
    }

    /// Writes once or until the socket is full; true when everything taken has been written.
    fn write_some(&mut self, shared: &Shared) -> io::Result<bool> {
        while !self.unsent.is_empty() {
            match self.unsent.send(&self.stream) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => {
                    shared.counters.bytes_out.fetch_add(len as u64, Ordering::Relaxed);
                    shared.counters.writes.fetch_add(1, Ordering::Relaxed);
                    shared.counters.threaded_writes.fetch_add(u64::from(self.threaded), Ordering::Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.unsent.reset();
        Ok(true)
    }

    fn exceeds_output_limit(&mut self, waiting: usize, settings: &Settings, now: Duration) -> bool {
        let BufferLimit { hard_bytes, soft_bytes, soft_seconds } =
            settings.output_limits[if self.aside.subscriber { 2 } else { 0 }];
        let waiting = waiting as u64;
        if hard_bytes > 0 && waiting > hard_bytes {
            return true;
        }
        if soft_bytes == 0 || waiting <= soft_bytes {
            self.soft_limit_since = None;
            return false;
        }
        let since = *self.soft_limit_since.get_or_insert(now);
        now.saturating_sub(since).as_secs() > soft_seconds
    }

    /// Once a second: ends connections that are idle for too long, frees buffers that are not needed.
    ///
    /// Returns true when the connection is over.
    pub fn tend(&mut self, shared: &Shared, settings: &Settings, now: Duration) -> bool {
        let quiet = now.saturating_sub(self.active_at);
        if let Some(timeout) = settings.idle_timeout
            && quiet > timeout
            && self.state == State::Open
            && !self.aside.subscriber
        {
            tracing::debug!("Closing idle client");
            self.state = State::Dead;
        }
        let waiting = self.unsent.len() + self.outbox.len();
        if waiting > 0 && self.exceeds_output_limit(waiting, settings, now) {
            self.state = State::Dead;
        }
        if shared.knobs.peak_reset().is_some_and(|period| now.saturating_sub(self.peak_since) >= period) {
            self.peak_since = now;
            self.send_peak = self.unsent.buffered();
            self.meter();
        }
        if quiet.as_secs() >= 2 && self.next == self.filled && shared.knobs.buffers_shrink() {
            self.batch.truncate(1);
            for waiting in &mut self.batch {
                waiting.request.shrink_to(QUIET_BYTES_MAX);
            }
            let room = self.unsent.capacity();
            self.unsent.shrink_to(QUIET_BYTES_MAX);
            if self.unsent.capacity() < room {
                shared.counters.buffer_shrinks.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.state == State::Dead
    }
}

/// What a connection is told about input that is not a request. Line ends inside are spaces: an error is one line.
fn protocol_error_line(error: ProtocolError) -> Vec<u8> {
    let text = error.to_string().replace(['\r', '\n'], " ");
    format!("-ERR {text}\r\n").into_bytes()
}

/// Whether a request begins as HTTP does: its method, or its first header.
fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}
