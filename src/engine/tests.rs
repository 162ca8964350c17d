//! The engine without sockets or disk: a log that becomes durable when the test says so.

mod access;
mod evict_clients;
mod eviction;
mod functions;
mod spikes;
mod tracking;

use super::*;
use crate::env::{ManualClock, SeededEntropy, UnixMillis};
use crate::persist::Block;
use crate::resp::{Request, Woven, WovenSlice};
use crate::value::{Limits, ValueRef};
use parking_lot::Mutex;
use std::time::Duration;

const START: UnixMillis = UnixMillis(1_700_000_000_000);

/// Units appended, as text.
#[derive(Clone, Default)]
struct Units(Arc<Mutex<Vec<String>>>);

struct RecordingLog {
    next: u64,
    units: Units,
    doubt: Arc<Mutex<Option<String>>>,
    memory: Weight,
}

impl Log for RecordingLog {
    fn next(&self) -> u64 {
        self.next
    }

    fn append(&mut self, _: u32, unit: WovenSlice<'_>, _: UnixMillis) {
        self.next += unit.len() as u64;
        let text = String::from_utf8_lossy(&unit.joined()).into_owned();
        self.memory.freed(text.matches("\r\nDEL\r\n").count());
        let words = text.split("\r\n").filter(|line| !line.starts_with(['*', '$'])).collect::<Vec<_>>();
        self.units.0.lock().push(words.join(" ").trim().to_owned());
    }

    fn has_room(&self) -> bool {
        true
    }

    fn doubt(&self) -> Option<String> {
        self.doubt.lock().clone()
    }
}

/// Memory in use, as the tests have it: a logged deletion frees a hundred bytes.
#[derive(Clone, Default)]
struct Weight(Arc<Mutex<u64>>);

impl Weight {
    fn freed(&self, keys: usize) {
        let mut used = self.0.lock();
        *used = used.saturating_sub(100 * keys as u64);
    }
}

impl MemoryMeter for Weight {
    fn used(&mut self) -> u64 {
        *self.0.lock()
    }
}

struct World {
    engine: Engine,
    clock: Arc<ManualClock>,
    units: Units,
    /// Where a test holds back what is logged; otherwise everything logged so far is let through.
    gate: Option<Gate>,
    doubt: Arc<Mutex<Option<String>>>,
    memory: Weight,
}

struct Session {
    id: ClientId,
    outbox: Arc<Outbox>,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(START));
        let store = Keyspace::new(16, Limits::default());
        let mut engine = Engine::new(store, &families(), clock.clone(), Box::new(SeededEntropy::new(1)), Box::new(()));
        let (units, doubt, memory) = (Units::default(), Arc::default(), Weight::default());
        engine.log =
            Box::new(RecordingLog { next: 1, units: units.clone(), doubt: Arc::clone(&doubt), memory: memory.clone() });
        engine.parts.memory.meter = Some(Box::new(memory.clone()));
        Self { engine, clock, units, gate: None, doubt, memory }
    }

    fn session(&mut self) -> Session {
        let outbox = Arc::new(Outbox::new(Box::new(NoWake)));
        let id = self.engine.connect(ConnectionInfo::default(), Arc::clone(&outbox));
        Session { id, outbox }
    }

    fn send(&mut self, session: &Session, line: &str) -> Flow {
        self.engine.look_at_clock();
        let words: Vec<Vec<u8>> = crate::resp::split_args(line.as_bytes()).expect("balanced quotes");
        let flow = self.engine.execute(session.id, &Request::from_args(&words));
        self.engine.finish_pass();
        flow
    }

    fn received(&self, session: &Session) -> String {
        let mut out = Woven::default();
        match &self.gate {
            Some(gate) => session.outbox.take(gate, &mut out),
            None => session.outbox.take(&Gate::at(self.engine.log.next()), &mut out),
        };
        String::from_utf8_lossy(&out.joined()).replace("\r\n", "|")
    }

    /// From here on nothing that depends on later writes is let through.
    fn hold_back(&mut self) {
        self.gate = Some(Gate::at(self.engine.log.next()));
    }

    /// Sends a line and reads what came back.
    fn ask(&mut self, session: &Session, line: &str) -> String {
        self.send(session, line);
        self.received(session)
    }

    fn advance(&mut self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
        self.engine.tick();
    }

    fn units(&self) -> Vec<String> {
        std::mem::take(&mut *self.units.0.lock())
    }
}

