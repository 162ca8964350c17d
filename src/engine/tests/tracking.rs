//! Client-side caching: who is told of which change, when, and in which form.

use super::*;

impl World {
    /// A session that tracks.
    fn tracker(&mut self, protocol: Protocol, options: TrackingOptions, prefixes: &[&[u8]]) -> Session {
        let session = self.session();
        self.engine.parts.client_mut(session.id).protocol = protocol;
        self.engine.parts.start_tracking(session.id, options, None, prefixes);
        session
    }

    fn plain_tracker(&mut self) -> Session {
        self.tracker(Protocol::Resp3, TrackingOptions::default(), &[])
    }

    /// Keys and items remembered.
    fn remembered(&self) -> (usize, usize) {
        (self.engine.parts.tracking.key_count(), self.engine.parts.tracking.item_count())
    }
}

fn told(key: &str) -> String {
    format!(">2|$10|invalidate|*1|${}|{key}|", key.len())
}

const BROADCAST: TrackingOptions = TrackingOptions { broadcast: true, opt_in: false, opt_out: false, no_loop: false };

#[test]
fn a_change_is_told_once_to_those_who_have_read() {
    let mut world = World::new();
    let (a, b, writer) = (world.plain_tracker(), world.plain_tracker(), world.session());
    world.ask(&a, "mget k l");
    world.ask(&b, "get k");
    assert_eq!(world.remembered(), (2, 3));
    world.ask(&writer, "set k 1");
    assert_eq!((world.received(&a), world.received(&b)), (told("k"), told("k")));
    world.ask(&writer, "set k 2");
    assert_eq!((world.received(&a), world.received(&b)), (String::new(), String::new()));
    assert_eq!(world.remembered(), (1, 1));
    world.ask(&writer, "select 3");
    world.ask(&writer, "set l 1");
    assert_eq!(world.received(&a), told("l"), "whichever database");
}

/// Whoever hears of its own changes in another's place hears them behind what that one has read itself.
#[test]
fn what_the_writer_has_read_is_told_last() {
    let mut world = World::new();
    let (writer, listener) = (world.plain_tracker(), world.plain_tracker());
    world.engine.parts.start_tracking(writer.id, TrackingOptions::default(), Some(listener.id), &[]);
    world.ask(&writer, "get mine");
    world.ask(&listener, "get others");
    world.ask(&writer, "mset mine 1 others 1");
    assert_eq!(world.received(&listener), told("others") + &told("mine"));
}

#[test]
fn every_way_of_changing_a_key_is_a_change() {
    for (before, change) in [
        ("set k 1", "incr k"),
        ("set k 1", "del k"),
        ("set k 1", "unlink k"),
        ("set k 1", "expire k 100"),
        ("set k 1 ex 100", "persist k"),
        ("set k 1", "rename k other"),
        ("set other 1", "rename other k"),
        ("set k 1", "move k 1"),
        ("set other 1", "copy other k"),
        ("rpush k 1", "lpop k"),
        ("rpush k 1", "lmove k other left left"),
        ("sadd k 1", "spop k"),
        ("hset k f 1", "hincrby k f 1"),
        ("zadd k 1 m", "zincrby k 1 m"),
        ("sadd other 1", "sunionstore k other"),
        ("set k 1", "eval \"redis.call('append', 'k', 'x')\" 0"),
        ("set k 1", "getdel k"),
        ("set k 1", "getex k ex 10"),
    ] {
        let mut world = World::new();
        let (reader, writer) = (world.plain_tracker(), world.session());
        world.ask(&writer, before);
        world.ask(&reader, "exists k");
        world.ask(&writer, change);
        assert_eq!(world.received(&reader), told("k"), "{change}");
    }
}

#[test]
fn a_key_that_expires_is_told() {
    let mut world = World::new();
    let (reader, writer) = (world.plain_tracker(), world.session());
    world.ask(&writer, "set k 1 px 50");
    world.ask(&reader, "get k");
    world.advance(51);
    assert_eq!(world.received(&reader), told("k"));
}

