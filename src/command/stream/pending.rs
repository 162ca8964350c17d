//! XACK and XPENDING: what consumers have got and not acknowledged.

use super::{DECLARATION, NONDETERMINISTIC, edit_group, id, no_group, reply_id};
use crate::command::{Args, Command, CommandError, Cx, Flags, KeyFlags, KeySpec};
use crate::resp::Reply;
use crate::value::{Group, Stream, StreamId};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "xack",
        arity: -4,
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::UPDATE))],
        run: xack,
        since: "5.0.0",
        complexity: "O(M*log(N)), M being the number of IDs and N the number of entries pending in the group",
        summary: "Acknowledges entries that a consumer group has handed out and returns how many were pending.",
        syntax: "key group id [id ...]",
        ..DECLARATION
    },
    Command {
        name: "xpending",
        arity: -3,
        flags: Flags::READONLY,
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: xpending,
        since: "5.0.0",
        complexity: "O(log(N)+M), M being the number of entries looked at, or of consumers",
        summary: "Returns what is pending in a consumer group, in sum or entry by entry.",
        syntax: "key group [filters:([IDLE min-idle-time:integer {6.2.0}] start end count:integer [consumer])]",
        tips: NONDETERMINISTIC,
        ..DECLARATION
    },
];

fn xack(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, group) = (args.bytes(), args.bytes());
    if cx.read::<Stream>(key)?.0.and_then(|stream| stream.group(group)).is_none() {
        cx.reply.int(0);
        return Ok(());
    }
    let ids = args.rest().iter().map(|arg| id::strict(arg, 0)).collect::<Result<Vec<_>, _>>()?;
    let acknowledged =
        edit_group(cx, key, group, |group| ids.iter().filter(|id| group.acknowledge(**id)).count()).unwrap_or_default();
    cx.dirty(acknowledged);
    cx.reply.count(acknowledged);
    Ok(())
}

/// Which pending entries are asked for.
struct Filter<'a> {
    min_idle: i64,
    first: StreamId,
    last: StreamId,
    most: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> Filter<'a> {
    fn parse(args: &mut Args<'a>) -> Result<Self, CommandError> {
        let given = args.remaining();
        if !(3..=6).contains(&given) {
            return Err(CommandError::SYNTAX);
        }
        let mut min_idle = 0;
        if args.word("idle") {
            min_idle = args.int();
            args.check()?;
            if given < 5 {
                return Err(CommandError::SYNTAX);
            }
        }
        let (first, last) = (args.bytes(), args.bytes());
        let most = args.int().max(0) as usize;
        args.check()?;
        let (first, last) = (id::range_start(first)?, id::range_end(last)?);
        let consumer = args.next();
        // The stock server looks at nothing behind the consumer.
        args.rest();
        Ok(Self { min_idle, first, last, most, consumer })
    }
}

fn xpending(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, name) = (args.bytes(), args.bytes());
    let filter = (!args.is_empty()).then(|| Filter::parse(args)).transpose()?;
    let now = cx.now().0;
    let (stream, reply) = cx.read::<Stream>(key)?;
    let group = stream.and_then(|stream| stream.group(name)).ok_or_else(|| no_group(key, name))?;
    match filter {
        None => summary(group, reply),
        Some(filter) => entries(group, &filter, now, reply),
    }
    Ok(())
}

fn summary(group: &Group, reply: &mut Reply) {
    reply.array(4);
    reply.count(group.pending_len());
    let Some((first, last)) = group.pending_span() else {
        reply.null();
        reply.null();
        reply.null_array();
        return;
    };
    reply_id(reply, first);
    reply_id(reply, last);
    let busy = || group.consumers().filter(|consumer| consumer.pending_len() > 0);
    reply.array(busy().count());
    for consumer in busy() {
        reply.array(2);
        reply.bulk(consumer.name());
        reply.bulk_int(consumer.pending_len() as i64);
    }
}

fn entries(group: &Group, filter: &Filter<'_>, now: i64, reply: &mut Reply) {
    let ids: Box<dyn Iterator<Item = StreamId>> = match filter.consumer {
        None => Box::new(group.pending_from(filter.first).map(|pending| pending.id)),
        Some(name) => {
            let consumer = group.consumer(name);
            Box::new(consumer.into_iter().flat_map(|consumer| consumer.pending_from(filter.first)))
        }
    };
    let pending = ids.take_while(|id| *id <= filter.last).filter_map(|id| group.pending(id));
    let idle = |delivered_at: i64| now.saturating_sub(delivered_at);
    let asked = pending.filter(|pending| filter.min_idle == 0 || idle(pending.delivered_at) >= filter.min_idle);
    let mark = reply.begin_array();
    let mut count = 0;
    for pending in asked.take(filter.most) {
        count += 1;
        reply.array(4);
        reply_id(reply, pending.id);
        reply.bulk(pending.consumer());
        reply.int(idle(pending.delivered_at).max(0));
        reply.int(pending.deliveries as i64);
    }
    reply.end_array(mark, count);
}
