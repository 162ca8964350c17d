//! Streams as object bytes, in the three forms that there are.
//!
//! In turn: the nodes, each its ID and its listpack; length and last ID; from the second form on the first ID, the
//! highest deleted ID and the number of entries ever added; the groups, each with its name, last ID, from the second form
//! on how much it has read, what is pending, and its consumers with their times (the third form has two) and the IDs
//! pending for each.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::error::{DecodeError, Problem};
use super::input::Input;
use super::{Encoder, object, write_length};
use crate::ds::Listpack;
use crate::value::{Group, Stream, StreamDamage, StreamId, StreamNode};

/// How "not known" and "never" are written.
const UNKNOWN: u64 = u64::MAX;
const NEVER: i64 = -1;

impl Encoder {
    pub(super) fn stream(&mut self, stream: &Stream, form: u8, sink: &mut dyn Write) -> io::Result<()> {
        write_length(stream.node_count() as u64, sink)?;
        for node in stream.nodes() {
            self.string(&node.id().to_bytes(), sink)?;
            self.string(node.to_listpack().as_bytes(), sink)?;
        }
        write_length(stream.len() as u64, sink)?;
        let first = stream.first_entry_id().unwrap_or(StreamId::MIN);
        for id in [stream.last_id(), first, stream.max_deleted_id()] {
            write_id(id, sink)?;
        }
        write_length(stream.entries_added(), sink)?;
        write_length(stream.group_len() as u64, sink)?;
        stream.groups().try_for_each(|group| self.group(group, form, sink))
    }

    fn group(&mut self, group: &Group, form: u8, sink: &mut dyn Write) -> io::Result<()> {
        self.string(group.name(), sink)?;
        write_id(group.last_id, sink)?;
        write_length(group.entries_read.unwrap_or(UNKNOWN), sink)?;
        write_length(group.pending_len() as u64, sink)?;
        for pending in group.pending_from(StreamId::MIN) {
            sink.write_all(&pending.id.to_bytes())?;
            sink.write_all(&pending.delivered_at.to_le_bytes())?;
            write_length(pending.deliveries, sink)?;
        }
        write_length(group.consumer_len() as u64, sink)?;
        for consumer in group.consumers() {
            self.string(consumer.name(), sink)?;
            sink.write_all(&consumer.seen_at.to_le_bytes())?;
            if form == object::STREAM_LISTPACKS_3 {
                sink.write_all(&consumer.active_at.unwrap_or(NEVER).to_le_bytes())?;
            }
            write_length(consumer.pending_len() as u64, sink)?;
            consumer.pending_from(StreamId::MIN).try_for_each(|id| sink.write_all(&id.to_bytes()))?;
        }
        Ok(())
    }
}

fn write_id(id: StreamId, sink: &mut dyn Write) -> io::Result<()> {
    write_length(id.ms, sink)?;
    write_length(id.seq, sink)
}

pub(super) fn decode(input: &mut Input<'_>, form: u8) -> Result<Stream, DecodeError> {
    const NODE: &str = "node of a stream";
    let count = input.count(2, "number of nodes of a stream")?;
    let mut nodes = Vec::new();
    for _ in 0..count {
        let id = input.string("ID of a node of a stream")?.try_into().map(StreamId::from_bytes);
        let id = id.map_err(|_| input.error("ID of a node of a stream", StreamDamage::NodeId))?;
        let node = input.string(NODE).map(|bytes| node(id, bytes))?;
        nodes.push(node.map_err(|problem| input.error(NODE, problem))?);
    }
    let mut stream = Stream::from_nodes(nodes).map_err(|damage| input.error(NODE, damage))?;
    let length = input.length("length of a stream")?;
    if length != stream.len() as u64 {
        return Err(input.error("length of a stream", StreamDamage::WrongCount));
    }
    let last = id(input)?;
    if stream.last_entry_id().is_some_and(|entry| entry > last) {
        return Err(input.error("last ID of a stream", StreamDamage::Order));
    }
    if form == object::STREAM_LISTPACKS {
        stream.set_id(last, Some(length), None);
    } else {
        // The first ID follows from the entries.
        id(input)?;
        let deleted = id(input)?;
        let added = input.length("entries added to a stream")?;
        stream.set_id(last, Some(added), Some(deleted));
    }
    for _ in 0..input.count(5, "number of groups of a stream")? {
        let group = group(input, &stream, form)?;
        if !stream.add_group(group) {
            return Err(input.error("group of a stream", Problem::Duplicate));
        }
    }
    Ok(stream)
}

fn node(id: StreamId, bytes: &[u8]) -> Result<StreamNode, Problem> {
    Ok(StreamNode::from_listpack(id, &Listpack::from_bytes(bytes)?)?)
}

fn id(input: &mut Input<'_>) -> Result<StreamId, DecodeError> {
    const ID: &str = "ID in a stream";
    Ok(StreamId::new(input.length(ID)?, input.length(ID)?))
}

fn raw_id(input: &mut Input<'_>) -> Result<StreamId, DecodeError> {
    input.array("pending ID in a stream").map(StreamId::from_bytes)
}

fn time(input: &mut Input<'_>) -> Result<i64, DecodeError> {
    input.array("time in a stream").map(i64::from_le_bytes)
}

fn group(input: &mut Input<'_>, stream: &Stream, form: u8) -> Result<Group, DecodeError> {
    const PENDING: &str = "what is pending in a group";
    let name = input.string("name of a group")?.to_vec();
    let last = id(input)?;
    let read = if form == object::STREAM_LISTPACKS {
        stream.distance(last)
    } else {
        Some(input.length("entries read by a group")?).filter(|read| *read != UNKNOWN)
    };
    let mut group = Group::new(&name, last, read);
    let mut pending = BTreeMap::new();
    for _ in 0..input.count(25, PENDING)? {
        let (id, delivered_at) = (raw_id(input)?, time(input)?);
        let deliveries = input.length("number of deliveries")?;
        if pending.insert(id, (delivered_at, deliveries)).is_some() {
            return Err(input.error(PENDING, Problem::Duplicate));
        }
    }
    for _ in 0..input.count(10, "consumers of a group")? {
        let name = input.string("name of a consumer")?.to_vec();
        let seen_at = time(input)?;
        let active_at = if form == object::STREAM_LISTPACKS_3 { time(input)? } else { seen_at };
        if !group.add_consumer(&name, seen_at) {
            return Err(input.error("consumer of a group", Problem::Duplicate));
        }
        group.edit_consumer(&name, |consumer| consumer.active_at = (active_at != NEVER).then_some(active_at));
        let mut own = Vec::new();
        for _ in 0..input.count(16, PENDING)? {
            let id = raw_id(input)?;
            let Some((delivered_at, deliveries)) = pending.remove(&id) else {
                return Err(input.error(PENDING, StreamDamage::Pending));
            };
            own.push((id, delivered_at, deliveries));
        }
        group.assign(&name, own);
    }
    if !pending.is_empty() {
        return Err(input.error(PENDING, StreamDamage::Pending));
    }
    Ok(group)
}
