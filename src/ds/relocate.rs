//! Moving what is in use to other places in memory, so that an allocator gets whole pages back where little is left in use.
//!
//! Invariants
//! - Only what nobody else holds is moved: readers of a snapshot keep their addresses, and nothing is there twice afterwards.
//! - New room is taken before the old is given back: an allocator would hand out the same place again.

use triomphe::{Arc, ThinArc};

/// Says what is to be moved, and counts.
pub struct Mover<'a> {
    wanted: &'a mut dyn FnMut(*const u8) -> bool,
    /// Allocations that were moved, and those that were looked at and stay.
    pub hits: u64,
    pub misses: u64,
}

impl<'a> Mover<'a> {
    /// `wanted` is given the address of an allocation in use, and decides by it.
    pub fn new(wanted: &'a mut dyn FnMut(*const u8) -> bool) -> Self {
        Self { wanted, hits: 0, misses: 0 }
    }

    /// Whether the allocation that begins at this address is to be moved; who asks does it then.
    pub fn moves<T: ?Sized>(&mut self, allocation: *const T) -> bool {
        let moves = (self.wanted)(allocation.cast());
        *(if moves { &mut self.hits } else { &mut self.misses }) += 1;
        moves
    }
}

/// What has allocations of its own.
pub trait Relocate {
    /// Moves those that the mover wants moved and nobody else holds.
    fn relocate(&mut self, mover: &mut Mover<'_>);
}

/// Moves the content if that is wanted; gives access to it, unless somebody else holds it.
pub fn relocated<'a, T: Clone>(shared: &'a mut Arc<T>, mover: &mut Mover<'_>) -> Option<&'a mut T> {
    if shared.is_unique() && mover.moves(shared.heap_ptr()) {
        *shared = Arc::new(T::clone(shared));
    }
    Arc::get_mut(shared)
}

impl Relocate for ThinArc<(), u8> {
    fn relocate(&mut self, mover: &mut Mover<'_>) {
        if Self::strong_count(self) == 1 && mover.moves(self.heap_ptr()) {
            *self = Self::from_header_and_slice((), &self.slice);
        }
    }
}
