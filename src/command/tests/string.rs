//! Strings.

use super::support::{TestEngine, check};

#[test]
fn set_and_its_conditions() {
    check(
        r#"
        GET k                       => nil
        SET k v                     => +OK
        @log                        => SET k v
        @events                     => string:set:k
        GET k                       => v
        SET k w NX                  => nil
        @log                        => -
        SET k w XX                  => +OK
        SET k x GET                 => w
        @log                        => SET k x
        SET n v XX                  => nil
        SET n v NX GET              => nil
        GET n                       => v
        SET n w NX GET              => v
        GET n                       => v
        SET k "" get                => x
        GET k                       => ""
        SET k 1 nx xx               => -ERR syntax error
        SET k 1 XX NX               => -ERR syntax error
        SET k 1 NX NX               => nil
        SET k 1 FOO                 => -ERR syntax error
        SET k                       => -ERR wrong number of arguments for 'set' command
        HSET h f v                  => :1
        SET h v GET                 => -WRONGTYPE Operation against a key holding the wrong kind of value
        SET h v NX GET              => -WRONGTYPE Operation against a key holding the wrong kind of value
        SET h v                     => +OK
        TYPE h                      => +string
        SETNX k v                   => :0
        SETNX m v                   => :1
        GETSET m w                  => v
        @log                        => SET m w
        GETSET fresh w              => nil
        GETDEL fresh                => w
        @log                        => DEL fresh
        @events                     => generic:del:fresh
        GETDEL fresh                => nil
        @log                        => -
        "#,
    );
}

#[test]
fn set_with_an_expiry_is_logged_with_its_moment() {
    check(
        r#"
        SET k v EX 100              => +OK
        @log                        => SET k v PXAT 1577836900000
        @events                     => string:set:k generic:expire:k
        TTL k                       => :100
        SET k w KEEPTTL             => +OK
        @log                        => SET k w KEEPTTL
        PTTL k                      => :100000
        SET k x KEEPTTL GET         => w
        @log                        => SET k x KEEPTTL
        PTTL k                      => :100000
        SET k w                     => +OK
        TTL k                       => :-1
        SET k v PX 1500             => +OK
        PTTL k                      => :1500
        SET k v EXAT 1577836900     => +OK
        TTL k                       => :100
        SET k v PXAT 1577836900001  => +OK
        @log                        => SET k v PXAT 1577836900001
        SET k v EX 10 GET           => v
        @log                        => SET k v PXAT 1577836810000
        SET k v EX 1 EX 20          => +OK
        TTL k                       => :20
        SET k v EX 1 PX 20          => -ERR syntax error
        SET k v EX 1 KEEPTTL        => -ERR syntax error
        SET k v KEEPTTL EX 1        => -ERR syntax error
        SET k v EX                  => -ERR syntax error
        SET k v EX a                => -ERR value is not an integer or out of range
        SET k v EX 0                => -ERR invalid expire time in 'set' command
        SET k v PX -1               => -ERR invalid expire time in 'set' command
        SET k v EX 9223372036854775807   => -ERR invalid expire time in 'set' command
        SET k v PX 9223372036854775807   => -ERR invalid expire time in 'set' command
        SET k v EXAT 9223372036854775807 => -ERR invalid expire time in 'set' command
        SET k v PERSIST             => -ERR syntax error
        SETEX k 10 v                => +OK
        @log                        => SET k v PXAT 1577836810000
        SETEX k 0 v                 => -ERR invalid expire time in 'setex' command
        SETEX k x v                 => -ERR value is not an integer or out of range
        PSETEX k 10 v               => +OK
        PSETEX k -5 v               => -ERR invalid expire time in 'psetex' command
        PTTL k                      => :10
        MSET k 1 l 2                => +OK
        TTL k                       => :-1
        "#,
    );
}

