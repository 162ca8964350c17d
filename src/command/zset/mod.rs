//! Sorted sets: members and scores, ranges, the lowest and highest, random members, algebra.

mod algebra;
mod members;
mod pop;
mod query;
mod random;
mod range;

use super::{Command, Group, KeyFlags};
use crate::ds::Item;
use crate::resp::Reply;

pub(super) use members::{AddRule, add};

/// The family, one slice per file.
pub(super) const FAMILIES: [&[Command]; 5] =
    [members::COMMANDS, query::COMMANDS, pop::COMMANDS, random::COMMANDS, algebra::COMMANDS];

const DECLARATION: Command = Command { group: Group::SortedSet, ..Command::DEFAULT };

const READ: KeyFlags = KeyFlags::RO.and(KeyFlags::ACCESS);
const TAKE: KeyFlags = KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::DELETE);
const OVERWRITE: KeyFlags = KeyFlags::OW.and(KeyFlags::UPDATE);

/// An array of members, with their scores if asked for: one flat array in RESP2, pairs in RESP3.
fn reply_ranked<'z>(reply: &mut Reply, with_scores: bool, members: impl ExactSizeIterator<Item = (Item<'z>, f64)>) {
    let pairs = with_scores && reply.is_resp3();
    reply.array(if with_scores && !pairs { members.len() * 2 } else { members.len() });
    let mut text = itoa::Buffer::new();
    for (member, score) in members {
        if pairs {
            reply.array(2);
        }
        reply.bulk(member.as_bytes(&mut text));
        if with_scores {
            reply.double(score);
        }
    }
}
