//! Sets, in every encoding.

use super::support::{TestEngine, check, check_with, notation};
use crate::value::Limits;

/// Runs a script with sets of integers packed, then with listpacks and with tables, where replies of several members
/// come in no order that the script could know.
fn check_both(script: &str) {
    check(script);
    let unordered: Vec<String> = script
        .lines()
        .map(|line| match line.split_once("=>") {
            Some((call, expected)) if expected.contains(", ") && lists_members(call) => format!("{call}=> ?"),
            _ => line.to_owned(),
        })
        .collect();
    let unordered = unordered.join("\n");
    check_with(Limits { set_max_intset_entries: 0, ..Limits::default() }, &unordered);
    check_with(Limits { set_max_intset_entries: 0, set_max_listpack_entries: 0, ..Limits::default() }, &unordered);
}

fn lists_members(call: &str) -> bool {
    ["SMEMBERS ", "SINTER ", "SUNION ", "SDIFF "].iter().any(|name| call.trim_start().starts_with(name))
}

#[test]
fn members() {
    check_both(
        r#"
        SADD s 3 1 2        => :3
        @log                => SADD s 3 1 2
        @events             => set:sadd:s
        SADD s 1 2          => :0
        @log                => -
        @events             =>
        SADD s 2 4          => :1
        SCARD s             => :4
        SMEMBERS s          => [1, 2, 3, 4]
        SISMEMBER s 4       => :1
        SISMEMBER s 5       => :0
        SISMEMBER none 1    => :0
        SMISMEMBER s 1 9 3  => [:1, :0, :1]
        SMISMEMBER none 1 9 => [:0, :0]
        SREM s 9            => :0
        @log                => -
        SREM s 1 9 2        => :2
        @log                => SREM s 1 9 2
        @events             => set:srem:s
        SREM none 1         => :0
        SREM s 3 4          => :2
        @events             => set:srem:s generic:del:s
        EXISTS s            => :0
        SCARD none          => :0
        SMEMBERS none       => []
        SET t x             => +OK
        SADD t 1            => -WRONGTYPE Operation against a key holding the wrong kind of value
        SREM t 1            => -WRONGTYPE Operation against a key holding the wrong kind of value
        SCARD t             => -WRONGTYPE Operation against a key holding the wrong kind of value
        SISMEMBER t 1       => -WRONGTYPE Operation against a key holding the wrong kind of value
        SMISMEMBER t 1      => -WRONGTYPE Operation against a key holding the wrong kind of value
        SMEMBERS t          => -WRONGTYPE Operation against a key holding the wrong kind of value
        SADD s              => -ERR wrong number of arguments for 'sadd' command
        SADD w a b c        => :3
        SISMEMBER w b       => :1
        SMISMEMBER w a 1 c  => [:1, :0, :1]
        SREM w a c          => :2
        SMEMBERS w          => [b]
        @resp3
        SMEMBERS w          => ~[b]
        SMEMBERS none       => ~[]
        SISMEMBER w b       => :1
        "#,
    );
}

#[test]
fn moves() {
    check_both(
        r#"
        SADD a 1 2     => :2
        SADD b 3       => :1
        SMOVE a b 1    => :1
        @log           => SMOVE a b 1
        @events        => set:srem:a set:sadd:b
        SMOVE a b 9    => :0
        @log           => -
        SMOVE none b 1 => :0
        SMOVE a a 2    => :1
        @log           => -
        SMOVE a a 9    => :0
        SADD a 3       => :1
        SMOVE a b 3    => :1
        @log           => SMOVE a b 3
        @events        => set:srem:a
        SMOVE a c 2    => :1
        @events        => set:srem:a generic:del:a set:sadd:c
        EXISTS a       => :0
        SMEMBERS b     => [1, 3]
        SMEMBERS c     => [2]
        SET t x        => +OK
        SMOVE t b 1    => -WRONGTYPE Operation against a key holding the wrong kind of value
        SMOVE b t 1    => -WRONGTYPE Operation against a key holding the wrong kind of value
        SMOVE none t 1 => :0
        SMOVE b t 9    => -WRONGTYPE Operation against a key holding the wrong kind of value
        "#,
    );
}

