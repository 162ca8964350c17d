//! XCLAIM and XAUTOCLAIM: pending entries change hands. And how what happens in a group is logged: by its effect, in
//! commands that a stock server replays to the same state.

use std::collections::BTreeMap;

use super::group::ensure_consumer;
use super::{DECLARATION, NONDETERMINISTIC, edit_group, id, named, no_group, peek, reply_entry, reply_id};
use crate::command::{Args, Command, CommandError, Cx, Flags, KeyFlags, KeySpec, parse_i64};
use crate::value::{Group, Stream, StreamId};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "xclaim",
        arity: -6,
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::UPDATE))],
        run: xclaim,
        since: "5.0.0",
        complexity: "O(M*log(N)), M being the number of IDs and N the number of entries pending in the group",
        summary: "Gives pending entries of a consumer group to another consumer.",
        syntax: "key group consumer min-idle-time id [id ...] [IDLE ms:integer] \
                 [TIME unix-time-milliseconds:unix-time] [RETRYCOUNT count:integer] [FORCE] [JUSTID] [LASTID id]",
        tips: NONDETERMINISTIC,
        ..DECLARATION
    },
    Command {
        name: "xautoclaim",
        arity: -6,
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::DELETE))],
        run: xautoclaim,
        since: "6.2.0",
        complexity: "O(M*log(N)), M being the count and N the number of entries pending in the group",
        summary: "Gives entries of a consumer group that have been pending for long to another consumer.",
        syntax: "key group consumer min-idle-time start [COUNT count:integer] [JUSTID]",
        tips: NONDETERMINISTIC,
        ..DECLARATION
    },
];

/// An entry pending for somebody.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub id: StreamId,
    pub delivered_at: i64,
    pub deliveries: u64,
}

/// Logs that a consumer came to be.
pub(super) fn log_consumer(cx: &mut Cx<'_>, key: &[u8], group: &[u8], consumer: &[u8]) {
    cx.log_as(&[b"XGROUP", b"CREATECONSUMER", key, group, consumer]);
}

/// Logs how far a group has come.
pub(super) fn log_group(cx: &mut Cx<'_>, key: &[u8], group: &[u8], last: StreamId, read: Option<u64>) {
    let last = last.to_string();
    let read = read.map_or_else(|| "-1".to_owned(), |read| read.to_string());
    cx.log_as(&[b"XGROUP", b"SETID", key, group, last.as_bytes(), b"ENTRIESREAD", read.as_bytes()]);
}

/// Logs that an entry is pending for a consumer, with its history; `last`: the last ID of the group.
pub(super) fn log_claim(cx: &mut Cx<'_>, key: &[u8], group: &[u8], consumer: &[u8], claim: Claim, last: StreamId) {
    let (id, last) = (claim.id.to_string(), last.to_string());
    let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
    let (time, count) = (time.format(claim.delivered_at), count.format(claim.deliveries));
    let (time, count) = ([b"TIME", time.as_bytes()], [b"RETRYCOUNT", count.as_bytes()]);
    let head: [&[u8]; 6] = [b"XCLAIM", key, group, consumer, b"0", id.as_bytes()];
    let tail: [&[u8]; 4] = [b"FORCE", b"JUSTID", b"LASTID", last.as_bytes()];
    cx.log_as(&[&head[..], &time, &count, &tail].concat());
}

/// The options of XCLAIM.
#[derive(Default)]
struct Options {
    delivered_at: Option<i64>,
    deliveries: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: StreamId,
}

impl Options {
    fn parse(args: &mut Args<'_>, now: i64) -> Result<Self, CommandError> {
        let invalid = |option: &str| CommandError::new(format!("ERR Invalid {option} option argument for XCLAIM"));
        let mut options = Self::default();
        while let Some(word) = args.peek() {
            let more = args.remaining() > 1;
            if args.word("force") {
                options.force = true;
            } else if args.word("justid") {
                options.just_id = true;
            } else if more && args.word("idle") {
                options.delivered_at = Some(now.wrapping_sub(args.int_or(invalid("IDLE"))));
            } else if more && args.word("time") {
                options.delivered_at = Some(args.int_or(invalid("TIME")));
            } else if more && args.word("retrycount") {
                options.deliveries = u64::try_from(args.int_or(invalid("RETRYCOUNT"))).ok();
            } else if more && args.word("lastid") {
                options.last_id = id::strict(args.bytes(), 0)?;
            } else {
                return Err(CommandError::new(format!("ERR Unrecognized XCLAIM option '{}'", named(word))));
            }
            args.check()?;
        }
        Ok(options)
    }

