//! Consumer groups: how far a group has read, and what its consumers have got and not acknowledged.
//!
//! Invariants
//! - Every pending entry has one consumer of its group, and is in that consumer's own list too; nothing else is.
//! - Groups, consumers and pending entries are persistent trees: changing one of a million copies a path.

use std::borrow::Borrow;

use triomphe::{Arc, ThinArc};

use super::{Stream, StreamId};
use crate::ds::{Mover, Relocate, Tree, own, relocated, tree};

/// The name of a group or consumer; clones share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(ThinArc<(), u8>);

impl Name {
    fn new(name: &[u8]) -> Self {
        Self(ThinArc::from_header_and_slice((), name))
    }

    fn heap_bytes(&self) -> usize {
        self.0.slice.len() + 2 * size_of::<usize>()
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0.slice
    }
}

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Debug)]
pub struct Pending {
    pub id: StreamId,
    /// Milliseconds since 1970.
    pub delivered_at: i64,
    pub deliveries: u64,
    consumer: Name,
}

impl Pending {
    pub fn consumer(&self) -> &[u8] {
        self.consumer.borrow()
    }
}

impl tree::Item for Pending {
    type Key = StreamId;
    type Separator = StreamId;

    fn key(&self) -> &StreamId {
        &self.id
    }

    fn separator(&self) -> StreamId {
        self.id
    }
}

impl tree::Item for StreamId {
    type Key = Self;
    type Separator = Self;

    fn key(&self) -> &Self {
        self
    }

    fn separator(&self) -> Self {
        *self
    }
}

/// One who reads for a group.
#[derive(Clone, Debug)]
pub struct Consumer {
    name: Name,
    /// When it last asked for anything, in milliseconds since 1970.
    pub seen_at: i64,
    /// When it last got anything.
    pub active_at: Option<i64>,
    pending: Tree<StreamId>,
}

impl Consumer {
    pub fn name(&self) -> &[u8] {
        self.name.borrow()
    }

    /// How many entries it has not acknowledged.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// IDs of what it has not acknowledged, from this one on.
    pub fn pending_from(&self, first: StreamId) -> impl Iterator<Item = StreamId> {
        self.pending.iter_at(self.pending.partition_point(|id| *id < first)).copied()
    }
}

#[derive(Clone, Debug)]
struct ConsumerRef(Arc<Consumer>);

impl tree::Item for ConsumerRef {
    type Key = [u8];
    type Separator = Name;

    fn key(&self) -> &[u8] {
        self.0.name()
    }

    fn separator(&self) -> Name {
        self.0.name.clone()
    }
}

/// A consumer group.
#[derive(Clone, Debug)]
pub struct Group {
    name: Name,
    /// The last entry handed out.
    pub last_id: StreamId,
    /// How many entries of the stream that makes, as far as is known.
    pub entries_read: Option<u64>,
    pending: Tree<Pending>,
    consumers: Tree<ConsumerRef>,
}

#[derive(Clone, Debug)]
pub(super) struct GroupRef(Arc<Group>);

impl GroupRef {
    pub(super) fn new(group: Group) -> Self {
        Self(Arc::new(group))
    }
}

impl Relocate for GroupRef {
    fn relocate(&mut self, mover: &mut Mover<'_>) {
        let Some(group) = relocated(&mut self.0, mover) else { return };
        group.pending.relocate_from(0, usize::MAX, mover, |_, _| {});
        group.consumers.relocate_from(0, usize::MAX, mover, |consumer, mover| {
            if let Some(consumer) = relocated(&mut consumer.0, mover) {
                consumer.pending.relocate_from(0, usize::MAX, mover, |_, _| {});
            }
        });
    }
}

impl tree::Item for GroupRef {
    type Key = [u8];
    type Separator = Name;

    fn key(&self) -> &[u8] {
        self.0.name()
    }

    fn separator(&self) -> Name {
        self.0.name.clone()
    }
}

