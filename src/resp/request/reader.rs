//! The incremental reader: a receive buffer and the state of the request that is being read from it.

use memchr::memchr;

use super::{Limits, ProtocolError, Request, Span};
use crate::resp::split_args;

/// Longest inline command and longest length line, bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Most arguments of one request.
const ARGS_MAX: i64 = i32::MAX as i64;
/// With fewer arguments and shorter bulks than these a client must make do until it has authenticated.
const UNAUTHENTICATED_ARGS_MAX: i64 = 10;
const UNAUTHENTICATED_BULK_BYTES_MAX: i64 = 16 * 1024;
/// Room offered to each read.
const READ_BYTES: usize = 16 * 1024;
/// Requests of at least this size that fill the buffer are handed over without a copy.
const HAND_OVER_BYTES: usize = 16 * 1024;
/// An idle reader keeps no larger buffer.
const IDLE_BYTES_MAX: usize = 64 * 1024;

/// A receive buffer from which requests are taken in order.
#[derive(Debug, Default)]
pub struct RequestReader {
    buffer: Vec<u8>,
    /// Where the request being read starts.
    start: usize,
    /// How far it has been understood.
    at: usize,
    /// Arguments of it still to come; 0 before its header.
    missing_args: i64,
    /// Length of the bulk at `at`, once known.
    bulk: Option<usize>,
    /// Arguments found so far, relative to `start`.
    spans: Vec<Span>,
    /// Whether all line ends so far were CR LF.
    canonical: bool,
}

/// A length line.
enum Line {
    Incomplete,
    TooLong,
    Length { value: Option<i64>, next: usize, canonical: bool },
}

impl RequestReader {
    pub fn new() -> Self {
        Self::default()
    }

    /// The buffer with room for more bytes, which the caller appends.
    pub fn space(&mut self) -> &mut Vec<u8> {
        let missing = self.bulk.map_or(0, |len| (self.at + len + 2).saturating_sub(self.buffer.len()));
        self.buffer.reserve(READ_BYTES.max(missing.min(64 * READ_BYTES)));
        &mut self.buffer
    }

    /// Appends received bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes received and not yet part of a request handed out.
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.buffer.capacity() + self.spans.capacity() * size_of::<Span>()
    }

    /// Puts the next request into `out`; false when more bytes are needed (then `out` is unchanged).
    ///
    /// # Errors
    /// What was received is no request. The reader must not be used further.
    pub fn next(&mut self, limits: &Limits, out: &mut Request) -> Result<bool, ProtocolError> {
        loop {
            let progress = if self.missing_args > 0 {
                self.read_args(limits)?
            } else {
                match self.buffer.get(self.start) {
                    None => Progress::Incomplete,
                    Some(b'*') => self.read_count(limits)?,
                    Some(_) => self.read_inline(out)?,
                }
            };
            match progress {
                Progress::Incomplete => {
                    self.compact();
                    return Ok(false);
                }
                Progress::Continue => {}
                Progress::Args => {
                    self.hand_over(out);
                    return Ok(true);
                }
                Progress::Inline => return Ok(true),
            }
        }
    }

    fn read_count(&mut self, limits: &Limits) -> Result<Progress, ProtocolError> {
        let (value, next, canonical) = match read_length(&self.buffer, self.start) {
            Line::Incomplete => return Ok(Progress::Incomplete),
            Line::TooLong => return Err(ProtocolError::CountTooLong),
            Line::Length { value, next, canonical } => (value, next, canonical),
        };
        let count = value.filter(|count| *count <= ARGS_MAX).ok_or(ProtocolError::CountInvalid)?;
        if limits.unauthenticated && count > UNAUTHENTICATED_ARGS_MAX {
            return Err(ProtocolError::CountUnauthenticated);
        }
        self.at = next;
        if count <= 0 {
            self.start = next;
        } else {
            self.missing_args = count;
            self.canonical = canonical;
            self.spans.clear();
        }
        Ok(Progress::Continue)
    }

    fn read_args(&mut self, limits: &Limits) -> Result<Progress, ProtocolError> {
        while self.missing_args > 0 {
            let len = match self.bulk {
                Some(len) => len,
                None => match self.read_bulk_length(limits)? {
                    Some(len) => len,
                    None => return Ok(Progress::Incomplete),
                },
            };
            let end = self.at + len;
            let Some(line_end) = self.buffer.get(end..end + 2) else {
                self.bulk = Some(len);
                return Ok(Progress::Incomplete);
            };
            self.canonical &= line_end == b"\r\n";
            self.spans.push(Span { start: self.at - self.start, len });
            self.bulk = None;
            self.at = end + 2;
            self.missing_args -= 1;
        }
        Ok(Progress::Args)
    }

    fn read_bulk_length(&mut self, limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        let (value, next, canonical) = match read_length(&self.buffer, self.at) {
            Line::Incomplete => return Ok(None),
            Line::TooLong => return Err(ProtocolError::LengthTooLong),
            Line::Length { value, next, canonical } => (value, next, canonical),
        };
        match self.buffer[self.at] {
            b'$' => {}
            other => return Err(ProtocolError::ExpectedBulk(other)),
        }
        let length = value.ok_or(ProtocolError::LengthInvalid)?;
        let len = usize::try_from(length).map_err(|_| ProtocolError::LengthInvalid)?;
        if len > limits.bulk_bytes_max {
            return Err(ProtocolError::LengthInvalid);
        }
        if limits.unauthenticated && length > UNAUTHENTICATED_BULK_BYTES_MAX {
            return Err(ProtocolError::LengthUnauthenticated);
        }
        self.canonical &= canonical;
        self.at = next;
        Ok(Some(len))
    }

    fn read_inline(&mut self, out: &mut Request) -> Result<Progress, ProtocolError> {
        let input = &self.buffer[self.start..];
        let line = match memchr(b'\n', input) {
            Some(end) if end <= LINE_BYTES_MAX => &input[..end],
            None if input.len() <= LINE_BYTES_MAX => return Ok(Progress::Incomplete),
            _ => return Err(ProtocolError::InlineTooLong),
        };
        let words = split_args(line.strip_suffix(b"\r").unwrap_or(line)).ok_or(ProtocolError::UnbalancedQuotes)?;
        self.start += line.len() + 1;
        self.at = self.start;
        if words.is_empty() {
            return Ok(Progress::Continue);
        }
        out.set_args(&words);
        Ok(Progress::Inline)
    }

    fn hand_over(&mut self, out: &mut Request) {
        std::mem::swap(&mut self.spans, &mut out.args);
        if !self.canonical {
            let sent = &self.buffer[self.start..];
            out.raw.clear();
            push_canonical(&mut out.raw, sent, &mut out.args);
        } else if self.start == 0 && self.at == self.buffer.len() && self.at >= HAND_OVER_BYTES {
            std::mem::swap(&mut self.buffer, &mut out.raw);
            self.buffer.clear();
            self.at = 0;
        } else {
            out.raw.clear();
            out.raw.extend_from_slice(&self.buffer[self.start..self.at]);
        }
        self.start = self.at;
    }

    /// Moves what is left to the front, so that the buffer does not grow with the age of the connection.
    fn compact(&mut self) {
        if self.start == 0 {
            return;
        }
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.buffer.shrink_to(IDLE_BYTES_MAX);
        } else {
            self.buffer.drain(..self.start);
        }
        self.at -= self.start;
        self.start = 0;
    }
}

