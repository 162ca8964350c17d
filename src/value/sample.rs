//! What collections have in common: random choice, estimates of size, a look for duplicates.

use std::collections::HashSet;
use std::hash::Hash;

use crate::ds::Item;
use crate::env::Entropy;

/// `count` different elements in random order, all of them when there are no more.
///
/// `all` walks over the `len` elements; `draw` gives one of them, each equally likely, `None` when there is none.
/// Few out of many are drawn until they differ; many are picked from a copy of all.
pub(super) fn distinct<T: Copy + Eq + Hash>(
    len: usize,
    count: usize,
    all: impl Iterator<Item = T>,
    mut draw: impl FnMut(&mut dyn Entropy) -> Option<T>,
    entropy: &mut dyn Entropy,
) -> Vec<T> {
    if count >= len / 3 {
        let mut picked: Vec<T> = all.collect();
        let count = count.min(picked.len());
        for at in 0..count {
            let other = at + entropy.below((picked.len() - at) as u64) as usize;
            picked.swap(at, other);
        }
        picked.truncate(count);
        return picked;
    }
    let mut seen = HashSet::with_capacity(count);
    let mut picked = Vec::with_capacity(count);
    while picked.len() < count {
        let Some(element) = draw(entropy) else { break };
        if seen.insert(element) {
            picked.push(element);
        }
    }
    picked
}

/// Whether no two elements have the same text.
pub(super) fn all_different<'a>(items: impl Iterator<Item = Item<'a>>) -> bool {
    let mut seen = HashSet::new();
    items.map(|item| item.as_int().map_or(item, Item::Int)).all(|item| seen.insert(item))
}

/// Elements whose sizes stand for all.
const SAMPLES: usize = 32;

/// Bytes of a table of `len` entries `E` whose own allocations have the sizes given (the first few are looked at).
pub(super) fn table_bytes<E>(len: usize, sizes: impl Iterator<Item = usize>) -> usize {
    // The entry in a bucket with some room left, its fingerprint, its share of bucket headers and directory.
    let per_entry = size_of::<E>() * 13 / 12 + 3;
    let (mut sampled, mut bytes) = (0, 0);
    for size in sizes.take(SAMPLES) {
        sampled += 1;
        bytes += size.next_multiple_of(16) as u128;
    }
    let entries = (bytes * len as u128).checked_div(sampled).unwrap_or(0);
    entries as usize + len * per_entry
}
