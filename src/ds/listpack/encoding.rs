//! One listpack element as bytes: the encodings, their data, and the length at the end.

use std::fmt;

use crate::ds::decimal::parse_canonical_i64;

/// Longest byte string with its length in six and in twelve bits.
const STR6_MAX: usize = 63;
const STR12_MAX: usize = 4095;

const INT16: u8 = 0xf1;
const INT24: u8 = 0xf2;
const INT32: u8 = 0xf3;
const INT64: u8 = 0xf4;
const STR32: u8 = 0xf0;

/// The largest encoding head: one byte and eight of integer.
const HEAD_MAX: usize = 9;

/// The largest length at an element's end.
const BACK_MAX: usize = 5;

/// An element as it is read. Equality is that of the form: compare texts with [`Item::eq_bytes`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Item<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl<'a> Item<'a> {
    /// A number when `content` is the canonical text of one, else the bytes.
    pub fn new(content: &'a [u8]) -> Self {
        parse_canonical_i64(content).map_or(Self::Bytes(content), Self::Int)
    }

    /// The element as bytes; a number is formatted into `buffer`.
    pub fn as_bytes<'b>(&self, buffer: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match *self {
            Item::Int(n) => buffer.format(n).as_bytes(),
            Item::Bytes(bytes) => bytes,
        }
    }

    pub fn to_vec(&self) -> Vec<u8> {
        self.as_bytes(&mut itoa::Buffer::new()).to_vec()
    }

    /// The element as a number, when it is one or is the canonical text of one.
    pub fn as_int(&self) -> Option<i64> {
        match *self {
            Item::Int(n) => Some(n),
            Item::Bytes(bytes) => parse_canonical_i64(bytes),
        }
    }

    /// Length in bytes of the textual form.
    pub fn text_len(&self) -> usize {
        match *self {
            Item::Int(n) => {
                let digits = n.unsigned_abs().checked_ilog10().map_or(1, |log| log as usize + 1);
                digits + usize::from(n < 0)
            }
            Item::Bytes(bytes) => bytes.len(),
        }
    }

    /// Whether the element's text is `bytes`.
    pub fn eq_bytes(&self, bytes: &[u8]) -> bool {
        match *self {
            Item::Int(n) => parse_canonical_i64(bytes) == Some(n),
            Item::Bytes(own) => own == bytes,
        }
    }
}

impl fmt::Debug for Item<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Int(n) => write!(f, "{n}"),
            Item::Bytes(bytes) => write!(f, "b\"{}\"", bytes.escape_ascii()),
        }
    }
}

/// Bytes that `content` takes as an element.
pub fn element_bytes(content: &[u8]) -> usize {
    Element::new(content).len()
}

/// Bytes that an item takes as an element.
pub fn item_bytes(item: Item<'_>) -> usize {
    Element::from_item(item).len()
}

/// An element about to be written.
pub(super) struct Element<'a> {
    head: [u8; HEAD_MAX],
    head_len: usize,
    content: &'a [u8],
    back: [u8; BACK_MAX],
    back_len: usize,
}

impl<'a> Element<'a> {
    /// As a number when `content` is one, else as a byte string.
    pub(super) fn new(content: &'a [u8]) -> Self {
        Self::from_item(Item::new(content))
    }

    /// In the form that the item has.
    pub(super) fn from_item(item: Item<'a>) -> Self {
        match item {
            Item::Int(number) => Self::from_int(number),
            Item::Bytes(content) => Self::from_bytes(content),
        }
    }

    fn from_bytes(content: &'a [u8]) -> Self {
        let len = content.len();
        let mut head = [0; HEAD_MAX];
        let head_len = if len <= STR6_MAX {
            head[0] = 0x80 | len as u8;
            1
        } else if len <= STR12_MAX {
            head[0] = 0xe0 | (len >> 8) as u8;
            head[1] = len as u8;
            2
        } else {
            head[0] = STR32;
            head[1..5].copy_from_slice(&(len as u32).to_le_bytes());
            5
        };
        Self::finish(head, head_len, content)
    }

    pub(super) fn from_int(number: i64) -> Self {
        let mut head = [0; HEAD_MAX];
        let bytes = number.to_le_bytes();
        let mut wide = |code, width: usize| {
            head[0] = code;
            head[1..=width].copy_from_slice(&bytes[..width]);
            width + 1
        };
        let head_len = match number {
            0..=127 => {
                head[0] = number as u8;
                1
            }
            -4096..=4095 => {
                head[0] = 0xc0 | ((number >> 8) & 0x1f) as u8;
                head[1] = number as u8;
                2
            }
            -0x8000..=0x7fff => wide(INT16, 2),
            -0x80_0000..=0x7f_ffff => wide(INT24, 3),
            -0x8000_0000..=0x7fff_ffff => wide(INT32, 4),
            _ => wide(INT64, 8),
        };
        Self::finish(head, head_len, &[])
    }

    pub(super) fn parts(&self) -> [&[u8]; 3] {
        [&self.head[..self.head_len], self.content, &self.back[..self.back_len]]
    }

    fn len(&self) -> usize {
        self.head_len + self.content.len() + self.back_len
    }

    fn finish(head: [u8; HEAD_MAX], head_len: usize, content: &'a [u8]) -> Self {
        let (back, back_len) = back_length(head_len + content.len());
        Self { head, head_len, content, back, back_len }
    }
}

