//! Bitmaps: what stock does not show, or shows only at one size. Replies line by line: `tests/python/replies/bitmaps.txt`.

use super::support::{TestEngine, check, notation};

/// A write that changes nothing is neither logged nor notified, as in 7.2.
#[test]
fn only_changes_are_logged() {
    check(
        "
        SETBIT k 9 1 => :0
        @log => SETBIT k 9 1
        @events => string:setbit:k
        SETBIT k 9 1 => :1
        @log => -
        @events =>
        SETBIT k 90 0 => :0
        @log => SETBIT k 90 0
        BITFIELD k SET u8 0 7 GET u8 0 => [:0, :7]
        @log => BITFIELD k SET u8 0 7 GET u8 0
        BITFIELD k SET u8 0 7 => [:7]
        @log => -
        BITFIELD k OVERFLOW FAIL INCRBY u2 0 9 => [nil]
        @log => -
        BITFIELD new OVERFLOW FAIL INCRBY u2 0 9 => [nil]
        @log => BITFIELD new OVERFLOW FAIL INCRBY u2 0 9
        STRLEN new => :1
        BITOP AND gone none => :0
        @log => -
        BITOP NOT new k => :12
        @log => BITOP NOT new k
        @events => string:set:new
        BITOP AND new none => :0
        @log => BITOP AND new none
        @events => generic:del:new
        ",
    );
}

/// Counting, finding and combining over chunks and holes agree with the same over the joined bytes.
#[test]
fn long_strings_are_worked_through_in_pieces() {
    let mut engine = TestEngine::new();
    let mut run = |words: &str| {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        notation(&engine.run(&words))
    };
    for bit in [0, 7, 32_639, 32_640, 65_279, 65_280, 799_999] {
        assert_eq!(run(&format!("SETBIT k {bit} 1")), ":0");
    }
    assert_eq!(run("BITCOUNT k"), ":7");
    assert_eq!(run("BITCOUNT k 32639 32640 BIT"), ":2");
    assert_eq!(run("BITCOUNT k 32640 65279 BIT"), ":2");
    assert_eq!(run("BITCOUNT k 4080 8159"), ":2");
    for (from, next) in [(0, 0), (1, 7), (8, 32_639), (32_640, 32_640), (32_641, 65_279), (65_281, 799_999)] {
        assert_eq!(run(&format!("BITPOS k 1 {from} -1 BIT")), format!(":{next}"));
    }
    assert_eq!(run("BITPOS k 0 65279 -1 BIT"), ":65281");
    assert_eq!(run("BITOP NOT inverse k"), ":100000");
    assert_eq!(run("BITCOUNT inverse"), ":799993");
    assert_eq!(run("BITOP XOR all k inverse"), ":100000");
    assert_eq!(run("BITCOUNT all"), ":800000");
    assert_eq!(run("BITPOS all 0"), ":800000");
    assert_eq!(run("BITOP AND none k inverse"), ":100000");
    assert_eq!(run("BITPOS none 1"), ":-1");
    assert_eq!(run("BITFIELD k GET u16 32632 SET u16 32632 65535 GET u32 32624"), "[:384, :384, :16776960]");
    engine.assert_replay_gives_the_same();
}

/// Positions beyond the longest string are refused, whatever its limit is.
#[test]
fn the_limit_of_strings_is_that_of_bits() {
    let mut engine = TestEngine::new();
    engine.host.string_bytes_max = 1 << 20;
    for (line, expected) in [
        ("SETBIT k 8388607 1", ":0"),
        ("SETBIT k 8388608 1", "-ERR bit offset is not an integer or out of range"),
        ("BITFIELD k SET u8 8388608 1", "-ERR bit offset is not an integer or out of range"),
        ("SETRANGE k 1048576 x", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
        ("APPEND k x", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
    ] {
        assert_eq!(engine.line(line), expected, "{line}");
    }
}
