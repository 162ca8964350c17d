//! A node of a stream: neighbouring entries in one run of bytes.
//!
//! Layout: the number of field names and the names of the node's first entry; then per entry its flags, the distance
//! of its ID from the node's in milliseconds and sequence, then its values where it has those names, else the number
//! of its fields and names and values in turn. All are elements of [`crate::ds::run`].
//!
//! That is what a node's listpack in RDB files holds, without counts that can be had otherwise, and without the
//! lengths for walking backwards: a sixth less memory, for reverse ranges that hop through a node forwards first.
//!
//! Invariants
//! - IDs ascend strictly, deleted entries included; all are at least the node's.
//! - A deleted entry stays, marked, until its node goes: nodes are filled as the stock server fills its own, so that
//!   approximate trimming cuts at the same places.
//! - No node of a stream is without a live entry.

use super::StreamId;
use crate::ds::{CowBytes, Item, Listpack, ListpackBuilder, Mover, Relocate, Tree, item_bytes, run, tree};
use crate::value::Limits;

/// Flags of an entry, as in RDB files.
pub(super) const DELETED: i64 = 1;
pub(super) const SAME_FIELDS: i64 = 2;

/// More than this no node may hold, whatever is configured.
const BYTES_MAX: usize = 1 << 30;

/// See the module's header.
#[derive(Clone, Debug)]
pub struct Node {
    /// The ID that those of the entries count from: that of the first one ever.
    master: StreamId,
    live: u32,
    deleted: u32,
    /// Size of this node in a listpack, without the two counts of entries.
    packed_bytes: u32,
    run: CowBytes,
}

/// Nodes of a stream in a leaf of its tree: few of these large ones, since a write beside a snapshot copies a leaf.
pub(super) const LEAF: usize = 14;
pub(super) type Nodes = Tree<Node, LEAF>;

/// Memory per entry is counted in this.
const _: () = assert!(size_of::<Node>() <= 48);

impl Relocate for Node {
    fn relocate(&mut self, mover: &mut Mover<'_>) {
        self.run.relocate(mover);
    }
}

impl tree::Item for Node {
    type Key = StreamId;
    type Separator = StreamId;

    fn key(&self) -> &StreamId {
        &self.master
    }

    fn separator(&self) -> StreamId {
        self.master
    }

    fn weight(&self) -> usize {
        self.live as usize
    }
}

/// An entry of a stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamEntry<'a> {
    pub id: StreamId,
    pub fields: EntryFields<'a>,
}

/// Fields with their values, in the order in which they were given.
#[derive(Clone, Copy, Debug)]
pub struct EntryFields<'a> {
    /// The names, where they do not stand between the values.
    names: Option<&'a [u8]>,
    values: &'a [u8],
    left: usize,
}