#[test]
fn a_key_that_is_due_is_absent_and_a_write_deletes_it() {
    check(
        r#"
        SET k v PX 10               => +OK
        @advance 10
        GET k                       => v
        @advance 1
        GET k                       => nil
        @log                        => -
        DBSIZE                      => :1
        SET k w XX                  => nil
        @log                        => DEL k
        @events                     => expired:expired:k
        DBSIZE                      => :0
        SET k v PX 10               => +OK
        @advance 11
        SET k w KEEPTTL             => +OK
        @log                        => MULTI; DEL k; SET k w KEEPTTL; EXEC
        TTL k                       => :-1
        SET k v PX 10               => +OK
        @advance 11
        @expire                     => :1
        @log                        => DEL k
        SET k 5 PX 10               => +OK
        @advance 11
        INCR k                      => :1
        TTL k                       => :-1
        APPEND k x                  => :2
        SET k v PXAT 1              => +OK
        GET k                       => nil
        MSETNX k a b c              => :1
        "#,
    );
}

#[test]
fn getex() {
    check(
        r#"
        GETEX k                     => nil
        GETEX k EX a                => nil
        SET k v                     => +OK
        GETEX k                     => v
        @log                        => -
        GETEX k EX 100              => v
        @log                        => PEXPIREAT k 1577836900000
        @events                     => generic:expire:k
        GETEX k PERSIST             => v
        @log                        => PERSIST k
        @events                     => generic:persist:k
        TTL k                       => :-1
        GETEX k PERSIST             => v
        @log                        => -
        GETEX k EXAT 1577836900     => v
        PTTL k                      => :100000
        GETEX k PX 0                => -ERR invalid expire time in 'getex' command
        GETEX k EX a                => -ERR value is not an integer or out of range
        GETEX k EX                  => -ERR syntax error
        GETEX k EX 1 PX 1           => -ERR syntax error
        GETEX k PERSIST EX 1        => -ERR syntax error
        GETEX k EX 1 PERSIST        => -ERR syntax error
        GETEX k KEEPTTL             => -ERR syntax error
        GETEX k PXAT 1000           => v
        @log                        => DEL k
        @events                     => generic:del:k
        EXISTS k                    => :0
        HSET h f v                  => :1
        GETEX h EX a                => -WRONGTYPE Operation against a key holding the wrong kind of value
        "#,
    );
}

#[test]
fn several_at_once() {
    check(
        r#"
        MSET a 1 b 2 a 3            => +OK
        @events                     => string:set:a string:set:b string:set:a
        MGET a b c                  => [3, 2, nil]
        HSET h f v                  => :1
        MGET h a                    => [nil, 3]
        MSET a 1 b                  => -ERR wrong number of arguments for 'mset' command
        MSETNX c 1 d                => -ERR wrong number of arguments for 'msetnx' command
        MSETNX c 1 a 2              => :0
        EXISTS c                    => :0
        MSETNX c 1 c 2              => :1
        GET c                       => 2
        MSET h 1                    => +OK
        "#,
    );
}

