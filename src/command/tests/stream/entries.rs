//! Adding, ranges, deleting, trimming.

use super::{check_both, check_with};
use crate::value::Limits;

#[test]
fn adding_and_ranges() {
    check_both(
        r#"
        XADD s 1-1 a 1 b 2              => 1-1
        @log                            => XADD s 1-1 a 1 b 2
        @events                         => stream:xadd:s
        XADD s 1-* a 3                  => 1-2
        @log                            => XADD s 1-2 a 3
        XADD s 5 a 1 b x                => 5-0
        XADD s 5-* a 1 b x              => 5-1
        XADD s * c "long value"         => 1577836800000-0
        @log                            => XADD s 1577836800000-0 c "long value"
        XADD s * c d                    => 1577836800000-1
        @advance 5
        XADD s * c d                    => 1577836800005-0
        XLEN s                          => :7
        TYPE s                          => +stream
        OBJECT ENCODING s               => stream
        XRANGE s - +                    => [[1-1, [a, 1, b, 2]], [1-2, [a, 3]], [5-0, [a, 1, b, x]], [5-1, [a, 1, b, x]], [1577836800000-0, [c, "long value"]], [1577836800000-1, [c, d]], [1577836800005-0, [c, d]]]
        XRANGE s 1 1                    => [[1-1, [a, 1, b, 2]], [1-2, [a, 3]]]
        XRANGE s (1-1 (5-1              => [[1-2, [a, 3]], [5-0, [a, 1, b, x]]]
        XRANGE s 2 4                    => []
        XRANGE s + -                    => []
        XRANGE s - + COUNT 2            => [[1-1, [a, 1, b, 2]], [1-2, [a, 3]]]
        XRANGE s - + COUNT 0            => nil
        XRANGE s - + COUNT -5           => nil
        XRANGE s - + COUNT 0 COUNT 1    => [[1-1, [a, 1, b, 2]]]
        XREVRANGE s + - COUNT 1         => [[1577836800005-0, [c, d]]]
        XREVRANGE s 5-0 (1-1            => [[5-0, [a, 1, b, x]], [1-2, [a, 3]]]
        XREVRANGE s - +                 => []
        XRANGE none - + COUNT 0         => []
        XRANGE s - + COUNT              => -ERR syntax error
        XRANGE s - + COUNT x            => -ERR value is not an integer or out of range
        XRANGE s - + FOO 1              => -ERR syntax error
        XRANGE s x +                    => -ERR Invalid stream ID specified as stream command argument
        XRANGE s (- +                   => -ERR Invalid stream ID specified as stream command argument
        XRANGE s ( +                    => -ERR Invalid stream ID specified as stream command argument
        XRANGE s (18446744073709551615-18446744073709551615 + => -ERR invalid start ID for the interval
        XRANGE s - (0-0                 => -ERR invalid end ID for the interval
        XADD s 5-1 a b                  => -ERR The ID specified in XADD is equal or smaller than the target stream top item
        XADD s 4-* a b                  => -ERR The ID specified in XADD is equal or smaller than the target stream top item
        @log                            => -
        XADD s 0-0 a b                  => -ERR The ID specified in XADD must be greater than 0-0
        XADD new 0 a b                  => -ERR The ID specified in XADD must be greater than 0-0
        XADD new 0-* a b                => 0-1
        XADD s * a                      => -ERR wrong number of arguments for 'xadd' command
        XADD s * a b c                  => -ERR wrong number of arguments for 'xadd' command
        XADD s NOMKSTREAM MAXLEN = 5    => -ERR wrong number of arguments for 'xadd' command
        XADD s x a b                    => -ERR Invalid stream ID specified as stream command argument
        XADD gone NOMKSTREAM * a b      => nil
        @log                            => -
        XADD new NOMKSTREAM 7-7 a b     => 7-7
        @log                            => XADD new NOMKSTREAM 7-7 a b
        EXISTS gone                     => :0
        XADD last 18446744073709551615-18446744073709551615 a b => 18446744073709551615-18446744073709551615
        XADD last * a b                 => -ERR The stream has exhausted the last possible ID, unable to add more items
        SET text x                      => +OK
        XADD text * a b                 => -WRONGTYPE Operation against a key holding the wrong kind of value
        XLEN text                       => -WRONGTYPE Operation against a key holding the wrong kind of value
        XRANGE text - +                 => -WRONGTYPE Operation against a key holding the wrong kind of value
        COPY s copy                     => :1
        XLEN copy                       => :7
        XADD copy 1577836800009-0 e f   => 1577836800009-0
        XLEN s                          => :7
        "#,
    );
}

#[test]
fn deleting_and_the_last_id() {
    check_both(
        r#"
        XADD s 1-1 a 1                  => 1-1
        XADD s 2-1 a 2                  => 2-1
        XADD s 3-1 b 3                  => 3-1
        XDEL s 2-1 2-2 2-1              => :1
        @log                            => XDEL s 2-1 2-2 2-1
        @events                         => stream:xdel:s
        XDEL s 2-1                      => :0
        @log                            => -
        @events                         =>
        XDEL s 1-1 x                    => -ERR Invalid stream ID specified as stream command argument
        XDEL none x                     => :0
        XRANGE s - +                    => [[1-1, [a, 1]], [3-1, [b, 3]]]
        XREVRANGE s + -                 => [[3-1, [b, 3]], [1-1, [a, 1]]]
        XDEL s 3 1-1 3-1                => :2
        XLEN s                          => :0
        EXISTS s                        => :1
        XRANGE s - +                    => []
        XADD s 3-1 a b                  => -ERR The ID specified in XADD is equal or smaller than the target stream top item
        XADD s 3-* a b                  => 3-2
        XSETID s 9-9                    => +OK
        @log                            => XSETID s 9-9
        @events                         => stream:xsetid:s
        XADD s 9-9 a b                  => -ERR The ID specified in XADD is equal or smaller than the target stream top item
        XSETID s 3-1                    => -ERR The ID specified in XSETID is smaller than the target stream top item
        XSETID s 3-0                    => -ERR The ID specified in XSETID is smaller than current max_deleted_entry_id
        XSETID s 5-5 ENTRIESADDED 0     => -ERR The entries_added specified in XSETID is smaller than the target stream length
        XSETID s 5-5 ENTRIESADDED -1    => -ERR entries_added must be positive
        XSETID s 5-5 ENTRIESADDED x     => -ERR value is not an integer or out of range
        XSETID s 5-5 MAXDELETEDID 5-6   => -ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id
        XSETID s 5-5 ENTRIESADDED 9 MAXDELETEDID 5-4 => +OK
        XSETID s 5-5 ENTRIESADDED       => -ERR syntax error
        XSETID s x                      => -ERR Invalid stream ID specified as stream command argument
        XSETID none 1-1                 => -ERR no such key
        "#,
    );
}

#[test]
fn trimming() {
    let script = r#"
        XADD s 1-1 a 1                  => 1-1
        XADD s 2-1 a 2                  => 2-1
        XADD s 3-1 a 3                  => 3-1
        XADD s 4-1 a 4                  => 4-1
        XADD s 5-1 a 5                  => 5-1
        XTRIM s MAXLEN 4                => :1
        @log                            => XTRIM s MAXLEN 4
        @events                         => stream:xtrim:s
        XTRIM s MAXLEN = 4              => :0
        @log                            => -
        XTRIM s MINID 3                 => :1
        @log                            => XTRIM s MINID 3-1
        XRANGE s - +                    => [[3-1, [a, 3]], [4-1, [a, 4]], [5-1, [a, 5]]]
        XADD s MAXLEN 3 6-1 a 6         => 6-1
        @log                            => XADD s MAXLEN 3 6-1 a 6
        @events                         => stream:xadd:s stream:xtrim:s
        XADD s MINID = 6 7-1 a 7        => 7-1
        @log                            => XADD s MINID 6-1 7-1 a 7
        XADD s NOMKSTREAM MAXLEN 9 * a 8 => 1577836800000-0
        @log                            => XADD s 1577836800000-0 a 8
        @events                         => stream:xadd:s
        XRANGE s - +                    => [[6-1, [a, 6]], [7-1, [a, 7]], [1577836800000-0, [a, 8]]]
        XTRIM s MINID + => -ERR Invalid stream ID specified as stream command argument
        XTRIM s MINID 1577836800001     => :3
        @log                            => XTRIM s MINID 18446744073709551615-18446744073709551615
        XLEN s                          => :0
        EXISTS s                        => :1
        XADD s MAXLEN 0 * a 9           => 1577836800000-1
        XLEN s                          => :0
        XTRIM none MAXLEN 5             => :0
        XTRIM s                         => -ERR wrong number of arguments for 'xtrim' command
        XTRIM s MAXLEN                  => -ERR wrong number of arguments for 'xtrim' command
        XTRIM s FOO 1                   => -ERR syntax error
        XTRIM s MAXLEN x                => -ERR value is not an integer or out of range
        XTRIM s MAXLEN -1               => -ERR The MAXLEN argument must be >= 0.
        XTRIM s MAXLEN 5 MINID 6        => -ERR syntax error, MAXLEN and MINID options at the same time are not compatible
        XTRIM s MAXLEN 5 LIMIT 6        => -ERR syntax error, LIMIT cannot be used without the special ~ option
        XTRIM s LIMIT 5                 => -ERR syntax error, LIMIT cannot be used without specifying a trimming strategy
        XTRIM s LIMIT 0                 => -ERR syntax error, XTRIM must be called with a trimming strategy
        XTRIM s MAXLEN ~ 5 LIMIT -1     => -ERR The LIMIT argument must be >= 0.
        XADD s LIMIT 5 * a b            => -ERR syntax error, LIMIT cannot be used without specifying a trimming strategy
        XADD s LIMIT 0 * a b            => -ERR syntax error, LIMIT cannot be used without the special ~ option
        "#;
    check_both(script);
}

#[test]
fn approximate_trimming_takes_whole_nodes() {
    check_with(
        Limits { stream_node_max_entries: 3, ..Limits::default() },
        r#"
        XADD s 1 a 1                    => 1-0
        XADD s 2 a 1                    => 2-0
        XADD s 3 a 1                    => 3-0
        XADD s 4 a 1                    => 4-0
        XADD s 5 a 1                    => 5-0
        XADD s 6 a 1                    => 6-0
        XADD s 7 a 1                    => 7-0
        XTRIM s MAXLEN ~ 5              => :0
        @log                            => -
        XTRIM s MAXLEN ~ 4 LIMIT 2      => :0
        XADD s MAXLEN ~ 5 8 a 1         => 8-0
        @log                            => XADD s MAXLEN 5 8-0 a 1
        @events                         => stream:xadd:s stream:xtrim:s
        XLEN s                          => :5
        XDEL s 6                        => :1
        XTRIM s MINID ~ 6               => :0
        XTRIM s MINID ~ 7               => :2
        @log                            => XTRIM s MINID 7-0
        XRANGE s - +                    => [[7-0, [a, 1]], [8-0, [a, 1]]]
        XADD s MAXLEN ~ 0 LIMIT 1 9 a 1 => 9-0
        @log                            => XADD s 9-0 a 1
        XLEN s                          => :3
        XTRIM s MAXLEN ~ 0 LIMIT 0      => :3
        "#,
    );
}