impl<'a> Iterator for EntryFields<'a> {
    type Item = (Item<'a>, Item<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let names = self.names.as_mut().unwrap_or(&mut self.values);
        let (name, rest) = run::split_first(names)?;
        *names = rest;
        let (value, rest) = run::split_first(self.values)?;
        self.values = rest;
        Some((name, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for EntryFields<'_> {}

impl Node {
    /// A node with its first entry: names and values in turn.
    pub(super) fn new(id: StreamId, fields: &[&[u8]]) -> Self {
        let mut node = Self::master(id, fields.iter().step_by(2).map(|name| Item::new(name)));
        node.push(id, fields);
        node
    }

    /// A node without entries.
    pub(super) fn master<'f>(id: StreamId, names: impl ExactSizeIterator<Item = Item<'f>>) -> Self {
        let mut run = Vec::new();
        // The master entry of a listpack ends with a zero.
        let zero = item_bytes(Item::Int(0));
        let mut packed = Listpack::FRAME + zero;
        for item in std::iter::once(Item::Int(names.len() as i64)).chain(names) {
            run::push(&mut run, item);
            packed += item_bytes(item);
        }
        Self { master: id, live: 0, deleted: 0, packed_bytes: packed as u32, run: CowBytes::new(&run) }
    }

    /// The ID that the node is found by: no entry lies before it.
    pub fn id(&self) -> StreamId {
        self.master
    }

    pub(super) fn live(&self) -> usize {
        self.live as usize
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.run
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.run.heap_bytes()
    }

    /// Size of this node as a listpack.
    pub(super) fn packed_bytes(&self) -> usize {
        self.packed_bytes as usize + integer_bytes(self.live.into()) + integer_bytes(self.deleted.into())
    }

    /// Whether an entry with so many bytes of names and values may join, by the stock server's rule.
    pub(super) fn admits(&self, bytes: usize, limits: &Limits) -> bool {
        let most = match limits.stream_node_max_bytes {
            0 => BYTES_MAX,
            most => most.min(BYTES_MAX),
        };
        let entries = limits.stream_node_max_entries;
        self.packed_bytes() + bytes < most && (entries == 0 || (self.live as usize + self.deleted as usize) < entries)
    }

    /// Adds an entry behind the others: names and values in turn.
    pub(super) fn push(&mut self, id: StreamId, fields: &[&[u8]]) {
        let same = self.has_names(fields);
        let step = if same { 2 } else { 1 };
        let words = fields.iter().skip(step - 1).step_by(step).map(|word| Item::new(word));
        self.append(id.delta(self.master), fields.len() / 2, same, words);
    }

    /// Adds an entry of so many fields, given by its values if it has the names of the node, else by names and values.
    pub(super) fn append<'f>(
        &mut self,
        delta: (i64, i64),
        fields: usize,
        same: bool,
        words: impl Iterator<Item = Item<'f>>,
    ) {
        let mut run = Vec::with_capacity(128);
        let mut packed = integer_bytes(elements(fields, same));
        let flags = if same { SAME_FIELDS } else { 0 };
        let count = (!same).then_some(fields as i64);
        let numbers = [flags, delta.0, delta.1].into_iter().chain(count).map(Item::Int);
        for item in numbers.chain(words) {
            run::push(&mut run, item);
            packed += item_bytes(item);
        }
        self.run.push(&run);
        self.packed_bytes += packed as u32;
        self.live += 1;
    }

    /// Marks the entry of this ID as deleted; false when there is none.
    pub(super) fn delete(&mut self, id: StreamId) -> bool {
        let Some(at) = self.entries().all_live().find(|entry| entry.id() == id).map(|entry| entry.at) else {
            return false;
        };
        self.mark(at);
        true
    }

    /// Deletes live entries from the front while `go_on` says so; how many.
    pub(super) fn delete_front(&mut self, mut go_on: impl FnMut(StreamId) -> bool) -> usize {
        let going = self.entries().all_live().take_while(|entry| go_on(entry.id()));
        let places: Vec<usize> = going.map(|entry| entry.at).collect();
        places.iter().for_each(|at| self.mark(*at));
        places.len()
    }

    /// Marks the entry added last as deleted.
    pub(super) fn delete_last(&mut self) {
        if let Some(at) = self.entries().all_live().last().map(|entry| entry.at) {
            self.mark(at);
        }
    }

    /// Flags are small, so that they are one byte: the number itself.
    fn mark(&mut self, at: usize) {
        self.run.as_mut_slice()[at] |= DELETED as u8;
        self.live -= 1;
        self.deleted += 1;
    }

    fn has_names(&self, fields: &[&[u8]]) -> bool {
        let (count, mut names) = integer(&self.run);
        count as usize * 2 == fields.len()
            && fields.iter().step_by(2).all(|name| match run::split_first(names) {
                Some((item, rest)) => {
                    names = rest;
                    item.eq_bytes(name)
                }
                None => false,
            })
    }

    /// Live entries, in order.
    pub(super) fn entries(&self) -> NodeEntries<'_> {
        NodeEntries(AllEntries::new(self))
    }

    /// Live entries, the last one first. `places` is memory to work with.
    pub(super) fn entries_back(&self, places: Vec<u32>) -> NodeEntriesBack<'_> {
        NodeEntriesBack::new(self, places)
    }

    /// The ID of the last entry, a deleted one included.
    pub(super) fn last_id_ever(&self) -> StreamId {
        AllEntries::new(self).last().map_or(self.master, |entry| entry.id())
    }

    /// The node as RDB files hold it.
    pub fn to_listpack(&self) -> Listpack {
        let mut packed = ListpackBuilder::new();
        let mut all = AllEntries::new(self);
        packed.push(Item::Int(self.live.into()));
        packed.push(Item::Int(self.deleted.into()));
        packed.push(Item::Int(all.name_count as i64));
        let mut names = all.names;
        for _ in 0..all.name_count {
            let Some((name, rest)) = run::split_first(names) else { break };
            packed.push(name);
            names = rest;
        }
        packed.push(Item::Int(0));
        for entry in &mut all {
            packed.push(Item::Int(entry.flags));
            packed.push(Item::Int(entry.delta.0));
            packed.push(Item::Int(entry.delta.1));
            let same = entry.fields.names.is_some();
            let count = entry.fields.len();
            if !same {
                packed.push(Item::Int(count as i64));
            }
            for (name, value) in entry.fields {
                if !same {
                    packed.push(name);
                }
                packed.push(value);
            }
            packed.push(Item::Int(elements(count, same)));
        }
        packed.finish()
    }
}