#[test]
fn algebra() {
    check_both(
        r#"
        SADD a 1 2 3 4 5     => :5
        SADD b 2 4 6         => :3
        SADD c 4 5 6         => :3
        SADD d foo           => :1
        SINTER a b           => [2, 4]
        SINTER a b c         => [4]
        SINTER a             => [1, 2, 3, 4, 5]
        SINTER a none        => []
        SINTER a d           => []
        SUNION a b           => [1, 2, 3, 4, 5, 6]
        SUNION a none        => [1, 2, 3, 4, 5]
        SUNION none          => []
        SDIFF a b            => [1, 3, 5]
        SDIFF a b c          => [1, 3]
        SDIFF a              => [1, 2, 3, 4, 5]
        SDIFF none a         => []
        SDIFF a none         => [1, 2, 3, 4, 5]
        SDIFF a a            => []
        SDIFF b a c          => []
        SINTERSTORE x a b    => :2
        @log                 => SINTERSTORE x a b
        @events              => set:sinterstore:x
        SMEMBERS x           => [2, 4]
        SINTERSTORE x a d    => :0
        @log                 => SINTERSTORE x a d
        @events              => generic:del:x
        EXISTS x             => :0
        SINTERSTORE x a none => :0
        @log                 => -
        SUNIONSTORE x b c    => :4
        @log                 => SUNIONSTORE x b c
        @events              => set:sunionstore:x
        SMEMBERS x           => [2, 4, 5, 6]
        SDIFFSTORE x a x     => :2
        @events              => set:sdiffstore:x
        SMEMBERS x           => [1, 3]
        SDIFFSTORE x none    => :0
        @events              => generic:del:x
        SUNIONSTORE x none   => :0
        @log                 => -
        SUNIONSTORE b b c    => :4
        SMEMBERS b           => [2, 4, 5, 6]
        SET t x              => +OK
        SINTER a t           => -WRONGTYPE Operation against a key holding the wrong kind of value
        SINTER none t        => -WRONGTYPE Operation against a key holding the wrong kind of value
        SUNION a t           => -WRONGTYPE Operation against a key holding the wrong kind of value
        SDIFF t a            => -WRONGTYPE Operation against a key holding the wrong kind of value
        SDIFF a t            => -WRONGTYPE Operation against a key holding the wrong kind of value
        SINTERSTORE x a t    => -WRONGTYPE Operation against a key holding the wrong kind of value
        SUNIONSTORE t a      => :5
        SMEMBERS t           => [1, 2, 3, 4, 5]
        @events              =>
        SET t x              => +OK
        SDIFFSTORE t none    => :0
        @log                 => SDIFFSTORE t none
        @events              => generic:del:t
        EXISTS t             => :0
        EXPIRE b 100         => :1
        SUNIONSTORE b a      => :5
        TTL b                => :-1
        @resp3
        SINTER a b           => ~[1, 2, 3, 4, 5]
        SINTER a none        => ~[]
        SUNION a b           => ~[1, 2, 3, 4, 5]
        SDIFF a b            => ~[]
        "#,
    );
}

#[test]
fn cardinality() {
    check_both(
        r#"
        SADD a 1 2 3 4 5                 => :5
        SADD b 2 3 4                     => :3
        SINTERCARD 2 a b                 => :3
        SINTERCARD 1 a                   => :5
        SINTERCARD 2 a b LIMIT 0         => :3
        SINTERCARD 2 a b LIMIT 2         => :2
        SINTERCARD 2 a b LIMIT 9         => :3
        SINTERCARD 2 a none              => :0
        SINTERCARD 0 a                   => -ERR numkeys should be greater than 0
        SINTERCARD x a                   => -ERR numkeys should be greater than 0
        SINTERCARD -1 a                  => -ERR numkeys should be greater than 0
        SINTERCARD 3 a b                 => -ERR Number of keys can't be greater than number of args
        SINTERCARD 2 a b LIMIT -1        => -ERR LIMIT can't be negative
        SINTERCARD 2 a b LIMIT x         => -ERR LIMIT can't be negative
        SINTERCARD 2 a b LIMIT           => -ERR syntax error
        SINTERCARD 2 a b c               => -ERR syntax error
        SINTERCARD 2 a b FOO 1           => -ERR syntax error
        SINTERCARD 2 a b LIMIT 1 LIMIT 2 => :2
        SET t x                          => +OK
        SINTERCARD 2 a t                 => -WRONGTYPE Operation against a key holding the wrong kind of value
        SINTERCARD 2 none t              => -WRONGTYPE Operation against a key holding the wrong kind of value
        "#,
    );
}

#[test]
fn random() {
    check_both(
        r#"
        SRANDMEMBER none                   => nil
        SRANDMEMBER none 1                 => []
        SRANDMEMBER none -1                => []
        SPOP none                          => nil
        SPOP none 1                        => []
        SADD s 7                           => :1
        SRANDMEMBER s                      => 7
        SRANDMEMBER s 0                    => []
        SRANDMEMBER s 5                    => [7]
        SRANDMEMBER s -3                   => [7, 7, 7]
        SRANDMEMBER s x                    => -ERR value is not an integer or out of range
        SRANDMEMBER s 1 2                  => -ERR syntax error
        SRANDMEMBER s -9223372036854775808 => -ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807
        SPOP s 0                           => []
        @log                               => -
        SPOP s -1                          => -ERR value is out of range, must be positive
        SPOP s x                           => -ERR value is out of range, must be positive
        SPOP s 1 2                         => -ERR syntax error
        SPOP s                             => 7
        @log                               => SREM s 7
        @events                            => set:spop:s generic:del:s
        EXISTS s                           => :0
        SADD s 1 2 3                       => :3
        SPOP s 3                           => ?
        @log                               => DEL s
        @events                            => set:spop:s generic:del:s
        SADD s 1                           => :1
        SPOP s 9                           => [1]
        @log                               => DEL s
        @events                            => set:spop:s generic:del:s
        SET t x                            => +OK
        SRANDMEMBER t                      => -WRONGTYPE Operation against a key holding the wrong kind of value
        SRANDMEMBER t 1                    => -WRONGTYPE Operation against a key holding the wrong kind of value
        SRANDMEMBER t 0                    => -WRONGTYPE Operation against a key holding the wrong kind of value
        SPOP t                             => -WRONGTYPE Operation against a key holding the wrong kind of value
        SPOP t 1                           => -WRONGTYPE Operation against a key holding the wrong kind of value
        SPOP t 0                           => -WRONGTYPE Operation against a key holding the wrong kind of value
        SPOP t x                           => -ERR value is out of range, must be positive
        @resp3
        SADD s 5                           => :1
        SRANDMEMBER s                      => 5
        SRANDMEMBER s 1                    => [5]
        SPOP s 1                           => ~[5]
        SPOP s 1                           => ~[]
        SPOP s                             => nil
        SRANDMEMBER s                      => nil
        SRANDMEMBER s 1                    => []
        "#,
    );
}