/// Runs lines in one session and compares each reply.
fn check(lines: &[(&str, &str)]) -> World {
    let mut world = World::new();
    let session = world.session();
    for (line, expected) in lines {
        assert_eq!(world.ask(&session, line), *expected, "{line}");
    }
    world
}

#[test]
fn a_transaction_is_one_unit() {
    let world = check(&[
        ("multi", "+OK|"),
        ("set a 1", "+QUEUED|"),
        ("incr a", "+QUEUED|"),
        ("get a", "+QUEUED|"),
        ("exec", "*3|+OK|:2|$1|2|"),
    ]);
    assert_eq!(world.units(), ["MULTI set a 1 incr a EXEC"]);
}

#[test]
fn a_refused_command_aborts_its_transaction() {
    check(&[
        ("multi", "+OK|"),
        ("get", "-ERR wrong number of arguments for 'get' command|"),
        ("set a 1", "+QUEUED|"),
        ("exec", "-EXECABORT Transaction discarded because of previous errors.|"),
        ("exec", "-ERR EXEC without MULTI|"),
        ("multi", "+OK|"),
        ("multi", "-ERR MULTI calls can not be nested|"),
        ("watch a", "-ERR WATCH inside MULTI is not allowed|"),
        ("discard", "+OK|"),
        ("discard", "-ERR DISCARD without MULTI|"),
        ("get a", "$-1|"),
    ]);
}

#[test]
fn an_error_inside_a_transaction_undoes_nothing() {
    check(&[
        ("multi", "+OK|"),
        ("set a x", "+QUEUED|"),
        ("incr a", "+QUEUED|"),
        ("set b y", "+QUEUED|"),
        ("exec", "*3|+OK|-ERR value is not an integer or out of range|+OK|"),
        ("get b", "$1|y|"),
    ]);
}

#[test]
fn a_watched_key_that_changes_fails_the_transaction() {
    let mut world = World::new();
    let (watcher, other) = (world.session(), world.session());
    for (change, fails) in [("set k 1", true), ("get k", false), ("del k", true), ("set other 1", false)] {
        world.ask(&other, "set k 0");
        world.ask(&watcher, "watch k");
        world.ask(&other, change);
        world.ask(&watcher, "multi");
        world.ask(&watcher, "get k");
        let reply = world.ask(&watcher, "exec");
        let failed = reply == "*-1|";
        assert_eq!(failed, fails, "{change}: {reply}");
    }
}

#[test]
fn a_watched_key_that_expires_fails_the_transaction() {
    let mut world = World::new();
    let session = world.session();
    world.ask(&session, "set k v px 50");
    world.ask(&session, "watch k");
    world.clock.advance(Duration::from_millis(60));
    world.ask(&session, "multi");
    world.ask(&session, "get k");
    assert_eq!(world.ask(&session, "exec"), "*-1|");
}

#[test]
fn a_blocked_pop_is_served_in_order_and_logged_by_effect() {
    let mut world = World::new();
    let (first, second, pusher) = (world.session(), world.session(), world.session());
    assert_eq!(world.send(&first, "blpop a b 0"), Flow::Parked);
    assert_eq!(world.send(&second, "brpop a 0"), Flow::Parked);
    assert_eq!(world.ask(&pusher, "rpush a x y z"), ":3|");
    assert_eq!(world.received(&first), "*2|$1|a|$1|x|");
    assert_eq!(world.received(&second), "*2|$1|a|$1|z|");
    assert_eq!(world.units(), ["rpush a x y z", "LPOP a", "RPOP a"]);
    assert_eq!(world.ask(&pusher, "lrange a 0 -1"), "*1|$1|y|");
}

#[test]
fn a_wait_ends_with_its_timeout() {
    let mut world = World::new();
    let session = world.session();
    assert_eq!(world.send(&session, "blpop a 0.1"), Flow::Parked);
    world.advance(50);
    assert_eq!(world.received(&session), "");
    world.advance(60);
    assert_eq!(world.received(&session), "*-1|");
    assert_eq!(world.ask(&session, "get a"), "$-1|");
}

#[test]
fn within_a_transaction_nothing_blocks() {
    check(&[("multi", "+OK|"), ("blpop a 0", "+QUEUED|"), ("exec", "*1|*-1|")]);
}