fn integer_bytes(number: i64) -> usize {
    item_bytes(Item::Int(number))
}

/// How many elements an entry has in a listpack, beside this number itself.
pub(super) fn elements(fields: usize, same: bool) -> i64 {
    let fields = fields as i64;
    if same { fields + 3 } else { 2 * fields + 4 }
}

/// The number that a run begins with, and the rest.
fn integer(bytes: &[u8]) -> (i64, &[u8]) {
    match run::split_first(bytes) {
        Some((item, rest)) => (item.as_int().unwrap_or_default(), rest),
        None => (0, &[]),
    }
}

/// An entry as it stands in a node.
struct Placed<'a> {
    /// Where its flags stand in the run.
    at: usize,
    flags: i64,
    master: StreamId,
    delta: (i64, i64),
    fields: EntryFields<'a>,
}

impl Placed<'_> {
    fn id(&self) -> StreamId {
        self.master.plus(self.delta)
    }
}

/// Entries of a node, deleted ones included.
struct AllEntries<'a> {
    master: StreamId,
    names: &'a [u8],
    name_count: usize,
    len: usize,
    rest: &'a [u8],
}

impl<'a> AllEntries<'a> {
    fn new(node: &'a Node) -> Self {
        let bytes: &'a [u8] = &node.run;
        let (name_count, names) = integer(bytes);
        let rest = run::behind(names, name_count as usize);
        Self { master: node.master, names, name_count: name_count as usize, len: bytes.len(), rest }
    }
}

impl<'a> Iterator for AllEntries<'a> {
    type Item = Placed<'a>;

    fn next(&mut self) -> Option<Placed<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let at = self.len - self.rest.len();
        let (flags, rest) = integer(self.rest);
        let (ms, rest) = integer(rest);
        let (seq, rest) = integer(rest);
        let same = flags & SAME_FIELDS != 0;
        let (count, values) = if same { (self.name_count, rest) } else { (integer(rest).0 as usize, integer(rest).1) };
        self.rest = run::behind(values, if same { count } else { 2 * count });
        let fields = EntryFields { names: same.then_some(self.names), values, left: count };
        Some(Placed { at, flags, master: self.master, delta: (ms, seq), fields })
    }
}

/// Live entries of a node, in order.
pub(super) struct NodeEntries<'a>(AllEntries<'a>);

impl<'a> NodeEntries<'a> {
    fn all_live(self) -> impl Iterator<Item = Placed<'a>> {
        self.0.filter(|entry| entry.flags & DELETED == 0)
    }
}

impl<'a> Iterator for NodeEntries<'a> {
    type Item = StreamEntry<'a>;

    fn next(&mut self) -> Option<StreamEntry<'a>> {
        let entry = self.0.find(|entry| entry.flags & DELETED == 0)?;
        Some(StreamEntry { id: entry.id(), fields: entry.fields })
    }
}

/// Live entries of a node, the last one first: one walk over all that looks at nothing but lengths says where each
/// stands.
pub(super) struct NodeEntriesBack<'a> {
    all: AllEntries<'a>,
    /// The node's run, and where in it the entries begin that are left.
    bytes: &'a [u8],
    places: Vec<u32>,
}

impl<'a> NodeEntriesBack<'a> {
    fn new(node: &'a Node, mut places: Vec<u32>) -> Self {
        let all = AllEntries::new(node);
        let mut rest = all.rest;
        places.clear();
        while let Some(flags) = rest.first() {
            if i64::from(*flags) & DELETED == 0 {
                places.push((all.len - rest.len()) as u32);
            }
            let same = i64::from(*flags) & SAME_FIELDS != 0;
            let ids = run::behind(rest, 3);
            rest = if same {
                run::behind(ids, all.name_count)
            } else {
                let (count, words) = integer(ids);
                run::behind(words, 2 * count as usize)
            };
        }
        Self { all, bytes: &node.run, places }
    }

    /// The memory that it worked with.
    pub(super) fn into_places(self) -> Vec<u32> {
        self.places
    }
}

impl<'a> Iterator for NodeEntriesBack<'a> {
    type Item = StreamEntry<'a>;

    fn next(&mut self) -> Option<StreamEntry<'a>> {
        let at = self.places.pop()? as usize;
        self.all.rest = &self.bytes[at..];
        let entry = self.all.next()?;
        Some(StreamEntry { id: entry.id(), fields: entry.fields })
    }
}
