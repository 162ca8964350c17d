//! Streams: adding and trimming, ranges, reading by waiting, consumer groups.

mod add;
mod claim;
mod group;
mod id;
mod info;
mod pending;
mod range;
mod read;

use super::{Command, CommandError, Cx, Group, Kind};
use crate::command::quoted;
use crate::keyspace::Entry;
use crate::resp::Reply;
use crate::value::{self, Stream, StreamEntry, StreamId};
use std::borrow::Cow;

/// The family, one slice per file.
pub(super) const FAMILIES: [&[Command]; 7] = [
    add::COMMANDS,
    range::COMMANDS,
    read::COMMANDS,
    group::COMMANDS,
    pending::COMMANDS,
    claim::COMMANDS,
    info::COMMANDS,
];

const DECLARATION: Command = Command { group: Group::Stream, ..Command::DEFAULT };

/// What depends on the clock, or on where nodes end.
const NONDETERMINISTIC: &[&str] = &["nondeterministic_output"];

/// The stream at a key, seen without touching or counting it.
fn peek<'c>(cx: &'c mut Cx<'_>, key: &[u8]) -> Option<&'c Stream> {
    cx.peek(key).map(Entry::value).and_then(Stream::of)
}

/// Changes a group; `None` when it is not there.
fn edit_group<R>(cx: &mut Cx<'_>, key: &[u8], name: &[u8], change: impl FnOnce(&mut value::Group) -> R) -> Option<R> {
    cx.edit_quietly::<Stream, _>(key, |stream| stream.edit_group(name, change)).flatten()
}

/// A name as an error shows it.
fn named(name: &[u8]) -> Cow<'_, str> {
    quoted(name)
}

fn no_group(key: &[u8], group: &[u8]) -> CommandError {
    let (key, group) = (named(key), named(group));
    CommandError::new(format!("NOGROUP No such key '{key}' or consumer group '{group}'"))
}

fn reply_id(reply: &mut Reply, id: StreamId) {
    reply.bulk_fmt(format_args!("{id}"));
}

/// An entry as an array of its ID and of its names and values in turn.
fn reply_entry(reply: &mut Reply, entry: StreamEntry<'_>) {
    let mut text = itoa::Buffer::new();
    reply.array(2);
    reply_id(reply, entry.id);
    reply.array(2 * entry.fields.len());
    for (name, value) in entry.fields {
        reply.bulk(name.as_bytes(&mut text));
        reply.bulk(value.as_bytes(&mut text));
    }
}
