//! One bucket of the table: a single allocation with a reference count, a stamp, one fingerprint byte per entry and
//! the entries themselves.
//!
//! Invariants
//! - The first `len` entries are initialised; the fingerprint area is initialised up to its padded length, so a probe
//!   reads whole words.
//! - Contents change only through [`LeafMut`], which exists only while the count is one and the leaf is borrowed
//!   mutably: no reader of a shared leaf ever sees a write.
//!
//! Memory: `header | fingerprints padded to 8 | entries`, capacities chosen so that the allocation fills a size class
//! of jemalloc.
#![expect(
    unsafe_code,
    reason = "measured: entries beside their fingerprints in one allocation cost 11 B per key at 12 entries and one \
              cache miss per probe; a boxed vector inside a counted node costs twice both"
)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::mem::{align_of, size_of};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering, fence};

use super::Stamp;
use crate::ds::{Mover, leave};

const WORD: usize = 8;
const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
/// Counts beyond this are a leak that would wrap around; the process ends instead.
const REFS_MAX: u32 = i32::MAX as u32;

#[repr(C)]
struct Header<S> {
    refs: AtomicU32,
    len: u16,
    cap: u16,
    stamp: S,
}

/// A shared bucket. `Clone` shares it, [`Leaf::edit`] gives the only owner write access and copies for any other.
pub(super) struct Leaf<E, S> {
    head: NonNull<Header<S>>,
    owns: PhantomData<(E, S)>,
}

// SAFETY: a leaf is a counted pointer to entries and a stamp: several threads may read them at once through clones
// (needs `Sync`), and the last of them drops or takes them (needs `Send`). The count itself is atomic.
unsafe impl<E: Send + Sync, S: Send + Sync> Send for Leaf<E, S> {}
// SAFETY: as above; `&Leaf` gives `&E`, and cloning through it makes another owner.
unsafe impl<E: Send + Sync, S: Send + Sync> Sync for Leaf<E, S> {}

/// Write access to a leaf that nobody shares.
pub(super) struct LeafMut<'a, E, S> {
    leaf: &'a mut Leaf<E, S>,
}

impl<E, S: Stamp> Leaf<E, S> {
    const FITS: () = assert!(align_of::<E>() <= WORD && align_of::<S>() <= WORD && size_of::<E>() > 0);

