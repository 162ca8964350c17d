//! The writer of replies, for both protocols.
//!
//! Invariants
//! - Every call appends one whole element (or the header of an aggregate whose elements the caller then writes).
//! - Simple strings and errors never contain a line break: CR and LF in them become spaces.
//! - A type that RESP2 lacks is written in the form that stock servers use for it there.

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use super::double::{DoubleBuffer, format_double};
use super::woven::{RUN_BYTES_MIN, Run, Woven};

/// The version of the protocol that a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

/// The start of an aggregate whose length is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the header is written when the aggregate ends"]
pub struct Deferred(usize);

/// Replies, appended to one buffer.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    out: Woven,
    protocol: Protocol,
    takes_runs: bool,
}

impl Reply {
    pub fn new(protocol: Protocol) -> Self {
        Self { protocol, ..Self::default() }
    }

    /// A writer for who sends long strings from where they lie (see [`Reply::bulk_run`]).
    pub fn taking_runs(protocol: Protocol) -> Self {
        Self { protocol, takes_runs: true, ..Self::default() }
    }

    /// Whether a bulk string of this length is worth a run.
    pub fn takes_run(&self, len: usize) -> bool {
        self.takes_runs && len >= RUN_BYTES_MIN
    }

    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    pub fn is_resp3(&self) -> bool {
        self.protocol == Protocol::Resp3
    }

    /// What was written, runs left out.
    pub fn as_bytes(&self) -> &[u8] {
        &self.out.bytes
    }

    /// Bytes written, those of runs left out: places are counted in them.
    pub fn len(&self) -> usize {
        self.out.bytes.len()
    }

    /// Whether some of it is a run.
    pub fn has_runs(&self) -> bool {
        !self.out.runs.is_empty()
    }

    pub fn is_empty(&self) -> bool {
        self.out.bytes.is_empty()
    }

    pub fn clear(&mut self) {
        self.out.truncate(0);
    }

