//! Hashes as a whole: all of their fields, or some by chance.

use super::fields::write;
use crate::command::{Args, Command, CommandError, Cx, Flags, Group, KeyFlags, KeySpec};
use crate::resp::Reply;
use crate::value::{Hash, HashRef, Item};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "hgetall",
        arity: 2,
        flags: Flags::READ,
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: hgetall,
        group: Group::Hash,
        since: "2.0.0",
        complexity: "O(N), N being the number of fields.",
        summary: "All fields of a hash with their values.",
        syntax: "key",
        tips: &["nondeterministic_output_order"],
        ..Command::DEFAULT
    },
    Command {
        name: "hkeys",
        arity: 2,
        flags: Flags::READ,
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: hkeys,
        group: Group::Hash,
        since: "2.0.0",
        complexity: "O(N), N being the number of fields.",
        summary: "All fields of a hash.",
        syntax: "key",
        tips: &["nondeterministic_output_order"],
        ..Command::DEFAULT
    },
    Command {
        name: "hvals",
        arity: 2,
        flags: Flags::READ,
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: hvals,
        group: Group::Hash,
        since: "2.0.0",
        complexity: "O(N), N being the number of fields.",
        summary: "All values of a hash.",
        syntax: "key",
        tips: &["nondeterministic_output_order"],
        ..Command::DEFAULT
    },
    Command {
        name: "hrandfield",
        arity: -2,
        flags: Flags::READ,
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: hrandfield,
        group: Group::Hash,
        since: "6.2.0",
        complexity: "O(N), N being the number of fields in the reply.",
        summary: "Fields of a hash chosen at random.",
        syntax: "key [options:(count:integer [WITHVALUES])]",
        tips: &["nondeterministic_output"],
        ..Command::DEFAULT
    },
];

fn hgetall(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    args.finish()?;
    let (hash, reply) = cx.read::<Hash>(key)?;
    reply.map(hash.map_or(0, HashRef::len));
    for (field, value) in hash.into_iter().flat_map(HashRef::iter) {
        write(field, reply);
        write(value, reply);
    }
    Ok(())
}

fn hkeys(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    reply_each(cx, args, |(field, _)| field)
}

fn hvals(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    reply_each(cx, args, |(_, value)| value)
}

type Pair<'a> = (Item<'a>, Item<'a>);

fn reply_each(
    cx: &mut Cx<'_>,
    args: &mut Args<'_>,
    part: impl for<'a> Fn(Pair<'a>) -> Item<'a>,
) -> Result<(), CommandError> {
    let key = args.bytes();
    args.finish()?;
    let (hash, reply) = cx.read::<Hash>(key)?;
    reply.array(hash.map_or(0, HashRef::len));
    for pair in hash.into_iter().flat_map(HashRef::iter) {
        write(part(pair), reply);
    }
    Ok(())
}

fn hrandfield(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    if args.is_empty() {
        let hash = cx.get::<Hash>(key)?;
        match hash.as_ref().and_then(|hash| hash.random(cx.host.entropy())) {
            Some((field, _)) => write(field, cx.reply),
            None => cx.reply.null(),
        }
        return Ok(());
    }
    let (count, with_values) = random_count(args, "withvalues")?;
    let Some(hash) = cx.get::<Hash>(key)? else {
        cx.reply.array(0);
        return Ok(());
    };
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count < 0 {
        header(cx.reply, wanted, with_values);
        for _ in 0..wanted {
            if let Some(pair) = hash.random(cx.host.entropy()) {
                write_pair(pair, with_values, cx.reply);
            }
        }
    } else if wanted >= hash.len() {
        header(cx.reply, hash.len(), with_values);
        hash.iter().for_each(|pair| write_pair(pair, with_values, cx.reply));
    } else {
        header(cx.reply, wanted, with_values);
        for pair in hash.random_distinct(wanted, cx.host.entropy()) {
            write_pair(pair, with_values, cx.reply);
        }
    }
    Ok(())
}

/// The count of HRANDFIELD and ZRANDMEMBER, negative when elements may repeat, and whether `word` follows it.
pub(in crate::command) fn random_count(args: &mut Args<'_>, word: &str) -> Result<(i64, bool), CommandError> {
    let count = args.int();
    args.check()?;
    if count == i64::MIN {
        return Err(CommandError::new(format!(
            "ERR value is out of range, value must between {} and {}",
            -i64::MAX,
            i64::MAX
        )));
    }
    let with = args.word(word);
    args.finish()?;
    if with && !(-i64::MAX / 2..=i64::MAX / 2).contains(&count) {
        return Err(CommandError::OUT_OF_RANGE);
    }
    Ok((count, with))
}

fn header(reply: &mut Reply, count: usize, with_values: bool) {
    let flat = with_values && !reply.is_resp3();
    reply.array(if flat { count * 2 } else { count });
}

/// A field alone, or with its value: a pair of its own in RESP3.
fn write_pair((field, value): Pair<'_>, with_values: bool, reply: &mut Reply) {
    if with_values && reply.is_resp3() {
        reply.array(2);
    }
    write(field, reply);
    if with_values {
        write(value, reply);
    }
}