    /// An empty leaf with room for at least `min` entries.
    pub(super) fn with_capacity(min: usize, stamp: S) -> Self {
        let () = Self::FITS;
        let cap = Self::capacity_for(min);
        let layout = Self::layout(cap);
        // SAFETY: the layout holds a header, so its size is not zero.
        let raw = unsafe { alloc(layout) };
        let Some(head) = NonNull::new(raw.cast::<Header<S>>()) else { handle_alloc_error(layout) };
        // SAFETY: fresh memory of `layout(cap)`, aligned to WORD, which begins with the header and goes on with
        // `padded(cap)` fingerprint bytes.
        unsafe {
            head.as_ptr().write(Header { refs: AtomicU32::new(1), len: 0, cap: cap as u16, stamp });
            raw.add(Self::FINGERPRINTS).write_bytes(0, padded(cap));
        }
        Self { head, owns: PhantomData }
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.header().len)
    }

    pub(super) fn stamp(&self) -> S {
        self.header().stamp
    }

    pub(super) fn entries(&self) -> &[E] {
        // SAFETY: the first `len` entries are initialised and nobody writes while `self` is borrowed (see LeafMut).
        unsafe { std::slice::from_raw_parts(self.entries_ptr(), self.len()) }
    }

    /// Index of the first entry with this fingerprint that `is` accepts.
    pub(super) fn find(&self, fingerprint: u8, mut is: impl FnMut(&E) -> bool) -> Option<usize> {
        let wanted = LOW_BITS * u64::from(fingerprint);
        let entries = self.entries();
        for (word, bytes) in self.fingerprints().chunks_exact(WORD).enumerate() {
            let mut differs = [0; WORD];
            differs.copy_from_slice(bytes);
            let differs = u64::from_le_bytes(differs) ^ wanted;
            // Marks every zero byte, and at worst some byte above one; the entry's own key decides.
            let mut hits = differs.wrapping_sub(LOW_BITS) & !differs & HIGH_BITS;
            while hits != 0 {
                let index = word * WORD + hits.trailing_zeros() as usize / 8;
                if index < entries.len() && is(&entries[index]) {
                    return Some(index);
                }
                hits &= hits - 1;
            }
        }
        None
    }

    /// Write access; a shared leaf is copied first (the entries are cloned, so shared in turn).
    pub(super) fn edit(&mut self) -> LeafMut<'_, E, S>
    where
        E: Clone,
    {
        if !self.is_unique() {
            leave(Self::bytes(usize::from(self.header().cap)));
            *self = self.duplicate(self.len());
        }
        LeafMut { leaf: self }
    }

    /// Write access, unless somebody else holds the leaf; it is moved where that is wanted.
    pub(super) fn relocated(&mut self, mover: &mut Mover<'_>) -> Option<LeafMut<'_, E, S>> {
        if !self.is_unique() {
            return None;
        }
        let moves = mover.moves(self.head.as_ptr());
        let capacity = self.capacity();
        let mut leaf = LeafMut { leaf: self };
        if moves {
            leaf.resize(capacity);
        }
        Some(leaf)
    }

    /// Hands out all entries with their fingerprints: moved when this was the only owner, cloned otherwise.
    pub(super) fn consume(mut self, mut take: impl FnMut(u8, E))
    where
        E: Clone,
    {
        let mut own = self.edit();
        while own.leaf.len() > 0 {
            let last = own.leaf.len() - 1;
            let (fingerprint, entry) = own.swap_remove_raw(last);
            take(fingerprint, entry);
        }
    }

    pub(super) fn fingerprint(&self, index: usize) -> u8 {
        self.fingerprints()[index]
    }

    fn duplicate(&self, capacity: usize) -> Self
    where
        E: Clone,
    {
        let mut copy = Self::with_capacity(capacity, self.stamp());
        let mut own = LeafMut { leaf: &mut copy };
        for (index, entry) in self.entries().iter().enumerate() {
            own.push(self.fingerprint(index), entry.clone());
        }
        copy
    }

    fn is_unique(&self) -> bool {
        // Acquire: what other owners did before they let go happened before our writes.
        self.header().refs.load(Ordering::Acquire) == 1
    }

    /// Largest capacity within the size class that `min` entries need.
    fn capacity_for(min: usize) -> usize {
        let min = min.clamp(4, usize::from(u16::MAX));
        let class = size_class(Self::bytes(min));
        let mut cap = min;
        while cap < usize::from(u16::MAX) && Self::bytes(cap + 1) <= class {
            cap += 1;
        }
        cap
    }

    const FINGERPRINTS: usize = size_of::<Header<S>>();

    fn bytes(cap: usize) -> usize {
        Self::entries_at(cap) + cap * size_of::<E>()
    }

    fn entries_at(cap: usize) -> usize {
        padded(Self::FINGERPRINTS + cap)
    }

    fn layout(cap: usize) -> Layout {
        Layout::from_size_align(Self::bytes(cap), WORD).expect("a leaf is far smaller than the address space")
    }

    fn header(&self) -> &Header<S> {
        // SAFETY: `head` points to an initialised header for as long as any owner lives.
        unsafe { self.head.as_ref() }
    }

    fn capacity(&self) -> usize {
        usize::from(self.header().cap)
    }

    fn fingerprints(&self) -> &[u8] {
        let base = self.head.as_ptr().cast::<u8>();
        // SAFETY: initialised to the padded length at allocation.
        unsafe { std::slice::from_raw_parts(base.add(Self::FINGERPRINTS), padded(self.capacity())) }
    }

    fn entries_ptr(&self) -> *mut E {
        // SAFETY: within the allocation, by `bytes`; aligned, because the offset is a multiple of WORD.
        unsafe { self.head.as_ptr().cast::<u8>().add(Self::entries_at(self.capacity())).cast::<E>() }
    }
}