/// The length as written at an element's end: seven bits a byte, the highest first, all but the first byte marked.
fn back_length(len: usize) -> ([u8; BACK_MAX], usize) {
    let size = back_length_size(len);
    let mut out = [0; BACK_MAX];
    let mut rest = len;
    for (i, byte) in out[..size].iter_mut().enumerate().rev() {
        *byte = (rest & 0x7f) as u8 | if i == 0 { 0 } else { 0x80 };
        rest >>= 7;
    }
    (out, size)
}

/// How many bytes [`back_length`] takes. The two- to four-byte forms stop one short of what they could hold; that is
/// part of the layout.
fn back_length_size(len: usize) -> usize {
    match len {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

/// The element at `at` and its size with its back length; `None` when it is not whole inside `bytes` (which ends where
/// the elements end).
pub(super) fn decode(bytes: &[u8], at: usize) -> Option<(Item<'_>, usize)> {
    let rest = bytes.get(at..)?;
    let (item, size) = decode_body(rest)?;
    let (back, back_len) = back_length(size);
    (rest.get(size..size + back_len)? == &back[..back_len]).then_some((item, size + back_len))
}

/// The element that `rest` begins with, and its size without its back length; `None` when it is not whole.
pub(super) fn decode_body(rest: &[u8]) -> Option<(Item<'_>, usize)> {
    let &code = rest.first()?;
    Some(match code {
        0..=0x7f => (Item::Int(i64::from(code)), 1),
        0x80..=0xbf => string(rest, 1, usize::from(code & 0x3f))?,
        0xc0..=0xdf => {
            let raw = u16::from_be_bytes([code & 0x1f, *rest.get(1)?]);
            // Thirteen bits, two's complement.
            (Item::Int(i64::from((raw << 3) as i16 >> 3)), 2)
        }
        0xe0..=0xef => string(rest, 2, usize::from(code & 0x0f) << 8 | usize::from(*rest.get(1)?))?,
        STR32 => {
            let len = u32::from_le_bytes(rest.get(1..5)?.try_into().ok()?);
            string(rest, 5, len as usize)?
        }
        INT16 => integer(rest, 2)?,
        INT24 => integer(rest, 3)?,
        INT32 => integer(rest, 4)?,
        INT64 => integer(rest, 8)?,
        _ => return None,
    })
}

/// The size of the element that `rest` begins with, without its back length; `None` when its head is not whole.
pub(super) fn body_size(rest: &[u8]) -> Option<usize> {
    let &code = rest.first()?;
    Some(match code {
        0..=0x7f => 1,
        0x80..=0xbf => 1 + usize::from(code & 0x3f),
        0xc0..=0xdf => 2,
        0xe0..=0xef => 2 + (usize::from(code & 0x0f) << 8 | usize::from(*rest.get(1)?)),
        STR32 => 5usize.checked_add(u32::from_le_bytes(rest.get(1..5)?.try_into().ok()?) as usize)?,
        INT16 => 3,
        INT24 => 4,
        INT32 => 5,
        INT64 => 9,
        _ => return None,
    })
}

/// What is looked for among elements.
#[derive(Clone, Copy)]
pub struct Needle<'n> {
    text: &'n [u8],
    number: Option<i64>,
}

impl<'n> Needle<'n> {
    pub fn new(text: &'n [u8]) -> Self {
        Self { text, number: parse_canonical_i64(text) }
    }

    /// Whether the element that `rest` begins with is the one, and its size without its back length; `None` when it is not
    /// whole. Cheaper than decoding it: nearly all elements differ in their lengths or last bytes.
    pub(super) fn is_at(self, rest: &[u8]) -> Option<(bool, usize)> {
        let size = body_size(rest)?;
        let head = match *rest.first()? {
            0x80..=0xbf => 1,
            0xe0..=0xef => 2,
            STR32 => 5,
            _ if self.number.is_none() => return Some((false, size)),
            _ => {
                let (item, size) = decode_body(rest)?;
                return Some((self.number.map(Item::Int) == Some(item), size));
            }
        };
        let text = rest.get(head..size)?;
        Some((text.len() == self.text.len() && text.last() == self.text.last() && text == self.text, size))
    }
}

/// Size of an element with its back length, from that without.
pub(super) fn with_back_length(body: usize) -> usize {
    body + back_length_size(body)
}

/// Where the element that ends right before `end` starts. The bytes have been checked.
pub(super) fn entry_before(bytes: &[u8], end: usize) -> usize {
    let (mut len, mut shift, mut at) = (0, 0, end);
    loop {
        at -= 1;
        let byte = bytes[at];
        len |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return at - len;
        }
    }
}

fn string(rest: &[u8], head: usize, len: usize) -> Option<(Item<'_>, usize)> {
    let size = head.checked_add(len)?;
    Some((Item::Bytes(rest.get(head..size)?), size))
}

fn integer(rest: &[u8], width: usize) -> Option<(Item<'_>, usize)> {
    let mut wide = [0; 8];
    wide[8 - width..].copy_from_slice(rest.get(1..=width)?);
    Some((Item::Int(i64::from_le_bytes(wide) >> (64 - 8 * width)), width + 1))
}