    /// When the entries count as delivered: never in the future, which clocks of clients may be. In the log that has
    /// been seen to.
    fn moment(&self, cx: &Cx<'_>) -> i64 {
        let now = cx.now().0;
        match self.delivered_at {
            Some(at) if cx.turn.replaying => at,
            Some(at) if (0..=now).contains(&at) => at,
            _ => now,
        }
    }
}

/// What is to be done with pending entries.
#[derive(Default)]
struct Decisions {
    claims: Vec<Claim>,
    /// Pending entries that the stream has no more.
    gone: Vec<StreamId>,
}

impl Decisions {
    /// Does and logs it, for a consumer that is there.
    fn carry_out(&self, cx: &mut Cx<'_>, key: &[u8], group: &[u8], consumer: &[u8]) {
        // A log of a stock server does not say when it was written, but when entries were delivered.
        let now = self.claims.iter().map(|claim| claim.delivered_at).fold(cx.now().0, i64::max);
        let last = edit_group(cx, key, group, |group| {
            for id in &self.gone {
                group.acknowledge(*id);
            }
            let claims = self.claims.iter();
            group.assign(consumer, claims.map(|claim| (claim.id, claim.delivered_at, claim.deliveries)));
            group.edit_consumer(consumer, |consumer| {
                consumer.seen_at = now;
                if !self.claims.is_empty() {
                    consumer.active_at = Some(now);
                }
            });
            group.last_id
        });
        for id in &self.gone {
            cx.log_as(&[b"XACK", key, group, id.to_string().as_bytes()]);
        }
        for claim in &self.claims {
            log_claim(cx, key, group, consumer, *claim, last.unwrap_or_default());
        }
        cx.dirty(self.gone.len() + self.claims.len());
    }

    fn reply_claims(&self, cx: &mut Cx<'_>, key: &[u8], just_id: bool) -> Result<(), CommandError> {
        let (stream, reply) = cx.read::<Stream>(key)?;
        reply.array(self.claims.len());
        for claim in &self.claims {
            match stream.and_then(|stream| stream.get(claim.id)).filter(|_| !just_id) {
                Some(entry) => reply_entry(reply, entry),
                None => reply_id(reply, claim.id),
            }
        }
        Ok(())
    }
}

/// The stream at a key and a group in it, both there.
fn look_up<'c>(cx: &'c mut Cx<'_>, key: &[u8], group: &[u8]) -> Result<(&'c Stream, &'c Group), CommandError> {
    peek(cx, key).and_then(|stream| Some((stream, stream.group(group)?))).ok_or_else(|| no_group(key, group))
}

/// As [`look_up`], for the id last delivered. A key without the group is counted as read here: of another the answer is read later.
fn first_look_up(cx: &mut Cx<'_>, key: &[u8], group: &[u8]) -> Result<StreamId, CommandError> {
    match look_up(cx, key, group).map(|(_, group)| group.last_id) {
        Ok(last) => Ok(last),
        Err(missing) => {
            cx.read::<Stream>(key)?;
            Err(missing)
        }
    }
}

fn min_idle(arg: &[u8], command: &str) -> Result<i64, CommandError> {
    let invalid = || CommandError::new(format!("ERR Invalid min-idle-time argument for {command}"));
    parse_i64(arg).map(|idle| idle.max(0)).ok_or_else(invalid)
}

