//! Moving a value's allocations, a large one piece by piece. See [`crate::ds::Mover`].
//!
//! A walk over a value begins at place 0; what places are is the type's own business. Chunks of long strings stay where they
//! are: each fills pages of its own.

use super::{Str, Value};
use crate::ds::Mover;

/// A piece of a walk: from a place on, about so many elements.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    pub from: usize,
    pub count: usize,
}

impl Stretch {
    /// Where the walk goes on, if it does.
    pub(super) fn next(at: usize, end: usize) -> Option<usize> {
        (at < end).then_some(at)
    }
}

impl Value {
    /// Moves a stretch of the value; the place where it goes on.
    pub fn relocate(&mut self, stretch: Stretch, mover: &mut Mover<'_>) -> Option<usize> {
        match self {
            Self::Str(Str::Int(_) | Str::Chunked(_)) => None,
            Self::Str(Str::Embedded(bytes) | Str::Raw(bytes)) => {
                bytes.relocate(mover);
                None
            }
            Self::List(list) => list.relocate(stretch, mover),
            Self::Set(set) => set.relocate(stretch, mover),
            Self::Hash(hash) => hash.relocate(stretch, mover),
            Self::Zset(zset) => zset.relocate(stretch, mover),
            Self::Stream(stream) => stream.relocate(stretch, mover),
        }
    }
}