#[test]
fn due_keys_are_gone_for_readers_and_their_deletion_is_logged() {
    let mut world = World::new();
    let session = world.session();
    world.ask(&session, "set a 1 px 50");
    world.ask(&session, "set b 1 px 50");
    world.units();
    world.clock.advance(Duration::from_millis(60));
    assert_eq!(world.ask(&session, "get a"), "$-1|");
    assert!(world.units().is_empty(), "a read logs nothing");
    assert_eq!(world.ask(&session, "incr b"), ":1|");
    assert_eq!(world.units(), ["MULTI DEL b incr b EXEC"]);
    world.advance(1);
    assert_eq!(world.units(), ["DEL a"]);
    assert_eq!(world.engine.parts.stats.expired_keys, 2);
}

#[test]
fn a_read_waits_only_for_the_writes_it_saw() {
    let mut world = World::new();
    let (writer, reader) = (world.session(), world.session());
    for number in 0..1000 {
        world.ask(&writer, &format!("set k{number} v"));
    }
    world.hold_back();
    assert_eq!(world.ask(&writer, "set k1 new"), "", "not durable yet");
    assert_eq!(world.ask(&reader, "get k500"), "$1|v|", "another key answers at once");
    assert_eq!(world.ask(&reader, "get k1"), "", "the written one waits");
    world.gate = None;
    assert_eq!(world.received(&writer), "+OK|");
    assert_eq!(world.received(&reader), "$3|new|");
}

#[test]
fn nothing_shows_a_write_that_may_be_lost() {
    for (write, show) in [
        ("del k", "get k"),
        ("flushall", "get untouched"),
        ("set n 1", "dbsize"),
        ("set n 1", "scan 0"),
        ("set n 1", "keys *"),
        ("set n 1", "randomkey"),
        ("set k 2", "eval 'return redis.call(\"get\", KEYS[1])' 1 k"),
        ("sadd s m", "set x 1"),
    ] {
        let mut world = World::new();
        let (writer, reader) = (world.session(), world.session());
        world.ask(&writer, "set k 1");
        world.hold_back();
        assert_eq!(world.ask(&writer, write), "", "{write}");
        assert_eq!(world.ask(&reader, show), "", "{show} after {write}");
        world.gate = None;
        assert_ne!(world.received(&reader), "", "{show} after {write}");
    }
}

#[test]
fn a_message_waits_for_the_transaction_that_sent_it() {
    let mut world = World::new();
    let (publisher, listener) = (world.session(), world.session());
    world.ask(&listener, "subscribe news");
    world.hold_back();
    for line in ["multi", "setex r 60 done", "publish news r", "exec"] {
        world.ask(&publisher, line);
    }
    assert_eq!(world.received(&listener), "");
    world.gate = None;
    assert_eq!(world.received(&listener), "*3|$7|message|$4|news|$1|r|");
}

#[test]
fn a_woken_client_waits_for_what_woke_it() {
    let mut world = World::new();
    let (popper, pusher) = (world.session(), world.session());
    world.send(&popper, "blpop q 0");
    world.hold_back();
    world.ask(&pusher, "rpush q x");
    assert_eq!(world.received(&popper), "");
    world.gate = None;
    assert_eq!(world.received(&popper), "*2|$1|q|$1|x|");
}

#[test]
fn a_log_in_doubt_refuses_writes_but_those_that_free() {
    let mut world = World::new();
    let session = world.session();
    world.ask(&session, "set a 1");
    *world.doubt.lock() = Some("MISCONF log in doubt".into());
    assert_eq!(world.ask(&session, "set b 1"), "-MISCONF log in doubt|");
    assert_eq!(world.ask(&session, "get a"), "$1|1|");
    assert_eq!(world.ask(&session, "del a"), ":1|");
}

#[test]
fn subscriptions_count_and_restrict() {
    check(&[
        ("subscribe a b", "*3|$9|subscribe|$1|a|:1|*3|$9|subscribe|$1|b|:2|"),
        ("psubscribe c*", "*3|$10|psubscribe|$2|c*|:3|"),
        (
            "get x",
            "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
             context|",
        ),
        ("unsubscribe", "*3|$11|unsubscribe|$1|a|:2|*3|$11|unsubscribe|$1|b|:1|"),
        ("punsubscribe c*", "*3|$12|punsubscribe|$2|c*|:0|"),
        ("unsubscribe", "*3|$11|unsubscribe|$-1|:0|"),
        ("publish a x", ":0|"),
    ]);
}

