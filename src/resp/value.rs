//! Replies as values: what a client, a script or a test sees of either protocol.

use thiserror::Error;

use super::reply::Reply;

/// Aggregates nested deeper than this are refused.
const DEPTH_MAX: usize = 128;

/// One reply.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplyValue {
    Simple(Vec<u8>),
    /// The whole line, code included.
    Error(Vec<u8>),
    Int(i64),
    Bulk(Vec<u8>),
    /// Null of RESP3, null bulk string or null array of RESP2.
    Null,
    Array(Vec<ReplyValue>),
    Map(Vec<(ReplyValue, ReplyValue)>),
    Set(Vec<ReplyValue>),
    Push(Vec<ReplyValue>),
    Double(f64),
    Boolean(bool),
    BigNumber(Vec<u8>),
    Verbatim([u8; 3], Vec<u8>),
    /// Attributes and the value that they belong to.
    Attributed(Vec<(ReplyValue, ReplyValue)>, Box<ReplyValue>),
}

/// Bytes that are no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    #[error("unknown reply type {0:#04x}")]
    Type(u8),
    #[error("malformed length or number")]
    Number,
    #[error("a bulk string without its line end")]
    LineEnd,
    #[error("aggregates are nested too deeply")]
    Depth,
}

impl ReplyValue {
    /// The first reply in `input` and its length in bytes; `None` when it is not whole yet.
    ///
    /// # Errors
    /// The bytes are no reply.
    pub fn decode(input: &[u8]) -> Result<Option<(Self, usize)>, DecodeError> {
        let mut cursor = Cursor { input, at: 0 };
        Ok(cursor.value(DEPTH_MAX)?.map(|value| (value, cursor.at)))
    }

    /// Writes the value in the reply's protocol.
    pub fn encode(&self, reply: &mut Reply) {
        match self {
            Self::Simple(text) => reply.simple(text),
            Self::Error(text) => reply.error(text),
            Self::Int(value) => reply.int(*value),
            Self::Bulk(bytes) => reply.bulk(bytes),
            Self::Null => reply.null(),
            Self::Array(elements) => {
                reply.array(elements.len());
                elements.iter().for_each(|element| element.encode(reply));
            }
            Self::Map(pairs) => {
                reply.map(pairs.len());
                encode_pairs(pairs, reply);
            }
            Self::Set(elements) => {
                reply.set(elements.len());
                elements.iter().for_each(|element| element.encode(reply));
            }
            Self::Push(elements) => {
                reply.push(elements.len());
                elements.iter().for_each(|element| element.encode(reply));
            }
            Self::Double(value) => reply.double(*value),
            Self::Boolean(value) => reply.boolean(*value),
            Self::BigNumber(digits) => reply.big_number(digits),
            Self::Verbatim(format, text) => reply.verbatim(*format, text),
            Self::Attributed(pairs, value) => {
                if reply.attribute(pairs.len()) {
                    encode_pairs(pairs, reply);
                }
                value.encode(reply);
            }
        }
    }
}

fn encode_pairs(pairs: &[(ReplyValue, ReplyValue)], reply: &mut Reply) {
    for (key, value) in pairs {
        key.encode(reply);
        value.encode(reply);
    }
}

struct Cursor<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn value(&mut self, depth: usize) -> Result<Option<ReplyValue>, DecodeError> {
        let depth = depth.checked_sub(1).ok_or(DecodeError::Depth)?;
        let Some(line) = self.line() else { return Ok(None) };
        let Some((&kind, text)) = line.split_first() else { return Err(DecodeError::Number) };
        Ok(match kind {
            b'+' => Some(ReplyValue::Simple(text.to_vec())),
            b'-' => Some(ReplyValue::Error(text.to_vec())),
            b':' => Some(ReplyValue::Int(number(text)?)),
            b'(' => Some(ReplyValue::BigNumber(text.to_vec())),
            b'_' => Some(ReplyValue::Null),
            b'#' => match text {
                b"t" => Some(ReplyValue::Boolean(true)),
                b"f" => Some(ReplyValue::Boolean(false)),
                _ => return Err(DecodeError::Number),
            },
            b',' => {
                let text = std::str::from_utf8(text).map_err(|_| DecodeError::Number)?;
                Some(ReplyValue::Double(text.parse().map_err(|_| DecodeError::Number)?))
            }
            b'$' => match length(text)? {
                None => Some(ReplyValue::Null),
                Some(len) => self.bulk(len)?.map(|bytes| ReplyValue::Bulk(bytes.to_vec())),
            },
            b'=' => match self.bulk(length(text)?.ok_or(DecodeError::Number)?)? {
                None => None,
                Some(&[a, b, c, b':', ref text @ ..]) => Some(ReplyValue::Verbatim([a, b, c], text.to_vec())),
                Some(_) => return Err(DecodeError::Number),
            },
            b'*' => match length(text)? {
                None => Some(ReplyValue::Null),
                Some(len) => self.elements(len, depth)?.map(ReplyValue::Array),
            },
            b'~' => self.elements(length(text)?.ok_or(DecodeError::Number)?, depth)?.map(ReplyValue::Set),
            b'>' => self.elements(length(text)?.ok_or(DecodeError::Number)?, depth)?.map(ReplyValue::Push),
            b'%' => self.pairs(length(text)?.ok_or(DecodeError::Number)?, depth)?.map(ReplyValue::Map),
            b'|' => {
                let Some(pairs) = self.pairs(length(text)?.ok_or(DecodeError::Number)?, depth)? else {
                    return Ok(None);
                };
                self.value(depth)?.map(|value| ReplyValue::Attributed(pairs, Box::new(value)))
            }
            other => return Err(DecodeError::Type(other)),
        })
    }

    fn line(&mut self) -> Option<&'a [u8]> {
        let rest = &self.input[self.at..];
        let end = memchr::memmem::find(rest, b"\r\n")?;
        self.at += end + 2;
        Some(&rest[..end])
    }

    fn bulk(&mut self, len: usize) -> Result<Option<&'a [u8]>, DecodeError> {
        let end = self.at.checked_add(len).ok_or(DecodeError::Number)?;
        let Some(bytes) = self.input.get(self.at..end) else { return Ok(None) };
        match self.input.get(end..end.saturating_add(2)) {
            None => Ok(None),
            Some(b"\r\n") => {
                self.at = end + 2;
                Ok(Some(bytes))
            }
            Some(_) => Err(DecodeError::LineEnd),
        }
    }

    fn elements(&mut self, len: usize, depth: usize) -> Result<Option<Vec<ReplyValue>>, DecodeError> {
        let mut elements = Vec::new();
        for _ in 0..len {
            match self.value(depth)? {
                Some(value) => elements.push(value),
                None => return Ok(None),
            }
        }
        Ok(Some(elements))
    }

    fn pairs(&mut self, len: usize, depth: usize) -> Result<Option<Vec<(ReplyValue, ReplyValue)>>, DecodeError> {
        let mut pairs = Vec::new();
        for _ in 0..len {
            let (Some(key), Some(value)) = (self.value(depth)?, self.value(depth)?) else { return Ok(None) };
            pairs.push((key, value));
        }
        Ok(Some(pairs))
    }
}

