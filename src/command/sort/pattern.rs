//! The patterns of SORT's BY and GET: `#`, `weight_*`, `object_*->field`.
//!
//! As in the stock server a pattern ends, for the search of its marks, at a zero byte.

use crate::command::Cx;
use crate::value::ValueRef;

/// Where an element's weight, or what is returned for it, is looked up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pattern<'a> {
    /// `#`: the element itself.
    Element,
    /// A pattern without `*`: nothing is found.
    Nothing,
    /// The key around the element, and the field of the hash there; without one the key holds a string.
    Key { before: &'a [u8], behind: &'a [u8], field: Option<&'a [u8]> },
}

impl<'a> Pattern<'a> {
    pub(super) fn new(pattern: &'a [u8]) -> Self {
        if pattern == b"#" {
            return Self::Element;
        }
        let text = pattern.split(|byte| *byte == 0).next().unwrap_or_default();
        let Some(star) = memchr::memchr(b'*', text) else { return Self::Nothing };
        let arrow = memchr::memmem::find(&text[star + 1..], b"->").map(|at| star + 1 + at);
        let field_at = arrow.map(|at| at + 2).filter(|at| *at < text.len());
        let behind_end = field_at.map_or(pattern.len(), |at| at - 2);
        Self::Key {
            before: &pattern[..star],
            behind: &pattern[star + 1..behind_end],
            field: field_at.map(|at| &pattern[at..]),
        }
    }

    /// Whether every element is looked up elsewhere; a constant pattern asks for no order at all.
    pub(super) fn is_constant(self) -> bool {
        !matches!(self, Self::Key { .. })
    }

    /// What an element stands for.
    pub(super) fn look_up(self, cx: &mut Cx<'_>, element: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Element => Some(element.to_vec()),
            Self::Nothing => None,
            Self::Key { before, behind, field } => {
                let key = [before, element, behind].concat();
                match (cx.entry(&key).0?.value(), field) {
                    (ValueRef::Str(text), None) => Some(text.to_vec()),
                    (ValueRef::Hash(hash), Some(field)) => hash.get(field).map(|item| item.to_vec()),
                    _ => None,
                }
            }
        }
    }
}
