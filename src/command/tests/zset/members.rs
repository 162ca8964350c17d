//! Scores, ranks, what is popped, waited for and drawn.

use super::{check_both, check_with};
use crate::value::Limits;

#[test]
fn scores() {
    check_both(
        r#"
        ZADD z 1 a 2 b 3 c         => :3
        @log                       => ZADD z 1 a 2 b 3 c
        @events                    => zset:zadd:z
        ZADD z 1 a 5 d             => :1
        @log                       => ZADD z 1 a 5 d
        ZADD z 1 a                 => :0
        @log                       => -
        @events                    =>
        ZADD z CH 4 a 2 b 6 e      => :2
        @events                    => zset:zadd:z
        ZADD z NX 9 a 7 f          => :1
        ZADD z NX 9 a              => :0
        @log                       => -
        ZADD z XX 8 a 8 new        => :0
        @log                       => ZADD z XX 8 a 8 new
        @events                    => zset:zadd:z
        ZADD z XX CH 9 a           => :1
        ZADD z GT CH 5 a           => :0
        ZADD z GT CH 10 a          => :1
        ZADD z LT CH 11 a          => :0
        ZADD z LT CH 3 a           => :1
        ZADD z GT 1 g              => :1
        ZADD z XX GT 2 h           => :0
        ZADD z INCR 5 a            => 8
        @log                       => ZADD z INCR 5 a
        @events                    => zset:zincr:z
        ZADD z INCR 0 a            => 8
        @log                       => -
        @events                    =>
        ZADD z NX INCR 5 a         => nil
        ZADD z NX INCR 5 i         => 5
        ZADD z XX INCR 5 j         => nil
        ZADD z GT INCR -1 a        => nil
        ZADD z GT INCR 1 a         => 9
        ZADD z LT INCR 1 a         => nil
        ZADD none XX 1 a           => :0
        EXISTS none                => :0
        ZADD none XX INCR 1 a      => nil
        ZADD z NX XX 1 a           => -ERR XX and NX options at the same time are not compatible
        ZADD z GT LT 1 a           => -ERR GT, LT, and/or NX options at the same time are not compatible
        ZADD z NX GT 1 a           => -ERR GT, LT, and/or NX options at the same time are not compatible
        ZADD z NX LT 1 a           => -ERR GT, LT, and/or NX options at the same time are not compatible
        ZADD z INCR 1 a 2 b        => -ERR INCR option supports a single increment-element pair
        ZADD z 1 a 2               => -ERR syntax error
        ZADD z CH INCR             => -ERR syntax error
        ZADD z FOO 1 a             => -ERR syntax error
        ZADD z x a                 => -ERR value is not a valid float
        ZADD z nan a               => -ERR value is not a valid float
        ZADD z 1 a x b             => -ERR value is not a valid float
        ZADD z inf k -inf l +inf m => :3
        ZADD z INCR -inf k         => -ERR resulting score is not a number (NaN)
        ZSCORE z k                 => inf
        ZSCORE z l                 => -inf
        ZADD z 0x10 n 1e3 o        => :2
        ZSCORE z n                 => 16
        ZSCORE z o                 => 1000
        ZADD z 1.5 p 0.5 q 0.1 r   => :3
        ZSCORE z p                 => 1.5
        ZSCORE z q                 => 0.5
        ZSCORE z r                 => 0.1
        ZINCRBY z 0.2 r            => 0.30000000000000004
        ZINCRBY z 2.5 p            => 4
        @log                       => ZINCRBY z 2.5 p
        @events                    => zset:zincr:z
        ZINCRBY z x p              => -ERR value is not a valid float
        ZINCRBY z 1 new            => 1
        ZINCRBY fresh 1.25 a       => 1.25
        ZINCRBY z -inf m           => -ERR resulting score is not a number (NaN)
        ZSCORE z none              => nil
        ZSCORE none a              => nil
        ZMSCORE z a none p         => [9, nil, 4]
        ZMSCORE none a b           => [nil, nil]
        ZCARD z                    => :17
        ZCARD none                 => :0
        ZREM z a none b            => :2
        @log                       => ZREM z a none b
        @events                    => zset:zrem:z
        ZREM z none                => :0
        @log                       => -
        ZREM none a                => :0
        ZREM fresh a               => :1
        @events                    => zset:zrem:fresh generic:del:fresh
        EXISTS fresh               => :0
        SET s 1                    => +OK
        ZADD s 1 a                 => -WRONGTYPE Operation against a key holding the wrong kind of value
        ZINCRBY s 1 a              => -WRONGTYPE Operation against a key holding the wrong kind of value
        ZREM s a                   => -WRONGTYPE Operation against a key holding the wrong kind of value
        ZCARD s                    => -WRONGTYPE Operation against a key holding the wrong kind of value
        ZSCORE s a                 => -WRONGTYPE Operation against a key holding the wrong kind of value
        ZMSCORE s a                => -WRONGTYPE Operation against a key holding the wrong kind of value
        @resp3
        ZSCORE z p                 => ,4
        ZSCORE z none              => nil
        ZMSCORE z p none           => [,4, nil]
        ZINCRBY z 1 p              => ,5
        ZADD z INCR 1 p            => ,6
        ZADD z NX INCR 1 p         => nil
        ZADD z 7 p                 => :0
        "#,
    );
}

