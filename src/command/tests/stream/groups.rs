//! Groups: reading, acknowledging, claiming, waiting, and what is logged of it.

use super::check_both;

#[test]
fn reading_as_a_group() {
    check_both(
        r#"
        XGROUP CREATE s g $                     => -ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.
        XGROUP CREATE s g $ MKSTREAM            => +OK
        @log                                    => XGROUP CREATE s g "$" MKSTREAM
        @events                                 => stream:xgroup-create:s
        XGROUP CREATE s g 0                     => -BUSYGROUP Consumer Group name already exists
        @log                                    => -
        XADD s 1-1 a 1                          => 1-1
        XADD s 2-1 a 2                          => 2-1
        XADD s 3-1 a 3                          => 3-1
        XREADGROUP GROUP g alice COUNT 2 STREAMS s > => [[s, [[1-1, [a, 1]], [2-1, [a, 2]]]]]
        @log                                    => MULTI; XGROUP CREATECONSUMER s g alice; XCLAIM s g alice 0 1-1 TIME 1577836800000 RETRYCOUNT 1 FORCE JUSTID LASTID 2-1; XCLAIM s g alice 0 2-1 TIME 1577836800000 RETRYCOUNT 1 FORCE JUSTID LASTID 2-1; XGROUP SETID s g 2-1 ENTRIESREAD 2; EXEC
        @events                                 => stream:xgroup-createconsumer:s
        XREADGROUP GROUP g bob NOACK STREAMS s > => [[s, [[3-1, [a, 3]]]]]
        @log                                    => MULTI; XGROUP CREATECONSUMER s g bob; XGROUP SETID s g 3-1 ENTRIESREAD 3; EXEC
        @advance 1000
        XREADGROUP GROUP g bob STREAMS s >      => nil
        @log                                    => -
        XREADGROUP GROUP g bob BLOCK 5 STREAMS s > => +BLOCKED
        XINFO CONSUMERS s g                     => [[name, alice, pending, :2, idle, :1000, inactive, :1000], [name, bob, pending, :0, idle, :0, inactive, :-1]]
        XREADGROUP GROUP g alice STREAMS s 1-1  => [[s, [[2-1, [a, 2]]]]]
        @log                                    => XCLAIM s g alice 0 2-1 TIME 1577836801000 RETRYCOUNT 2 FORCE JUSTID LASTID 3-1
        XPENDING s g - + 10                     => [[1-1, alice, :1000, :1], [2-1, alice, :0, :2]]
        XPENDING s g                            => [:2, 1-1, 2-1, [[alice, 2]]]
        XPENDING s g IDLE 1 - + 10              => [[1-1, alice, :1000, :1]]
        XDEL s 1-1                              => :1
        XREADGROUP GROUP g alice STREAMS s 0    => [[s, [[1-1, nil], [2-1, [a, 2]]]]]
        @resp3
        XREADGROUP GROUP g alice STREAMS s 1-1  => {s: [[2-1, [a, 2]]]}
        XREAD STREAMS s 1-1                     => {s: [[2-1, [a, 2]], [3-1, [a, 3]]]}
        XINFO GROUPS s                          => [{name: g, consumers: :2, pending: :2, last-delivered-id: 3-1, entries-read: :3, lag: :0}]
        @resp2
        XACK s g 1-1 5-5                        => :1
        @log                                    => XACK s g 1-1 5-5
        @events                                 =>
        XACK s g 1-1                            => :0
        @log                                    => -
        XGROUP DELCONSUMER s g alice            => :1
        @events                                 => stream:xgroup-delconsumer:s
        XPENDING s g                            => [:0, nil, nil, nil]
        XGROUP SETID s g 0                      => +OK
        @events                                 => stream:xgroup-setid:s
        XINFO GROUPS s                          => [[name, g, consumers, :1, pending, :0, last-delivered-id, 0-0, entries-read, nil, lag, :2]]
        XGROUP DESTROY s g                      => :1
        @events                                 => stream:xgroup-destroy:s
        XREADGROUP GROUP g bob STREAMS s >      => -NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option
        XREADGROUP GROUP g bob STREAMS none >   => -NOGROUP No such key 'none' or consumer group 'g' in XREADGROUP with GROUP option
        XREADGROUP GROUP g STREAMS s >          => -ERR wrong number of arguments for 'xreadgroup' command
        XREADGROUP GROUP g a COUNT 1 STREAMS s t > => -ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be specified.
        XREAD STREAMS s t 0                     => -ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified.
        "#,
    );
}