#[test]
fn scripts_call_commands_and_convert_values() {
    check(&[
        ("eval 'return 1' 0", ":1|"),
        ("eval 'return 3.99' 0", ":3|"),
        ("eval 'return {1,2,{3,\"x\"},nil,5}' 0", "*3|:1|:2|*2|:3|$1|x|"),
        ("eval 'return redis.call(\"set\", KEYS[1], ARGV[1])' 1 k v", "+OK|"),
        ("eval 'return redis.call(\"get\", KEYS[1])' 1 k", "$1|v|"),
        ("eval 'return redis.call(\"get\", \"missing\")' 0", "$-1|"),
        ("eval 'return {ok=\"fine\"}' 0", "+fine|"),
        ("eval 'return {err=\"My Err\"}' 0", "-My Err|"),
        ("eval 'return redis.error_reply(\"x\")' 0", "-ERR x|"),
        ("eval 'return redis.sha1hex(\"\")' 0", "$40|da39a3ee5e6b4b0d3255bfef95601890afd80709|"),
        ("eval 'return cjson.encode({1,2,{a=\"b\"}})' 0", "$15|[1,2,{\"a\":\"b\"}]|"),
        ("eval 'return cjson.decode(ARGV[1]).a[2]' 0 '{\"a\":[1,\"z\"]}'", "$1|z|"),
        ("eval 'return cjson.decode(\"null\") == cjson.null' 0", ":1|"),
        (
            "eval 'local ok, e = pcall(redis.call, \"nope\"); return e' 0",
            "$44|ERR Unknown Redis command called from script|",
        ),
    ]);
}

#[test]
fn script_errors_tell_where() {
    let mut world = World::new();
    let session = world.session();
    for (line, part) in [
        (
            "eval 'return nope' 0",
            "-ERR user_script:1: Script attempted to access nonexistent global variable 'nope' script: ",
        ),
        ("eval 'x = 1' 0", "-ERR user_script:1: Attempt to modify a readonly table script: "),
        ("eval 'return redis.call(\"nope\")' 0", "-ERR Unknown Redis command called from script script: "),
        ("eval 'return redis.call(\"get\")' 0", "-ERR Wrong number of args calling Redis command from script script: "),
        ("eval 'return redis.call(\"multi\")' 0", "-ERR This Redis command is not allowed from script script: "),
        ("eval 'return redis.call()' 0", "-ERR Please specify at least one argument for this"),
        ("eval 'return redis.call({})' 0", "-ERR Lua redis lib command arguments must be strings or integers script: "),
        ("eval 'bad syntax' 0", "-ERR Error compiling script (new function): user_script:1: "),
        ("evalsha ffff 0", "-NOSCRIPT No matching script. Please use EVAL.|"),
        (
            "eval_ro 'return redis.call(\"set\", \"a\", 1)' 0",
            "-ERR Write commands are not allowed from read-only scripts. script: ",
        ),
        ("eval 'return 1' -1", "-ERR Number of keys can't be negative|"),
        ("eval 'return 1' 2 a", "-ERR Number of keys can't be greater than number of args|"),
        ("eval 'return loadstring(\"\\27Lua\")' 0", "$-1|"),
    ] {
        let reply = world.ask(&session, line);
        assert!(reply.starts_with(part), "{line}: {reply}");
    }
}

#[test]
fn a_script_is_one_unit_of_its_effects() {
    let mut world = World::new();
    let session = world.session();
    world.ask(
        &session,
        "eval 'redis.call(\"set\",\"a\",1) redis.call(\"incr\",\"a\") return redis.call(\"get\",\"a\")' 0",
    );
    assert_eq!(world.units(), ["MULTI set a 1 incr a EXEC"]);
    world.ask(&session, "eval 'return redis.call(\"get\",\"a\")' 0");
    assert!(world.units().is_empty());
    world.ask(&session, "eval 'redis.call(\"select\",3) redis.call(\"set\",\"b\",1)' 0");
    assert_eq!(world.ask(&session, "get b"), "$-1|", "a script's SELECT ends with it");
}

