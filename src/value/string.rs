//! Strings: an integer, or bytes in one piece or in chunks.
//!
//! Invariants
//! - `Int(n)` and the canonical text of `n` are the same string; no other text is stored as an integer.
//! - `Embedded` holds at most [`EMBEDDED_MAX`] bytes. The same bytes are `Raw` after they were edited in place; the
//!   difference shows in `encoding()` alone.
//! - A stored string is chunked exactly when it is longer than [`FLAT_MAX`], so that changing a part of a long one
//!   touches, and where a snapshot shares it copies, that part alone.

use std::borrow::Cow;
use std::ops::Range;

use crate::ds::{Block, CowBytes, Pieces, Rope, parse_canonical_i64, rope};

/// The longest string that the stock server stores beside its header.
pub const EMBEDDED_MAX: usize = 44;
/// The longest string that is stored in one piece.
pub const FLAT_MAX: usize = rope::CHUNK;

/// A string as it is read: where its bytes lie is the holder's business.
#[derive(Clone, Copy, Debug)]
pub enum StrRef<'a> {
    Int(i64),
    Embedded(&'a [u8]),
    Raw(&'a [u8]),
    Chunked(&'a Rope),
}

impl<'a> StrRef<'a> {
    /// The form in which `bytes` are stored by SET: an integer when it is the canonical text of one.
    pub fn encode(bytes: &'a [u8]) -> Self {
        match parse_canonical_i64(bytes) {
            Some(number) => Self::Int(number),
            None => Self::plain(bytes),
        }
    }

    /// The form of bytes that are not to be stored as an integer.
    pub fn plain(bytes: &'a [u8]) -> Self {
        if bytes.len() <= EMBEDDED_MAX { Self::Embedded(bytes) } else { Self::Raw(bytes) }
    }

    /// The bytes in one piece; an integer is formatted into `buffer`, chunks are joined: see [`StrRef::pieces`] for
    /// what need not join them.
    pub fn as_bytes<'b>(self, buffer: &'b mut itoa::Buffer) -> Cow<'b, [u8]>
    where
        'a: 'b,
    {
        match self {
            Self::Int(number) => Cow::Borrowed(buffer.format(number).as_bytes()),
            Self::Embedded(bytes) | Self::Raw(bytes) => Cow::Borrowed(bytes),
            Self::Chunked(rope) => Cow::Owned(rope.to_vec()),
        }
    }

    /// The bytes in the pieces in which they lie; an integer is formatted into `buffer`.
    pub fn pieces<'b>(self, buffer: &'b mut itoa::Buffer) -> Pieces<'b>
    where
        'a: 'b,
    {
        match self {
            Self::Int(number) => Pieces::of(buffer.format(number).as_bytes()),
            Self::Embedded(bytes) | Self::Raw(bytes) => Pieces::of(bytes),
            Self::Chunked(rope) => rope.pieces(0..rope.len()),
        }
    }

    /// The bytes of a range, which must lie within the string, in the pieces in which they lie.
    pub fn pieces_of<'b>(self, range: Range<usize>, buffer: &'b mut itoa::Buffer) -> Pieces<'b>
    where
        'a: 'b,
    {
        match self {
            Self::Int(number) => Pieces::of(&buffer.format(number).as_bytes()[range]),
            Self::Embedded(bytes) | Self::Raw(bytes) => Pieces::of(&bytes[range]),
            Self::Chunked(rope) => rope.pieces(range),
        }
    }

    /// The bytes from `at` on, as many as the buffer takes; those behind the end read as zeros.
    pub fn read(self, at: usize, buffer: &mut [u8]) {
        let flat = |bytes: &[u8], buffer: &mut [u8]| {
            let found = &bytes[at.min(bytes.len())..bytes.len().min(at.saturating_add(buffer.len()))];
            buffer[..found.len()].copy_from_slice(found);
            buffer[found.len()..].fill(0);
        };
        match self {
            Self::Int(number) => flat(itoa::Buffer::new().format(number).as_bytes(), buffer),
            Self::Embedded(bytes) | Self::Raw(bytes) => flat(bytes, buffer),
            Self::Chunked(rope) => rope.read(at, buffer),
        }
    }

    pub fn to_vec(self) -> Vec<u8> {
        self.as_bytes(&mut itoa::Buffer::new()).into_owned()
    }

    /// The number that the string is the canonical text of.
    pub fn as_int(self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(number),
            Self::Embedded(bytes) | Self::Raw(bytes) => parse_canonical_i64(bytes),
            Self::Chunked(_) => None,
        }
    }

    /// Length in bytes.
    pub fn len(self) -> usize {
        match self {
            Self::Int(number) => itoa::Buffer::new().format(number).len(),
            Self::Embedded(bytes) | Self::Raw(bytes) => bytes.len(),
            Self::Chunked(rope) => rope.len(),
        }
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Bytes that lie in chunks of their own.
    pub fn chunked_bytes(self) -> usize {
        if let Self::Chunked(rope) = self { rope.chunk_bytes() } else { 0 }
    }

    /// As OBJECT ENCODING names it.
    pub fn encoding(self) -> &'static str {
        match self {
            Self::Int(_) => "int",
            Self::Embedded(_) => "embstr",
            Self::Raw(_) | Self::Chunked(_) => "raw",
        }
    }
}