#[test]
fn ranks() {
    check_both(
        r#"
        ZADD z 1 a 2 b 2 c 4 d   => :4
        ZRANK z a                => :0
        ZRANK z c                => :2
        ZRANK z none             => nil
        ZRANK none a             => nil
        ZREVRANK z a             => :3
        ZREVRANK z d             => :0
        ZREVRANK z none          => nil
        ZRANK z c WITHSCORE      => [:2, 2]
        ZREVRANK z c WITHSCORE   => [:1, 2]
        ZRANK z none WITHSCORE   => nil
        ZRANK none a WITHSCORE   => nil
        ZRANK z a FOO            => -ERR syntax error
        ZRANK z a WITHSCORE b    => -ERR wrong number of arguments for 'zrank' command
        ZREVRANK z a WITHSCORE b => -ERR wrong number of arguments for 'zrevrank' command
        SET s 1                  => +OK
        ZRANK s a                => -WRONGTYPE Operation against a key holding the wrong kind of value
        @resp3
        ZRANK z none             => nil
        ZRANK z c WITHSCORE      => [:2, ,2]
        ZRANK z none WITHSCORE   => nil
        "#,
    );
}

#[test]
fn popped() {
    check_both(
        r#"
        ZADD z 1 a 2 b 3 c 4 d 5 e    => :5
        ZPOPMIN z                     => [a, 1]
        @log                          => ZPOPMIN z
        @events                       => zset:zpopmin:z
        ZPOPMAX z                     => [e, 5]
        @events                       => zset:zpopmax:z
        ZPOPMIN z 2                   => [b, 2, c, 3]
        @log                          => ZPOPMIN z 2
        ZPOPMAX z 0                   => []
        @log                          => -
        ZPOPMAX z -1                  => -ERR value is out of range, must be positive
        ZPOPMAX z x                   => -ERR value is out of range, must be positive
        ZPOPMAX z 1 2                 => -ERR syntax error
        ZPOPMAX z 9                   => [d, 4]
        @events                       => zset:zpopmax:z generic:del:z
        ZPOPMIN none                  => []
        ZPOPMIN none 2                => []
        SET s 1                       => +OK
        ZPOPMIN s                     => -WRONGTYPE Operation against a key holding the wrong kind of value
        ZPOPMIN s 0                   => -WRONGTYPE Operation against a key holding the wrong kind of value
        ZADD z 1 a 2 b 3 c            => :3
        ZADD y 1.5 m                  => :1
        ZMPOP 2 none z MIN            => [z, [[a, 1]]]
        @log                          => ZPOPMIN z 1
        @events                       => zset:zpopmin:z
        ZMPOP 2 none z MAX COUNT 9    => [z, [[c, 3], [b, 2]]]
        @log                          => ZPOPMAX z 2
        @events                       => zset:zpopmax:z generic:del:z
        ZMPOP 2 z y MAX               => [y, [[m, 1.5]]]
        ZMPOP 1 none MIN              => nil
        ZMPOP 0 z MIN                 => -ERR numkeys should be greater than 0
        ZMPOP x z MIN                 => -ERR numkeys should be greater than 0
        ZMPOP 2 z MIN                 => -ERR syntax error
        ZMPOP 1 z LEFT                => -ERR syntax error
        ZMPOP 1 z MIN COUNT 0         => -ERR count should be greater than 0
        ZMPOP 1 z MIN COUNT           => -ERR syntax error
        ZMPOP 1 z MIN COUNT 1 COUNT 2 => -ERR syntax error
        ZMPOP 2 none s MIN            => -WRONGTYPE Operation against a key holding the wrong kind of value
        @resp3
        ZADD z 1 a 2 b 3 c 4 d 5 e    => :5
        ZPOPMIN z                     => [a, ,1]
        ZPOPMIN z 1                   => [[b, ,2]]
        ZPOPMAX z 2                   => [[e, ,5], [d, ,4]]
        ZMPOP 1 z MIN                 => [z, [[c, ,3]]]
        ZPOPMIN none                  => []
        ZPOPMIN none 1                => []
        ZMPOP 1 none MIN              => nil
        "#,
    );
}