#[test]
fn an_emptied_database_is_told_as_null() {
    for line in ["flushall", "flushdb"] {
        let mut world = World::new();
        let (reader, writer) = (world.plain_tracker(), world.session());
        world.ask(&reader, "get k");
        world.ask(&writer, line);
        assert_eq!(world.received(&reader), ">2|$10|invalidate|_|");
        assert_eq!(world.remembered(), (0, 0));
        assert_eq!(world.ask(&reader, line), "+OK|>2|$10|invalidate|_|", "its own behind the reply");
    }
}

#[test]
fn its_own_changes_are_told_behind_the_reply() {
    let mut world = World::new();
    let a = world.plain_tracker();
    world.ask(&a, "get k");
    assert_eq!(world.ask(&a, "set k 1"), format!("+OK|{}", told("k")));
    for line in ["multi", "get k", "set k 2", "get k"] {
        world.ask(&a, line);
    }
    assert_eq!(world.ask(&a, "exec"), format!("*3|$1|1|+OK|$1|2|{}", told("k")));
    assert_eq!(world.remembered(), (1, 1), "it has read the key again");
    let quiet = world.tracker(Protocol::Resp3, TrackingOptions { no_loop: true, ..TrackingOptions::default() }, &[]);
    world.ask(&quiet, "get q");
    assert_eq!(world.ask(&quiet, "set q 1"), "+OK|");
}

#[test]
fn what_a_script_reads_is_remembered_for_its_caller() {
    let mut world = World::new();
    let (reader, writer) = (world.plain_tracker(), world.session());
    world.ask(&reader, "eval_ro \"return redis.call('get', 'inner')\" 1 named");
    assert_eq!(world.remembered(), (1, 1));
    world.ask(&writer, "mset named 1 inner 1");
    assert_eq!(world.received(&reader), told("inner"));
}

#[test]
fn keys_are_remembered_as_the_client_wishes() {
    let mut world = World::new();
    let opt_in = world.tracker(Protocol::Resp3, TrackingOptions { opt_in: true, ..TrackingOptions::default() }, &[]);
    let opt_out = world.tracker(Protocol::Resp3, TrackingOptions { opt_out: true, ..TrackingOptions::default() }, &[]);
    let wish = |world: &mut World, session: &Session| {
        if let Some(tracked) = &mut world.engine.parts.client_mut(session.id).tracking {
            tracked.caching = true;
        }
    };
    world.ask(&opt_in, "get a");
    assert_eq!(world.remembered(), (0, 0));
    wish(&mut world, &opt_in);
    world.ask(&opt_in, "get a");
    world.ask(&opt_in, "get b");
    assert_eq!(world.remembered(), (1, 1), "for one command");
    wish(&mut world, &opt_in);
    for line in ["multi", "get c", "get d", "exec", "get e"] {
        world.ask(&opt_in, line);
    }
    assert_eq!(world.remembered(), (3, 3), "or one transaction");
    world.ask(&opt_out, "get f");
    wish(&mut world, &opt_out);
    world.ask(&opt_out, "get g");
    assert_eq!(world.remembered(), (4, 4));
}

#[test]
fn a_broadcast_tells_all_changes_of_a_turn_by_prefix() {
    let mut world = World::new();
    let all = world.tracker(Protocol::Resp3, BROADCAST, &[]);
    let some = world.tracker(Protocol::Resp3, TrackingOptions { no_loop: true, ..BROADCAST }, &[b"a:", b"b:"]);
    let writer = world.session();
    assert_eq!(world.engine.parts.tracking.prefix_count(), 3);
    world.ask(&writer, "mset b:2 x a:1 x c:1 x b:1 x");
    assert_eq!(world.received(&all), ">2|$10|invalidate|*4|$3|a:1|$3|b:1|$3|b:2|$3|c:1|");
    assert_eq!(world.received(&some), format!("{}>2|$10|invalidate|*2|$3|b:1|$3|b:2|", told("a:1")));
    assert_eq!(world.ask(&some, "set a:1 y"), "+OK|");
    assert_eq!(world.received(&all), told("a:1"));
    assert_eq!(world.ask(&all, "set a:1 z"), format!("+OK|{}", told("a:1")));
    assert_eq!(world.received(&some), told("a:1"));
    assert_eq!(world.remembered(), (0, 0));
    world.engine.disconnect(some.id);
    assert_eq!(world.engine.parts.tracking.prefix_count(), 1);
    assert_eq!(world.engine.parts.tracking.client_count(), 1);
}