    /// Drops everything behind the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.out.truncate(len);
    }

    /// Bytes that fit without growing.
    pub fn capacity(&self) -> usize {
        self.out.bytes.capacity()
    }

    /// What was written, by a writer that takes no runs.
    pub fn into_bytes(self) -> Vec<u8> {
        debug_assert!(!self.has_runs(), "a writer of plain bytes");
        self.out.bytes
    }

    /// Takes what was written and leaves an empty buffer.
    pub fn take(&mut self) -> Woven {
        std::mem::take(&mut self.out)
    }

    /// Appends bytes that are whole elements already.
    pub fn raw(&mut self, encoded: &[u8]) {
        self.out.bytes.extend_from_slice(encoded);
    }

    /// `+text`
    pub fn simple(&mut self, text: impl AsRef<[u8]>) {
        self.line(b'+', text.as_ref());
    }

    /// `+OK`
    pub fn ok(&mut self) {
        self.out.bytes.extend_from_slice(b"+OK\r\n");
    }

    /// `-text`; the text begins with its code (`ERR`, `WRONGTYPE`, ...).
    pub fn error(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        let end = text.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
        self.line(b'-', &text[..end]);
    }

    /// `-text` from format arguments.
    pub fn error_fmt(&mut self, text: fmt::Arguments<'_>) {
        match text.as_str() {
            Some(text) => self.error(text),
            None => self.error(text.to_string()),
        }
    }

    /// `:n`
    pub fn int(&mut self, value: i64) {
        self.header(b':', value);
    }

    /// `:n` of a count; counts above `i64::MAX` cannot occur in memory.
    pub fn count(&mut self, value: usize) {
        self.int(i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// A bulk string.
    pub fn bulk(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.out.bytes.reserve(bytes.len() + 32);
        self.header(b'$', bytes.len() as i64);
        self.out.bytes.extend_from_slice(bytes);
        self.out.bytes.extend_from_slice(b"\r\n");
    }

    /// A bulk string of `len` bytes that come in parts.
    pub fn bulk_parts<'a>(&mut self, len: usize, parts: impl Iterator<Item = &'a [u8]>) {
        self.out.bytes.reserve(len + 32);
        self.header(b'$', len as i64);
        let start = self.out.bytes.len();
        parts.for_each(|part| self.out.bytes.extend_from_slice(part));
        debug_assert_eq!(self.out.bytes.len() - start, len, "the parts are as long as was said");
        self.out.bytes.extend_from_slice(b"\r\n");
    }

    /// A bulk string that is sent from where it lies.
    pub fn bulk_run(&mut self, run: Arc<dyn Run>) {
        self.header(b'$', run.bytes() as i64);
        self.out.push_run(run);
        self.out.bytes.extend_from_slice(b"\r\n");
    }

    /// An integer as a bulk string.
    pub fn bulk_int(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value));
    }

    /// Format arguments as a bulk string.
    pub fn bulk_fmt(&mut self, text: fmt::Arguments<'_>) {
        let at = self.out.bytes.len();
        // Writing to a vector cannot fail; a failing Display leaves what it wrote.
        let _ = self.out.bytes.write_fmt(text);
        self.enclose(at, b'$');
        self.out.bytes.extend_from_slice(b"\r\n");
    }

    /// A double as a bulk string in both protocols.
    pub fn bulk_double(&mut self, value: f64) {
        self.bulk(format_double(value, &mut DoubleBuffer::new()));
    }

    /// A bulk string, or null.
    pub fn bulk_or_null(&mut self, bytes: Option<impl AsRef<[u8]>>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// `_`, or the null bulk string.
    pub fn null(&mut self) {
        self.out.bytes.extend_from_slice(if self.is_resp3() { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// `_`, or the null array.
    pub fn null_array(&mut self) {
        self.out.bytes.extend_from_slice(if self.is_resp3() { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// An array of `len` elements.
    pub fn array(&mut self, len: usize) {
        self.header(b'*', len as i64);
    }

    /// A map of `pairs` pairs; in RESP2 an array of keys and values.
    pub fn map(&mut self, pairs: usize) {
        if self.is_resp3() {
            self.header(b'%', pairs as i64);
        } else {
            self.header(b'*', pairs as i64 * 2);
        }
    }

    /// A set of `len` elements; in RESP2 an array.
    pub fn set(&mut self, len: usize) {
        self.header(if self.is_resp3() { b'~' } else { b'*' }, len as i64);
    }

    /// An out-of-band message of `len` elements; in RESP2 an array.
    pub fn push(&mut self, len: usize) {
        self.header(if self.is_resp3() { b'>' } else { b'*' }, len as i64);
    }

    /// Attributes of `pairs` pairs in front of the next element.
    ///
    /// Returns false, and writes nothing, in RESP2, which has none: the pairs must then not be written either.
    #[must_use]
    pub fn attribute(&mut self, pairs: usize) -> bool {
        if self.is_resp3() {
            self.header(b'|', pairs as i64);
        }
        self.is_resp3()
    }

    /// A double; in RESP2 a bulk string.
    pub fn double(&mut self, value: f64) {
        let mut buffer = DoubleBuffer::new();
        let text = format_double(value, &mut buffer);
        if self.is_resp3() {
            self.out.bytes.push(b',');
            self.out.bytes.extend_from_slice(text);
            self.out.bytes.extend_from_slice(b"\r\n");
        } else {
            self.bulk(text);
        }
    }

    /// A double that is given as text; in RESP2 a bulk string.
    pub fn double_text(&mut self, text: &str) {
        if self.is_resp3() {
            self.line(b',', text.as_bytes());
        } else {
            self.bulk(text);
        }
    }

    /// A boolean; in RESP2 1 or 0.
    pub fn boolean(&mut self, value: bool) {
        self.out.bytes.extend_from_slice(match (self.protocol, value) {
            (Protocol::Resp3, true) => b"#t\r\n",
            (Protocol::Resp3, false) => b"#f\r\n",
            (Protocol::Resp2, true) => b":1\r\n",
            (Protocol::Resp2, false) => b":0\r\n",
        });
    }

    /// An integer of any size, given in decimal; in RESP2 a bulk string.
    pub fn big_number(&mut self, digits: impl AsRef<[u8]>) {
        if self.is_resp3() {
            self.line(b'(', digits.as_ref());
        } else {
            self.bulk(digits);
        }
    }

    /// Text with a three-letter format (`txt`, `mkd`); in RESP2 a bulk string.
    pub fn verbatim(&mut self, format: [u8; 3], text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        if self.is_resp3() {
            self.header(b'=', text.len() as i64 + 4);
            self.out.bytes.extend_from_slice(&format);
            self.out.bytes.push(b':');
            self.out.bytes.extend_from_slice(text);
            self.out.bytes.extend_from_slice(b"\r\n");
        } else {
            self.bulk(text);
        }
    }

    /// Marks the place of an aggregate's header; `end_array`, `end_map`, `end_set` or `end_push` write it.
    ///
    /// Ending costs a move of everything behind the mark: write the header first where the length is known.
    pub fn begin(&mut self) -> Deferred {
        Deferred(self.out.bytes.len())
    }

    /// The same mark, in the words of the commonest use.
    pub fn begin_array(&mut self) -> Deferred {
        self.begin()
    }

    pub fn end_array(&mut self, at: Deferred, len: usize) {
        self.insert_header(at.0, b'*', len as i64);
    }

    pub fn end_map(&mut self, at: Deferred, pairs: usize) {
        if self.is_resp3() {
            self.insert_header(at.0, b'%', pairs as i64);
        } else {
            self.insert_header(at.0, b'*', pairs as i64 * 2);
        }
    }

    pub fn end_set(&mut self, at: Deferred, len: usize) {
        self.insert_header(at.0, if self.is_resp3() { b'~' } else { b'*' }, len as i64);
    }

    pub fn end_push(&mut self, at: Deferred, len: usize) {
        self.insert_header(at.0, if self.is_resp3() { b'>' } else { b'*' }, len as i64);
    }

    /// Drops everything written since the mark.
    pub fn rewind(&mut self, at: Deferred) {
        self.out.truncate(at.0);
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.bytes.reserve(text.len() + 3);
        self.out.bytes.push(kind);
        let start = self.out.bytes.len();
        self.out.bytes.extend_from_slice(text);
        if memchr::memchr2(b'\r', b'\n', text).is_some() {
            for byte in &mut self.out.bytes[start..] {
                if matches!(byte, b'\r' | b'\n') {
                    *byte = b' ';
                }
            }
        }
        self.out.bytes.extend_from_slice(b"\r\n");
    }

    fn header(&mut self, kind: u8, value: i64) {
        let mut text = [0; HEADER_BYTES_MAX];
        let len = encode_header(&mut text, kind, value);
        self.out.bytes.extend_from_slice(&text[..len]);
    }

    /// Puts the length of everything behind `at` in front of it.
    fn enclose(&mut self, at: usize, kind: u8) {
        let len = self.out.bytes.len() - at;
        self.insert_header(at, kind, len as i64);
    }

    fn insert_header(&mut self, at: usize, kind: u8, value: i64) {
        let mut text = [0; HEADER_BYTES_MAX];
        let len = encode_header(&mut text, kind, value);
        let end = self.out.bytes.len();
        self.out.bytes.extend_from_slice(&text[..len]);
        self.out.bytes.copy_within(at..end, at + len);
        self.out.bytes[at..at + len].copy_from_slice(&text[..len]);
        self.out.runs.shift_from(at, len);
    }
}

/// A kind, a sign, 19 digits, CR LF.
const HEADER_BYTES_MAX: usize = 23;

fn encode_header(out: &mut [u8; HEADER_BYTES_MAX], kind: u8, value: i64) -> usize {
    out[0] = kind;
    if (0..10).contains(&value) {
        out[1] = b'0' + value as u8;
        out[2..4].copy_from_slice(b"\r\n");
        return 4;
    }
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(value).as_bytes();
    let end = 1 + digits.len();
    out[1..end].copy_from_slice(digits);
    out[end..end + 2].copy_from_slice(b"\r\n");
    end + 2
}

#[cfg(test)]
mod tests {
    use super::{Arc, Protocol, RUN_BYTES_MIN, Reply};

    /// What one call writes in RESP2 and in RESP3.
    fn check(write: impl Fn(&mut Reply), resp2: &str, resp3: &str) {
        for (protocol, expected) in [(Protocol::Resp2, resp2), (Protocol::Resp3, resp3)] {
            let mut reply = Reply::new(protocol);
            write(&mut reply);
            assert_eq!(String::from_utf8_lossy(reply.as_bytes()), expected);
        }
    }

    fn same(write: impl Fn(&mut Reply), expected: &str) {
        check(write, expected, expected);
    }

    #[test]
    fn elements() {
        same(|r| r.simple("QUEUED"), "+QUEUED\r\n");
        same(|r| r.ok(), "+OK\r\n");
        same(|r| r.error("ERR no"), "-ERR no\r\n");
        same(|r| r.error_fmt(format_args!("ERR no {}", 1)), "-ERR no 1\r\n");
        same(|r| r.int(i64::MIN), ":-9223372036854775808\r\n");
        same(|r| r.int(7), ":7\r\n");
        same(|r| r.int(10), ":10\r\n");
        same(|r| r.int(-1), ":-1\r\n");
        same(|r| r.bulk(b"a\r\nb"), "$4\r\na\r\nb\r\n");
        same(|r| r.bulk(""), "$0\r\n\r\n");
        same(|r| r.bulk_int(-12), "$3\r\n-12\r\n");
        same(|r| r.bulk_fmt(format_args!("{}-{}", 1526919030474u64, 55)), "$16\r\n1526919030474-55\r\n");
        same(|r| r.bulk_double(3.1), "$3\r\n3.1\r\n");
        same(|r| r.array(2), "*2\r\n");
        check(|r| r.null(), "$-1\r\n", "_\r\n");
        check(|r| r.bulk_or_null(None::<&str>), "$-1\r\n", "_\r\n");
        check(|r| r.null_array(), "*-1\r\n", "_\r\n");
        check(|r| r.map(3), "*6\r\n", "%3\r\n");
        check(|r| r.set(3), "*3\r\n", "~3\r\n");
        check(|r| r.push(3), "*3\r\n", ">3\r\n");
        check(|r| r.double(1e20), "$5\r\n1e+20\r\n", ",1e+20\r\n");
        check(|r| r.double(f64::NEG_INFINITY), "$4\r\n-inf\r\n", ",-inf\r\n");
        check(|r| r.boolean(true), ":1\r\n", "#t\r\n");
        check(|r| r.boolean(false), ":0\r\n", "#f\r\n");
        check(|r| r.big_number("123"), "$3\r\n123\r\n", "(123\r\n");
        check(|r| r.verbatim(*b"txt", "hi"), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n");
        check(|r| assert_eq!(r.attribute(1), r.is_resp3()), "", "|1\r\n");
    }

    #[test]
    fn line_breaks_cannot_forge_a_reply() {
        same(|r| r.error("ERR a\r\n+OK\r\n"), "-ERR a  +OK\r\n");
        same(|r| r.simple("a\nb"), "+a b\r\n");
    }

    #[test]
    fn lengths_known_late() {
        let nested = |r: &mut Reply| {
            r.ok();
            let outer = r.begin_array();
            let inner = r.begin();
            (0..12).for_each(|n| r.int(n));
            r.end_map(inner, 6);
            let empty = r.begin_array();
            r.end_array(empty, 0);
            r.end_array(outer, 2);
            r.ok();
        };
        let ints: String = (0..12).map(|n| format!(":{n}\r\n")).collect();
        check(
            nested,
            &format!("+OK\r\n*2\r\n*12\r\n{ints}*0\r\n+OK\r\n"),
            &format!("+OK\r\n*2\r\n%6\r\n{ints}*0\r\n+OK\r\n"),
        );
    }

    /// A run keeps its place when a header is put in front of it, and goes with what is dropped.
    #[test]
    fn runs_stand_where_they_were_written() {
        let mut reply = Reply::taking_runs(Protocol::Resp2);
        assert!(reply.takes_run(RUN_BYTES_MIN) && !reply.takes_run(RUN_BYTES_MIN - 1));
        assert!(!Reply::new(Protocol::Resp2).takes_run(RUN_BYTES_MIN));
        let outer = reply.begin_array();
        reply.bulk_run(Arc::new(b"abc".to_vec()));
        let inner = reply.begin_array();
        reply.bulk_run(Arc::new(b"de".to_vec()));
        reply.end_array(inner, 1);
        let dropped = reply.begin();
        reply.bulk_run(Arc::new(b"never seen".to_vec()));
        reply.rewind(dropped);
        reply.end_array(outer, 2);
        assert!(reply.has_runs());
        let written = reply.take();
        assert_eq!(String::from_utf8_lossy(&written.joined()), "*2\r\n$3\r\nabc\r\n*1\r\n$2\r\nde\r\n");
        assert_eq!(written.len(), written.joined().len());
        assert!(!reply.has_runs() && reply.is_empty());
    }

    #[test]
    fn rewinding_drops_what_was_written_since() {
        same(
            |r| {
                r.ok();
                let at = r.begin();
                r.array(2);
                r.rewind(at);
                r.error("ERR x");
            },
            "+OK\r\n-ERR x\r\n",
        );
    }
}
