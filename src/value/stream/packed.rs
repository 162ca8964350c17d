//! Streams put together from what RDB files hold, with everything checked that the rest relies on.

use super::group::GroupRef;
use super::node::{DELETED, Node, Nodes, SAME_FIELDS, elements};
use super::{Group, Inner, Stream, StreamId};
use crate::ds::tree::Item as _;
use crate::ds::{Item, Listpack, ListpackIter, own};
use triomphe::Arc;

/// Why bytes are no stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamDamage {
    #[error("a node ends inside an entry")]
    Ends,
    #[error("a text where a number belongs")]
    NotANumber,
    #[error("a wrong count")]
    WrongCount,
    #[error("an entry with unknown flags")]
    UnknownFlags,
    #[error("IDs do not ascend")]
    Order,
    #[error("an ID that is not of 16 bytes")]
    NodeId,
    #[error("a pending entry that has no consumer, or is not known to the group")]
    Pending,
}

impl Stream {
    /// A stream of these nodes; they come in order, each from [`Node::from_listpack`].
    ///
    /// # Errors
    /// When the nodes are not in order.
    pub fn from_nodes(nodes: Vec<Node>) -> Result<Self, StreamDamage> {
        for pair in nodes.windows(2) {
            if pair[0].last_id_ever() >= pair[1].id() {
                return Err(StreamDamage::Order);
            }
        }
        let nodes: Nodes = nodes.into_iter().filter(|node| node.weight() > 0).collect();
        Ok(Self { inner: Arc::new(Inner { nodes, ..Inner::default() }) })
    }

    /// Adds a group; false when one of its name is there.
    pub fn add_group(&mut self, group: Group) -> bool {
        if self.group(group.name()).is_some() {
            return false;
        }
        let inner = own(&mut self.inner);
        let name = group.name().to_vec();
        inner.groups.insert_by(|other| other.cmp(&name), GroupRef::new(group));
        true
    }
}

impl Node {
    /// A node from its ID and its listpack.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_listpack(id: StreamId, listpack: &Listpack) -> Result<Self, StreamDamage> {
        let mut items = listpack.iter();
        let mut left = listpack.len();
        let live = count(&mut items, &mut left)?;
        let deleted = count(&mut items, &mut left)?;
        let names = count(&mut items, &mut left)?;
        if names > left {
            return Err(StreamDamage::Ends);
        }
        let master: Vec<Item<'_>> = items.by_ref().take(names).collect();
        left -= names;
        if integer(&mut items, &mut left)? != 0 {
            return Err(StreamDamage::WrongCount);
        }
        let mut node = Self::master(id, master.into_iter());
        let mut before = None;
        for _ in 0..live.checked_add(deleted).ok_or(StreamDamage::WrongCount)? {
            let id = node.append_foreign(&mut items, &mut left, names)?;
            if before.is_some_and(|before| before >= id) || id < node.id() {
                return Err(StreamDamage::Order);
            }
            before = Some(id);
        }
        if left > 0 || node.live() != live {
            return Err(StreamDamage::WrongCount);
        }
        Ok(node)
    }

    fn append_foreign(
        &mut self,
        items: &mut ListpackIter<'_>,
        left: &mut usize,
        names: usize,
    ) -> Result<StreamId, StreamDamage> {
        let flags = integer(items, left)?;
        if flags & !(DELETED | SAME_FIELDS) != 0 {
            return Err(StreamDamage::UnknownFlags);
        }
        let delta = (integer(items, left)?, integer(items, left)?);
        let same = flags & SAME_FIELDS != 0;
        let fields = if same { names } else { count(items, left)? };
        let words = if same { fields } else { fields.checked_mul(2).ok_or(StreamDamage::Ends)? };
        if words > *left {
            return Err(StreamDamage::Ends);
        }
        *left -= words;
        self.append(delta, fields, same, items.by_ref().take(words));
        if integer(items, left)? != elements(fields, same) {
            return Err(StreamDamage::WrongCount);
        }
        if flags & DELETED != 0 {
            self.delete_last();
        }
        Ok(self.id().plus(delta))
    }
}

fn integer(items: &mut ListpackIter<'_>, left: &mut usize) -> Result<i64, StreamDamage> {
    let item = items.next().ok_or(StreamDamage::Ends)?;
    *left -= 1;
    item.as_int().ok_or(StreamDamage::NotANumber)
}

fn count(items: &mut ListpackIter<'_>, left: &mut usize) -> Result<usize, StreamDamage> {
    usize::try_from(integer(items, left)?).map_err(|_| StreamDamage::WrongCount)
}