#[test]
fn parts() {
    check(
        r#"
        APPEND k Hello              => :5
        @events                     => string:append:k
        APPEND k " World"           => :11
        GET k                       => "Hello World"
        OBJECT ENCODING k           => raw
        APPEND n 12                 => :2
        OBJECT ENCODING n           => int
        APPEND n 3                  => :3
        GET n                       => 123
        APPEND e ""                 => :0
        EXISTS e                    => :1
        STRLEN k                    => :11
        STRLEN none                 => :0
        GETRANGE k 0 4              => Hello
        GETRANGE k -5 -1            => World
        GETRANGE k 5 2              => ""
        GETRANGE k 0 -100           => H
        GETRANGE none 0 -1          => ""
        GETRANGE k a 1              => -ERR value is not an integer or out of range
        SUBSTR k 6 -1               => World
        SETRANGE k 6 Redis          => :11
        @log                        => SETRANGE k 6 Redis
        @events                     => string:setrange:k
        GET k                       => "Hello Redis"
        SETRANGE k 13 x             => :14
        GET k                       => "Hello Redis\x00\x00x"
        SETRANGE k 0 ""             => :14
        @log                        => -
        SETRANGE none 5 ""          => :0
        EXISTS none                 => :0
        SETRANGE pad 2 ab           => :4
        GET pad                     => "\x00\x00ab"
        SETRANGE k -1 x             => -ERR offset is out of range
        SETRANGE k a x              => -ERR value is not an integer or out of range
        SETRANGE k 536870912 x      => -ERR string exceeds maximum allowed size (proto-max-bulk-len)
        SETRANGE k 9223372036854775807 x => -ERR string exceeds maximum allowed size (proto-max-bulk-len)
        SETRANGE none 536870912 ""  => :0
        HSET h f v                  => :1
        APPEND h x                  => -WRONGTYPE Operation against a key holding the wrong kind of value
        STRLEN h                    => -WRONGTYPE Operation against a key holding the wrong kind of value
        GETRANGE h 0 1              => -WRONGTYPE Operation against a key holding the wrong kind of value
        SETRANGE h 0 x              => -WRONGTYPE Operation against a key holding the wrong kind of value
        SETRANGE h 0 ""             => -WRONGTYPE Operation against a key holding the wrong kind of value
        "#,
    );
}

#[test]
fn numbers() {
    check(
        r#"
        INCR n                      => :1
        @log                        => INCR n
        @events                     => string:incrby:n
        INCRBY n 41                 => :42
        DECR n                      => :41
        @events                     => string:incrby:n
        DECRBY n 50                 => :-9
        OBJECT ENCODING n           => int
        SET n 9223372036854775807   => +OK
        INCR n                      => -ERR increment or decrement would overflow
        DECRBY n -1                 => -ERR increment or decrement would overflow
        DECRBY n -9223372036854775808 => -ERR decrement would overflow
        SET n -9223372036854775808  => +OK
        DECR n                      => -ERR increment or decrement would overflow
        INCRBY n 9223372036854775808  => -ERR value is not an integer or out of range
        SET s " 1"                  => +OK
        INCR s                      => -ERR value is not an integer or out of range
        SET s 01                    => +OK
        INCR s                      => -ERR value is not an integer or out of range
        SET s ""                    => +OK
        INCR s                      => -ERR value is not an integer or out of range
        INCRBY s x                  => -ERR value is not an integer or out of range
        SET t 10 EX 100             => +OK
        INCR t                      => :11
        TTL t                       => :100
        INCRBYFLOAT t 0.5           => 11.5
        @log                        => SET t 11.5 KEEPTTL
        @events                     => string:incrbyfloat:t
        TTL t                       => :100
        HSET h f v                  => :1
        INCR h                      => -WRONGTYPE Operation against a key holding the wrong kind of value
        INCRBYFLOAT h 1             => -WRONGTYPE Operation against a key holding the wrong kind of value
        "#,
    );
}

#[test]
fn floating_point_numbers() {
    check(
        r#"
        INCRBYFLOAT f 0.1           => 0.1
        INCRBYFLOAT f 0.2           => 0.3
        SET f 3                     => +OK
        INCRBYFLOAT f 1.5e2         => 153
        OBJECT ENCODING f           => embstr
        INCRBYFLOAT f 1e400         => ?
        SET f 3.0e3                 => +OK
        INCRBYFLOAT f -200          => 2800
        INCRBYFLOAT f abc           => -ERR value is not a valid float
        INCRBYFLOAT f nan           => -ERR value is not a valid float
        INCRBYFLOAT f inf           => -ERR increment would produce NaN or Infinity
        SET f abc                   => +OK
        INCRBYFLOAT f 1             => -ERR value is not a valid float
        SET f ""                    => +OK
        INCRBYFLOAT f 1             => -ERR value is not a valid float
        SET f 1                     => +OK
        INCRBYFLOAT f -1            => 0
        INCRBYFLOAT f -0.00000000000000000001 => 0
        "#,
    );
}

