//! XREAD and XREADGROUP: what is new in several streams, waited for if need be.

use super::claim::{Claim, log_claim, log_group};
use super::group::ensure_consumer;
use super::{DECLARATION, edit_group, id, named, reply_entry, reply_id};
use crate::command::{Args, Begin, Command, CommandError, Cx, Find, Flags, KeyFlags, KeySpec, StreamWait, parse_i64};
use crate::value::{Stream, StreamId};

const fn keys_behind_streams(from: i32) -> KeySpec {
    KeySpec {
        flags: KeyFlags::RO.and(KeyFlags::ACCESS),
        begin: Begin::Keyword { word: "STREAMS", from },
        find: Find::Range { last: -1, step: 1, limit: 2 },
    }
}

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "xread",
        arity: -4,
        flags: Flags::READONLY.and(Flags::BLOCKING).and(Flags::MOVABLEKEYS),
        keys: &[keys_behind_streams(1)],
        run: xread,
        since: "5.0.0",
        complexity: "O(K*log(N)+M), K being the number of streams and M the number of entries returned",
        summary: "Returns entries behind the given IDs from several streams, and waits for some if there are none.",
        syntax: "[COUNT count:integer] [BLOCK milliseconds:integer] STREAMS streams:(key [key ...] id [id ...])",
        ..DECLARATION
    },
    Command {
        name: "xreadgroup",
        arity: -7,
        flags: Flags::WRITE.and(Flags::BLOCKING).and(Flags::MOVABLEKEYS),
        keys: &[keys_behind_streams(4)],
        run: xreadgroup,
        since: "5.0.0",
        complexity: "O((K+M)*log(N)), K being the number of streams and M the number of entries returned",
        summary: "Returns entries that no consumer of the group has got, or those pending for this one; waits for new \
                  ones if there are none.",
        syntax: "GROUP group_consumer:(group consumer) [COUNT count:integer] [BLOCK milliseconds:integer] [NOACK] \
                 STREAMS streams:(key [key ...] id [id ...])",
        ..DECLARATION
    },
];

const TIMEOUT_NOT_INTEGER: CommandError = CommandError::fixed("ERR timeout is not an integer or out of range");
const TIMEOUT_OUT_OF_RANGE: CommandError = CommandError::fixed("ERR timeout is out of range");

/// For whom XREADGROUP reads.
#[derive(Clone, Copy)]
struct Reader<'a> {
    group: &'a [u8],
    consumer: &'a [u8],
    no_ack: bool,
}

struct Read<'a> {
    keys: &'a [&'a [u8]],
    ids: &'a [&'a [u8]],
    most: usize,
    /// Milliseconds, 0: for ever.
    timeout: Option<i64>,
    reader: Option<Reader<'a>>,
}

/// Where reading one stream begins.
#[derive(Clone, Copy)]
enum From {
    After(StreamId),
    /// With what no consumer of the group has got.
    New,
}

fn xread(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let read = Read::parse(cx, args, false)?;
    read.run(cx, args.argv())
}

fn xreadgroup(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    cx.log_nothing();
    let read = Read::parse(cx, args, true)?;
    read.run(cx, args.argv())
}

