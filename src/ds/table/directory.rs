//! The radix directory: bucket number to bucket, 64-way, of dynamic height.
//!
//! Invariants
//! - Buckets `0..buckets` exist, all others do not; a node without buckets below it does not exist.
//! - The height is the smallest that addresses `buckets`.
//! - Every node on the path to a bucket that is handed out mutably is unshared.

use triomphe::Arc;

use crate::ds::{Mover, own, relocated};

use super::Stamp;
use super::leaf::Leaf;

const BITS: u32 = 6;
const FANOUT: usize = 1 << BITS;

type Slots<T> = [Option<T>; FANOUT];

/// The lowest level of nodes. Unlike the levels above, it is most of the directory, so its slots are bare pointers.
type Bottom<E, S> = Slots<Leaf<E, S>>;

enum Node<E, S> {
    Upper(Arc<Slots<Node<E, S>>>),
    Bottom(Arc<Bottom<E, S>>),
}

impl<E, S> Clone for Node<E, S> {
    fn clone(&self) -> Self {
        match self {
            Self::Upper(slots) => Self::Upper(slots.clone()),
            Self::Bottom(slots) => Self::Bottom(slots.clone()),
        }
    }
}

/// Buckets by number.
pub(super) struct Directory<E, S> {
    root: Option<Node<E, S>>,
    buckets: usize,
}

impl<E, S> Clone for Directory<E, S> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone(), buckets: self.buckets }
    }
}

impl<E: Clone, S: Stamp> Directory<E, S> {
    pub(super) const fn new() -> Self {
        Self { root: None, buckets: 0 }
    }

    /// Number of buckets.
    pub(super) fn len(&self) -> usize {
        self.buckets
    }

    /// # Panics
    /// When there is no such bucket.
    pub(super) fn leaf(&self, bucket: usize) -> &Leaf<E, S> {
        let mut node = self.root.as_ref();
        let mut shift = shift_for(self.buckets);
        while let Some(Node::Upper(slots)) = node {
            node = slots[slot(bucket, shift)].as_ref();
            shift -= BITS;
        }
        match node {
            Some(Node::Bottom(slots)) => slots[slot(bucket, 0)].as_ref().expect("bucket within the directory"),
            _ => panic!("bucket {bucket} of {} does not exist", self.buckets),
        }
    }

    /// Buckets `64 * n ..` that share one node, for iteration; empty slots only at the end.
    pub(super) fn row(&self, row: usize) -> &[Option<Leaf<E, S>>] {
        let bucket = row * FANOUT;
        if bucket >= self.buckets {
            return &[];
        }
        let mut node = self.root.as_ref();
        let mut shift = shift_for(self.buckets);
        while let Some(Node::Upper(slots)) = node {
            node = slots[slot(bucket, shift)].as_ref();
            shift -= BITS;
        }
        match node {
            Some(Node::Bottom(slots)) => &slots[..],
            _ => &[],
        }
    }

    /// All nodes of the lowest level, in order, each held by itself; the levels above are let go of.
    pub(super) fn into_rows(self) -> Vec<Row<E, S>> {
        let mut rows = Vec::with_capacity(self.buckets.div_ceil(FANOUT));
        if let Some(root) = &self.root {
            collect_rows(root, &mut rows);
        }
        rows
    }

    /// The bucket, on a path that nobody shares any more; the bucket itself may still be shared.
    ///
    /// # Panics
    /// When there is no such bucket.
    pub(super) fn leaf_mut(&mut self, bucket: usize) -> &mut Leaf<E, S> {
        let mut shift = shift_for(self.buckets);
        let mut node = self.root.as_mut().expect("bucket within the directory");
        loop {
            match node {
                Node::Upper(slots) => {
                    node = own(slots)[slot(bucket, shift)].as_mut().expect("bucket within the directory");
                    shift -= BITS;
                }
                Node::Bottom(slots) => {
                    return own(slots)[slot(bucket, 0)].as_mut().expect("bucket within the directory");
                }
            }
        }
    }

