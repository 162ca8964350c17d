//! The SCAN family: one grammar and one loop for keys, fields, members and scores.
//!
//! Invariant: a call does work in proportion to COUNT, a packed collection apart, which is small; what is there from the
//! first call to the last is reported.

use crate::command::{Args, Command, CommandError, Cx, Flags, Group, KeyFlags, KeySpec, Kind, glob_matches};
use crate::resp::Reply;
use crate::value::{Hash, Item, Set, Type, Zset};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "scan",
        arity: -2,
        flags: Flags::READONLY,
        run: scan,
        group: Group::Generic,
        since: "2.8.0",
        complexity: "O(1) a call, O(N) for a whole iteration, N being the number of elements.",
        summary: "Walks over the keys of the database, part by part.",
        syntax: "cursor:integer [MATCH pattern:pattern] [COUNT count:integer] [TYPE type {6.0.0}]",
        tips: &["nondeterministic_output", "request_policy:special"],
        ..Command::DEFAULT
    },
    Command {
        name: "hscan",
        arity: -3,
        flags: Flags::READ,
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: hscan,
        group: Group::Hash,
        since: "2.8.0",
        complexity: "O(1) a call, O(N) for a whole iteration, N being the number of elements.",
        summary: "Walks over the fields of a hash, part by part.",
        syntax: "key cursor:integer [MATCH pattern:pattern] [COUNT count:integer]",
        tips: &["nondeterministic_output"],
        ..Command::DEFAULT
    },
    Command {
        name: "sscan",
        arity: -3,
        flags: Flags::READ,
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: sscan,
        group: Group::Set,
        since: "2.8.0",
        complexity: "O(1) a call, O(N) for a whole iteration, N being the number of elements.",
        summary: "Walks over the members of a set, part by part.",
        syntax: "key cursor:integer [MATCH pattern:pattern] [COUNT count:integer]",
        tips: &["nondeterministic_output"],
        ..Command::DEFAULT
    },
    Command {
        name: "zscan",
        arity: -3,
        flags: Flags::READ,
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: zscan,
        group: Group::SortedSet,
        since: "2.8.0",
        complexity: "O(1) a call, O(N) for a whole iteration, N being the number of elements.",
        summary: "Walks over the members of a sorted set, part by part.",
        syntax: "key cursor:integer [MATCH pattern:pattern] [COUNT count:integer]",
        tips: &["nondeterministic_output"],
        ..Command::DEFAULT
    },
];

/// Elements that a call reports about when it does not say.
const COUNT_DEFAULT: usize = 10;
/// Buckets visited at most for each element wanted.
const BUCKETS_PER_ELEMENT: usize = 10;

/// Options of all four.
struct Options<'a> {
    /// `None`: everything matches.
    pattern: Option<&'a [u8]>,
    count: usize,
    /// Of SCAN; inner `None`: a type that there is not, which no key has.
    kind: Option<Option<Type>>,
}

impl<'a> Options<'a> {
    fn read(args: &mut Args<'a>, of_keys: bool) -> Result<Self, CommandError> {
        let mut options = Self { pattern: None, count: COUNT_DEFAULT, kind: None };
        while args.remaining() > 1 {
            if args.word("count") {
                let count = args.int();
                args.check()?;
                options.count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(CommandError::SYNTAX)?;
            } else if args.word("match") {
                options.pattern = Some(args.bytes()).filter(|pattern| *pattern != b"*");
            } else if of_keys && args.word("type") {
                options.kind = Some(Type::from_name(args.bytes()));
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        args.finish()?;
        Ok(options)
    }

    fn matches(&self, element: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob_matches(pattern, element))
    }
}

/// A cursor as `strtoul` reads it: a sign is allowed, and an empty one starts.
fn cursor(args: &mut Args<'_>) -> Result<u64, CommandError> {
    let arg = args.bytes();
    if arg.is_empty() {
        return Ok(0);
    }
    let (negative, digits) = match arg {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let number = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number: u64 = number.and_then(|text| text.parse().ok()).ok_or(CommandError::INVALID_CURSOR)?;
    Ok(if negative { number.wrapping_neg() } else { number })
}

/// Replies the next cursor and the elements that `walk` reports; it is given the reply and the count of what it wrote.
fn reply_part(reply: &mut Reply, walk: impl FnOnce(&mut Reply, &mut usize) -> u64) {
    // The cursor stands in front of what is known after it, so the elements are written aside.
    let mut elements = Reply::new(reply.protocol());
    let mut count = 0;
    let next = walk(&mut elements, &mut count);
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next));
    reply.array(count);
    reply.raw(elements.as_bytes());
}

fn scan(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let cursor = cursor(args)?;
    let options = Options::read(args, true)?;
    cx.reads_all();
    let (now, database) = (cx.turn.expiry_now(), cx.store.db(cx.db));
    reply_part(cx.reply, |reply, count| {
        database.scan(cursor, options.count, now, |entry| {
            let of_kind = options.kind.is_none_or(|kind| kind == Some(entry.value().kind()));
            if of_kind && options.matches(entry.key()) {
                reply.bulk(entry.key());
                *count += 1;
            }
        })
    });
    Ok(())
}

fn hscan(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    scan_collection::<Hash>(cx, args, |hash, cursor, found| {
        hash.scan(cursor, |field, value| {
            found(field, &|reply| reply.bulk(value.as_bytes(&mut itoa::Buffer::new())));
        })
    })
}

fn sscan(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    scan_collection::<Set>(cx, args, |set, cursor, found| set.scan(cursor, |member| found(member, &|_| ())))
}

fn zscan(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    scan_collection::<Zset>(cx, args, |zset, cursor, found| {
        zset.scan(cursor, |member, score| found(member, &|reply| reply.bulk_double(score)))
    })
}

/// Takes an element, and what writes its companion.
type Found<'f> = &'f mut dyn FnMut(Item<'_>, &dyn Fn(&mut Reply));

/// `step` reports one bucket, or all of a packed collection, and returns the next cursor.
fn scan_collection<T: Kind>(
    cx: &mut Cx<'_>,
    args: &mut Args<'_>,
    step: impl Fn(&T::Ref<'_>, u64, Found<'_>) -> u64,
) -> Result<(), CommandError> {
    let key = args.bytes();
    let mut cursor = cursor(args)?;
    let (Some(collection), reply) = cx.read::<T>(key)? else {
        reply_part(cx.reply, |_, _| 0);
        return Ok(());
    };
    let options = Options::read(args, false)?;
    // A member stands alone; a field and a score have their companion beside them.
    let width = if T::TYPE == Type::Set { 1 } else { 2 };
    reply_part(reply, |reply, count| {
        let mut visited = 0;
        for _ in 0..options.count.saturating_mul(BUCKETS_PER_ELEMENT) {
            cursor = step(&collection, cursor, &mut |element, companion| {
                visited += 1;
                let mut text = itoa::Buffer::new();
                let element = element.as_bytes(&mut text);
                if options.matches(element) {
                    reply.bulk(element);
                    companion(reply);
                    *count += width;
                }
            });
            if cursor == 0 || visited >= options.count {
                break;
            }
        }
        cursor
    });
    Ok(())
}
