//! Streams: entries ordered by ID, and the groups of consumers that share them out.
//!
//! Entries lie in nodes of neighbours (see [`node`]), the nodes in a persistent counted tree: finding an ID, a rank or
//! the beginning of a range is O(log n), and a clone is a snapshot. Groups with what is pending in them are persistent
//! trees too.
//!
//! Invariants
//! - `last_id` is at least the ID of every entry; new entries come behind it.
//! - A stream without entries is a value like any other: its key stays, with its last ID and its groups.
//! - Entries go by trimming, which leaves no trace, or by deletion, which raises `max_deleted_id`.

mod group;
mod id;
mod iter;
mod node;
mod packed;
mod shape;
#[cfg(test)]
mod tests;

use triomphe::Arc;

use crate::ds::{Mover, Relocate, Tree, own, relocated};
use crate::value::{Limits, Stretch};
use group::GroupRef;
pub use group::{Consumer, Group, Pending};
pub use id::StreamId;
pub use iter::{Entries, EntriesBack};
use node::Nodes;
pub use node::{EntryFields, Node as StreamNode, StreamEntry};
pub use packed::StreamDamage;

/// Names and values of one entry may take this many bytes together.
pub const ENTRY_BYTES_MAX: usize = 1 << 30;

/// A stream. Clone is O(1).
#[derive(Clone, Debug, Default)]
pub struct Stream {
    inner: Arc<Inner>,
}

#[derive(Clone, Debug, Default)]
struct Inner {
    nodes: Nodes,
    last_id: StreamId,
    max_deleted_id: StreamId,
    /// Entries ever added.
    entries_added: u64,
    groups: Tree<GroupRef>,
}

/// What trimming leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trim {
    /// At most so many entries.
    MaxLen(u64),
    /// No entries before this one.
    MinId(StreamId),
}

/// How exactly trimming is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exactness {
    Exact,
    /// Whole nodes only, and at most so many entries unless that is 0.
    Nodes {
        limit: u64,
    },
}

impl Stream {
    /// Places: the ranks of the entries, then the groups, each with all that is pending in it.
    pub(super) fn relocate(&mut self, Stretch { from, count }: Stretch, mover: &mut Mover<'_>) -> Option<usize> {
        let inner = relocated(&mut self.inner, mover)?;
        let entries = inner.nodes.len();
        let end = entries + inner.groups.len();
        let at = if from < entries {
            inner.nodes.relocate_from(from, count, mover, StreamNode::relocate)
        } else {
            entries + inner.groups.relocate_from(from - entries, 1, mover, GroupRef::relocate)
        };
        Stretch::next(at, end)
    }

    pub fn new() -> Self {
        Self::default()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.inner.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.inner.nodes.is_empty()
    }

    /// The highest ID ever added or set.
    pub fn last_id(&self) -> StreamId {
        self.inner.last_id
    }

    /// The highest ID ever deleted (not: trimmed); zero when none was.
    pub fn max_deleted_id(&self) -> StreamId {
        self.inner.max_deleted_id
    }

    /// Entries ever added, as far as is known.
    pub fn entries_added(&self) -> u64 {
        self.inner.entries_added
    }

    /// The ID of the first entry.
    pub fn first_entry_id(&self) -> Option<StreamId> {
        self.range(StreamId::MIN, StreamId::MAX).next().map(|entry| entry.id)
    }

    /// The ID of the last entry.
    pub fn last_entry_id(&self) -> Option<StreamId> {
        self.inner.nodes.last()?.entries().last().map(|entry| entry.id)
    }

    /// Adds an entry of names and values in turn behind the last ID; the caller has made sure that its ID lies there.
    ///
    /// # Panics
    /// When the ID does not.
    pub fn add(&mut self, id: StreamId, fields: &[&[u8]], limits: &Limits) {
        let inner = own(&mut self.inner);
        assert!(id > inner.last_id, "entries are added at the end");
        let bytes = fields.iter().map(|word| word.len()).sum();
        let last = inner.nodes.len().checked_sub(1);
        match last {
            Some(last) if inner.nodes.last().is_some_and(|node| node.admits(bytes, limits)) => {
                inner.nodes.update(last, |node, _| node.push(id, fields));
            }
            _ => inner.nodes.push_back(StreamNode::new(id, fields)),
        }
        inner.last_id = id;
        inner.entries_added += 1;
    }

