//! Keys by name, and databases as a whole.

use super::support::{TestEngine, check};

#[test]
fn deleting_and_counting() {
    check(
        r#"
        MSET a 1 b 2 c 3            => +OK
        EXISTS a b a none           => :3
        TOUCH a none b              => :2
        DEL a none                  => :1
        @log                        => DEL a none
        @events                     => generic:del:a
        DEL a                       => :0
        @log                        => -
        UNLINK b c                  => :2
        @log                        => UNLINK b c
        @events                     => generic:del:b generic:del:c
        DBSIZE                      => :0
        DEL                         => -ERR wrong number of arguments for 'del' command
        "#,
    );
}

#[test]
fn types() {
    check(
        r#"
        TYPE none                   => +none
        SET s v                     => +OK
        TYPE s                      => +string
        HSET h f v                  => :1
        TYPE h                      => +hash
        "#,
    );
}

#[test]
fn renaming_takes_the_expiry_along() {
    check(
        r#"
        RENAME none a               => -ERR no such key
        RENAME none none            => -ERR no such key
        RENAMENX none none          => -ERR no such key
        SET a 1 EX 100              => +OK
        RENAME a b                  => +OK
        @log                        => RENAME a b
        @events                     => generic:rename_from:a generic:rename_to:b
        EXISTS a                    => :0
        TTL b                       => :100
        SET c 2                     => +OK
        RENAMENX c b                => :0
        @log                        => -
        RENAMENX c d                => :1
        RENAME d b                  => +OK
        TTL b                       => :-1
        GET b                       => 2
        RENAME b b                  => +OK
        @log                        => -
        RENAMENX b b                => :0
        SET x 1 PX 5                => +OK
        SET y 2                     => +OK
        @advance 6
        RENAMENX y x                => :1
        @log                        => MULTI; DEL x; RENAMENX y x; EXEC
        "#,
    );
}

#[test]
fn copying() {
    check(
        r#"
        COPY none b                 => :0
        SET a 1 EX 100              => +OK
        COPY a b                    => :1
        @log                        => COPY a b
        @events                     => generic:copy_to:b
        TTL b                       => :100
        COPY a b                    => :0
        @log                        => -
        SET a 2                     => +OK
        COPY a b REPLACE            => :1
        GET b                       => 2
        TTL b                       => :-1
        COPY a a                    => -ERR source and destination objects are the same
        COPY none none              => -ERR source and destination objects are the same
        COPY a a DB 1               => :1
        COPY a a DB 0               => -ERR source and destination objects are the same
        COPY a b DB 99              => -ERR DB index is out of range
        COPY a b DB x               => -ERR value is not an integer or out of range
        COPY a b DB                 => -ERR syntax error
        COPY a b FOO                => -ERR syntax error
        @db 1
        GET a                       => 2
        HSET h f v                  => :1
        COPY h g                    => :1
        HSET g f w                  => :0
        HGET h f                    => v
        "#,
    );
}

#[test]
fn moving() {
    check(
        r#"
        MOVE none 1                 => :0
        SET a 1 EX 100              => +OK
        MOVE a 0                    => -ERR source and destination objects are the same
        MOVE a 16                   => -ERR DB index is out of range
        MOVE a -1                   => -ERR DB index is out of range
        MOVE a 2147483648           => -ERR value is out of range, value must between -2147483648 and 2147483647
        MOVE a x                    => -ERR value is not an integer or out of range
        MOVE a 1                    => :1
        @log                        => MOVE a 1
        @events                     => generic:move_from:a generic:move_to:a
        EXISTS a                    => :0
        SET a 2                     => +OK
        MOVE a 1                    => :0
        @db 1
        GET a                       => 1
        TTL a                       => :100
        "#,
    );
}

#[test]
fn objects() {
    check(
        r#"
        OBJECT ENCODING none        => nil
        OBJECT REFCOUNT none        => nil
        OBJECT IDLETIME none        => nil
        OBJECT FREQ none            => nil
        SET k v                     => +OK
        OBJECT ENCODING k           => embstr
        OBJECT REFCOUNT k           => :1
        OBJECT IDLETIME k           => :0
        OBJECT FREQ k               => -ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.
        OBJECT HELP                 => ?
        OBJECT ENCODING             => -ERR wrong number of arguments for 'object|encoding' command
        OBJECT FOO k                => -ERR unknown subcommand 'FOO'. Try OBJECT HELP.
        OBJECT                      => -ERR wrong number of arguments for 'object' command
        "#,
    );
}