#[test]
fn deadlines() {
    check_both(
        r#"
        SADD a 1 2      => :2
        PEXPIRE a 60    => :1
        @advance 100
        SUNIONSTORE x a => :0
        @log            => DEL a
        @events         => expired:expired:a
        SADD a 1        => :1
        SMEMBERS a      => [1]
        PEXPIRE a 60    => :1
        @advance 100
        SMOVE a b 1     => :0
        SADD a 1        => :1
        PEXPIRE a 60    => :1
        @advance 100
        SPOP a 1        => []
        SADD a 1        => :1
        PEXPIRE a 60    => :1
        @advance 100
        SPOP a          => nil
        "#,
    );
}

#[test]
fn encodings() {
    let limits = Limits { set_max_intset_entries: 3, set_max_listpack_entries: 4, ..Limits::default() };
    check_with(
        limits,
        r#"
        SADD s 1 2 3                => :3
        OBJECT ENCODING s           => intset
        SADD s x                    => :1
        OBJECT ENCODING s           => listpack
        SADD s y                    => :1
        OBJECT ENCODING s           => hashtable
        SREM s x y 3                => :3
        OBJECT ENCODING s           => hashtable
        SINTERSTORE t s             => :2
        OBJECT ENCODING t           => intset
        SADD many 1 2 3 4           => :4
        OBJECT ENCODING many        => listpack
        SADD words a b c d          => :4
        OBJECT ENCODING words       => listpack
        SUNIONSTORE t words s       => :6
        OBJECT ENCODING t           => hashtable
        SDIFFSTORE t words s        => :4
        OBJECT ENCODING t           => listpack
        SADD one x                  => :1
        SADD mixed 1 2 3 x          => :4
        SDIFFSTORE t mixed one      => :3
        OBJECT ENCODING t           => intset
        SDIFFSTORE t mixed one one one => :3
        OBJECT ENCODING t           => listpack
        "#,
    );
    check(&format!("SADD s {} => :1\nOBJECT ENCODING s => hashtable", "x".repeat(65)));
}

/// Many members leave in several commands of one unit, and the rest stays.
#[test]
fn members_popped_are_named_in_the_log() {
    let mut engine = TestEngine::new();
    let members: Vec<String> = (0..3000).map(|n| format!("m{n}")).collect();
    let mut argv: Vec<&[u8]> = vec![b"SADD", b"s"];
    argv.extend(members.iter().map(|member| member.as_bytes()));
    engine.run(&argv);
    let popped = notation(&engine.run(&[b"SPOP", b"s", b"2500"]));
    assert_eq!(popped.split(", ").count(), 2500);
    let logged = engine.logged();
    let removals = logged.split("; ").filter_map(|command| command.strip_prefix("SREM s "));
    assert_eq!(removals.map(|members| members.split(' ').count()).collect::<Vec<_>>(), [1024, 1024, 452]);
    assert_eq!(engine.line("SCARD s"), ":500");
    engine.assert_replay_gives_the_same();
}

#[test]
fn random_members_are_members_and_differ_when_asked_to() {
    for limits in [
        Limits::default(),
        Limits { set_max_intset_entries: 0, ..Limits::default() },
        Limits { set_max_intset_entries: 0, set_max_listpack_entries: 0, ..Limits::default() },
    ] {
        let mut engine = TestEngine::with_limits(limits);
        let all: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        engine.line(&format!("SADD s {}", all.join(" ")));
        for count in [1, 5, 50, 99, 100, 200] {
            let reply = engine.line(&format!("SRANDMEMBER s {count}"));
            let mut members: Vec<&str> = reply.trim_matches(['[', ']']).split(", ").collect();
            members.sort_unstable();
            members.dedup();
            assert_eq!(members.len(), count.min(100));
            assert!(members.iter().all(|member| all.iter().any(|own| own == member)));
        }
        let reply = engine.line("SRANDMEMBER s -300");
        assert_eq!(reply.split(", ").count(), 300);
    }
}
