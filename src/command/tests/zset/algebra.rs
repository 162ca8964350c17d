//! Unions, intersections and differences.

use super::check_both;

#[test]
fn algebra() {
    check_both(
        r#"
        ZADD a 1 x 2 y 3 z                    => :3
        ZADD b 10 y 20 z 30 w                 => :3
        SADD s x y                            => :2
        ZUNION 2 a b                          => [x, y, z, w]
        ZUNION 2 a b WITHSCORES               => [x, 1, y, 12, z, 23, w, 30]
        ZUNION 2 a b WEIGHTS 2 0.5 WITHSCORES => [x, 2, y, 9, w, 15, z, 16]
        ZUNION 2 a b AGGREGATE MIN WITHSCORES => [x, 1, y, 2, z, 3, w, 30]
        ZUNION 2 a b AGGREGATE MAX WITHSCORES => [x, 1, y, 10, z, 20, w, 30]
        ZUNION 2 a b WITHSCORES WEIGHTS 2 3 AGGREGATE SUM => [x, 2, y, 34, z, 66, w, 90]
        ZUNION 2 a s WITHSCORES               => [x, 2, y, 3, z, 3]
        ZUNION 1 none                         => []
        ZUNION 2 a none WITHSCORES            => [x, 1, y, 2, z, 3]
        ZINTER 2 a b WITHSCORES               => [y, 12, z, 23]
        ZINTER 2 a b WEIGHTS 2 3 AGGREGATE MAX WITHSCORES => [y, 30, z, 60]
        ZINTER 2 a s WITHSCORES               => [x, 2, y, 3]
        ZINTER 2 a a WITHSCORES               => [x, 2, y, 4, z, 6]
        ZINTER 2 a none                       => []
        ZDIFF 2 a b WITHSCORES                => [x, 1]
        ZDIFF 2 a s                           => [z]
        ZDIFF 2 a none                        => [x, y, z]
        ZDIFF 2 none a                        => []
        ZDIFF 2 a a                           => []
        ZDIFF 3 b a s WITHSCORES              => [w, 30]
        ZINTERCARD 2 a b                      => :2
        ZINTERCARD 2 a b LIMIT 1              => :1
        ZINTERCARD 2 a b LIMIT 0              => :2
        ZINTERCARD 2 a none                   => :0
        ZINTERCARD 2 a b LIMIT -1             => -ERR LIMIT can't be negative
        ZINTERCARD 2 a b LIMIT x              => -ERR LIMIT can't be negative
        ZINTERCARD 2 a b WITHSCORES           => -ERR syntax error
        ZINTERCARD 0 a                        => -ERR at least 1 input key is needed for 'zintercard' command
        ZUNION 0 a                            => -ERR at least 1 input key is needed for 'zunion' command
        ZUNION -1 a                           => -ERR at least 1 input key is needed for 'zunion' command
        ZUNION x a                            => -ERR value is not an integer or out of range
        ZUNION 3 a b                          => -ERR syntax error
        ZDIFF 2 a b WEIGHTS 1 2               => -ERR syntax error
        ZDIFF 2 a b AGGREGATE SUM             => -ERR syntax error
        ZUNION 2 a b WEIGHTS 1                => -ERR syntax error
        ZUNION 2 a b WEIGHTS 1 x              => -ERR weight value is not a float
        ZUNION 2 a b AGGREGATE                => -ERR syntax error
        ZUNION 2 a b AGGREGATE AVG            => -ERR syntax error
        ZUNION 2 a b FOO                      => -ERR syntax error
        SET t 1                               => +OK
        ZUNION 2 a t                          => -WRONGTYPE Operation against a key holding the wrong kind of value
        ZUNION 2 a t FOO                      => -WRONGTYPE Operation against a key holding the wrong kind of value
        ZINTER 2 none t                       => -WRONGTYPE Operation against a key holding the wrong kind of value
        ZADD i inf x -inf y 0 z               => :3
        ZADD j -inf x inf y 1 z               => :3
        ZUNION 2 i j WITHSCORES               => [x, 0, y, 0, z, 1]
        ZINTER 2 i j WITHSCORES               => [x, 0, y, 0, z, 1]
        ZUNION 1 i WEIGHTS 0 WITHSCORES       => [x, 0, y, 0, z, 0]
        ZUNION 2 a i WEIGHTS 1 0 WITHSCORES   => [x, 1, y, 2, z, 3]
        ZADD m 0 x                            => :1
        ZUNION 1 m WEIGHTS -1 WITHSCORES      => [x, -0]
        ZINTER 2 m i WEIGHTS -1 0 WITHSCORES  => [x, 0]
        @resp3
        ZUNION 2 a b WITHSCORES               => [[x, ,1], [y, ,12], [z, ,23], [w, ,30]]
        ZUNION 2 a b                          => [x, y, z, w]
        ZINTER 2 a none WITHSCORES            => []
        ZDIFF 2 a s WITHSCORES                => [[z, ,3]]
        "#,
    );
}

#[test]
fn algebra_stored() {
    check_both(
        r#"
        ZADD a 1 x 2 y 3 z                => :3
        ZADD b 10 y 20 z 30 w             => :3
        ZUNIONSTORE d 2 a b               => :4
        @log                              => ZUNIONSTORE d 2 a b
        @events                           => zset:zunionstore:d
        ZRANGE d 0 -1 WITHSCORES          => [x, 1, y, 12, z, 23, w, 30]
        ZINTERSTORE d 2 a b WEIGHTS 1 2   => :2
        @events                           => zset:zinterstore:d
        ZRANGE d 0 -1 WITHSCORES          => [y, 22, z, 43]
        ZDIFFSTORE d 2 a b                => :1
        @events                           => zset:zdiffstore:d
        ZRANGE d 0 -1 WITHSCORES          => [x, 1]
        ZDIFFSTORE d 2 a a                => :0
        @log                              => ZDIFFSTORE d 2 a a
        @events                           => generic:del:d
        EXISTS d                          => :0
        ZINTERSTORE d 2 a none            => :0
        @log                              => -
        ZUNIONSTORE a 2 a b AGGREGATE MAX => :4
        ZRANGE a 0 -1 WITHSCORES          => [x, 1, y, 10, z, 20, w, 30]
        ZUNIONSTORE d 2 a b WITHSCORES    => -ERR syntax error
        ZUNIONSTORE d 0 a                 => -ERR at least 1 input key is needed for 'zunionstore' command
        ZINTERSTORE d 0 a                 => -ERR at least 1 input key is needed for 'zinterstore' command
        ZDIFFSTORE d 0 a                  => -ERR at least 1 input key is needed for 'zdiffstore' command
        ZUNIONSTORE d 5 a                 => -ERR syntax error
        ZUNIONSTORE d x a                 => -ERR value is not an integer or out of range
        SET t 1                           => +OK
        ZUNIONSTORE d 1 t                 => -WRONGTYPE Operation against a key holding the wrong kind of value
        ZUNIONSTORE t 1 a                 => :4
        @events                           => zset:zunionstore:t
        EXPIRE a 100                      => :1
        ZUNIONSTORE a 1 b                 => :3
        TTL a                             => :-1
        "#,
    );
}