#[test]
fn scripts_see_each_other_in_nothing() {
    let mut world = World::new();
    let session = world.session();
    for hostile in ["rawset(_G,\"x\",1)", "redis.call=nil", "string.len=nil", "getmetatable(_G).x=1", "math.x=1"] {
        let reply = world.ask(&session, &format!("eval '{hostile}' 0"));
        assert!(reply.starts_with("-ERR"), "{hostile}: {reply}");
    }
    assert_eq!(
        world.ask(&session, "eval 'return type(redis.call) .. type(string.len) .. type(os.clock)' 0"),
        "$24|functionfunctionfunction|"
    );
    assert_eq!(world.ask(&session, "eval 'return type(os.execute)' 0"), "$3|nil|");
    let first = world.ask(&session, "eval 'return tostring(math.random())' 0");
    assert_ne!(world.ask(&session, "eval 'return tostring(math.random())' 0"), first, "chance goes on over scripts");
}

#[test]
fn replay_gives_the_same_data_and_expires_nothing() {
    let mut world = World::new();
    let session = world.session();
    for line in ["set a 1", "rpush l x y", "lpop l", "set t v px 50", "incrbyfloat f 0.1", "incrbyfloat f 0.2"] {
        world.ask(&session, line);
    }
    let mut copy = World::new();
    {
        let mut replaying = copy.engine.replay();
        for unit in world.units() {
            let words: Vec<&[u8]> = unit.split(' ').map(str::as_bytes).collect();
            replaying.command(&words).expect("known commands");
        }
    }
    assert!(copy.units().is_empty(), "replay logs nothing");
    copy.clock.advance(Duration::from_millis(10));
    let session = copy.session();
    assert_eq!(copy.ask(&session, "get f"), "$3|0.3|");
    assert_eq!(copy.ask(&session, "lrange l 0 -1"), "*1|$1|y|");
    assert_eq!(copy.ask(&session, "get t"), "$1|v|");
    copy.clock.advance(Duration::from_millis(60));
    assert_eq!(copy.ask(&session, "get t"), "$-1|");
}

/// Commands of the log by lines, as a loader hands them over.
fn block(lines: &[&str]) -> Block {
    let mut block = Block::default();
    for line in lines {
        let words: Vec<_> = line
            .split(' ')
            .map(|word| {
                let start = block.bytes.len();
                block.bytes.extend_from_slice(word.as_bytes());
                start..block.bytes.len()
            })
            .collect();
        block.push(words);
    }
    block
}

/// In whichever case and order names come, and wherever the selected database changes while others are looked ahead at.
#[test]
fn a_block_of_commands_is_replayed_in_order() {
    let lines: Vec<String> = (0..2_000)
        .map(|n| match n % 8 {
            0 => format!("SET s:{} {n}", n % 40),
            1 => format!("select {}", n % 3),
            2 => format!("hset h field:{} {n}", n % 300),
            3 => format!("Sadd set member:{}", n % 500),
            4 => format!("zadd z {n} member:{}", n % 90),
            5 => format!("RPUSH l {n}"),
            6 => "incr n".to_owned(),
            _ => format!("XGROUP CREATE x:{n} g $ MKSTREAM"),
        })
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let (mut together, mut singly) = (World::new(), World::new());
    together.engine.replay().block(&block(&lines)).expect("known commands");
    let mut replaying = singly.engine.replay();
    for line in &lines {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        replaying.command(&words).expect("known commands");
    }
    drop(replaying);
    let (ours, theirs) = (together.session(), singly.session());
    for db in 0..3 {
        for line in [
            "hgetall h",
            "smembers set",
            "zrange z 0 -1 withscores",
            "lrange l 0 -1",
            "get n",
            "mget s:0 s:8",
            "dbsize",
        ] {
            let select = format!("select {db}");
            assert_eq!(together.ask(&ours, &select), singly.ask(&theirs, &select));
            let mut replies = [together.ask(&ours, line), singly.ask(&theirs, line)];
            if line.starts_with('h') || line.starts_with("sm") {
                replies = replies.map(|reply| {
                    let mut lines: Vec<&str> = reply.split('|').collect();
                    lines.sort_unstable();
                    lines.join("|")
                });
            }
            assert_eq!(replies[0], replies[1], "{line}");
        }
    }
}

