//! DUMP and RESTORE. The payloads are stock 7.0's; what it makes of ours, tests/python asks it.

use super::support::{TestEngine, check};
use crate::keyspace::AccessPolicy;
use crate::resp::ReplyValue;

const HELLO: &str = r#""\x00\x05hello\n\x00cr\xdfve4 \n""#;

fn with_hello(script: &str) {
    check(&script.replace("HELLO", HELLO));
}

#[test]
fn a_value_is_dumped_and_restored() {
    with_hello(
        r#"
        DUMP none                           => nil
        SET s hello                         => +OK
        DUMP s                              => HELLO
        RESTORE t 0 HELLO                   => +OK
        @events                             => generic:restore:t
        GET t                               => hello
        PTTL t                              => :-1
        RESTORE t 0 HELLO                   => -BUSYKEY Target key name already exists.
        RESTORE s 0 HELLO REPLACE           => +OK
        @events                             => generic:restore:s
        "#,
    );
}

#[test]
fn deadlines_are_logged_as_moments() {
    with_hello(
        r#"
        RESTORE t 5000 HELLO                => +OK
        @log                                => RESTORE t 1577836805000 HELLO ABSTTL
        PTTL t                              => :5000
        RESTORE t 1577836806000 HELLO replace absttl => +OK
        @log                                => RESTORE t 1577836806000 HELLO replace absttl
        PTTL t                              => :6000
        RESTORE gone 1577836800000 HELLO ABSTTL => +OK
        @log                                => -
        EXISTS gone                         => :0
        RESTORE t 1 HELLO REPLACE ABSTTL    => +OK
        @log                                => DEL t
        @events                             => generic:del:t
        RESTORE t 9223372036854775807 HELLO => +OK
        EXISTS t                            => :0
        "#,
    );
}

#[test]
fn what_is_wrong_changes_nothing() {
    with_hello(
        r#"
        SET s old                           => +OK
        RESTORE s 0 hello REPLACE           => -ERR DUMP payload version or checksum are wrong
        RESTORE s 0 "\x00\x05hellO\n\x00cr\xdfve4 \n" REPLACE => -ERR DUMP payload version or checksum are wrong
        RESTORE s 0 "\x00\x06hello\n\x00\xdd\xf5\xfa\xf1\xec\xa0\x94\x10" REPLACE => -ERR DUMP payload version or checksum are wrong
        RESTORE s -1 HELLO REPLACE          => -ERR Invalid TTL value, must be >= 0
        RESTORE s x HELLO REPLACE           => -ERR value is not an integer or out of range
        RESTORE s x HELLO                   => -BUSYKEY Target key name already exists.
        RESTORE s 0 HELLO BAD               => -ERR syntax error
        RESTORE s 0 HELLO IDLETIME          => -ERR syntax error
        RESTORE s 0 HELLO IDLETIME -1       => -ERR Invalid IDLETIME value, must be >= 0
        RESTORE s 0 HELLO IDLETIME x        => -ERR value is not an integer or out of range
        RESTORE s 0 HELLO FREQ 256          => -ERR Invalid FREQ value, must be >= 0 and <= 255
        RESTORE s 0 HELLO FREQ -1           => -ERR Invalid FREQ value, must be >= 0 and <= 255
        RESTORE s 0 HELLO FREQ 1 IDLETIME 1 => -ERR syntax error
        RESTORE s 0 HELLO IDLETIME 1 FREQ 1 => -ERR syntax error
        GET s                               => old
        @log                                => -
        "#,
    );
}

/// Bytes that are no value are refused even when nobody compares the checksum.
#[test]
fn damaged_payloads_are_refused() {
    let mut engine = TestEngine::new();
    engine.host.payload_rules.any_checksum = true;
    engine.run(&[b"RPUSH", b"list", b"a", b"1", b"bb", &[b'x'; 200]]);
    engine.run(&[b"HSET", b"hash", b"f", b"1", b"g", b"2"]);
    engine.run(&[b"ZADD", b"zset", b"1.5", b"a", b"2", b"b"]);
    engine.run(&[b"SADD", b"set", b"1", b"2", b"3"]);
    let mut refused = 0;
    for key in [&b"list"[..], b"hash", b"zset", b"set"] {
        let ReplyValue::Bulk(payload) = engine.run(&[b"DUMP", key]) else { panic!("a payload") };
        for at in 0..payload.len() - 10 {
            for mask in [1, 0x80, 0xff] {
                let mut damaged = payload.clone();
                damaged[at] ^= mask;
                match engine.run(&[b"RESTORE", b"r", b"0", &damaged, b"REPLACE"]) {
                    ReplyValue::Error(text) => {
                        assert_eq!(text, b"ERR Bad data format");
                        refused += 1;
                    }
                    reply => assert_eq!(reply, ReplyValue::Simple(b"OK".to_vec())),
                }
                // Whatever was taken can be read.
                engine.contents();
            }
        }
    }
    assert!(refused > 100, "{refused}");
    engine.assert_replay_gives_the_same();
}

/// A set as listpack is of version 11, which stock 7.0 does not load: it is logged in version 10.
#[test]
fn newer_payloads_are_logged_as_stock_7_0_reads_them() {
    let mut engine = TestEngine::new();
    engine.host.payload_rules.any_checksum = true;
    let mut payload = b"\x14\x0d\x0d\0\0\0\x02\0\x81a\x02\x81b\x02\xff\x0b\0".to_vec();
    payload.extend_from_slice(&[0; 8]);
    assert_eq!(engine.run(&[b"RESTORE", b"s", b"0", &payload]), ReplyValue::Simple(b"OK".to_vec()));
    assert_eq!(engine.line("OBJECT ENCODING s"), "listpack");
    engine.run(&[b"RESTORE", b"s", b"0", &payload, b"REPLACE"]);
    let logged = engine.logged();
    assert!(logged.starts_with(r#"RESTORE s 0 "\x02\x02\x01a\x01b\n\x00"#), "{logged}");
    engine.assert_replay_gives_the_same();
}

#[test]
fn access_clocks_are_restored() {
    let mut engine = TestEngine::new();
    let now = engine.now;
    engine.store.set_access_time(now);
    engine.line(&format!("RESTORE s 0 {HELLO} IDLETIME 1000"));
    assert_eq!(engine.line("OBJECT IDLETIME s"), ":1000");
    engine.store.set_access_policy(AccessPolicy::Lfu { log_factor: 10, decay_minutes: 1 }, now);
    engine.line(&format!("RESTORE t 0 {HELLO} FREQ 77"));
    assert_eq!(engine.line("OBJECT FREQ t"), ":77");
}
