//! Functions and scripts as the log and the gate see them.

use super::*;

const LIBRARY: &str = "function load \"#!lua name=l\\nredis.register_function('f', function(keys) return redis.call('incr', keys[1]) \
                       end) redis.register_function{function_name='r', callback=function(keys) return redis.call('get', keys[1]) \
                       end, flags={'no-writes'}}\"";

#[test]
fn a_library_is_logged_as_sent_and_its_calls_by_effect() {
    let mut world = World::new();
    let session = world.session();
    assert_eq!(world.ask(&session, LIBRARY), "$1|l|");
    assert!(world.units()[0].starts_with("function load #!lua name=l"));
    assert_eq!(world.ask(&session, LIBRARY), "-ERR Library 'l' already exists|");
    assert_eq!(
        world.ask(&session, "function load '#!lua name=m\nredis.nosuch()'").split(':').next(),
        Some("-ERR Error registering functions")
    );
    assert_eq!(world.ask(&session, "fcall f 1 n"), ":1|");
    assert_eq!(world.ask(&session, "fcall_ro r 1 n"), "$1|1|");
    assert_eq!(
        world.ask(&session, "fcall_ro f 1 n"),
        "-ERR Can not execute a script with write flag using *_ro command.|"
    );
    assert_eq!(world.units(), ["incr n"]);
    assert_eq!(world.ask(&session, "function delete l"), "+OK|");
    assert_eq!(world.units(), ["function delete l"]);
    assert_eq!(world.ask(&session, "fcall f 1 n"), "-ERR Function not found|");
}

#[test]
fn what_is_replayed_is_there() {
    let mut world = World::new();
    let session = world.session();
    let words: Vec<Vec<u8>> = crate::resp::split_args(LIBRARY.as_bytes()).expect("balanced quotes");
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    world.engine.replay().command(&words).expect("a known command");
    world
        .engine
        .replay()
        .library(b"#!lua name=base\nredis.register_function('b', function() return 'of the base' end)")
        .expect("a library");
    assert!(
        world.engine.replay().library(b"#!lua name=base\nredis.register_function('c', function() end)").is_err(),
        "twice"
    );
    assert_eq!(world.ask(&session, "fcall f 1 n"), ":1|");
    assert_eq!(world.ask(&session, "fcall b 0"), "$11|of the base|");
    assert!(world.units().iter().all(|unit| unit == "incr n"));
}

#[test]
fn a_log_in_doubt_stops_a_script_where_it_writes() {
    let mut world = World::new();
    let session = world.session();
    world.ask(&session, "set a 1");
    *world.doubt.lock() = Some("MISCONF log in doubt".into());
    assert_eq!(world.ask(&session, "eval 'return redis.call(\"get\", KEYS[1])' 1 a"), "$1|1|");
    assert!(
        world
            .ask(&session, "eval 'return redis.call(\"set\", KEYS[1], 2)' 1 a")
            .starts_with("-MISCONF log in doubt script: ")
    );
    assert_eq!(world.ask(&session, "eval \"#!lua\\nreturn 1\" 0"), "-MISCONF log in doubt|");
    assert_eq!(world.ask(&session, "eval \"#!lua flags=no-writes\\nreturn 1\" 0"), ":1|");
    assert_eq!(world.ask(&session, "eval 'return redis.call(\"del\", KEYS[1])' 1 a"), ":1|");
}

#[test]
fn what_set_repl_takes_out_is_not_logged() {
    let mut world = World::new();
    let session = world.session();
    let script = "redis.call('set', 'a', 1) redis.set_repl(redis.REPL_REPLICA) redis.call('set', 'b', 1) \
                  redis.set_repl(redis.REPL_AOF) redis.call('set', 'c', 1)";
    world.ask(&session, &format!("eval \"{script}\" 0"));
    assert_eq!(world.units(), ["MULTI set a 1 set c 1 EXEC"]);
    assert_eq!(world.ask(&session, "exists a b c"), ":3|");
}
