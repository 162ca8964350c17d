//! Streams: adding and trimming, ranges, reading by waiting, consumer groups.

mod add;
mod id;
mod range;

use super::{Command, Group};
use crate::resp::Reply;
use crate::value::{StreamEntry, StreamId};

/// The family, one slice per file.
pub(super) const FAMILIES: [&[Command]; 2] = [add::COMMANDS, range::COMMANDS];

const DECLARATION: Command = Command { group: Group::Stream, ..Command::DEFAULT };

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
