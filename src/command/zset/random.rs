//! Random members of a sorted set.

use super::{DECLARATION, READ, reply_ranked};
use crate::command::{Args, Command, CommandError, Cx, Flags, KeySpec};
use crate::value::Zset;

pub(super) const COMMANDS: &[Command] = &[Command {
    name: "zrandmember",
    arity: -2,
    flags: Flags::READ,
    keys: &[KeySpec::first(READ)],
    run: zrandmember,
    since: "6.2.0",
    complexity: "O(N*log(M)), N being the absolute value of the count and M the size of the sorted set",
    summary: "Returns random members of a sorted set.",
    syntax: "key [options:(count:integer [WITHSCORES])]",
    tips: &["nondeterministic_output"],
    ..DECLARATION
}];

fn zrandmember(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    if args.is_empty() {
        let Some(zset) = cx.get::<Zset>(key)? else {
            cx.reply.null();
            return Ok(());
        };
        match zset.random(cx.host.entropy()) {
            Some((member, _)) => cx.reply.bulk(member.as_bytes(&mut itoa::Buffer::new())),
            None => cx.reply.null(),
        }
        return Ok(());
    }
    let (count, with_scores) = parse_count(args)?;
    let Some(zset) = cx.get::<Zset>(key)? else {
        cx.reply.array(0);
        return Ok(());
    };
    let wanted = count.unsigned_abs() as usize;
    if count >= 0 {
        let members = zset.random_distinct(wanted, cx.host.entropy());
        reply_ranked(cx.reply, with_scores, members.into_iter());
    } else {
        let entropy = cx.host.entropy();
        let draws = (0..wanted).map(|_| zset.random(entropy).unwrap_or((crate::ds::Item::Int(0), 0.0)));
        reply_ranked(cx.reply, with_scores, draws);
    }
    Ok(())
}

fn parse_count(args: &mut Args<'_>) -> Result<(i64, bool), CommandError> {
    let count = args.int();
    if count == i64::MIN {
        args.fail(CommandError::not_between(-i64::MAX, i64::MAX));
    }
    args.check()?;
    let with_scores = args.word("withscores");
    args.finish()?;
    if with_scores && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(CommandError::OUT_OF_RANGE);
    }
    Ok((count, with_scores))
}