#[test]
fn claiming() {
    check_both(
        r#"
        XADD s 1-1 a 1                          => 1-1
        XADD s 2-1 a 2                          => 2-1
        XADD s 3-1 a 3                          => 3-1
        XADD s 4-1 a 4                          => 4-1
        XGROUP CREATE s g 0                     => +OK
        XREADGROUP GROUP g alice COUNT 3 STREAMS s > => ?
        @advance 500
        XCLAIM s g bob 501 1-1                  => []
        @log                                    => XGROUP CREATECONSUMER s g bob
        XCLAIM s g bob 500 1-1 4-1              => [[1-1, [a, 1]]]
        @log                                    => XCLAIM s g bob 0 1-1 TIME 1577836800500 RETRYCOUNT 2 FORCE JUSTID LASTID 3-1
        XCLAIM s g bob 0 2-1 IDLE 100 RETRYCOUNT 9 JUSTID => [2-1]
        XPENDING s g - + 10                     => [[1-1, bob, :0, :2], [2-1, bob, :100, :9], [3-1, alice, :500, :1]]
        XCLAIM s g bob 0 9-9 LASTID 3-5         => []
        @log                                    => XGROUP SETID s g 3-5 ENTRIESREAD 3
        XDEL s 1-1 3-1                          => :2
        XCLAIM s g bob 0 1-1                    => []
        @log                                    => XACK s g 1-1
        @advance 500
        XAUTOCLAIM s g carol 600 0 COUNT 1      => [3-1, [[2-1, [a, 2]]], []]
        @log                                    => MULTI; XGROUP CREATECONSUMER s g carol; XCLAIM s g carol 0 2-1 TIME 1577836801000 RETRYCOUNT 10 FORCE JUSTID LASTID 3-5; EXEC
        XAUTOCLAIM s g carol 0 - JUSTID         => [0-0, [2-1], [3-1]]
        @log                                    => MULTI; XACK s g 3-1; XCLAIM s g carol 0 2-1 TIME 1577836801000 RETRYCOUNT 10 FORCE JUSTID LASTID 3-5; EXEC
        XINFO STREAM s FULL                     => ?
        COPY s copy                             => :1
        XACK copy g 2-1                         => :1
        XPENDING s g                            => [:1, 2-1, 2-1, [[carol, 1]]]
        "#,
    );
}

#[test]
fn waiting_for_entries() {
    check_both(
        r#"
        XREAD BLOCK 0 STREAMS s $               => +BLOCKED
        XADD s 1-1 a 1                          => 1-1
        XREAD BLOCK 0 STREAMS s $               => +BLOCKED
        XREAD BLOCK 0 STREAMS s 1-0             => [[s, [[1-1, [a, 1]]]]]
        XREAD BLOCK -1 STREAMS s $              => -ERR timeout is negative
        XREAD BLOCK x STREAMS s $               => -ERR timeout is not an integer or out of range
        XREAD BLOCK 9223372036854775807 STREAMS s $ => -ERR timeout is out of range
        XREAD STREAMS s $                       => nil
        "#,
    );
}

#[test]
fn what_is_left_to_read_beside_deleted_entries() {
    // As the newest 7.2 counts; 7.0 counts otherwise where the highest deleted entry lies between group and first entry.
    check_both(
        r#"
        XGROUP CREATE x g1 $ MKSTREAM           => +OK
        XADD x 1-0 d a                          => 1-0
        XREADGROUP GROUP g1 alice STREAMS x >   => [[x, [[1-0, [d, a]]]]]
        XADD x 2-0 d c                          => 2-0
        XADD x 3-0 d d                          => 3-0
        XDEL x 2-0                              => :1
        XINFO GROUPS x                          => [[name, g1, consumers, :1, pending, :1, last-delivered-id, 1-0, entries-read, :1, lag, nil]]
        XDEL x 1-0                              => :1
        XINFO GROUPS x                          => [[name, g1, consumers, :1, pending, :1, last-delivered-id, 1-0, entries-read, :1, lag, :1]]
        XREADGROUP GROUP g1 alice STREAMS x >   => [[x, [[3-0, [d, d]]]]]
        XINFO GROUPS x                          => [[name, g1, consumers, :1, pending, :2, last-delivered-id, 3-0, entries-read, :3, lag, :0]]
        DEL x                                   => :1
        XGROUP CREATE x g $ MKSTREAM            => +OK
        XADD x 1-0 d a                          => 1-0
        XADD x 2-0 d b                          => 2-0
        XADD x 3-0 d c                          => 3-0
        XADD x 4-0 d d                          => 4-0
        XADD x 5-0 d e                          => 5-0
        XREADGROUP GROUP g c COUNT 1 STREAMS x > => [[x, [[1-0, [d, a]]]]]
        XINFO GROUPS x                          => [[name, g, consumers, :1, pending, :1, last-delivered-id, 1-0, entries-read, :1, lag, :4]]
        XTRIM x MAXLEN 1                        => :4
        XINFO GROUPS x                          => [[name, g, consumers, :1, pending, :1, last-delivered-id, 1-0, entries-read, :1, lag, :1]]
        XREADGROUP GROUP g c COUNT 1 STREAMS x > => [[x, [[5-0, [d, e]]]]]
        XINFO GROUPS x                          => [[name, g, consumers, :1, pending, :2, last-delivered-id, 5-0, entries-read, :5, lag, :0]]
        XDEL x 5-0                              => :1
        XINFO GROUPS x                          => [[name, g, consumers, :1, pending, :2, last-delivered-id, 5-0, entries-read, :5, lag, :0]]
        "#,
    );
}