#[test]
fn waiting() {
    check_both(
        r#"
        ZADD z 1 a 2 b 3 c 4 d     => :4
        ZADD y 1.5 m               => :1
        BZPOPMIN none z y 0        => [z, a, 1]
        @log                       => ZPOPMIN z
        @events                    => zset:zpopmin:z
        BZPOPMAX z 0.5             => [z, d, 4]
        @log                       => ZPOPMAX z
        BZPOPMAX z y 0             => [z, c, 3]
        BZMPOP 0 2 none z MIN      => [z, [[b, 2]]]
        @log                       => ZPOPMIN z 1
        @events                    => zset:zpopmin:z generic:del:z
        BZMPOP 0 2 z y MAX COUNT 3 => [y, [[m, 1.5]]]
        BZPOPMIN z 0               => +BLOCKED
        BZMPOP 0 1 z MIN           => +BLOCKED
        BZPOPMIN z x               => -ERR timeout is not a float or out of range
        BZPOPMIN z -1              => -ERR timeout is negative
        BZMPOP x 1 z MIN           => -ERR timeout is not a float or out of range
        BZMPOP 0 0 z MIN           => -ERR numkeys should be greater than 0
        BZMPOP 0 1 z LEFT          => -ERR syntax error
        SET s 1                    => +OK
        BZPOPMIN none s 0          => -WRONGTYPE Operation against a key holding the wrong kind of value
        BZMPOP 0 1 s MIN           => -WRONGTYPE Operation against a key holding the wrong kind of value
        @resp3
        ZADD z 1 a 2 b             => :2
        BZPOPMIN z 0               => [z, a, ,1]
        BZMPOP 0 1 z MIN           => [z, [[b, ,2]]]
        "#,
    );
}

#[test]
fn random() {
    check_both(
        r#"
        ZRANDMEMBER none                              => nil
        ZRANDMEMBER none 1                            => []
        ZRANDMEMBER none -1 WITHSCORES                => []
        ZADD z 1.5 a                                  => :1
        ZRANDMEMBER z                                 => a
        ZRANDMEMBER z 0                               => []
        ZRANDMEMBER z 5                               => [a]
        ZRANDMEMBER z -3                              => [a, a, a]
        ZRANDMEMBER z 2 WITHSCORES                    => [a, 1.5]
        ZRANDMEMBER z -2 WITHSCORES                   => [a, 1.5, a, 1.5]
        ZRANDMEMBER z x                               => -ERR value is not an integer or out of range
        ZRANDMEMBER z 1 FOO                           => -ERR syntax error
        ZRANDMEMBER z 1 WITHSCORES x                  => -ERR syntax error
        ZRANDMEMBER z -9223372036854775808            => -ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807
        ZRANDMEMBER z -9223372036854775807 WITHSCORES => -ERR value is out of range
        ZRANDMEMBER z 9223372036854775807 WITHSCORES  => -ERR value is out of range
        SET s 1                                       => +OK
        ZRANDMEMBER s                                 => -WRONGTYPE Operation against a key holding the wrong kind of value
        ZRANDMEMBER s 1                               => -WRONGTYPE Operation against a key holding the wrong kind of value
        @resp3
        ZRANDMEMBER z 2 WITHSCORES                    => [[a, ,1.5]]
        ZRANDMEMBER z -2 WITHSCORES                   => [[a, ,1.5], [a, ,1.5]]
        ZRANDMEMBER z 2                               => [a]
        ZRANDMEMBER none                              => nil
        "#,
    );
}

#[test]
fn deadlines() {
    check_both(
        r#"
        ZADD a 1 x           => :1
        PEXPIRE a 60         => :1
        @advance 100
        ZUNIONSTORE d 1 a    => :0
        @log                 => DEL a
        @events              => expired:expired:a
        ZADD a 1 x           => :1
        PEXPIRE a 60         => :1
        @advance 100
        ZRANGESTORE d a 0 -1 => :0
        @log                 => DEL a
        ZADD a XX 1 x        => :0
        ZADD a 1 x           => :1
        PEXPIRE a 60         => :1
        @advance 100
        ZADD a INCR 1 x      => 1
        PTTL a               => :-1
        PEXPIRE a 60         => :1
        @advance 100
        ZPOPMIN a            => []
        @log                 => DEL a
        @events              => expired:expired:a
        "#,
    );
}

#[test]
fn encodings() {
    check_with(
        Limits { zset_max_listpack_entries: 3, zset_max_listpack_value: 4, ..Limits::default() },
        r#"
        ZADD z 1 a 2 b 3 c           => :3
        OBJECT ENCODING z            => listpack
        ZADD z 4 d                   => :1
        OBJECT ENCODING z            => skiplist
        ZRANGE z 0 -1                => [a, b, c, d]
        ZPOPMIN z 3                  => [a, 1, b, 2, c, 3]
        OBJECT ENCODING z            => skiplist
        ZRANGESTORE y z 0 -1         => :1
        OBJECT ENCODING y            => listpack
        ZADD y 1 long-member         => :1
        OBJECT ENCODING y            => skiplist
        ZUNIONSTORE x 1 z            => :1
        OBJECT ENCODING x            => listpack
        ZADD w 1 a 2 b 3 c 4 d       => :4
        OBJECT ENCODING w            => skiplist
        "#,
    );
}