#[test]
fn encodings() {
    check(
        r#"
        SET k 12345                 => +OK
        OBJECT ENCODING k           => int
        OBJECT REFCOUNT k           => :1
        SET k 9999                  => +OK
        OBJECT REFCOUNT k           => :2147483647
        SET k 9223372036854775808   => +OK
        OBJECT ENCODING k           => embstr
        SET k aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa  => +OK
        OBJECT ENCODING k           => embstr
        SET k aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa => +OK
        OBJECT ENCODING k           => raw
        "#,
    );
}

#[test]
fn lcs() {
    check(
        r#"
        MSET a ohmytext b mynewtext => +OK
        LCS a b                     => mytext
        LCS a b LEN                 => :6
        LCS a b IDX                 => [matches, [[[:4, :7], [:5, :8]], [[:2, :3], [:0, :1]]], len, :6]
        LCS a b IDX MINMATCHLEN 4   => [matches, [[[:4, :7], [:5, :8]]], len, :6]
        LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN => [matches, [[[:4, :7], [:5, :8], :4]], len, :6]
        LCS a b IDX MINMATCHLEN -1 WITHMATCHLEN => [matches, [[[:4, :7], [:5, :8], :4], [[:2, :3], [:0, :1], :2]], len, :6]
        LCS a none                  => ""
        LCS a none IDX              => [matches, [], len, :0]
        LCS a b LEN IDX             => -ERR If you want both the length and indexes, please just use IDX.
        LCS a b MINMATCHLEN         => -ERR syntax error
        LCS a b MINMATCHLEN x       => -ERR value is not an integer or out of range
        LCS a b FOO                 => -ERR syntax error
        HSET h f v                  => :1
        LCS a h FOO                 => -ERR The specified keys must contain string values
        @resp3
        LCS a b IDX MINMATCHLEN 4   => {matches: [[[:4, :7], [:5, :8]]], len: :6}
        "#,
    );
}

#[test]
fn a_string_never_grows_beyond_the_limit() {
    let mut engine = TestEngine::new();
    engine.host.string_bytes_max = 10;
    assert_eq!(engine.line("APPEND k 0123456789"), ":10");
    let refused = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    assert_eq!(engine.line("APPEND k x"), refused);
    assert_eq!(engine.line("SETRANGE k 10 x"), refused);
    assert_eq!(engine.line("SETRANGE k 9 x"), ":10");
    assert_eq!(engine.line("LCS k k"), "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
}

#[test]
fn a_long_string_is_appended_to_in_place_and_survives_replay() {
    let mut engine = TestEngine::new();
    let chunk = "x".repeat(1000);
    for n in 1..=50 {
        assert_eq!(engine.line(&format!("APPEND k {chunk}")), format!(":{}", n * 1000));
    }
    assert_eq!(engine.line("EXPIRE k 100"), ":1");
    assert_eq!(engine.line("SETRANGE k 49999 yz"), ":50001");
    assert_eq!(engine.line("TTL k"), ":100");
    engine.assert_replay_gives_the_same();
}

/// A string beyond one chunk is edited, read and copied as a short one, and logged as it was sent.
#[test]
fn long_strings_are_edited_in_place() {
    let long = "x".repeat(5000);
    check(&format!(
        r#"
        SET k {long} => +OK
        APPEND k tail => :5004
        GETRANGE k 4998 -1 => xxtail
        COPY k copy => :1
        SETRANGE k 4078 abcd => :5004
        GETRANGE k 4077 4082 => xabcdx
        GETRANGE copy 4077 4082 => xxxxxx
        SETRANGE sparse 100000 end => :100003
        @log => SETRANGE sparse 100000 end
        GETRANGE sparse 99999 -1 => "\x00end"
        STRLEN sparse => :100003
        OBJECT ENCODING sparse => raw
        GETDEL sparse => ?
        EXISTS sparse => :0
        "#
    ));
}
