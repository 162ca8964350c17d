//! How much memory writes leave behind: what they had to copy, or to take out, because a snapshot holds it too.
//!
//! Each thread counts for itself; whoever changes a structure asks afterwards. Only writes to what is shared count, so that
//! without snapshots it costs nothing. A holder may also be another key (COPY shares), which nobody can tell apart here.

use std::cell::Cell;

use triomphe::Arc;

thread_local! {
    static LEFT: Cell<u64> = const { Cell::new(0) };
}

/// Notes bytes that this thread's write has left to other holders.
pub fn leave(bytes: usize) {
    LEFT.set(LEFT.get() + bytes as u64);
}

/// Bytes left behind by this thread since it was asked last.
pub fn take_left() -> u64 {
    LEFT.take()
}

/// The content for change in place; copied first, and left to the others, when there are other holders.
pub fn own<T: Clone>(shared: &mut Arc<T>) -> &mut T {
    if !shared.is_unique() {
        leave(size_of::<T>());
    }
    Arc::make_mut(shared)
}
