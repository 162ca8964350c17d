//! Expiry.

use super::support::{START, TestEngine, check};
use crate::env::UnixMillis;

#[test]
fn expiry_is_set_in_every_unit_and_logged_as_a_moment() {
    check(
        r#"
        EXPIRE k 10                 => :0
        TTL k                       => :-2
        PEXPIRETIME k               => :-2
        SET k v                     => +OK
        TTL k                       => :-1
        EXPIRE k 10                 => :1
        @log                        => PEXPIREAT k 1577836810000
        @events                     => generic:expire:k
        TTL k                       => :10
        PTTL k                      => :10000
        EXPIRETIME k                => :1577836810
        PEXPIRETIME k               => :1577836810000
        PEXPIRE k 1499              => :1
        TTL k                       => :1
        PEXPIRE k 1500              => :1
        TTL k                       => :2
        EXPIREAT k 1577836900       => :1
        PTTL k                      => :100000
        PEXPIREAT k 1577836900001   => :1
        PTTL k                      => :100001
        PERSIST k                   => :1
        @log                        => PERSIST k
        @events                     => generic:persist:k
        PERSIST k                   => :0
        @log                        => -
        PERSIST none                => :0
        EXPIRE k                    => -ERR wrong number of arguments for 'expire' command
        EXPIRE k x                  => -ERR value is not an integer or out of range
        EXPIRE k 9223372036854775807 => -ERR invalid expire time in 'expire' command
        EXPIRE k -9223372036854775808 => -ERR invalid expire time in 'expire' command
        PEXPIRE k 9223372036854775807 => -ERR invalid expire time in 'pexpire' command
        EXPIREAT k 9223372036854775807 => -ERR invalid expire time in 'expireat' command
        "#,
    );
}

#[test]
fn conditions() {
    check(
        r#"
        SET k v                     => +OK
        EXPIRE k 10 XX              => :0
        EXPIRE k 10 GT              => :0
        EXPIRE k 10 LT              => :1
        EXPIRE k 20 NX              => :0
        EXPIRE k 20 LT              => :0
        EXPIRE k 10 GT              => :0
        EXPIRE k 20 gt              => :1
        @log                        => PEXPIREAT k 1577836820000
        EXPIRE k 30 XX GT           => :1
        EXPIRE k 30 XX LT           => :0
        EXPIRE k 10 NX XX           => -ERR NX and XX, GT or LT options at the same time are not compatible
        EXPIRE k 10 NX GT           => -ERR NX and XX, GT or LT options at the same time are not compatible
        EXPIRE k 10 GT LT           => -ERR GT and LT options at the same time are not compatible
        EXPIRE k 10 FOO             => -ERR Unsupported option FOO
        EXPIRE k x FOO              => -ERR Unsupported option FOO
        PERSIST k                   => :1
        EXPIRE k 30 NX              => :1
        "#,
    );
}

#[test]
fn an_expiry_in_the_past_deletes_at_once() {
    check(
        r#"
        SET k v                     => +OK
        EXPIRE k 0                  => :1
        @log                        => DEL k
        @events                     => generic:del:k
        EXISTS k                    => :0
        SET k v                     => +OK
        EXPIRE k -5                 => :1
        EXISTS k                    => :0
        SET k v                     => +OK
        PEXPIREAT k 1577836800000   => :1
        EXISTS k                    => :0
        SET k v EX 10               => +OK
        EXPIRE k -1 GT              => :0
        EXISTS k                    => :1
        "#,
    );
}

#[test]
fn replay_keeps_an_expiry_that_is_past() {
    let mut engine = TestEngine::new();
    engine.line("SET k v");
    engine.turn.replaying = true;
    engine.now = UnixMillis(START.0 + 1_000_000);
    assert_eq!(engine.line("PEXPIREAT k 1577836800001"), ":1");
    assert_eq!(engine.line("GET k"), "v");
    assert_eq!(engine.line("SET k w KEEPTTL"), "+OK");
    assert_eq!(engine.logged(), "-");
    engine.turn.replaying = false;
    assert_eq!(engine.line("GET k"), "nil");
    assert_eq!(engine.expire(), 1);
    assert_eq!(engine.logged(), "DEL k");
    assert_eq!(engine.host.expired, 1);
}

#[test]
fn a_time_to_live_is_never_negative() {
    let mut engine = TestEngine::new();
    engine.line("SET k v PX 10");
    engine.now = UnixMillis(START.0 + 10);
    assert_eq!((engine.line("PTTL k"), engine.line("TTL k")), (":0".to_owned(), ":0".to_owned()));
    engine.now = UnixMillis(START.0 + 11);
    assert_eq!(engine.line("PTTL k"), ":-2");
}

#[test]
fn looking_at_a_time_counts_as_a_lookup() {
    let mut engine = TestEngine::new();
    engine.line("SET k v");
    engine.line("TTL k");
    engine.line("TTL none");
    assert_eq!((engine.host.hits, engine.host.misses), (1, 1));
}
