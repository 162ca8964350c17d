//! Strings: an integer, or bytes.
//!
//! Invariants
//! - `Int(n)` and the canonical text of `n` are the same string; no other text is stored as an integer.
//! - `Embedded` holds at most [`EMBEDDED_MAX`] bytes. The same bytes are `Raw` after they were edited in place; the
//!   difference shows in `encoding()` alone.

use crate::ds::{CowBytes, parse_canonical_i64};

/// The longest string that the stock server stores beside its header.
pub const EMBEDDED_MAX: usize = 44;

/// A string as it is read: where its bytes lie is the holder's business.
#[derive(Clone, Copy, Debug)]
pub enum StrRef<'a> {
    Int(i64),
    Embedded(&'a [u8]),
    Raw(&'a [u8]),
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

    /// The bytes; an integer is formatted into `buffer`.
    pub fn as_bytes<'b>(self, buffer: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Self::Int(number) => buffer.format(number).as_bytes(),
            Self::Embedded(bytes) | Self::Raw(bytes) => bytes,
        }
    }

    pub fn to_vec(self) -> Vec<u8> {
        self.as_bytes(&mut itoa::Buffer::new()).to_vec()
    }

    /// The number that the string is the canonical text of.
    pub fn as_int(self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(number),
            Self::Embedded(bytes) | Self::Raw(bytes) => parse_canonical_i64(bytes),
        }
    }

    /// Length in bytes.
    pub fn len(self) -> usize {
        match self {
            Self::Int(_) => self.as_bytes(&mut itoa::Buffer::new()).len(),
            Self::Embedded(bytes) | Self::Raw(bytes) => bytes.len(),
        }
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The bytes from `start` to `end`, both included, negative ones counted from the end; cut to what there is.
    pub fn range<'b>(self, start: i64, end: i64, buffer: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        let bytes = self.as_bytes(buffer);
        super::index::byte_span(bytes.len(), start, end).map_or(&[], |range| &bytes[range])
    }

    /// As OBJECT ENCODING names it.
    pub fn encoding(self) -> &'static str {
        match self {
            Self::Int(_) => "int",
            Self::Embedded(_) => "embstr",
            Self::Raw(_) => "raw",
        }
    }
}

impl PartialEq for StrRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        let (mut a, mut b) = (itoa::Buffer::new(), itoa::Buffer::new());
        self.as_bytes(&mut a) == other.as_bytes(&mut b)
    }
}

/// A string that owns its bytes. Clone is O(1).
#[derive(Clone, Debug)]
pub enum Str {
    Int(i64),
    Embedded(CowBytes),
    Raw(CowBytes),
}

impl Str {
    /// Stored as SET stores it: an integer when it is the canonical text of one.
    pub fn encode(bytes: &[u8]) -> Self {
        StrRef::encode(bytes).into()
    }

    pub fn from_int(number: i64) -> Self {
        Self::Int(number)
    }

    pub fn as_ref(&self) -> StrRef<'_> {
        match self {
            Self::Int(number) => StrRef::Int(*number),
            Self::Embedded(bytes) => StrRef::Embedded(bytes),
            Self::Raw(bytes) => StrRef::Raw(bytes),
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
        }
    }

    /// Appends; returns the new length.
    pub fn append(&mut self, tail: &[u8]) -> usize {
        let bytes = self.raw();
        bytes.push(tail);
        bytes.len()
    }

    /// Overwrites from `offset` on, with zeros in front of it where the string ends before; returns the new length.
    pub fn set_range(&mut self, offset: usize, content: &[u8]) -> usize {
        let bytes = self.raw();
        if bytes.len() < offset {
            bytes.resize(offset);
        }
        let overwritten = content.len().min(bytes.len() - offset);
        bytes.splice(offset, overwritten, &[content]);
        bytes.len()
    }

    /// The bytes for editing in place, zero-extended to at least `len_min`.
    pub fn edit(&mut self, len_min: usize) -> &mut [u8] {
        let bytes = self.raw();
        if bytes.len() < len_min {
            bytes.resize(len_min);
        }
        bytes.as_mut_slice()
    }

    fn raw(&mut self) -> &mut CowBytes {
        match self {
            Self::Raw(_) => {}
            Self::Int(number) => *self = Self::Raw(CowBytes::new(itoa::Buffer::new().format(*number).as_bytes())),
            Self::Embedded(bytes) => *self = Self::Raw(std::mem::take(bytes)),
        }
        let Self::Raw(bytes) = self else { unreachable!("made raw above") };
        bytes
    }
}

impl From<StrRef<'_>> for Str {
    fn from(string: StrRef<'_>) -> Self {
        match string {
            StrRef::Int(number) => Self::Int(number),
            StrRef::Embedded(bytes) => Self::Embedded(CowBytes::new(bytes)),
            StrRef::Raw(bytes) => Self::Raw(CowBytes::new(bytes)),
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
            assert_eq!(
                string.as_ref().range(start, end, &mut itoa::Buffer::new()),
                expected.as_bytes(),
                "{start} {end}"
            );
        }
        assert_eq!(Str::Int(12345).as_ref().range(1, -2, &mut itoa::Buffer::new()), b"234");
    }

    quickcheck! {
        fn edits_like_a_vector_and_leaves_clones_alone(start: Vec<u8>, number: Option<i64>, ops: Vec<(u8, u16, Vec<u8>)>) -> bool {
            let mut model = number.map_or(start, |n| n.to_string().into_bytes());
            let mut ours = Str::encode(&model);
            for (op, offset, content) in ops {
                let (held, held_model) = (ours.clone(), model.clone());
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
                        ours.edit(offset + 1)[offset] ^= 0x40;
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
