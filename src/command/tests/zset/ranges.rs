//! Ranges by rank, score and member: answered, counted, removed, stored.

use super::super::support::TestEngine;
use super::check_both;
use crate::value::Limits;

#[test]
fn ranges_by_rank() {
    check_both(
        r#"
        ZADD z 1 a 2 b 3 c 4 d      => :4
        ZRANGE z 0 -1               => [a, b, c, d]
        ZRANGE z 1 2                => [b, c]
        ZRANGE z -2 -1              => [c, d]
        ZRANGE z 0 -1 WITHSCORES    => [a, 1, b, 2, c, 3, d, 4]
        ZRANGE z 0 1 REV            => [d, c]
        ZRANGE z 0 1 REV WITHSCORES => [d, 4, c, 3]
        ZRANGE z 3 1                => []
        ZRANGE z 4 9                => []
        ZRANGE z -100 100           => [a, b, c, d]
        ZRANGE none 0 -1            => []
        ZRANGE none x 1             => -ERR value is not an integer or out of range
        ZRANGE z x 1                => -ERR value is not an integer or out of range
        ZRANGE z 0 (1               => -ERR value is not an integer or out of range
        ZRANGE z 0 -1 LIMIT 0 1     => -ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX
        ZRANGE z 0 -1 LIMIT 1 -1    => [a, b, c, d]
        ZRANGE z 0 -1 LIMIT 0       => -ERR syntax error
        ZRANGE z 0 -1 LIMIT x 1     => -ERR value is not an integer or out of range
        ZRANGE z 0 -1 FOO           => -ERR syntax error
        ZREVRANGE z 0 1             => [d, c]
        ZREVRANGE z 0 1 WITHSCORES  => [d, 4, c, 3]
        ZREVRANGE z -1 -1           => [a]
        ZREVRANGE z 0 1 REV         => -ERR syntax error
        ZREVRANGE z 0 1 BYSCORE     => -ERR syntax error
        ZREVRANGE z 0 1 LIMIT 0 1   => -ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX
        ZREVRANGE none 0 1          => []
        SET s 1                     => +OK
        ZRANGE s 0 -1               => -WRONGTYPE Operation against a key holding the wrong kind of value
        ZRANGE s 0 x                => -ERR value is not an integer or out of range
        @resp3
        ZRANGE z 0 1 WITHSCORES     => [[a, ,1], [b, ,2]]
        ZRANGE z 0 1                => [a, b]
        ZREVRANGE z 0 1 WITHSCORES  => [[d, ,4], [c, ,3]]
        ZRANGE none 0 -1 WITHSCORES => []
        "#,
    );
}

#[test]
fn ranges_by_score() {
    check_both(
        r#"
        ZADD z 1 a 2 b 3 c 4 d 5 e                    => :5
        ZRANGEBYSCORE z 2 4                           => [b, c, d]
        ZRANGEBYSCORE z (2 4                          => [c, d]
        ZRANGEBYSCORE z 2 (4                          => [b, c]
        ZRANGEBYSCORE z (2 (4                         => [c]
        ZRANGEBYSCORE z -inf +inf                     => [a, b, c, d, e]
        ZRANGEBYSCORE z (1 inf WITHSCORES             => [b, 2, c, 3, d, 4, e, 5]
        ZRANGEBYSCORE z 4 2                           => []
        ZRANGEBYSCORE z (2 (2                         => []
        ZRANGEBYSCORE z 2 2                           => [b]
        ZRANGEBYSCORE z 6 9                           => []
        ZRANGEBYSCORE z -inf inf LIMIT 1 2            => [b, c]
        ZRANGEBYSCORE z -inf inf LIMIT 1 -1           => [b, c, d, e]
        ZRANGEBYSCORE z -inf inf LIMIT 1 0            => []
        ZRANGEBYSCORE z -inf inf LIMIT -1 2           => []
        ZRANGEBYSCORE z -inf inf LIMIT 9 2            => []
        ZRANGEBYSCORE z -inf inf LIMIT 3 9 WITHSCORES => [d, 4, e, 5]
        ZRANGEBYSCORE z -inf inf WITHSCORES LIMIT 3 9 => [d, 4, e, 5]
        ZRANGEBYSCORE z x 1                           => -ERR min or max is not a float
        ZRANGEBYSCORE z 1 x                           => -ERR min or max is not a float
        ZRANGEBYSCORE z 1 nan                         => -ERR min or max is not a float
        ZRANGEBYSCORE z ((1 2                         => -ERR min or max is not a float
        ZRANGEBYSCORE z "" 2                          => [a, b]
        ZRANGEBYSCORE z ( 2                           => [a, b]
        ZRANGEBYSCORE z 1 2 REV                       => -ERR syntax error
        ZRANGEBYSCORE z 1 2 BYLEX                     => -ERR syntax error
        ZRANGEBYSCORE z 1 2 LIMIT 1                   => -ERR syntax error
        ZRANGEBYSCORE z 1 2 LIMIT 1 x                 => -ERR value is not an integer or out of range
        ZRANGEBYSCORE none 1 2                        => []
        ZRANGEBYSCORE none x 2                        => -ERR min or max is not a float
        ZREVRANGEBYSCORE z 4 2                        => [d, c, b]
        ZREVRANGEBYSCORE z (4 2 WITHSCORES            => [c, 3, b, 2]
        ZREVRANGEBYSCORE z +inf -inf LIMIT 1 2        => [d, c]
        ZREVRANGEBYSCORE z +inf -inf LIMIT 4 2        => [a]
        ZREVRANGEBYSCORE z 2 4                        => []
        ZRANGE z 2 4 BYSCORE                          => [b, c, d]
        ZRANGE z (2 +inf BYSCORE LIMIT 1 1            => [d]
        ZRANGE z 4 (2 BYSCORE REV                     => [d, c]
        ZRANGE z +inf -inf REV BYSCORE LIMIT 0 2 WITHSCORES => [e, 5, d, 4]
        ZRANGE z 2 4 BYSCORE BYSCORE                  => -ERR syntax error
        ZRANGE z 2 4 BYSCORE BYLEX                    => -ERR syntax error
        ZRANGE z 2 4 BYLEX                            => -ERR min or max not valid string range item
        ZCOUNT z 2 4                                  => :3
        ZCOUNT z (2 +inf                              => :3
        ZCOUNT z 4 2                                  => :0
        ZCOUNT z x 1                                  => -ERR min or max is not a float
        ZCOUNT none 1 2                               => :0
        ZCOUNT none 1 x                               => -ERR min or max is not a float
        SET s 1                                       => +OK
        ZRANGEBYSCORE s 1 2                           => -WRONGTYPE Operation against a key holding the wrong kind of value
        ZCOUNT s 1 2                                  => -WRONGTYPE Operation against a key holding the wrong kind of value
        @resp3
        ZRANGEBYSCORE z 1 2 WITHSCORES                => [[a, ,1], [b, ,2]]
        ZREVRANGEBYSCORE z 2 1 WITHSCORES             => [[b, ,2], [a, ,1]]
        "#,
    );
}

#[test]
fn ranges_by_member() {
    check_both(
        r#"
        ZADD z 0 a 0 b 0 c 0 d 0 ee       => :5
        ZRANGEBYLEX z - +                 => [a, b, c, d, ee]
        ZRANGEBYLEX z [b [d               => [b, c, d]
        ZRANGEBYLEX z (b [d               => [c, d]
        ZRANGEBYLEX z [b (d               => [b, c]
        ZRANGEBYLEX z [b +                => [b, c, d, ee]
        ZRANGEBYLEX z - (c                => [a, b]
        ZRANGEBYLEX z [d [b               => []
        ZRANGEBYLEX z + -                 => []
        ZRANGEBYLEX z [e +                => [ee]
        ZRANGEBYLEX z - [e                => [a, b, c, d]
        ZRANGEBYLEX z [ [b                => [a, b]
        ZRANGEBYLEX z - + LIMIT 1 2       => [b, c]
        ZRANGEBYLEX z - + LIMIT -1 2      => []
        ZRANGEBYLEX z - + LIMIT 1 -1      => [b, c, d, ee]
        ZRANGEBYLEX z b [d                => -ERR min or max not valid string range item
        ZRANGEBYLEX z -x [d               => -ERR min or max not valid string range item
        ZRANGEBYLEX z [b +x               => -ERR min or max not valid string range item
        ZRANGEBYLEX z - + WITHSCORES      => -ERR syntax error, WITHSCORES not supported in combination with BYLEX
        ZRANGEBYLEX z "" +                => -ERR min or max not valid string range item
        ZREVRANGEBYLEX z + -              => [ee, d, c, b, a]
        ZREVRANGEBYLEX z [d (b            => [d, c]
        ZREVRANGEBYLEX z + - LIMIT 1 2    => [d, c]
        ZREVRANGEBYLEX z [b [d            => []
        ZRANGE z [b [d BYLEX              => [b, c, d]
        ZRANGE z [d [b BYLEX REV          => [d, c, b]
        ZRANGE z [d - BYLEX REV LIMIT 1 5 => [c, b, a]
        ZRANGE z - + BYLEX WITHSCORES     => -ERR syntax error, WITHSCORES not supported in combination with BYLEX
        ZLEXCOUNT z - +                   => :5
        ZLEXCOUNT z [b (d                 => :2
        ZLEXCOUNT z [d [b                 => :0
        ZLEXCOUNT z a b                   => -ERR min or max not valid string range item
        ZLEXCOUNT none - +                => :0
        ZLEXCOUNT none a +                => -ERR min or max not valid string range item
        SET s 1                           => +OK
        ZRANGEBYLEX s - +                 => -WRONGTYPE Operation against a key holding the wrong kind of value
        ZLEXCOUNT s - +                   => -WRONGTYPE Operation against a key holding the wrong kind of value
        "#,
    );
}

#[test]
fn ranges_removed() {
    check_both(
        r#"
        ZADD z 1 a 2 b 3 c 4 d 5 e 6 f 7 g => :7
        ZREMRANGEBYRANK z 0 0              => :1
        @log                               => ZREMRANGEBYRANK z 0 0
        @events                            => zset:zremrangebyrank:z
        ZREMRANGEBYRANK z -1 -1            => :1
        ZREMRANGEBYRANK z 9 10             => :0
        @log                               => -
        @events                            =>
        ZREMRANGEBYRANK z x 1              => -ERR value is not an integer or out of range
        ZREMRANGEBYSCORE z (2 3            => :1
        @events                            => zset:zremrangebyscore:z
        ZREMRANGEBYSCORE z 100 200         => :0
        ZREMRANGEBYSCORE z x 1             => -ERR min or max is not a float
        ZREMRANGEBYRANK none 0 1           => :0
        ZREMRANGEBYSCORE none 0 1          => :0
        ZREMRANGEBYLEX none - +            => :0
        ZREMRANGEBYLEX none x +            => -ERR min or max not valid string range item
        ZRANGE z 0 -1                      => [b, d, e, f]
        ZREMRANGEBYSCORE z -inf inf        => :4
        @log                               => ZREMRANGEBYSCORE z -inf inf
        @events                            => zset:zremrangebyscore:z generic:del:z
        EXISTS z                           => :0
        ZADD z 0 a 0 b 0 c                 => :3
        ZREMRANGEBYLEX z [a (b             => :1
        @log                               => ZREMRANGEBYLEX z "[a" "(b"
        @events                            => zset:zremrangebylex:z
        ZREMRANGEBYLEX z - +               => :2
        @events                            => zset:zremrangebylex:z generic:del:z
        SET s 1                            => +OK
        ZREMRANGEBYLEX s - +               => -WRONGTYPE Operation against a key holding the wrong kind of value
        ZREMRANGEBYRANK s 0 1              => -WRONGTYPE Operation against a key holding the wrong kind of value
        ZREMRANGEBYSCORE s 0 1             => -WRONGTYPE Operation against a key holding the wrong kind of value
        "#,
    );
}

#[test]
fn ranges_stored() {
    check_both(
        r#"
        ZADD z 1 a 2 b 3 c 4 d                   => :4
        ZRANGESTORE x z 1 2                      => :2
        @log                                     => ZRANGESTORE x z 1 2
        @events                                  => zset:zrangestore:x
        ZRANGE x 0 -1 WITHSCORES                 => [b, 2, c, 3]
        ZRANGESTORE x z 2 +inf BYSCORE LIMIT 1 1 => :1
        ZRANGE x 0 -1 WITHSCORES                 => [c, 3]
        ZRANGESTORE x z 0 1 REV                  => :2
        ZRANGE x 0 -1 WITHSCORES                 => [c, 3, d, 4]
        ZRANGESTORE x z [a [b BYLEX              => :2
        ZRANGESTORE x z 9 10                     => :0
        @log                                     => ZRANGESTORE x z 9 10
        @events                                  => generic:del:x
        EXISTS x                                 => :0
        ZRANGESTORE x none 0 -1                  => :0
        @log                                     => -
        ZRANGESTORE z z 0 0                      => :1
        ZRANGE z 0 -1                            => [a]
        ZRANGESTORE x z 0 1 WITHSCORES           => -ERR syntax error
        ZRANGESTORE x z 0 1 LIMIT 0 1            => -ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX
        ZRANGESTORE x z x 1                      => -ERR value is not an integer or out of range
        SET s 1                                  => +OK
        ZRANGESTORE x s 0 1                      => -WRONGTYPE Operation against a key holding the wrong kind of value
        ZRANGESTORE s z 0 1                      => :1
        @events                                  => zset:zrangestore:s
        "#,
    );
}

/// Every slice of a sorted set, by rank and by score, against the slice of a vector.
#[test]
fn ranges_agree_with_slices() {
    for limits in [Limits::default(), Limits { zset_max_listpack_entries: 0, ..Limits::default() }] {
        let mut engine = TestEngine::with_limits(limits);
        let len = 40_i64;
        for n in 0..len {
            engine.line(&format!("ZADD z {n} m{n:02}"));
        }
        let names = |range: std::ops::Range<i64>, reverse: bool| {
            let mut names: Vec<String> = range.map(|n| format!("m{n:02}")).collect();
            if reverse {
                names.reverse();
            }
            format!("[{}]", names.join(", "))
        };
        for start in (0..len).step_by(7) {
            for end in (start..len).step_by(5) {
                let (from_top, to_top) = (len - 1 - end, len - 1 - start);
                let (exclusive, offset) = (end + 1, start + 3);
                for (call, expected) in [
                    (format!("ZRANGE z {start} {end}"), names(start..end + 1, false)),
                    (format!("ZRANGE z {} {}", start - len, end - len), names(start..end + 1, false)),
                    (format!("ZRANGE z {from_top} {to_top} REV"), names(start..end + 1, true)),
                    (format!("ZRANGEBYSCORE z {start} ({exclusive}"), names(start..end + 1, false)),
                    (format!("ZREVRANGEBYSCORE z ({exclusive} {start}"), names(start..end + 1, true)),
                    (format!("ZRANGE z {start} +inf BYSCORE LIMIT 3 4"), names(offset..len.min(offset + 4), false)),
                    (format!("ZRANGE z {end} -inf BYSCORE REV LIMIT 1 2"), names((end - 2).max(0)..end, true)),
                    (format!("ZCOUNT z {start} {end}"), format!(":{}", end + 1 - start)),
                ] {
                    assert_eq!(engine.line(&call), expected, "{call}");
                }
            }
        }
    }
}
