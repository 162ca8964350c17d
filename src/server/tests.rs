//! Io loops over real sockets, with an engine that keeps no log and a gate that the test moves.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::acceptor::Acceptor;
use super::config::{Config, Profile, Settings};
use super::io_thread::IoLoop;
use super::listener::Listeners;
use super::memory::{AllocatorProbe, Gauge};
use super::shared::Shared;
use crate::engine::{Engine, Gate};
use crate::env::{Clock, SeededEntropy, SystemClock};
use crate::keyspace::Keyspace;
use crate::resp::Request;
use crate::value::Limits;

struct Running {
    shared: Arc<Shared>,
    port: u16,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Running {
    fn start(io_threads: usize, gate: Gate) -> Self {
        let mut settings = Settings::resolve(&Config::new(Profile::Own), Path::new("/"));
        settings.busy_reply_threshold = Duration::from_millis(20);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let mut families = crate::engine::families();
        families.extend(super::families());
        let store = Keyspace::new(2, Limits::default());
        let mut engine =
            Engine::new(store, &families, Arc::clone(&clock), Box::new(SeededEntropy::new(7)), Box::new(()));
        super::state::apply_settings(&mut engine.parts, &settings);
        let gauge = Arc::new(Gauge::new(AllocatorProbe::NONE));
        let shared = Arc::new(Shared::new(engine, Arc::new(gate), clock, settings.clone(), gauge));
        shared.loading.finish();
        let busy = Arc::downgrade(&shared);
        shared.script.on_busy(Box::new(move || {
            if let Some(shared) = busy.upgrade() {
                IoLoop::call_stand_in(&shared);
            }
        }));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("non-blocking");
        let port = listener.local_addr().expect("an address").port();
        let loops: Vec<_> = (0..io_threads).map(|_| IoLoop::new().expect("an io loop")).collect();
        let acceptor = Acceptor::new(Listeners { tcp: vec![listener], unix: None }, &settings);
        loops[0].accept_with(acceptor).expect("the listener is watched");
        shared.set_loops(loops.clone());
        let run = |io: Arc<IoLoop>| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || io.run(&shared))
        };
        let threads = loops.into_iter().map(run).collect();
        Self { shared, port, threads }
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
        Client(stream)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.stop();
        for thread in self.threads.drain(..) {
            thread.join().expect("no panic in an io loop");
        }
    }
}

struct Client(TcpStream);

impl Client {
    fn send(&mut self, words: &[&str]) {
        self.0.write_all(Request::from_args(words).resp_bytes().expect("in one piece")).expect("the server reads");
    }

    /// Exactly these bytes come next.
    fn expect(&mut self, expected: &str) {
        let mut got = vec![0; expected.len()];
        self.0.read_exact(&mut got).expect("a reply");
        assert_eq!(String::from_utf8_lossy(&got), expected);
    }

    fn expect_end(&mut self) {
        assert_eq!(self.0.read(&mut [0; 1]).expect("an end, not an error"), 0);
    }

    fn is_silent(&mut self) -> bool {
        self.0.set_read_timeout(Some(Duration::from_millis(50))).expect("a time-out");
        let silent = self.0.read(&mut [0; 1]).is_err();
        self.0.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
        silent
    }
}

#[test]
fn pipelines_are_answered_in_order_and_a_protocol_error_behind_them() {
    for io_threads in [1, 3] {
        let server = Running::start(io_threads, Gate::open());
        let mut clients: Vec<Client> = (0..6).map(|_| server.connect()).collect();
        for client in &mut clients {
            let mut input = Vec::new();
            for n in 0..1000 {
                input.extend(Request::from_args(&["ECHO", &format!("{n:04}")]).resp_bytes().expect("in one piece"));
            }
            input.extend_from_slice(b"*1\r\n+PING\r\n");
            client.0.write_all(&input).expect("the server reads");
        }
        for client in &mut clients {
            (0..1000).for_each(|n| client.expect(&format!("$4\r\n{n:04}\r\n")));
            client.expect("-ERR Protocol error: expected '$', got '+'\r\n");
            client.expect_end();
        }
    }
}

#[test]
fn a_reply_waits_for_its_position_and_holds_back_only_its_own_connection() {
    let server = Running::start(1, Gate::at(1));
    let (mut writer, mut other) = (server.connect(), server.connect());
    other.send(&["PING"]);
    other.expect("+PONG\r\n");
    writer.send(&["SET", "k", "v"]);
    writer.send(&["PING"]);
    assert!(writer.is_silent());
    other.send(&["PING"]);
    other.expect("+PONG\r\n");
    server.shared.gate.release(1 << 30);
    server.shared.loops()[0].gate_moved(1 << 30);
    writer.expect("+OK\r\n+PONG\r\n");
}

#[test]
fn a_long_script_is_stood_in_for_on_its_only_io_thread() {
    let server = Running::start(1, Gate::open());
    let (mut runner, mut other) = (server.connect(), server.connect());
    // The hook must be there for every script, not for the first one alone.
    for _ in 0..2 {
        runner.send(&["EVAL", "return 1", "0"]);
        runner.expect(":1\r\n");
        runner.send(&["EVAL", "while true do end", "0"]);
        runner.send(&["PING"]);
        while !server.shared.script.is_busy() {
            std::thread::yield_now();
        }
        other.send(&["PING"]);
        other.expect("-BUSY ");
        let mut late = server.connect();
        late.send(&["SCRIPT", "KILL"]);
        late.expect("+OK\r\n");
        runner.expect("-ERR ");
        let mut rest = [0; 256];
        let mut text = String::new();
        while !text.ends_with("+PONG\r\n") {
            let len = runner.0.read(&mut rest).expect("the error and the reply behind it");
            text.push_str(&String::from_utf8_lossy(&rest[..len]));
        }
        other.send(&["ECHO", "again"]);
        let mut text = String::new();
        while !text.ends_with("again\r\n") {
            let len = other.0.read(&mut rest).expect("the rest of the error and the reply");
            text.push_str(&String::from_utf8_lossy(&rest[..len]));
        }
    }
}

#[test]
fn every_connection_is_counted_out_once() {
    let server = Running::start(2, Gate::open());
    for _ in 0..50 {
        let (mut leaver, mut killed) = (server.connect(), server.connect());
        leaver.send(&["PING"]);
        leaver.expect("+PONG\r\n");
        leaver.send(&["SUBSCRIBE", "c"]);
        killed.send(&["PUBLISH", "c", "m"]);
        killed.send(&["QUIT"]);
        drop(leaver);
        killed.expect(":");
        killed.0.read_to_end(&mut Vec::new()).expect("an end");
    }
    let mut last = server.connect();
    last.send(&["PING"]);
    last.expect("+PONG\r\n");
    for _ in 0..200 {
        if server.shared.counters.connected.load(Ordering::Relaxed) == 1 {
            break;
        }
        assert!(last.is_silent());
    }
    assert_eq!(server.shared.counters.connected.load(Ordering::Relaxed), 1);
}