fn number(text: &[u8]) -> Result<i64, DecodeError> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(DecodeError::Number)
}

/// `None` for -1, the null length of RESP2.
fn length(text: &[u8]) -> Result<Option<usize>, DecodeError> {
    match number(text)? {
        -1 => Ok(None),
        len => usize::try_from(len).map(Some).map_err(|_| DecodeError::Number),
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::{Arbitrary, Gen, quickcheck};

    use super::{DecodeError, ReplyValue};
    use crate::resp::{Protocol, Reply};

    #[derive(Clone, Debug)]
    struct Any(ReplyValue);

    impl Arbitrary for Any {
        fn arbitrary(g: &mut Gen) -> Self {
            Self(any(g, 3))
        }
    }

    fn any(g: &mut Gen, depth: usize) -> ReplyValue {
        let many = |g: &mut Gen| (0..u8::arbitrary(g) % 4).map(|_| any(g, depth - 1)).collect::<Vec<_>>();
        let line = |g: &mut Gen| format!("x{}", u32::arbitrary(g)).into_bytes();
        match u8::arbitrary(g) % if depth == 0 { 9 } else { 14 } {
            0 => ReplyValue::Simple(line(g)),
            1 => ReplyValue::Error(line(g)),
            2 => ReplyValue::Int(i64::arbitrary(g)),
            3 => ReplyValue::Bulk(Vec::arbitrary(g)),
            4 => ReplyValue::Null,
            5 => ReplyValue::Double(f64::from(i32::arbitrary(g)) / 8.0),
            6 => ReplyValue::Boolean(bool::arbitrary(g)),
            7 => ReplyValue::BigNumber(b"12345678901234567890".to_vec()),
            8 => ReplyValue::Verbatim(*b"txt", Vec::arbitrary(g)),
            9 => ReplyValue::Array(many(g)),
            10 => ReplyValue::Set(many(g)),
            11 => ReplyValue::Push(many(g)),
            12 => ReplyValue::Map(many(g).into_iter().map(|key| (key, any(g, depth - 1))).collect()),
            _ => ReplyValue::Attributed(vec![(any(g, depth - 1), ReplyValue::Null)], Box::new(any(g, depth - 1))),
        }
    }

    quickcheck! {
        fn what_resp3_writes_reads_back_once_whole(value: Any) -> bool {
            let mut reply = Reply::new(Protocol::Resp3);
            value.0.encode(&mut reply);
            let bytes = reply.as_bytes();
            let cuts_wait = (0..bytes.len()).all(|cut| ReplyValue::decode(&bytes[..cut]) == Ok(None));
            cuts_wait && ReplyValue::decode(bytes) == Ok(Some((value.0, bytes.len())))
        }

        fn any_bytes_are_answered(bytes: Vec<u8>) -> bool {
            ReplyValue::decode(&bytes).map_or(true, |found| found.is_none_or(|(_, len)| len <= bytes.len()))
        }
    }

    #[test]
    fn damage() {
        for (input, expected) in [
            (&b"!1\r\n"[..], DecodeError::Type(b'!')),
            (b":x\r\n", DecodeError::Number),
            (b"$-2\r\n", DecodeError::Number),
            (b"$1\r\nabc", DecodeError::LineEnd),
            (b"\r\n", DecodeError::Number),
        ] {
            assert_eq!(ReplyValue::decode(input), Err(expected));
        }
        assert_eq!(ReplyValue::decode("*1\r\n".repeat(200).as_bytes()), Err(DecodeError::Depth));
        assert_eq!(ReplyValue::decode(b"$-1\r\n+OK\r\n"), Ok(Some((ReplyValue::Null, 5))));
    }
}
