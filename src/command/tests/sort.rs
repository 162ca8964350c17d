//! SORT: by the elements, by other keys, in part, stored.

use super::support::{TestEngine, check};

#[test]
fn lists_sets_and_sorted_sets_are_sorted() {
    check(
        r#"
        RPUSH l 3 1 2 10                    => :4
        SORT l                              => [1, 2, 3, 10]
        SORT l DESC                         => [10, 3, 2, 1]
        SORT l ALPHA                        => [1, 10, 2, 3]
        SORT l LIMIT 1 2                    => [2, 3]
        SORT l DESC LIMIT 1 2               => [3, 2]
        SORT l LIMIT 9 2                    => []
        SORT l LIMIT -3 2                   => [1, 2]
        SORT l LIMIT 1 -7                   => [2, 3, 10]
        SORT l LIMIT 0 0                    => []
        SADD s c a b                        => :3
        SORT s ALPHA                        => [a, b, c]
        SORT s                              => -ERR One or more scores can't be converted into double
        ZADD z 1 3 2 2 3 1                  => :3
        SORT z                              => [1, 2, 3]
        SORT none                           => []
        SET str x                           => +OK
        SORT str                            => -WRONGTYPE Operation against a key holding the wrong kind of value
        SORT_RO l DESC                      => [10, 3, 2, 1]
        SORT_RO l STORE x                   => -ERR syntax error
        RPUSH doubles 1e3 -inf 0x10 2.5     => :4
        SORT doubles                        => [-inf, 2.5, 0x10, 1e3]
        RPUSH odd "" " 5" 3                 => :3
        SORT odd                            => ["", 3, " 5"]
        RPUSH odd "5 "                      => :4
        SORT odd                            => -ERR One or more scores can't be converted into double
        "#,
    );
}

#[test]
fn without_order_elements_come_as_they_are() {
    check(
        r#"
        RPUSH l c a b d                     => :4
        SORT l BY nosort                    => [c, a, b, d]
        SORT l BY nosort DESC               => [d, b, a, c]
        SORT l BY nosort LIMIT 1 2          => [a, b]
        SORT l BY nosort DESC LIMIT 1 2     => [b, a]
        SORT l BY nosort DESC LIMIT 3 9     => [c]
        ZADD z 1 c 2 a 3 b                  => :3
        SORT z BY nosort                    => [c, a, b]
        SORT z BY nosort DESC               => [b, a, c]
        SORT z BY nosort DESC LIMIT 0 2     => [b, a]
        SORT z BY nosort LIMIT 1 -1         => [a, b]
        SADD s c b a                        => :3
        SORT s BY nosort STORE d            => :3
        LRANGE d 0 -1                       => [a, b, c]
        SORT s BY nosort STORE d            => :3
        @log                                => SORT s BY nosort STORE d
        "#,
    );
}

#[test]
fn other_keys_weigh_and_answer() {
    check(
        r#"
        RPUSH l 1 2 3                       => :3
        MSET w_1 30 w_2 20 w_3 10           => +OK
        MSET o_1 one o_3 three              => +OK
        HSET h_1 f 5 name a                 => :2
        HSET h_2 f 9 name b                 => :2
        SORT l BY w_*                       => [3, 2, 1]
        SORT l BY w_* GET o_* GET #         => [three, 3, nil, 2, one, 1]
        SORT l BY h_*->f DESC               => [2, 1, 3]
        SORT l BY h_*->f GET h_*->name      => [nil, a, b]
        SORT l BY h_*->                     => [1, 2, 3]
        SORT l GET w_*->x GET h_* GET x     => [nil, nil, nil, nil, nil, nil, nil, nil, nil]
        SORT l BY o_* ALPHA                 => [2, 1, 3]
        SORT l BY o_* ALPHA DESC            => [3, 1, 2]
        SORT l BY o_*                       => -ERR One or more scores can't be converted into double
        SORT l BY w_* LIMIT 0 1 GET #       => [3]
        "#,
    );
}

#[test]
fn results_are_stored_as_lists() {
    check(
        r#"
        RPUSH l 3 1 2                       => :3
        SORT l STORE d                      => :3
        @events                             => list:sortstore:d
        LRANGE d 0 -1                       => [1, 2, 3]
        TYPE d                              => +list
        SORT l STORE l DESC                 => :3
        LRANGE l 0 -1                       => [3, 2, 1]
        SORT none STORE d                   => :0
        @events                             => generic:del:d
        EXISTS d                            => :0
        SORT none STORE d                   => :0
        @log                                => -
        SET o_1 x                           => +OK
        SORT l GET o_* GET # STORE d        => :6
        LRANGE d 0 -1                       => [x, 1, "", 2, "", 3]
        SORT l BY o_* ALPHA STORE d         => :3
        @log                                => MULTI; DEL d; RPUSH d 3 2 1; EXEC
        SORT l STORE a STORE b              => :3
        EXISTS a b                          => :1
        SORT l BY o_* ALPHA STORE fresh     => :3
        @log                                => RPUSH fresh 3 2 1
        "#,
    );
}

#[test]
fn syntax() {
    check(
        r#"
        RPUSH l 1                           => :1
        SORT l BY                           => -ERR syntax error
        SORT l LIMIT 1                      => -ERR syntax error
        SORT l LIMIT a 1                    => -ERR value is not an integer or out of range
        SORT l LIMIT 1 a                    => -ERR value is not an integer or out of range
        SORT l GET                          => -ERR syntax error
        SORT l STORE                        => -ERR syntax error
        SORT l WHAT                         => -ERR syntax error
        SORT                                => -ERR wrong number of arguments for 'sort' command
        "#,
    );
}

#[test]
fn keys_stand_where_the_options_say() {
    let engine = TestEngine::new();
    for (call, keys) in [
        (&["sort", "k"][..], &["k"][..]),
        (&["sort", "k", "by", "store", "get", "store", "store", "d"], &["k", "d"]),
        (&["sort", "k", "STORE", "a", "store", "b"], &["k", "b"]),
        (&["sort", "k", "limit", "1", "store", "store"], &["k"]),
        (&["sort_ro", "k", "store", "d"], &["k"]),
    ] {
        let argv: Vec<&[u8]> = call.iter().map(|word| word.as_bytes()).collect();
        let command = engine.command(&argv);
        let found: Vec<&str> = command.keys_of_call(&argv).unwrap().iter().map(|(at, _)| call[*at]).collect();
        assert_eq!(found, keys, "{call:?}");
    }
}