fn xclaim(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, group_name, consumer) = (args.bytes(), args.bytes(), args.bytes());
    let last_before = first_look_up(cx, key, group_name)?;
    let min_idle = min_idle(args.bytes(), "XCLAIM")?;
    let mut ids = Vec::new();
    while let Some(id) = args.peek().and_then(|arg| id::strict(arg, 0).ok()) {
        ids.push(id);
        args.bytes();
    }
    let now = cx.now().0;
    let options = Options::parse(args, now)?;
    cx.log_nothing();
    let delivered_at = options.moment(cx);
    ensure_consumer(cx, key, group_name, consumer);
    let (stream, group) = look_up(cx, key, group_name)?;
    let mut decisions = Decisions::default();
    // An id that is named twice is claimed from what its first claim has made of it.
    let mut claimed = BTreeMap::new();
    for id in ids {
        let pending = group.pending(id);
        if !stream.contains(id) {
            decisions.gone.extend(pending.map(|pending| pending.id));
            continue;
        }
        let before = claimed.get(&id).copied().or(pending.map(|pending| (pending.delivered_at, pending.deliveries)));
        let deliveries = match before {
            Some((at, _)) if min_idle > 0 && now.saturating_sub(at) < min_idle => continue,
            Some((_, deliveries)) => deliveries,
            None if options.force => 1,
            None => continue,
        };
        let deliveries = match options.deliveries {
            Some(deliveries) => deliveries,
            None if options.just_id => deliveries,
            None => deliveries.wrapping_add(1),
        };
        claimed.insert(id, (delivered_at, deliveries));
        decisions.claims.push(Claim { id, delivered_at, deliveries });
    }
    let read = group.entries_read;
    let raised = options.last_id > last_before;
    if raised {
        edit_group(cx, key, group_name, |group| group.last_id = options.last_id);
    }
    decisions.carry_out(cx, key, group_name, consumer);
    if raised && decisions.claims.is_empty() {
        log_group(cx, key, group_name, options.last_id, read);
        cx.dirty(1);
    }
    decisions.reply_claims(cx, key, options.just_id)
}

fn xautoclaim(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    /// More pending entries than this many times the count are not looked at.
    const ATTEMPTS: usize = 10;
    /// What a stock server has room to remember.
    const COUNT_MAX: i64 = i64::MAX / 16;
    let (key, group_name, consumer) = (args.bytes(), args.bytes(), args.bytes());
    let there = first_look_up(cx, key, group_name);
    let min_idle = min_idle(args.bytes(), "XAUTOCLAIM")?;
    let start = id::range_start(args.bytes())?;
    let (mut count, mut just_id) = (100, false);
    while !args.is_empty() {
        if args.remaining() > 1 && args.word("count") {
            count = args.int_within(1..=COUNT_MAX, CommandError::fixed("ERR COUNT must be > 0")) as usize;
            args.check()?;
        } else if args.word("justid") {
            just_id = true;
        } else {
            return Err(CommandError::SYNTAX);
        }
    }
    there?;
    cx.log_nothing();
    let now = cx.now().0;
    ensure_consumer(cx, key, group_name, consumer);
    let (stream, group) = look_up(cx, key, group_name)?;
    let mut decisions = Decisions::default();
    let mut pending = group.pending_from(start);
    for pending in pending.by_ref().take(count.saturating_mul(ATTEMPTS)) {
        if !stream.contains(pending.id) {
            decisions.gone.push(pending.id);
        } else if min_idle == 0 || now.saturating_sub(pending.delivered_at) >= min_idle {
            let deliveries = pending.deliveries.wrapping_add(u64::from(!just_id));
            decisions.claims.push(Claim { id: pending.id, delivered_at: now, deliveries });
        }
        if decisions.claims.len() + decisions.gone.len() == count {
            break;
        }
    }
    let cursor = pending.next().map_or(StreamId::MIN, |pending| pending.id);
    drop(pending);
    decisions.carry_out(cx, key, group_name, consumer);
    cx.reply.array(3);
    reply_id(cx.reply, cursor);
    decisions.reply_claims(cx, key, just_id)?;
    cx.reply.array(decisions.gone.len());
    decisions.gone.iter().for_each(|id| reply_id(cx.reply, *id));
    Ok(())
}