impl PartialEq for StrRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        if let (Self::Chunked(a), Self::Chunked(b)) = (self, other) {
            return a == b;
        }
        let (mut a, mut b) = (itoa::Buffer::new(), itoa::Buffer::new());
        self.len() == other.len() && self.as_bytes(&mut a) == other.as_bytes(&mut b)
    }
}

/// A string that owns its bytes. Clone is O(1).
#[derive(Clone, Debug)]
pub enum Str {
    Int(i64),
    Embedded(CowBytes),
    Raw(CowBytes),
    /// Boxed, so that the long ones do not make every value larger.
    Chunked(Box<Rope>),
}

impl Str {
    /// Stored as SET stores it: an integer when it is the canonical text of one.
    pub fn encode(bytes: &[u8]) -> Self {
        StrRef::encode(bytes).into()
    }

    /// Bytes that were computed: never an integer, and `raw` to OBJECT ENCODING whatever their length.
    pub fn raw(bytes: &[u8]) -> Self {
        if bytes.len() <= FLAT_MAX {
            Self::Raw(CowBytes::new(bytes))
        } else {
            Self::Chunked(Box::new(Rope::new(bytes)))
        }
    }

    /// A long string that is not copied.
    ///
    /// # Panics
    /// When the block would be stored in one piece.
    pub fn from_block(block: Block) -> Self {
        assert!(block.len() > FLAT_MAX, "a short string is stored in one piece");
        Self::Chunked(Box::new(Rope::from_block(block)))
    }

    /// A string of `len` bytes from its chunks, as [`Rope::from_chunks`] takes them.
    pub fn from_chunks(mut chunks: impl Iterator<Item = Option<CowBytes>>, len: usize) -> Self {
        if len > FLAT_MAX {
            return Self::Chunked(Box::new(Rope::from_chunks(chunks, len)));
        }
        let mut bytes = chunks.next().flatten().unwrap_or_default();
        bytes.resize(len);
        Self::Raw(bytes)
    }

    pub fn from_int(number: i64) -> Self {
        Self::Int(number)
    }

    pub fn as_ref(&self) -> StrRef<'_> {
        match self {
            Self::Int(number) => StrRef::Int(*number),
            Self::Embedded(bytes) => StrRef::Embedded(bytes),
            Self::Raw(bytes) => StrRef::Raw(bytes),
            Self::Chunked(rope) => StrRef::Chunked(rope),
        }
    }

    pub fn as_int(&self) -> Option<i64> {
        self.as_ref().as_int()
    }

    pub fn to_vec(&self) -> Vec<u8> {
        self.as_ref().to_vec()
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.as_ref().len()
    }

    pub fn is_empty(&self) -> bool {
        self.as_ref().is_empty()
    }

    pub fn encoding(&self) -> &'static str {
        self.as_ref().encoding()
    }

    /// Bytes allocated beside the value itself.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Int(_) => 0,
            Self::Embedded(bytes) | Self::Raw(bytes) => bytes.heap_bytes(),
            Self::Chunked(rope) => rope.heap_bytes(),
        }
    }

    /// Appends; returns the new length.
    pub fn append(&mut self, tail: &[u8]) -> usize {
        let len = self.len();
        self.write(len, tail);
        len + tail.len()
    }

    /// Overwrites from `offset` on, with zeros in front of it where the string ends before; returns the new length.
    pub fn set_range(&mut self, offset: usize, content: &[u8]) -> usize {
        self.write(offset, content);
        self.len()
    }

    /// What lies in the chunk of this number, as [`Rope::chunk`] tells it; a string in one piece is one chunk.
    ///
    /// # Panics
    /// When the string is an integer.
    pub fn chunk(&self, index: usize) -> &[u8] {
        match self {
            Self::Int(_) => panic!("an integer has no bytes"),
            Self::Embedded(bytes) | Self::Raw(bytes) if index == 0 => bytes,
            Self::Embedded(_) | Self::Raw(_) => &[],
            Self::Chunked(rope) => rope.chunk(index).unwrap_or(&[]),
        }
    }

    /// Zero-extends to at least `len_min`; the bytes are `raw` from then on.
    pub fn grow(&mut self, len_min: usize) {
        self.write(len_min, &[]);
    }

    fn write(&mut self, offset: usize, content: &[u8]) {
        self.unpack();
        let flat_len = self.len();
        let len = flat_len.max(offset + content.len());
        if let Self::Raw(bytes) = self {
            if len <= FLAT_MAX {
                if bytes.len() < offset {
                    bytes.resize(offset);
                }
                let overwritten = content.len().min(bytes.len() - offset);
                bytes.splice(offset, overwritten, &[content]);
                return;
            }
            *self = Self::Chunked(Box::new(Rope::starting_with(std::mem::take(bytes), flat_len)));
        }
        let Self::Chunked(rope) = self else { unreachable!("unpacked above") };
        rope.extend_to(len);
        rope.write(offset, content);
    }

    /// Makes bytes in a form that is edited in place.
    fn unpack(&mut self) {
        match self {
            Self::Raw(_) | Self::Chunked(_) => {}
            Self::Int(number) => *self = Self::Raw(CowBytes::new(itoa::Buffer::new().format(*number).as_bytes())),
            Self::Embedded(bytes) => *self = Self::Raw(std::mem::take(bytes)),
        }
    }
}

