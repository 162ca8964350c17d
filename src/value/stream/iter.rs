//! Ranges of entries in both directions.

use super::node::{LEAF, NodeEntries, NodeEntriesBack, Nodes};
use super::{StreamEntry, StreamId, StreamNode};
use crate::ds::tree;

/// Entries in order.
pub struct Entries<'a> {
    nodes: tree::Iter<'a, StreamNode, LEAF>,
    node: Option<NodeEntries<'a>>,
    first: StreamId,
    last: StreamId,
}

impl<'a> Entries<'a> {
    pub(super) fn new(nodes: &'a Nodes, position: usize, first: StreamId, last: StreamId) -> Self {
        let mut nodes = nodes.iter_at(position);
        let node = nodes.next().map(StreamNode::entries);
        Self { nodes, node, first, last }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = StreamEntry<'a>;

    fn next(&mut self) -> Option<StreamEntry<'a>> {
        loop {
            match self.node.as_mut()?.next() {
                Some(entry) if entry.id < self.first => {}
                Some(entry) if entry.id > self.last => self.node = None,
                Some(entry) => return Some(entry),
                None => self.node = self.nodes.next().map(StreamNode::entries),
            }
        }
    }
}

/// Entries in reverse order.
pub struct EntriesBack<'a> {
    nodes: tree::IterBack<'a, StreamNode, LEAF>,
    /// `None`: there is nothing more.
    node: Option<NodeEntriesBack<'a>>,
    first: StreamId,
    last: StreamId,
}

impl<'a> EntriesBack<'a> {
    /// `until`: the position behind the node to begin with.
    pub(super) fn new(nodes: &'a Nodes, until: usize, first: StreamId, last: StreamId) -> Self {
        let mut nodes = nodes.iter_before(until);
        let node = nodes.next().map(|node| node.entries_back(Vec::new()));
        Self { nodes, node, first, last }
    }
}

impl<'a> Iterator for EntriesBack<'a> {
    type Item = StreamEntry<'a>;

    fn next(&mut self) -> Option<StreamEntry<'a>> {
        loop {
            match self.node.as_mut()?.next() {
                Some(entry) if entry.id > self.last => {}
                Some(entry) if entry.id < self.first => self.node = None,
                Some(entry) => return Some(entry),
                None => {
                    let places = self.node.take().map(NodeEntriesBack::into_places).unwrap_or_default();
                    self.node = self.nodes.next().map(|node| node.entries_back(places));
                }
            }
        }
    }
}
