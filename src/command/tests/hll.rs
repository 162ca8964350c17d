//! HyperLogLogs: logging, replay, limits. Their bytes are compared with stock's in `tests/python/replies/hyperloglogs.txt`.

use super::support::{TestEngine, check, check_with};
use crate::value::Limits;

/// The cached estimate is part of the value, so counting is logged when it changes the cache, and only then.
#[test]
fn a_count_is_logged_when_it_is_kept() {
    check(
        "
        PFADD h a b => :1
        @events => string:pfadd:h
        PFCOUNT h => :2
        @log => PFCOUNT h
        @events =>
        PFCOUNT h => :2
        @log => -
        PFADD h a => :0
        @log => -
        PFADD h c => :1
        PFCOUNT h h => :3
        @log => -
        EXPIRE h 100 => :1
        PFCOUNT h => :3
        TTL h => :100
        PFMERGE d h => +OK
        @log => PFMERGE d h
        @events => string:pfadd:d
        PFDEBUG TODENSE d => :1
        @log => PFDEBUG TODENSE d
        PFDEBUG TODENSE d => :0
        @log => -
        PFADD d e => :1
        PFCOUNT d => :4
        STRLEN d => :12304
        PFSELFTEST => +OK
        ",
    );
}

/// The sparse form ends where the configuration says.
#[test]
fn the_limit_of_the_sparse_form_is_configured() {
    check_with(
        Limits { hll_sparse_max_bytes: 22, ..Limits::default() },
        "
        PFADD h a => :1
        PFDEBUG ENCODING h => +sparse
        PFADD h b c d e => :1
        PFDEBUG ENCODING h => +dense
        PFCOUNT h => :5
        ",
    );
}

/// A broken one is left as it was.
#[test]
fn damage_changes_nothing() {
    let mut engine = TestEngine::new();
    let broken = b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80\x7f\xf0";
    engine.run(&[b"SET", b"h", broken]);
    for line in ["PFCOUNT h", "PFCOUNT h h", "PFMERGE d h", "PFDEBUG TODENSE h"] {
        assert_eq!(engine.line(line), "-INVALIDOBJ Corrupted HLL object detected", "{line}");
        assert_eq!(engine.logged(), "-", "{line}");
    }
    let elements: Vec<String> = (0..5000).map(|number| number.to_string()).collect();
    let argv: Vec<&[u8]> = [&b"PFADD"[..], b"h"].into_iter().chain(elements.iter().map(String::as_bytes)).collect();
    assert_eq!(super::support::notation(&engine.run(&argv)), "-INVALIDOBJ Corrupted HLL object detected");
    assert_eq!(engine.run(&[b"GET", b"h"]), crate::resp::ReplyValue::Bulk(broken.to_vec()));
}
