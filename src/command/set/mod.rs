//! Sets: members, random members, algebra.

mod algebra;
mod members;
mod random;

use super::{Command, Group, KeyFlags};
use crate::resp::Reply;
use crate::value::Set;

/// The family, one slice per file.
pub(super) const FAMILIES: [&[Command]; 3] = [members::COMMANDS, random::COMMANDS, algebra::COMMANDS];

const DECLARATION: Command = Command { group: Group::Set, ..Command::DEFAULT };

const READ: KeyFlags = KeyFlags::RO.and(KeyFlags::ACCESS);
const TAKE: KeyFlags = KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::DELETE);

/// All members as a set reply.
fn reply_members(reply: &mut Reply, set: &Set) {
    reply.set(set.len());
    let mut text = itoa::Buffer::new();
    for member in set.iter() {
        reply.bulk(member.as_bytes(&mut text));
    }
}
