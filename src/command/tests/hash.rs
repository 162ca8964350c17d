//! Hashes, in both encodings.

use super::support::{TestEngine, check, check_with};
use crate::value::Limits;

/// Runs a script with packed hashes and with tables.
fn check_both(script: &str) {
    check(script);
    check_with(Limits { hash_max_listpack_entries: 0, ..Limits::default() }, script);
}

#[test]
fn fields() {
    check_both(
        r#"
        HSET h a 1 b 2              => :2
        @log                        => HSET h a 1 b 2
        @events                     => hash:hset:h
        HSET h a 3 c 4              => :1
        HSET h a                    => -ERR wrong number of arguments for 'hset' command
        HSET h a 1 b                => -ERR wrong number of arguments for 'hset' command
        HMSET h d 5                 => +OK
        HMSET h d 5 e               => -ERR wrong number of arguments for 'hmset' command
        HGET h a                    => 3
        HGET h none                 => nil
        HGET none a                 => nil
        HMGET h a none d            => [3, nil, 5]
        HMGET none a b              => [nil, nil]
        HEXISTS h a                 => :1
        HEXISTS h none              => :0
        HLEN h                      => :4
        HLEN none                   => :0
        HSTRLEN h a                 => :1
        HSTRLEN h none              => :0
        HSTRLEN none a              => :0
        HSETNX h a 9                => :0
        @log                        => -
        HSETNX h f 9                => :1
        @events                     => hash:hset:h
        HDEL h a none b             => :2
        @log                        => HDEL h a none b
        @events                     => hash:hdel:h
        HDEL h none                 => :0
        @log                        => -
        HDEL none a                 => :0
        HDEL h c d f                => :3
        @events                     => hash:hdel:h generic:del:h
        EXISTS h                    => :0
        HSET h "" ""                => :1
        HGET h ""                   => ""
        HSTRLEN h ""                => :0
        "#,
    );
}

#[test]
fn wrong_types() {
    let error = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    let calls = [
        "HSET s a 1",
        "HMSET s a 1",
        "HSETNX s a 1",
        "HGET s a",
        "HMGET s a",
        "HGETALL s",
        "HKEYS s",
        "HVALS s",
        "HDEL s a",
        "HLEN s",
        "HEXISTS s a",
        "HSTRLEN s a",
        "HINCRBY s a 1",
        "HINCRBYFLOAT s a 1",
        "HRANDFIELD s",
        "HRANDFIELD s 1",
        "HSCAN s 0",
    ];
    let lines: Vec<String> = calls.iter().map(|call| format!("{call} => {error}")).collect();
    check(&format!("SET s v => +OK\n{}", lines.join("\n")));
}

#[test]
fn whole_hashes() {
    check(
        r#"
        HGETALL none                => []
        HKEYS none                  => []
        HVALS none                  => []
        HSET h a 1 b 2              => :2
        HGETALL h                   => [a, 1, b, 2]
        HKEYS h                     => [a, b]
        HVALS h                     => [1, 2]
        @resp3
        HGETALL none                => {}
        HGETALL h                   => {a: 1, b: 2}
        HKEYS h                     => [a, b]
        HGET h none                 => nil
        "#,
    );
}

#[test]
fn numbers() {
    check_both(
        r#"
        HINCRBY h n 5               => :5
        @log                        => HINCRBY h n 5
        @events                     => hash:hincrby:h
        HINCRBY h n -7              => :-2
        HSET h s x m 9223372036854775807 => :2
        HINCRBY h s 1               => -ERR hash value is not an integer
        HINCRBY h m 1               => -ERR increment or decrement would overflow
        HINCRBY h n x               => -ERR value is not an integer or out of range
        HINCRBY none n 9223372036854775808 => -ERR value is not an integer or out of range
        EXISTS none                 => :0
        HSET h sp " 1"              => :1
        HINCRBY h sp 1              => -ERR hash value is not an integer
        HINCRBYFLOAT h f 0.1        => 0.1
        HINCRBYFLOAT h f 0.2        => 0.3
        @log                        => HSET h f 0.3
        @events                     => hash:hincrbyfloat:h
        HINCRBYFLOAT h s 1          => -ERR hash value is not a float
        HINCRBYFLOAT h f x          => -ERR value is not a valid float
        HINCRBYFLOAT h n 1.5e3      => 1498
        HINCRBYFLOAT h f inf        => -ERR value is NaN or Infinity
        HSET h i inf                => :1
        HINCRBYFLOAT h i 1          => -ERR increment would produce NaN or Infinity
        "#,
    );
}

#[test]
fn encodings_change_by_count_and_by_length() {
    let mut engine = TestEngine::new();
    for n in 0..128 {
        engine.line(&format!("HSET h {n} v"));
    }
    assert_eq!(engine.line("OBJECT ENCODING h"), "listpack");
    engine.line("HSET h more v");
    assert_eq!(engine.line("OBJECT ENCODING h"), "hashtable");
    engine.line(&format!("HSET short f {}", "x".repeat(64)));
    assert_eq!(engine.line("OBJECT ENCODING short"), "listpack");
    engine.line(&format!("HSET short f {}", "x".repeat(65)));
    assert_eq!(engine.line("OBJECT ENCODING short"), "hashtable");
    assert_eq!(engine.line("HSTRLEN short f"), ":65");
    engine.assert_replay_gives_the_same();
}

#[test]
fn random_fields() {
    check_both(
        r#"
        HRANDFIELD none             => nil
        HRANDFIELD none 5           => []
        HRANDFIELD none -5 WITHVALUES => []
        HSET h a 1                  => :1
        HRANDFIELD h                => a
        HRANDFIELD h 0              => []
        HRANDFIELD h 5              => [a]
        HRANDFIELD h -3             => [a, a, a]
        HRANDFIELD h -2 WITHVALUES  => [a, 1, a, 1]
        HRANDFIELD h 2 WITHVALUES   => [a, 1]
        HRANDFIELD h x              => -ERR value is not an integer or out of range
        HRANDFIELD h 1 FOO          => -ERR syntax error
        HRANDFIELD h 1 WITHVALUES x => -ERR syntax error
        HRANDFIELD h -9223372036854775808 => -ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807
        HRANDFIELD h 9223372036854775807 WITHVALUES => -ERR value is out of range
        @resp3
        HRANDFIELD h -2 WITHVALUES  => [[a, 1], [a, 1]]
        HRANDFIELD h 5 WITHVALUES   => [[a, 1]]
        "#,
    );
}

#[test]
fn random_fields_are_different_ones_unless_they_may_repeat() {
    for fields in [50, 500] {
        let mut engine = TestEngine::new();
        for n in 0..fields {
            engine.line(&format!("HSET h {n} v"));
        }
        for count in [1, 10, fields - 1, fields, fields + 1] {
            let reply = engine.line(&format!("HRANDFIELD h {count}"));
            let mut found: Vec<&str> = reply.trim_matches(['[', ']']).split(", ").collect();
            assert_eq!(found.len(), count.min(fields), "{count} of {fields}");
            found.sort_unstable();
            found.dedup();
            assert_eq!(found.len(), count.min(fields), "{count} of {fields}");
        }
        let reply = engine.line("HRANDFIELD h -2000");
        assert_eq!(reply.split(", ").count(), 2000);
    }
}