    /// The bucket, unless somebody else holds a node above it. Nodes that begin with it are moved where that is wanted.
    pub(super) fn leaf_relocated(&mut self, bucket: usize, mover: &mut Mover<'_>) -> Option<&mut Leaf<E, S>> {
        let mut shift = shift_for(self.buckets);
        let mut node = self.root.as_mut()?;
        loop {
            let is_first = bucket.trailing_zeros() >= shift + BITS;
            match node {
                Node::Upper(slots) => {
                    let slots = if is_first { relocated(slots, mover) } else { Arc::get_mut(slots) }?;
                    node = slots[slot(bucket, shift)].as_mut()?;
                    shift -= BITS;
                }
                Node::Bottom(slots) => {
                    let slots = if is_first { relocated(slots, mover) } else { Arc::get_mut(slots) }?;
                    return slots[slot(bucket, 0)].as_mut();
                }
            }
        }
    }

    /// Adds the bucket with the next number.
    pub(super) fn push(&mut self, leaf: Leaf<E, S>) {
        let bucket = self.buckets;
        let height_before = shift_for(bucket.max(1));
        let mut shift = shift_for(bucket + 1);
        if shift > height_before
            && let Some(below) = self.root.take()
        {
            let mut slots = empty();
            slots[0] = Some(below);
            self.root = Some(Node::Upper(Arc::new(slots)));
        }
        self.buckets += 1;
        let mut place = &mut self.root;
        while shift > 0 {
            let node = place.get_or_insert_with(|| Node::Upper(Arc::new(empty())));
            let Node::Upper(slots) = node else { unreachable!("a bottom node above level zero") };
            place = &mut own(slots)[slot(bucket, shift)];
            shift -= BITS;
        }
        let node = place.get_or_insert_with(|| Node::Bottom(Arc::new(empty())));
        let Node::Bottom(slots) = node else { unreachable!("an upper node at level zero") };
        own(slots)[slot(bucket, 0)] = Some(leaf);
    }

    /// Removes the bucket with the highest number.
    pub(super) fn pop(&mut self) -> Option<Leaf<E, S>> {
        let bucket = self.buckets.checked_sub(1)?;
        let shift = shift_for(self.buckets);
        let leaf = take(&mut self.root, bucket, shift);
        self.buckets = bucket;
        if shift_for(bucket.max(1)) < shift
            && let Some(Node::Upper(slots)) = &self.root
        {
            self.root = slots[0].clone();
        }
        leaf
    }
}

fn collect_rows<E: Clone, S: Stamp>(node: &Node<E, S>, rows: &mut Vec<Row<E, S>>) {
    match node {
        Node::Upper(slots) => slots.iter().flatten().for_each(|below| collect_rows(below, rows)),
        Node::Bottom(slots) => rows.push(Row(slots.clone())),
    }
}

/// Up to 64 buckets of a frozen table, held apart from the others: when it is dropped, what the table has replaced of
/// them since is freed.
pub struct Row<E, S = ()>(Arc<Bottom<E, S>>);

impl<E, S> Clone for Row<E, S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E, S: Stamp> Row<E, S> {
    /// Number of buckets, at least 1.
    pub fn buckets(&self) -> usize {
        self.0.iter().take_while(|slot| slot.is_some()).count()
    }

    /// The entries of one bucket; none when there is no such bucket.
    pub fn bucket(&self, bucket: usize) -> &[E] {
        self.0.get(bucket).and_then(Option::as_ref).map_or(&[], Leaf::entries)
    }
}

fn take<E: Clone, S: Stamp>(place: &mut Option<Node<E, S>>, bucket: usize, shift: u32) -> Option<Leaf<E, S>> {
    let leaf = match place.as_mut()? {
        Node::Upper(slots) => take(&mut own(slots)[slot(bucket, shift)], bucket, shift - BITS),
        Node::Bottom(slots) => own(slots)[slot(bucket, 0)].take(),
    };
    let was_the_only_one_below = bucket.trailing_zeros() >= shift + BITS;
    if was_the_only_one_below {
        *place = None;
    }
    leaf
}

const fn empty<T>() -> Slots<T> {
    [const { None }; FANOUT]
}

const fn slot(bucket: usize, shift: u32) -> usize {
    (bucket >> shift) & (FANOUT - 1)
}

/// The shift of the root level of a directory of this many buckets.
const fn shift_for(buckets: usize) -> u32 {
    let highest = buckets.saturating_sub(1);
    if highest == 0 { 0 } else { highest.ilog2() / BITS * BITS }
}
