//! `maxmemory`: who is refused, what is given up, and what the log and listeners are told of it.

use super::*;
use crate::keyspace::EvictionPolicy;

const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.|";

pub(super) fn limited(policy: &str) -> (World, Session) {
    let mut world = World::new();
    let session = world.session();
    for number in 0..10 {
        world.ask(&session, &format!("set k{number} v"));
        world.ask(&session, &format!("set t{number} v px {}", 100_000 - number));
    }
    world.units();
    world.engine.parts.settings.memory =
        MemoryLimit { max: 1000, policy: EvictionPolicy::from_name(policy), ..MemoryLimit::default() };
    (world, session)
}

pub(super) fn set_used(world: &World, bytes: u64) {
    *world.memory.0.lock() = bytes;
}

#[test]
fn without_eviction_what_may_grow_is_refused_and_the_rest_goes_on() {
    let (mut world, session) = limited("noeviction");
    set_used(&world, 1001);
    for (line, expected) in [
        ("set a 1", OOM),
        ("rpush l 1", OOM),
        ("incr n", OOM),
        ("get k1", "$1|v|"),
        ("del k1", ":1|"),
        ("expire k2 100", ":1|"),
        ("lpop nolist", "$-1|"),
        ("eval 'return 1' 0", ":1|"),
    ] {
        set_used(&world, 1001);
        assert_eq!(world.ask(&session, line), expected, "{line}");
    }
    set_used(&world, 1000);
    assert_eq!(world.ask(&session, "set a 1"), "+OK|", "the limit itself is allowed");
    assert_eq!(world.engine.parts.stats.errors.get("OOM"), Some(&3));
}

#[test]
fn transactions_are_refused_where_they_queue_and_where_they_run() {
    let (mut world, session) = limited("noeviction");
    world.ask(&session, "multi");
    assert_eq!(world.ask(&session, "set a 1"), "+QUEUED|");
    set_used(&world, 2000);
    let aborted = "-EXECABORT Transaction discarded because of: OOM command not allowed when used memory > \
                   'maxmemory'.|";
    assert_eq!(world.ask(&session, "exec"), aborted);
    world.ask(&session, "multi");
    // Queueing takes memory, whatever is queued.
    assert_eq!(world.ask(&session, "get a"), OOM);
    assert_eq!(world.ask(&session, "exec"), "-EXECABORT Transaction discarded because of previous errors.|");
    set_used(&world, 0);
    world.ask(&session, "multi");
    world.ask(&session, "get a");
    set_used(&world, 2000);
    assert_eq!(world.ask(&session, "exec"), "*1|$-1|", "nothing in it grows");
}

#[test]
fn a_script_is_refused_at_its_first_write_and_never_behind_it() {
    let (mut world, session) = limited("noeviction");
    for (script, starts) in [
        ("return redis.call(\"set\", \"a\", 1)", "-OOM command not allowed when used memory > 'maxmemory'."),
        ("redis.call(\"del\", \"nokey\") return redis.call(\"set\", \"a\", 1)", "+OK|"),
        ("return redis.call(\"get\", \"k3\")", "$1|v|"),
    ] {
        set_used(&world, 2000);
        let reply = world.ask(&session, &format!("eval '{script}' 0"));
        assert!(reply.starts_with(starts), "{script}: {reply}");
    }
    for (flags, starts) in [("", OOM), ("flags=allow-oom", "+OK|")] {
        set_used(&world, 2000);
        let script = format!("\"#!lua {flags}\\nreturn redis.call('set', 'a', 1)\"");
        let reply = world.ask(&session, &format!("eval {script} 0"));
        assert!(reply.starts_with(starts), "{flags}: {reply}");
    }
}

#[test]
fn a_blocked_command_that_may_grow_is_refused_when_it_is_woken() {
    let (mut world, pusher) = limited("noeviction");
    let (mover, popper) = (world.session(), world.session());
    world.send(&mover, "blmove src dst left left 0");
    world.send(&popper, "blpop other 0");
    // The pusher runs within the limit, and memory runs short behind its back.
    world.ask(&pusher, "multi");
    world.ask(&pusher, "rpush src 1");
    world.ask(&pusher, "rpush other 2");
    set_used(&world, 2000);
    world.engine.parts.settings.memory.max = 0;
    world.send(&pusher, "exec");
    assert_eq!(world.received(&mover), "$1|1|", "without a limit nobody is refused");
    world.engine.parts.settings.memory.max = 1000;
    world.send(&mover, "blmove src dst left left 0");
    assert_eq!(world.received(&mover), OOM);
    assert_eq!(world.received(&popper), "*2|$5|other|$1|2|");
}

#[test]
fn victims_are_deletions_of_their_own_in_the_log_and_events() {
    let (mut world, session) = limited("allkeys-lru");
    world.engine.parts.settings.notify = EventFlags::parse("Ee").expect("known classes");
    let listener = world.session();
    world.ask(&listener, "subscribe __keyevent@0__:evicted");
    set_used(&world, 1250);
    assert_eq!(world.ask(&session, "set new 1"), "+OK|");
    let units = world.units();
    assert_eq!(units.len(), 4, "{units:?}");
    assert!(units[..3].iter().all(|unit| unit.starts_with("DEL ")), "{units:?}");
    assert_eq!(units[3], "set new 1");
    assert_eq!(world.engine.parts.stats.evicted_keys, 3);
    assert_eq!(world.received(&listener).matches("__keyevent@0__:evicted").count(), 3);
    assert_eq!(world.engine.store.key_count(), 18);
}

#[test]
fn volatile_policies_take_keys_with_a_deadline_only_and_then_refuse() {
    for policy in ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"] {
        let (mut world, session) = limited(policy);
        set_used(&world, 1900);
        assert_eq!(world.ask(&session, "get k1"), "$1|v|");
        let units = world.units();
        assert_eq!(units.len(), 9, "{policy}: {units:?}");
        assert!(units.iter().all(|unit| unit.starts_with("DEL t")), "{policy}: {units:?}");
        if policy == "volatile-ttl" {
            // The later its number the earlier a key expires.
            assert_eq!(units[0], "DEL t9");
            assert_eq!(units[8], "DEL t1");
        }
        set_used(&world, 5000);
        assert_eq!(world.ask(&session, "set a 1"), OOM, "{policy}");
        assert_eq!(world.engine.store.key_count(), 10, "{policy}");
    }
}

#[test]
fn a_tick_evicts_without_a_command_and_time_above_the_limit_is_counted() {
    let (mut world, _) = limited("allkeys-random");
    set_used(&world, 1200);
    world.advance(1);
    assert_eq!(world.units().len(), 2);
    world.engine.parts.settings.memory.policy = None;
    set_used(&world, 1200);
    world.advance(1);
    world.advance(50);
    let now = world.engine.parts.clock.monotonic();
    assert_eq!(world.engine.parts.memory.exceeded_time(now).0, Duration::from_millis(50));
    set_used(&world, 10);
    world.advance(1);
    let (current, all) = world.engine.parts.memory.exceeded_time(world.engine.parts.clock.monotonic());
    assert_eq!((current, all), (Duration::ZERO, Duration::from_millis(51)));
}

#[test]
fn replay_evicts_nothing() {
    let (mut world, _) = limited("allkeys-lru");
    set_used(&world, 1 << 40);
    let mut replay = world.engine.replay();
    replay.command(&[b"SET", b"replayed", b"v"]).expect("a known command");
    drop(replay);
    assert_eq!(world.engine.store.key_count(), 21);
}