    /// Deletes an entry; false when there is none of this ID.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let Some(position) = self.inner.node_of(id) else { return false };
        if !self.contains(id) {
            return false;
        }
        let inner = own(&mut self.inner);
        inner.nodes.update(position, |node, _| node.delete(id));
        inner.max_deleted_id = inner.max_deleted_id.max(id);
        true
    }

    /// Removes entries from the front; how many.
    pub fn trim(&mut self, trim: Trim, exactness: Exactness) -> usize {
        let len = self.len();
        match trim {
            Trim::MaxLen(most) if len as u64 <= most => return 0,
            Trim::MinId(id) if self.first_entry_id().is_none_or(|first| first >= id) => return 0,
            _ => {}
        }
        let nodes = &mut own(&mut self.inner).nodes;
        while let Some(first) = nodes.first() {
            let left = nodes.len();
            if matches!(trim, Trim::MaxLen(most) if left as u64 <= most) {
                break;
            }
            if let Exactness::Nodes { limit } = exactness
                && limit > 0
                && (len - left + first.live()) as u64 > limit
            {
                break;
            }
            let whole = match trim {
                Trim::MaxLen(most) => (left - first.live()) as u64 >= most,
                Trim::MinId(id) => first.last_id_ever() < id,
            };
            if whole {
                nodes.pop_front();
                continue;
            }
            if exactness == Exactness::Exact {
                nodes.update(0, |node, _| match trim {
                    Trim::MaxLen(most) => {
                        let mut surplus = (left as u64).saturating_sub(most);
                        node.delete_front(|_| {
                            let go_on = surplus > 0;
                            surplus = surplus.saturating_sub(1);
                            go_on
                        })
                    }
                    Trim::MinId(least) => node.delete_front(|id| id < least),
                });
            }
            break;
        }
        len - self.len()
    }

    /// Sets the last ID, and what else is given. The caller has made sure that no entry lies behind it.
    pub fn set_id(&mut self, last: StreamId, entries_added: Option<u64>, max_deleted: Option<StreamId>) {
        let inner = own(&mut self.inner);
        inner.last_id = last;
        inner.entries_added = entries_added.unwrap_or(inner.entries_added);
        inner.max_deleted_id = max_deleted.unwrap_or(inner.max_deleted_id);
    }

    /// The entry of an ID.
    pub fn get(&self, id: StreamId) -> Option<StreamEntry<'_>> {
        let (node, _) = self.inner.nodes.get(self.inner.node_of(id)?)?;
        node.entries().find(|entry| entry.id == id)
    }

    pub fn contains(&self, id: StreamId) -> bool {
        self.get(id).is_some()
    }

    /// Entries from `first` to `last`, both included.
    pub fn range(&self, first: StreamId, last: StreamId) -> Entries<'_> {
        Entries::new(&self.inner.nodes, self.inner.node_of(first).unwrap_or(0), first, last)
    }

    /// Entries from `last` back to `first`, both included.
    pub fn range_back(&self, first: StreamId, last: StreamId) -> EntriesBack<'_> {
        let until = self.inner.nodes.partition_point(|master| *master <= last);
        EntriesBack::new(&self.inner.nodes, until, first, last)
    }

    /// How many entries lie from `first` to `last`, both included.
    pub fn count(&self, first: StreamId, last: StreamId) -> usize {
        let until = last.next().map_or(self.len(), |behind| self.inner.rank(behind));
        until.saturating_sub(self.inner.rank(first))
    }

    /// Bytes allocated, estimated from a few nodes; those of the groups included.
    pub fn heap_bytes(&self) -> usize {
        const SAMPLES: usize = 16;
        let (entries, bytes) = self.inner.nodes.iter().take(SAMPLES).fold((0, 0), |(entries, bytes), node| {
            (entries + node.live(), bytes + node.heap_bytes() + size_of::<StreamNode>())
        });
        let entries = if entries == 0 { 0 } else { (bytes as u128 * self.len() as u128 / entries as u128) as usize };
        let groups: usize = self.groups().map(Group::heap_bytes).sum();
        size_of::<Inner>() + entries + groups
    }
}

impl Inner {
    /// A position in the node that an ID would lie in; `None` when it lies before all.
    fn node_of(&self, id: StreamId) -> Option<usize> {
        self.nodes.partition_point(|master| *master <= id).checked_sub(1)
    }

    /// How many entries lie before an ID.
    fn rank(&self, id: StreamId) -> usize {
        let Some(position) = self.node_of(id) else { return 0 };
        match self.nodes.get(position) {
            Some((node, offset)) => position - offset + node.entries().take_while(|entry| entry.id < id).count(),
            None => 0,
        }
    }
}