impl<'a, E, S: Stamp> LeafMut<'a, E, S> {
    pub(super) fn raise(&mut self, stamp: S) {
        let merged = self.leaf.stamp().merge(stamp);
        self.header_mut().stamp = merged;
    }

    pub(super) fn push(&mut self, fingerprint: u8, entry: E) {
        let len = self.leaf.len();
        if len == self.leaf.capacity() {
            self.resize(len + 1);
        }
        assert!(len < self.leaf.capacity(), "a bucket outgrew its length field");
        // SAFETY: `len < cap`, so slot and fingerprint lie within the allocation; the slot holds nothing yet.
        unsafe {
            self.leaf.entries_ptr().add(len).write(entry);
            *self.leaf.head.as_ptr().cast::<u8>().add(Leaf::<E, S>::FINGERPRINTS + len) = fingerprint;
        }
        self.header_mut().len = (len + 1) as u16;
    }

    /// Takes an entry out; the last one moves into its place.
    pub(super) fn swap_remove(&mut self, index: usize) -> E {
        let (_, entry) = self.swap_remove_raw(index);
        let len = self.leaf.len();
        if self.leaf.capacity() > 8 && len * 2 < self.leaf.capacity() {
            self.resize(len + 2);
        }
        entry
    }

    /// Gives back spare room beyond the size class that the entries need.
    pub(super) fn fit(&mut self) {
        let len = self.leaf.len();
        if Leaf::<E, S>::capacity_for(len) < self.leaf.capacity() {
            self.resize(len);
        }
    }

    /// Takes one entry out without giving back room.
    pub(super) fn swap_remove_raw(&mut self, index: usize) -> (u8, E) {
        let len = self.leaf.len();
        assert!(index < len, "entry index out of bounds");
        let last = len - 1;
        self.header_mut().len = last as u16;
        // SAFETY: both slots are initialised; the entry at `index` is moved out, the last one moves into the hole,
        // and the slot at `last` counts as empty from the line above on.
        unsafe {
            let fingerprints = self.leaf.head.as_ptr().cast::<u8>().add(Leaf::<E, S>::FINGERPRINTS);
            let fingerprint = *fingerprints.add(index);
            *fingerprints.add(index) = *fingerprints.add(last);
            let entries = self.leaf.entries_ptr();
            let entry = entries.add(index).read();
            if index != last {
                ptr::copy_nonoverlapping(entries.add(last), entries.add(index), 1);
            }
            (fingerprint, entry)
        }
    }

    fn resize(&mut self, min: usize) {
        let len = self.leaf.len();
        let mut moved = Leaf::<E, S>::with_capacity(min.max(len), self.leaf.stamp());
        // SAFETY: both are unique and disjoint and `moved` has room for `len`. Setting the lengths hands ownership of
        // the entries over, so the old allocation is freed without dropping them.
        unsafe {
            ptr::copy_nonoverlapping(self.leaf.entries_ptr(), moved.entries_ptr(), len);
            let at = Leaf::<E, S>::FINGERPRINTS;
            ptr::copy_nonoverlapping(
                self.leaf.head.as_ptr().cast::<u8>().add(at),
                moved.head.as_ptr().cast::<u8>().add(at),
                len,
            );
            moved.head.as_mut().len = len as u16;
            self.leaf.head.as_mut().len = 0;
        }
        *self.leaf = moved;
    }

    fn header_mut(&mut self) -> &mut Header<S> {
        // SAFETY: a LeafMut exists only while the count is one and the leaf is borrowed mutably.
        unsafe { self.leaf.head.as_mut() }
    }
}