impl From<StrRef<'_>> for Str {
    fn from(string: StrRef<'_>) -> Self {
        match string {
            StrRef::Int(number) => Self::Int(number),
            StrRef::Embedded(bytes) => Self::Embedded(CowBytes::new(bytes)),
            StrRef::Raw(bytes) => Self::raw(bytes),
            StrRef::Chunked(rope) => Self::Chunked(Box::new(rope.clone())),
        }
    }
}

impl Default for Str {
    fn default() -> Self {
        Self::Embedded(CowBytes::default())
    }
}

impl PartialEq for Str {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    #[test]
    fn encodings_are_those_of_the_stock_server() {
        let (at_limit, beyond) = ("x".repeat(44), "x".repeat(45));
        for (text, encoding) in [
            ("", "embstr"),
            ("0", "int"),
            ("-9223372036854775808", "int"),
            ("9223372036854775808", "embstr"),
            ("007", "embstr"),
            ("1.5", "embstr"),
            (&at_limit, "embstr"),
            (&beyond, "raw"),
        ] {
            let mut string = Str::encode(text.as_bytes());
            assert_eq!(string.encoding(), encoding, "{text}");
            assert_eq!((string.to_vec(), string.len()), (text.as_bytes().to_vec(), text.len()));
            string.append(b"");
            assert_eq!(string.encoding(), "raw");
        }
    }

    #[test]
    fn strings_are_chunked_exactly_beyond_the_limit() {
        for (start, added, chunked) in
            [(0, FLAT_MAX, false), (0, FLAT_MAX + 1, true), (1, FLAT_MAX - 1, false), (1, FLAT_MAX, true)]
        {
            let mut string = Str::raw(&vec![b'a'; start]);
            string.append(&vec![b'b'; added]);
            assert_eq!(matches!(string, Str::Chunked(_)), chunked, "{start} + {added}");
            assert_eq!(string.encoding(), "raw");
            let stored = Str::encode(&string.to_vec());
            assert_eq!(matches!(stored, Str::Chunked(_)), chunked, "{start} + {added}");
            assert_eq!(stored, string);
            string.grow(2 * FLAT_MAX);
            assert!(matches!(string, Str::Chunked(_)) && string.len() == 2 * FLAT_MAX && stored != string);
        }
    }

    #[test]
    fn ranges_count_from_both_ends() {
        for (start, end, expected) in [
            (0, 3, "This"),
            (-3, -1, "ing"),
            (0, -1, "This is a string"),
            (10, 100, "string"),
            (5, 3, ""),
            (-1, -5, ""),
            (100, 200, ""),
            (-100, 0, "T"),
            (i64::MIN, i64::MAX, "This is a string"),
            (-100, -100, "T"),
        ] {
            let string = Str::encode(b"This is a string");
            let range = crate::value::index::byte_span(string.len(), start, end).unwrap_or_default();
            let mut buffer = itoa::Buffer::new();
            let found: Vec<u8> = string.as_ref().pieces_of(range, &mut buffer).slices().flatten().copied().collect();
            assert_eq!(found, expected.as_bytes(), "{start} {end}");
        }
        let mut buffer = [9; 4];
        StrRef::Int(12345).read(2, &mut buffer);
        assert_eq!(buffer, *b"345\0");
    }

    quickcheck! {
        fn edits_like_a_vector_and_leaves_clones_alone(start: Vec<u8>, number: Option<i64>, ops: Vec<(u8, u16, Vec<u8>, bool)>) -> bool {
            let mut model = number.map_or(start, |n| n.to_string().into_bytes());
            let mut ours = Str::encode(&model);
            for (op, offset, content, long) in ops {
                let (held, held_model) = (ours.clone(), model.clone());
                let content = if long { content.repeat(80) } else { content };
                let offset = usize::from(offset) % (model.len() + 20);
                let same = match op % 3 {
                    0 => {
                        model.extend(&content);
                        ours.append(&content) == model.len()
                    }
                    1 => {
                        model.resize(model.len().max(offset + content.len()).max(offset), 0);
                        model[offset..offset + content.len()].copy_from_slice(&content);
                        ours.set_range(offset, &content) == model.len()
                    }
                    _ => {
                        model.resize(model.len().max(offset + 1), 0);
                        model[offset] ^= 0x40;
                        let mut byte = [0];
                        ours.as_ref().read(offset, &mut byte);
                        ours.set_range(offset, &[byte[0] ^ 0x40]);
                        true
                    }
                };
                if !same || ours.to_vec() != model || held.to_vec() != held_model {
                    return false;
                }
            }
            true
        }
    }
}
