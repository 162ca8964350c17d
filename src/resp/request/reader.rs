//! The incremental reader: a receive buffer and the state of the request that is being read from it.

use memchr::memchr;

use super::{Limits, ProtocolError, Request, Span};
use crate::resp::split_args;
use crate::resp::woven::{Block, RUN_BYTES_MIN};

/// Longest inline command and longest length line, bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Most arguments of one request.
const ARGS_MAX: i64 = i32::MAX as i64;
/// With fewer arguments and shorter bulks than these a client must make do until it has authenticated.
const UNAUTHENTICATED_ARGS_MAX: i64 = 10;
const UNAUTHENTICATED_BULK_BYTES_MAX: i64 = 16 * 1024;
/// The least that is claimed for a long argument, and how many times what has arrived.
const CLAIM_FIRST: usize = 64 * 1024;
const CLAIM_FACTOR: usize = 8;
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
    /// Arguments found so far, in what the request will keep.
    spans: Vec<Span>,
    /// What of the request lies before a long argument and was taken out of the buffer: `start` is behind it.
    front: Vec<u8>,
    /// Its long arguments.
    blocks: Vec<Block>,
    /// The long argument that is being received.
    long: Option<Long>,
    /// Whether all line ends so far were CR LF.
    canonical: bool,
}

/// A long argument of `len` bytes, of which some have arrived.
#[derive(Debug)]
struct Long {
    bytes: Vec<u8>,
    len: usize,
}

impl Long {
    fn missing(&self) -> usize {
        self.len - self.bytes.len()
    }

    /// Makes room for so many bytes and more, but not for more than eight times what has arrived.
    fn reserve(&mut self, arriving: usize) {
        let (held, room) = (self.bytes.len(), self.bytes.capacity());
        if room < self.len && room - held <= arriving {
            let wanted = ((held + arriving) * CLAIM_FACTOR).max(CLAIM_FIRST).min(self.len);
            self.bytes.reserve_exact(wanted - held);
        }
    }

    fn take(&mut self, arrived: &[u8]) {
        self.reserve(arrived.len());
        self.bytes.extend_from_slice(arrived);
    }
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

    /// While a long argument is being received: where its bytes go, and how many of them there is room for.
    pub fn long(&mut self) -> Option<(&mut Vec<u8>, usize)> {
        let long = self.long.as_mut().filter(|long| long.missing() > 0)?;
        long.reserve(0);
        let room = long.missing().min(long.bytes.capacity() - long.bytes.len());
        Some((&mut long.bytes, room))
    }

    /// Appends received bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        match &mut self.long {
            Some(long) => {
                let (own, behind) = bytes.split_at(bytes.len().min(long.missing()));
                long.take(own);
                self.buffer.extend_from_slice(behind);
            }
            None => self.buffer.extend_from_slice(bytes),
        }
    }

    /// Bytes received and not yet part of a request handed out.
    pub fn pending_bytes(&self) -> usize {
        let blocks: usize = self.blocks.iter().map(|block| block.len()).sum();
        let long = self.long.as_ref().map_or(0, |long| long.bytes.len());
        self.buffer.len() - self.start + self.front.len() + blocks + long
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let blocks: usize = self.blocks.iter().map(|block| block.capacity()).sum();
        let long = self.long.as_ref().map_or(0, |long| long.bytes.capacity());
        self.buffer.capacity() + self.front.capacity() + self.spans.capacity() * size_of::<Span>() + blocks + long
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
            if len >= RUN_BYTES_MIN {
                if !self.read_long(len) {
                    self.bulk = Some(len);
                    return Ok(Progress::Incomplete);
                }
                continue;
            }
            let end = self.at + len;
            let Some(line_end) = self.buffer.get(end..end + 2) else {
                self.bulk = Some(len);
                return Ok(Progress::Incomplete);
            };
            self.canonical &= line_end == b"\r\n";
            self.spans.push(Span { start: self.front.len() + self.at - self.start, len });
            self.bulk = None;
            self.at = end + 2;
            self.missing_args -= 1;
        }
        Ok(Progress::Args)
    }

    /// Moves what has arrived of a long argument into its block; true when that is whole, with its line end.
    fn read_long(&mut self, len: usize) -> bool {
        if self.long.is_none() {
            self.front.extend_from_slice(&self.buffer[self.start..self.at]);
            self.start = self.at;
        }
        let long = self.long.get_or_insert_with(|| Long { bytes: Vec::new(), len });
        let arrived = long.missing().min(self.buffer.len() - self.at);
        long.take(&self.buffer[self.at..self.at + arrived]);
        self.at += arrived;
        self.start = self.at;
        let Some(line_end) = self.buffer.get(self.at..self.at + 2).filter(|_| long.missing() == 0) else {
            return false;
        };
        self.canonical &= line_end == b"\r\n";
        self.front.extend_from_slice(line_end);
        self.at += 2;
        self.start = self.at;
        self.spans.push(Span::block(self.blocks.len(), len));
        if let Some(long) = self.long.take() {
            self.blocks.push(Block::new(long.bytes));
        }
        self.bulk = None;
        self.missing_args -= 1;
        true
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
        out.blocks.clear();
        if !self.blocks.is_empty() {
            std::mem::swap(&mut self.blocks, &mut out.blocks);
            self.front.extend_from_slice(&self.buffer[self.start..self.at]);
            std::mem::swap(&mut self.front, &mut out.raw);
            self.front.clear();
        } else if !self.canonical {
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
#[inline]
fn read_length(buffer: &[u8], at: usize) -> Line {
    // Nearly all are of one or two digits.
    match buffer.get(at + 1..at + 5) {
        Some([digit @ b'0'..=b'9', b'\r', b'\n', _]) => {
            Line::Length { value: Some(i64::from(digit - b'0')), next: at + 4, canonical: true }
        }
        Some([ten @ b'1'..=b'9', one @ b'0'..=b'9', b'\r', b'\n']) => {
            let value = i64::from(ten - b'0') * 10 + i64::from(one - b'0');
            Line::Length { value: Some(value), next: at + 5, canonical: true }
        }
        _ => read_longer_length(buffer, at),
    }
}

/// Up to nine plain digits.
fn read_longer_length(buffer: &[u8], at: usize) -> Line {
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