impl<'a, E, S: Stamp> LeafMut<'a, E, S> {
    pub(super) fn into_entry(self, index: usize) -> &'a mut E {
        assert!(index < self.leaf.len(), "entry index out of bounds");
        // SAFETY: initialised, and unique for as long as the borrow of the leaf lasts.
        unsafe { &mut *self.leaf.entries_ptr().add(index) }
    }

    pub(super) fn into_entries(self) -> &'a mut [E] {
        // SAFETY: the first `len` entries are initialised, and unique for as long as the borrow of the leaf lasts.
        unsafe { std::slice::from_raw_parts_mut(self.leaf.entries_ptr(), self.leaf.len()) }
    }

    pub(super) fn as_leaf(&self) -> &Leaf<E, S> {
        self.leaf
    }
}

impl<E, S> Clone for Leaf<E, S> {
    fn clone(&self) -> Self {
        // SAFETY: `head` is valid while `self` lives.
        let before = unsafe { self.head.as_ref() }.refs.fetch_add(1, Ordering::Relaxed);
        if before > REFS_MAX {
            std::process::abort();
        }
        Self { head: self.head, owns: PhantomData }
    }
}

impl<E, S> Drop for Leaf<E, S> {
    fn drop(&mut self) {
        // SAFETY: `head` is valid until the count reaches zero, which only the last owner brings about.
        let header = unsafe { self.head.as_ref() };
        if header.refs.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        let (len, cap) = (usize::from(header.len), usize::from(header.cap));
        let entries_at = padded(size_of::<Header<S>>() + cap);
        let bytes = entries_at + cap * size_of::<E>();
        // SAFETY: the last owner: the first `len` entries are dropped once, then the memory goes back with the layout
        // that it was allocated with (`Leaf::layout`).
        unsafe {
            let base = self.head.as_ptr().cast::<u8>();
            ptr::drop_in_place(ptr::slice_from_raw_parts_mut(base.add(entries_at).cast::<E>(), len));
            dealloc(base, Layout::from_size_align_unchecked(bytes, WORD));
        }
    }
}

const fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(WORD)
}

/// The size class of jemalloc that serves an allocation: multiples of 16 up to 128, then four per doubling.
fn size_class(bytes: usize) -> usize {
    if bytes <= 128 {
        return bytes.next_multiple_of(16);
    }
    let step = (bytes - 1).next_power_of_two() / 8;
    let step = if (bytes - 1).is_power_of_two() { step * 2 } else { step };
    bytes.next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_classes_are_those_of_jemalloc() {
        let expected = [(1, 16), (17, 32), (128, 128), (129, 160), (161, 192), (256, 256), (257, 320), (321, 384)];
        for (bytes, class) in expected {
            assert_eq!(size_class(bytes), class, "{bytes}");
        }
        assert_eq!(size_class(640), 640);
        assert_eq!(size_class(641), 768);
    }

    /// A copy made for writing must leave what the other owner sees untouched.
    #[test]
    fn edit_copies_a_shared_leaf() {
        let mut leaf = Leaf::<Box<u32>, u64>::with_capacity(0, 7);
        for n in 0..40u32 {
            leaf.edit().push(n as u8, Box::new(n));
        }
        let frozen = leaf.clone();
        assert_eq!(*leaf.edit().swap_remove(3), 3);
        leaf.edit().raise(9);
        **leaf.edit().into_entry(0) = 99;
        assert_eq!((frozen.len(), leaf.len()), (40, 39));
        assert_eq!((frozen.stamp(), leaf.stamp()), (7, 9));
        assert!(frozen.entries().iter().map(|entry| **entry).eq(0..40));
        assert_eq!(frozen.find(39, |entry| **entry == 39), Some(39));
        assert_eq!(leaf.find(39, |entry| **entry == 39), Some(3));
        assert_eq!(leaf.find(3, |entry| **entry == 3), None);
    }
}