#[test]
fn changes_are_told_to_whom_they_are_redirected() {
    let mut world = World::new();
    let (reader, listener, writer) = (world.session(), world.session(), world.session());
    world.engine.parts.start_tracking(reader.id, TrackingOptions::default(), Some(listener.id), &[]);
    let change = |world: &mut World| {
        world.ask(&reader, "get k");
        world.ask(&writer, "set k 1");
    };
    change(&mut world);
    assert_eq!(world.received(&listener), "", "RESP2 hears in a subscription only");
    world.ask(&listener, "subscribe __redis__:invalidate");
    change(&mut world);
    assert_eq!(world.received(&listener), "*3|$7|message|$20|__redis__:invalidate|*1|$1|k|");
    world.ask(&writer, "flushall");
    assert_eq!(world.received(&listener), "*3|$7|message|$20|__redis__:invalidate|$-1|");
    world.engine.disconnect(listener.id);
    world.engine.parts.client_mut(reader.id).protocol = Protocol::Resp3;
    change(&mut world);
    let broken = format!(">2|$21|tracking-redir-broken|:{}|", listener.id.0);
    assert_eq!(world.received(&reader), broken);
    let tracked = world.engine.parts.client_mut(reader.id).tracking.as_deref();
    assert!(tracked.is_some_and(|tracked| tracked.redirect_broken));
}

/// The table is kept to its size by telling that keys have changed which have not.
#[test]
fn no_more_keys_are_remembered_than_allowed() {
    let mut world = World::new();
    world.engine.parts.settings.tracking_keys_max = 10;
    let (reader, writer) = (world.plain_tracker(), world.session());
    for n in 0..50 {
        world.ask(&reader, &format!("get key:{n}"));
        assert!(world.remembered().0 <= 10);
    }
    let keys: Vec<String> = (0..500).map(|n| format!("k{n}")).collect();
    let reply = world.ask(&reader, &format!("mget {}", keys.join(" ")));
    assert_eq!(reply.matches("invalidate").count(), 100, "so much effort in one turn");
    for _ in 0..3 {
        world.ask(&writer, "get x");
    }
    assert_eq!(world.remembered(), (10, 10), "and more as long as that is not enough");
}

#[test]
fn changes_of_one_pass_are_broadcast_together() {
    let mut world = World::new();
    let hears = world.tracker(Protocol::Resp3, BROADCAST, &[b"a", b"b"]);
    let own = world.tracker(Protocol::Resp3, TrackingOptions { no_loop: true, ..BROADCAST }, &[]);
    let pass = |world: &mut World, lines: &[&str]| {
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            world.engine.execute(own.id, &Request::from_args(&words));
        }
        world.received(&own);
        assert_eq!(world.received(&hears), "", "nothing before the pass has ended");
        world.engine.finish_pass();
    };
    pass(&mut world, &["set a2 1", "set b1 1", "set a1 1", "set c 1", "set a2 2"]);
    assert_eq!(world.received(&hears), ">2|$10|invalidate|*2|$2|a1|$2|a2|>2|$10|invalidate|*1|$2|b1|");
    assert_eq!(world.received(&own), "", "its own changes");
    pass(&mut world, &["set a1 1", "eval redis.call('set','a2',1) 0", "set b1 1 px 1"]);
    assert_eq!(world.received(&own), told("a2"), "what a script did is nobody's own");
    world.received(&hears);
    world.advance(5);
    assert_eq!(world.received(&own), told("b1"), "nor what time did");
    assert_eq!(world.received(&hears), told("b1"));
}

#[test]
fn an_invalidation_waits_for_its_change() {
    let mut world = World::new();
    let (reader, writer) = (world.plain_tracker(), world.session());
    world.ask(&reader, "get k");
    world.hold_back();
    world.send(&writer, "set k 1");
    assert_eq!(world.received(&reader), "", "not before the write is as safe as promised");
    world.gate = None;
    assert_eq!(world.received(&reader), told("k"));
}