impl Group {
    pub fn new(name: &[u8], last_id: StreamId, entries_read: Option<u64>) -> Self {
        Self { name: Name::new(name), last_id, entries_read, pending: Tree::new(), consumers: Tree::new() }
    }

    pub fn name(&self) -> &[u8] {
        self.name.borrow()
    }

    /// How many entries are pending.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// What is pending, from this ID on.
    pub fn pending_from(&self, first: StreamId) -> impl Iterator<Item = &Pending> {
        self.pending.iter_at(self.pending.partition_point(|id| *id < first))
    }

    pub fn pending(&self, id: StreamId) -> Option<&Pending> {
        self.pending.find(|other| other.cmp(&id)).map(|(_, pending)| pending)
    }

    /// The first and last pending ID.
    pub fn pending_span(&self) -> Option<(StreamId, StreamId)> {
        Some((self.pending.first()?.id, self.pending.last()?.id))
    }

    pub fn consumer_len(&self) -> usize {
        self.consumers.len()
    }

    /// Consumers in order of their names.
    pub fn consumers(&self) -> impl Iterator<Item = &Consumer> {
        self.consumers.iter().map(|consumer| &*consumer.0)
    }

    pub fn consumer(&self, name: &[u8]) -> Option<&Consumer> {
        self.consumers.find(|other| other.cmp(name)).map(|(_, consumer)| &*consumer.0)
    }

    /// Adds a consumer seen at this moment; false when one of its name is there.
    pub fn add_consumer(&mut self, name: &[u8], seen_at: i64) -> bool {
        if self.consumer(name).is_some() {
            return false;
        }
        let consumer = Consumer { name: Name::new(name), seen_at, active_at: None, pending: Tree::new() };
        self.consumers.insert_by(|other| other.cmp(name), ConsumerRef(Arc::new(consumer)));
        true
    }

    /// Removes a consumer with what is pending for it; how much that was.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let consumer = self.consumers.remove_by(|other| other.cmp(name))?.0;
        for id in &consumer.pending {
            self.pending.remove_by(|other| other.cmp(id));
        }
        Some(consumer.pending.len())
    }

    /// Changes a consumer; `None` when there is none of this name.
    pub fn edit_consumer<R>(&mut self, name: &[u8], change: impl FnOnce(&mut Consumer) -> R) -> Option<R> {
        let (position, _) = self.consumers.find(|other| other.cmp(name))?;
        self.consumers.update(position, |consumer, _| change(own(&mut consumer.0)))
    }

    /// Gives entries to a consumer, which must be there, whoever had them before.
    ///
    /// # Panics
    /// When there is no such consumer.
    pub fn assign(&mut self, consumer: &[u8], entries: impl IntoIterator<Item = (StreamId, i64, u64)>) {
        let name = self.consumer(consumer).map(|consumer| consumer.name.clone()).expect("made before it is given");
        let mut gained = Vec::new();
        for (id, delivered_at, deliveries) in entries {
            let pending = Pending { id, delivered_at, deliveries, consumer: name.clone() };
            let before = self.pending.insert_by(|other| other.cmp(&id), pending);
            match before {
                Some(before) if before.consumer == name => {}
                Some(before) => {
                    self.edit_consumer(before.consumer(), |loser| loser.pending.remove_by(|other| other.cmp(&id)));
                    gained.push(id);
                }
                None => gained.push(id),
            }
        }
        if !gained.is_empty() {
            self.edit_consumer(consumer, |consumer| {
                for id in gained {
                    consumer.pending.insert_by(|other| other.cmp(&id), id);
                }
            });
        }
    }

    /// Forgets a pending entry; false when it is not pending.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Some(pending) = self.pending.remove_by(|other| other.cmp(&id)) else { return false };
        self.edit_consumer(pending.consumer(), |consumer| consumer.pending.remove_by(|other| other.cmp(&id)));
        true
    }

    /// Bytes allocated, estimated.
    pub fn heap_bytes(&self) -> usize {
        // Nodes of trees are about three quarters full.
        let pending = self.pending.len() * (size_of::<Pending>() + size_of::<StreamId>()) * 4 / 3;
        let names: usize = self.consumers().take(16).map(|consumer| consumer.name.heap_bytes()).sum();
        let sampled = self.consumers.len().clamp(1, 16);
        let consumer = size_of::<Consumer>() + 2 * size_of::<usize>() + names / sampled;
        size_of::<Self>() + self.name.heap_bytes() + pending + self.consumers.len() * consumer
    }
}