/// What a step found.
enum Progress {
    /// Bytes are missing.
    Incomplete,
    /// A header or an empty request; go on.
    Continue,
    /// All arguments of an array.
    Args,
    /// An inline command, already in place.
    Inline,
}

/// Reads `<kind><integer>\r\n` at `at`; any byte may stand for the `\n`, as with stock servers.
fn read_length(buffer: &[u8], at: usize) -> Line {
    let (mut value, mut next) = (0i64, at + 1);
    while let Some(digit @ b'0'..=b'9') = buffer.get(next)
        && next - at <= 9
    {
        value = value * 10 + i64::from(digit - b'0');
        next += 1;
    }
    let digits = next - at - 1;
    if let Some([b'\r', line_feed]) = buffer.get(next..next + 2)
        && digits > 0
        && (buffer[at + 1] != b'0' || digits == 1)
    {
        return Line::Length { value: Some(value), next: next + 2, canonical: *line_feed == b'\n' };
    }
    read_unusual_length(buffer, at)
}

/// Everything but up to nine plain digits.
fn read_unusual_length(buffer: &[u8], at: usize) -> Line {
    let Some(input) = buffer.get(at..).filter(|input| !input.is_empty()) else {
        return Line::Incomplete;
    };
    match memchr(b'\r', input) {
        Some(end) if end <= LINE_BYTES_MAX => match input.get(end + 1) {
            None => Line::Incomplete,
            Some(line_feed) => Line::Length {
                value: parse_strict(input.get(1..end).unwrap_or(&[])),
                next: at + end + 2,
                canonical: *line_feed == b'\n' && input.get(1) != Some(&b'-'),
            },
        },
        None if input.len() <= LINE_BYTES_MAX => Line::Incomplete,
        _ => Line::TooLong,
    }
}

/// An integer without sign `+`, leading zeros or spaces.
fn parse_strict(text: &[u8]) -> Option<i64> {
    match text {
        [b'0'] => Some(0),
        [b'1'..=b'9', ..] | [b'-', b'1'..=b'9', ..] => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

fn push_canonical(raw: &mut Vec<u8>, sent: &[u8], spans: &mut [Span]) {
    super::push_header(raw, b'*', spans.len());
    for span in spans {
        super::push_header(raw, b'$', span.len);
        let arg = &sent[span.start..span.start + span.len];
        span.start = raw.len();
        raw.extend_from_slice(arg);
        raw.extend_from_slice(b"\r\n");
    }
}