impl<'a> Read<'a> {
    fn parse(cx: &Cx<'_>, args: &mut Args<'a>, grouped: bool) -> Result<Self, CommandError> {
        let only_grouped = |option: &str| {
            let text = format!("ERR The {option} option is only supported by XREADGROUP. You called XREAD instead.");
            Err(CommandError::new(text))
        };
        let (mut most, mut timeout, mut reader, mut no_ack) = (usize::MAX, None, None, false);
        loop {
            let more = args.remaining().saturating_sub(1);
            if more > 0 && args.word("block") {
                if cx.turn.in_script {
                    let text =
                        format!("ERR {} command is not allowed with BLOCK option from scripts", named(args.argv()[0]));
                    return Err(CommandError::new(text));
                }
                timeout = Some(milliseconds(args.bytes(), cx.now().0)?);
            } else if more > 0 && args.word("count") {
                let count = args.int();
                args.check()?;
                most = usize::try_from(count).ok().filter(|count| *count > 0).unwrap_or(usize::MAX);
            } else if more > 0 && args.word("streams") {
                break;
            } else if more > 1 && args.word("group") {
                reader = Some((args.bytes(), args.bytes()));
                if !grouped {
                    return only_grouped("GROUP");
                }
            } else if args.word("noack") {
                no_ack = true;
                if !grouped {
                    return only_grouped("NOACK");
                }
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        let streams = args.rest();
        if !streams.len().is_multiple_of(2) {
            let (name, new) = if grouped { ("xreadgroup", '>') } else { ("xread", '$') };
            return Err(CommandError::new(format!(
                "ERR Unbalanced '{name}' list of streams: for each stream key an ID or '{new}' must be specified."
            )));
        }
        if grouped && reader.is_none() {
            return Err(CommandError::fixed("ERR Missing GROUP option for XREADGROUP"));
        }
        let (keys, ids) = streams.split_at(streams.len() / 2);
        let reader = reader.map(|(group, consumer)| Reader { group, consumer, no_ack });
        Ok(Self { keys, ids, most, timeout, reader })
    }

    fn run(&self, cx: &mut Cx<'_>, argv: &[&[u8]]) -> Result<(), CommandError> {
        let from = self.beginnings(cx)?;
        let mark = cx.reply.begin_array();
        let mut served = 0;
        for (key, from) in self.keys.iter().zip(&from) {
            served += usize::from(match (self.reader, *from) {
                (None, From::New) => false,
                (None, From::After(id)) => self.serve(cx, key, id)?,
                (Some(reader), from) => self.serve_group(cx, key, reader, from)?,
            });
        }
        if served > 0 {
            if cx.reply.is_resp3() {
                cx.reply.end_map(mark, served);
            } else {
                cx.reply.end_array(mark, served);
            }
            return Ok(());
        }
        match self.timeout {
            Some(timeout) => {
                let call = self.ids.contains(&&b"$"[..]).then(|| self.resolved(argv, &from));
                let wait = StreamWait { timeout, call, wakes_when_gone: self.reader.is_some() };
                cx.block_on_streams(self.keys, wait);
            }
            None => cx.reply.null_array(),
        }
        Ok(())
    }

    /// Where to begin in each stream; streams and groups are what they must be then.
    fn beginnings(&self, cx: &mut Cx<'_>) -> Result<Vec<From>, CommandError> {
        let pairs = self.keys.iter().zip(self.ids);
        pairs
            .map(|(key, id)| {
                let (stream, _) = cx.read::<Stream>(key)?;
                if let Some(reader) = self.reader
                    && stream.and_then(|stream| stream.group(reader.group)).is_none()
                {
                    let (key, group) = (named(key), named(reader.group));
                    return Err(CommandError::new(format!(
                        "NOGROUP No such key '{key}' or consumer group '{group}' in XREADGROUP with GROUP option"
                    )));
                }
                match (*id, self.reader.is_some()) {
                    (b"$", false) => Ok(From::After(stream.map_or(StreamId::MIN, Stream::last_id))),
                    (b"$", true) => Err(CommandError::fixed(
                        "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of \
                         this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would \
                         just return an empty result set.",
                    )),
                    (b">", true) => Ok(From::New),
                    (b">", false) => Err(CommandError::fixed(
                        "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> \
                         option.",
                    )),
                    (id, grouped) => Ok(match id::strict(id, 0)? {
                        StreamId::MAX if grouped => From::New,
                        id => From::After(id),
                    }),
                }
            })
            .collect()
    }

    /// The call with `$` as the ID that it means now: that is what it waits behind.
    fn resolved(&self, argv: &[&[u8]], from: &[From]) -> Vec<Vec<u8>> {
        let first = argv.len() - self.ids.len();
        let mut call: Vec<Vec<u8>> = argv.iter().map(|word| word.to_vec()).collect();
        for (word, from) in call[first..].iter_mut().zip(from) {
            if let (b"$", From::After(id)) = (&word[..], from) {
                *word = id.to_string().into_bytes();
            }
        }
        call
    }

    /// Answers with what lies behind an ID; false when nothing does.
    fn serve(&self, cx: &mut Cx<'_>, key: &[u8], after: StreamId) -> Result<bool, CommandError> {
        let (Some(stream), reply) = cx.read::<Stream>(key)? else { return Ok(false) };
        let Some(first) = after.next().filter(|first| stream.last_entry_id().is_some_and(|last| last >= *first)) else {
            return Ok(false);
        };
        if !reply.is_resp3() {
            reply.array(2);
        }
        reply.bulk(key);
        let count = stream.count(first, StreamId::MAX).min(self.most);
        reply.array(count);
        stream.range(first, StreamId::MAX).take(count).for_each(|entry| reply_entry(reply, entry));
        Ok(true)
    }

    fn serve_group(&self, cx: &mut Cx<'_>, key: &[u8], reader: Reader<'_>, from: From) -> Result<bool, CommandError> {
        let now = cx.now().0;
        ensure_consumer(cx, key, reader.group, reader.consumer);
        edit_group(cx, key, reader.group, |group| {
            group.edit_consumer(reader.consumer, |consumer| consumer.seen_at = now);
        });
        match from {
            From::After(id) => self.serve_history(cx, key, reader, id)?,
            From::New if !self.serve_new(cx, key, reader)? => return Ok(false),
            From::New => {}
        }
        cx.dirty(1);
        Ok(true)
    }

    /// Answers with what the group has not handed out, and hands it to the consumer; false when there is nothing.
    fn serve_new(&self, cx: &mut Cx<'_>, key: &[u8], reader: Reader<'_>) -> Result<bool, CommandError> {
        let now = cx.now().0;
        let (Some(stream), reply) = cx.read::<Stream>(key)? else { return Ok(false) };
        let found = stream.last_entry_id().and_then(|last| Some((last, stream.group(reader.group)?)));
        let Some((_, group)) = found.filter(|(last, group)| *last > group.last_id) else { return Ok(false) };
        let (mut last, mut read) = (group.last_id, group.entries_read);
        let Some(first) = last.next() else { return Ok(false) };
        if !reply.is_resp3() {
            reply.array(2);
        }
        reply.bulk(key);
        let count = stream.count(first, StreamId::MAX).min(self.most);
        let mut ids = Vec::with_capacity(count);
        reply.array(count);
        for entry in stream.range(first, StreamId::MAX).take(count) {
            read = stream.read_on(last, read, entry.id);
            last = entry.id;
            ids.push(last);
            reply_entry(reply, entry);
        }
        edit_group(cx, key, reader.group, |group| {
            (group.last_id, group.entries_read) = (last, read);
            if !reader.no_ack {
                group.assign(reader.consumer, ids.iter().map(|id| (*id, now, 1)));
                group.edit_consumer(reader.consumer, |consumer| consumer.active_at = Some(now));
            }
        });
        if !reader.no_ack {
            for id in ids {
                let claim = Claim { id, delivered_at: now, deliveries: 1 };
                log_claim(cx, key, reader.group, reader.consumer, claim, last);
            }
        }
        log_group(cx, key, reader.group, last, read);
        Ok(true)
    }

    /// Answers with what is pending for the consumer behind an ID: once more delivered.
    fn serve_history(
        &self,
        cx: &mut Cx<'_>,
        key: &[u8],
        reader: Reader<'_>,
        after: StreamId,
    ) -> Result<(), CommandError> {
        let now = cx.now().0;
        let (Some(stream), reply) = cx.read::<Stream>(key)? else { return Ok(()) };
        let Some(group) = stream.group(reader.group) else { return Ok(()) };
        if !reply.is_resp3() {
            reply.array(2);
        }
        reply.bulk(key);
        let first = after.next().unwrap_or_default();
        let pending = group.consumer(reader.consumer).into_iter().flat_map(|consumer| consumer.pending_from(first));
        let pending: Vec<StreamId> = pending.take(self.most).collect();
        let (last, mut claims) = (group.last_id, Vec::new());
        reply.array(pending.len());
        for id in pending {
            let Some(entry) = stream.get(id) else {
                // It was deleted: the consumer may acknowledge it all the same.
                reply.array(2);
                reply_id(reply, id);
                reply.null_array();
                continue;
            };
            reply_entry(reply, entry);
            let deliveries = group.pending(id).map_or(0, |pending| pending.deliveries).wrapping_add(1);
            claims.push(Claim { id, delivered_at: now, deliveries });
        }
        edit_group(cx, key, reader.group, |group| {
            group.assign(reader.consumer, claims.iter().map(|claim| (claim.id, now, claim.deliveries)));
        });
        for claim in claims {
            log_claim(cx, key, reader.group, reader.consumer, claim, last);
        }
        Ok(())
    }
}

/// The argument of BLOCK.
fn milliseconds(arg: &[u8], now: i64) -> Result<i64, CommandError> {
    let timeout = parse_i64(arg).ok_or(TIMEOUT_NOT_INTEGER)?;
    if timeout < 0 {
        return Err(CommandError::TIMEOUT_NEGATIVE);
    }
    if now.checked_add(timeout).is_none() {
        return Err(TIMEOUT_OUT_OF_RANGE);
    }
    Ok(timeout)
}