impl Stream {
    pub fn group_len(&self) -> usize {
        self.inner.groups.len()
    }

    /// Groups in order of their names.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.inner.groups.iter().map(|group| &*group.0)
    }

    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.inner.groups.find(|other| other.cmp(name)).map(|(_, group)| &*group.0)
    }

    /// Changes a group; `None` when there is none of this name.
    pub fn edit_group<R>(&mut self, name: &[u8], change: impl FnOnce(&mut Group) -> R) -> Option<R> {
        let (position, _) = self.inner.groups.find(|other| other.cmp(name))?;
        let groups = &mut own(&mut self.inner).groups;
        groups.update(position, |group, _| change(own(&mut group.0)))
    }

    /// Removes a group; false when there is none of this name.
    pub fn remove_group(&mut self, name: &[u8]) -> bool {
        self.group(name).is_some() && {
            let groups = &mut own(&mut self.inner).groups;
            groups.remove_by(|other| other.cmp(name)).is_some()
        }
    }

    /// Entries pending in all groups.
    pub fn pending_len(&self) -> usize {
        self.groups().map(Group::pending_len).sum()
    }

    /// What is left for a group to read; `None` when that is not known.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        let Some(first) = self.first_entry_id() else { return Some(0) };
        if group.last_id < first && self.max_deleted_id() < first {
            // What was deleted lies behind everything that is left, all of which the group has yet to read.
            return Some(self.len() as i64);
        }
        let read = match group.entries_read {
            Some(read) if !self.has_tombstone_from(group.last_id) => Some(read),
            _ => self.distance(group.last_id),
        };
        read.map(|read| (self.entries_added() as i64).wrapping_sub(read as i64))
    }

    /// How many entries a group will have read that has come to `last` and `read` and is handed the entry of this ID.
    pub fn read_on(&self, last: StreamId, read: Option<u64>, id: StreamId) -> Option<u64> {
        let counts = self.first_entry_id().is_some_and(|first| last >= first) && !self.has_tombstone_from(last);
        match read {
            Some(read) if counts => Some(read.wrapping_add(1)),
            _ if self.entries_added() == 0 => read,
            _ => self.distance(id),
        }
    }

    /// Whether an entry was deleted that lay at this ID or behind it, and not before all that are left.
    fn has_tombstone_from(&self, id: StreamId) -> bool {
        let deleted = self.max_deleted_id();
        deleted != StreamId::MIN && id <= deleted && self.first_entry_id().is_some_and(|first| first <= deleted)
    }

    /// How many entries were ever added up to this ID, where that can be told.
    pub fn distance(&self, id: StreamId) -> Option<u64> {
        let (added, last, deleted) = (self.entries_added(), self.last_id(), self.max_deleted_id());
        if added == 0 {
            return Some(0);
        }
        let Some(first) = self.first_entry_id() else { return (id <= last).then_some(added) };
        if id != StreamId::MIN && id < deleted {
            return None;
        }
        if id >= last {
            return (id == last).then_some(added);
        }
        if deleted != StreamId::MIN && deleted >= first {
            return None;
        }
        let before_first = added.wrapping_sub(self.len() as u64);
        match id.cmp(&first) {
            std::cmp::Ordering::Less => Some(before_first),
            std::cmp::Ordering::Equal => Some(before_first.wrapping_add(1)),
            std::cmp::Ordering::Greater => None,
        }
    }
}