#[test]
fn a_block_ends_at_what_cannot_be_applied() {
    for (bad, text) in [
        ("nosuch a", "ERR unknown command 'nosuch', with args beginning with: 'a' "),
        ("set a", "ERR wrong number of arguments for 'set' command"),
        ("xgroup nosuch", "ERR unknown subcommand 'nosuch'. Try XGROUP HELP."),
        ("select 16", "ERR DB index is out of range"),
    ] {
        let mut world = World::new();
        let failed = world.engine.replay().block(&block(&["set a 1", "set b 2", bad, "set b 3"]));
        let (at, error) = failed.expect_err("the third cannot be applied");
        assert_eq!((at, error.text()), (2, text));
        let session = world.session();
        assert_eq!(world.ask(&session, "mget a b"), "*2|$1|1|$1|2|");
    }
}

#[test]
fn what_a_client_leaves_is_forgotten() {
    let mut world = World::new();
    let (leaver, other) = (world.session(), world.session());
    world.ask(&leaver, "watch k");
    world.ask(&leaver, "subscribe c");
    world.engine.disconnect(leaver.id);
    let blocked = world.session();
    world.send(&blocked, "blpop q 0");
    world.engine.disconnect(blocked.id);
    assert!(world.engine.parts.watches.is_empty());
    assert!(world.engine.parts.blocking.is_empty());
    assert_eq!(world.ask(&other, "publish c x"), ":0|");
    assert_eq!(world.ask(&other, "rpush q x"), ":1|");
    assert_eq!(world.ask(&other, "llen q"), ":1|");
}

/// A reader on another thread sees one moment, whatever is written meanwhile.
#[test]
fn a_snapshot_is_read_on_another_thread_while_writes_go_on() {
    let mut world = World::new();
    let session = world.session();
    for number in 0..3000 {
        world.ask(&session, &format!("SET key:{number} before"));
        world.ask(&session, "RPUSH list before");
    }
    let view = world.engine.snapshot();
    // The reader may be quicker than the first write.
    let held = view.clone();
    let reader = std::thread::spawn(move || {
        let mut seen = 0;
        for _ in 0..5 {
            seen = 0;
            for entry in view.databases().iter().flatten() {
                match entry.value() {
                    ValueRef::Str(text) => assert_eq!(text.to_vec(), b"before"),
                    ValueRef::List(list) => {
                        assert_eq!(list.len(), 3000);
                        assert!(list.iter().all(|item| item.to_vec() == b"before"));
                    }
                    other => panic!("{other:?}"),
                }
                seen += 1;
            }
        }
        seen
    });
    let left = world.engine.store.left();
    for number in 0..3000 {
        world.ask(&session, &format!("SET key:{number} after"));
        world.ask(&session, &format!("LSET list {number} after"));
        world.ask(&session, &format!("DEL key:{}", number + 1500));
    }
    assert_eq!(reader.join().expect("the reader"), 3001);
    assert!(world.engine.store.left() > left, "what the snapshot keeps is counted");
    drop(held);
    let left = world.engine.store.left();
    world.ask(&session, "SET key:1 later");
    assert_eq!(world.engine.store.left(), left, "with no snapshot nothing is left behind");
}

/// What a snapshot keeps is counted by bytes: of keys that get another name, that move, and of a database that goes as a whole.
#[test]
fn what_goes_elsewhere_or_as_a_whole_is_counted() {
    const KEYS: u64 = 2000;
    let mut world = World::new();
    let session = world.session();
    for number in 0..KEYS {
        world.ask(&session, &format!("SET key:{number:08} {}", "v".repeat(32 + number as usize % 64)));
    }
    let held = |world: &World| -> u64 { world.engine.store.db(0).iter().map(|entry| entry.own_bytes() as u64).sum() };
    let own = held(&world);
    for line in ["RENAME key:{} other:{}", "MOVE other:{} 1", "FLUSHALL"] {
        let snapshot = world.engine.snapshot();
        let before = world.engine.store.left();
        if line == "FLUSHALL" {
            world.ask(&session, line);
        } else {
            (0..KEYS).for_each(|number| drop(world.ask(&session, &line.replace("{}", &format!("{number:08}")))));
        }
        let left = world.engine.store.left() - before;
        // The table's own parts come on top.
        assert!((own..own * 2).contains(&left), "{line}: {left} of {own}");
        drop(snapshot);
    }
}