#[test]
fn new_keys_and_misses_are_notified() {
    check(
        r#"
        @rare
        GET k                       => nil
        @events                     => keymiss:keymiss:k
        SET k 1                     => +OK
        @events                     => new:new:k string:set:k
        SET k 1                     => +OK
        @events                     => string:set:k
        HSET h f v                  => :1
        @events                     => new:new:h hash:hset:h
        APPEND a x                  => :1
        @events                     => new:new:a string:append:a
        RENAME k l                  => +OK
        @events                     => new:new:l generic:rename_from:k generic:rename_to:l
        RENAME l a                  => +OK
        @events                     => new:new:a generic:rename_from:l generic:rename_to:a
        COPY a b                    => :1
        @events                     => new:new:b generic:copy_to:b
        MOVE b 3                    => :1
        @events                     => new:new:b generic:move_from:b generic:move_to:b
        INCR n                      => :1
        @events                     => new:new:n string:incrby:n
        "#,
    );
}

#[test]
fn listing() {
    check(
        r#"
        KEYS *                      => []
        RANDOMKEY                   => nil
        SET one 1                   => +OK
        RANDOMKEY                   => one
        KEYS o*                     => [one]
        KEYS x*                     => []
        SET gone 1 PX 1             => +OK
        @advance 2
        KEYS *                      => [one]
        RANDOMKEY                   => one
        DBSIZE                      => :2
        DEL one                     => :1
        RANDOMKEY                   => nil
        "#,
    );
}

#[test]
fn flushing_is_logged_even_when_nothing_is_there() {
    check(
        r#"
        FLUSHDB                     => +OK
        @log                        => FLUSHDB
        MSET a 1 b 2                => +OK
        @db 1
        SET c 3                     => +OK
        FLUSHDB ASYNC               => +OK
        DBSIZE                      => :0
        @db 0
        DBSIZE                      => :2
        FLUSHALL sync               => +OK
        DBSIZE                      => :0
        FLUSHALL NOW                => -ERR syntax error
        FLUSHDB SYNC ASYNC          => -ERR syntax error
        "#,
    );
}

#[test]
fn swapping() {
    check(
        r#"
        SET k zero                  => +OK
        @db 1
        SET k one                   => +OK
        SWAPDB 0 1                  => +OK
        @log                        => SWAPDB 0 1
        GET k                       => zero
        SWAPDB 1 1                  => +OK
        GET k                       => zero
        SWAPDB a 1                  => -ERR invalid first DB index
        SWAPDB 1 a                  => -ERR invalid second DB index
        SWAPDB 0 16                 => -ERR DB index is out of range
        SWAPDB 16 a                 => -ERR invalid second DB index
        SWAPDB 2147483648 0         => -ERR invalid first DB index
        "#,
    );
}

#[test]
fn those_who_watch_or_wait_hear_of_whole_databases() {
    let mut engine = TestEngine::new();
    engine.line("MSET a 1 b 2");
    engine.host.watched = vec![(0, b"a".to_vec()), (0, b"none".to_vec()), (1, b"a".to_vec()), (1, b"none".to_vec())];
    engine.host.awaited = vec![(1, b"b".to_vec()), (1, b"none".to_vec())];
    engine.host.modified.clear();
    engine.line("SWAPDB 0 1");
    assert_eq!(engine.host.modified, [(0, b"a".to_vec()), (1, b"a".to_vec()), (1, b"b".to_vec())]);
    assert_eq!(engine.host.ready.iter().collect::<Vec<_>>(), [&(1, b"b".to_vec())]);
    engine.host.modified.clear();
    engine.line("FLUSHALL");
    assert_eq!(engine.host.modified, [(1, b"a".to_vec()), (1, b"b".to_vec())]);
}

#[test]
fn existence_leaves_the_access_clock_alone_and_touch_renews_it() {
    let mut engine = TestEngine::new();
    engine.store.set_access_time(engine.now);
    engine.line("SET k v");
    engine.now.0 += 60_000;
    engine.store.set_access_time(engine.now);
    for line in ["EXISTS k", "TYPE k", "TTL k", "OBJECT ENCODING k"] {
        engine.line(line);
    }
    assert_eq!(engine.line("OBJECT IDLETIME k"), ":60");
    engine.line("TOUCH k");
    assert_eq!(engine.line("OBJECT IDLETIME k"), ":0");
}
