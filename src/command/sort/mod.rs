//! SORT and SORT_RO: the elements of a list, set or sorted set in order, by themselves or by what other keys hold.

mod pattern;

use std::cmp::Ordering;

use pattern::Pattern;

use super::{Args, CallKeys, Command, CommandError, Cx, Flags, Group, KeyFlags, KeySpec, parse_f64};
use crate::env::collation;
use crate::value::{End, Item, List, Value};
use smallvec::smallvec;

const READ: KeyFlags = KeyFlags::RO.and(KeyFlags::ACCESS);
const OVERWRITE: KeyFlags = KeyFlags::OW.and(KeyFlags::UPDATE);
const CATEGORIES: &[&str] = &["@set", "@sortedset", "@list"];
const COST: &str =
    "O(N+M*log(M)), N being the number of elements and M the number of those returned; O(N) without order.";

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "sort",
        arity: -2,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::MOVABLEKEYS).and(Flags::DANGEROUS),
        keys: &[KeySpec::first(READ), KeySpec::unknown(READ), KeySpec::unknown(OVERWRITE)],
        find_keys: Some(find_keys),
        also_in: CATEGORIES,
        run: sort,
        group: Group::Generic,
        since: "1.0.0",
        complexity: COST,
        summary: "Returns the elements of a list, set or sorted set in order, or stores them as a list.",
        syntax: "key [BY pattern:pattern@1] [LIMIT offset_count:(offset:integer count:integer)] [GET \
                 pattern:pattern@1 [GET pattern ...]] [order:<ASC | DESC>] [sorting:ALPHA] [STORE destination:key@2]",
        ..Command::DEFAULT
    },
    Command {
        name: "sort_ro",
        arity: -2,
        flags: Flags::READ.and(Flags::MOVABLEKEYS).and(Flags::DANGEROUS),
        keys: &[KeySpec::first(READ), KeySpec::unknown(READ)],
        find_keys: Some(|_| Some(smallvec![(1, READ)])),
        also_in: CATEGORIES,
        run: sort_ro,
        group: Group::Generic,
        since: "7.0.0",
        complexity: COST,
        summary: "Returns the elements of a list, set or sorted set in order.",
        syntax: "key [BY pattern:pattern@1] [LIMIT offset_count:(offset:integer count:integer)] [GET \
                 pattern:pattern@1 [GET pattern ...]] [order:<ASC | DESC>] [sorting:ALPHA]",
        ..Command::DEFAULT
    },
];

/// The sorted key and that of the last STORE. Words that follow BY, GET and LIMIT are theirs.
fn find_keys(argv: &[&[u8]]) -> Option<CallKeys> {
    let mut keys: CallKeys = smallvec![(1, READ)];
    let mut at = 2;
    while at < argv.len() {
        match argv[at].to_ascii_lowercase().as_slice() {
            b"limit" => at += 2,
            b"get" | b"by" => at += 1,
            b"store" if at + 1 < argv.len() => {
                keys.truncate(1);
                keys.push((at + 1, OVERWRITE));
            }
            _ => {}
        }
        at += 1;
    }
    Some(keys)
}

fn sort(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    run(cx, args, true)
}

fn sort_ro(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    run(cx, args, false)
}

/// What a call asks for.
struct Query<'a> {
    descending: bool,
    alphabetic: bool,
    /// A constant BY: the elements come in the order they have.
    unordered: bool,
    offset: i64,
    count: i64,
    by: Option<Pattern<'a>>,
    get: Vec<Pattern<'a>>,
    store: Option<&'a [u8]>,
}

impl<'a> Query<'a> {
    /// `every_key`: the caller may read keys that the call does not name.
    fn read(args: &mut Args<'a>, may_store: bool, every_key: bool) -> Result<Self, CommandError> {
        const BY_DENIED: CommandError =
            CommandError::fixed("ERR BY option of SORT denied due to insufficient ACL permissions.");
        const GET_DENIED: CommandError =
            CommandError::fixed("ERR GET option of SORT denied due to insufficient ACL permissions.");
        let mut query = Query {
            descending: false,
            alphabetic: false,
            unordered: false,
            offset: 0,
            count: -1,
            by: None,
            get: Vec::new(),
            store: None,
        };
        while !args.is_empty() {
            let following = args.remaining() - 1;
            if args.word("asc") {
                query.descending = false;
            } else if args.word("desc") {
                query.descending = true;
            } else if args.word("alpha") {
                query.alphabetic = true;
            } else if following >= 2 && args.word("limit") {
                (query.offset, query.count) = (args.int(), args.int());
                args.check()?;
            } else if may_store && following >= 1 && args.word("store") {
                query.store = Some(args.bytes());
            } else if following >= 1 && args.word("by") {
                let by = Pattern::new(args.bytes());
                if !by.is_constant() && !every_key {
                    return Err(BY_DENIED);
                }
                query.unordered |= by.is_constant();
                query.by = Some(by);
            } else if following >= 1 && args.word("get") {
                if !every_key {
                    return Err(GET_DENIED);
                }
                query.get.push(Pattern::new(args.bytes()));
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        Ok(query)
    }

    /// The indexes of the elements asked for, of so many in order.
    fn span(&self, len: usize) -> std::ops::Range<usize> {
        let start = usize::try_from(self.offset).unwrap_or(0).min(len);
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        start..start.saturating_add(count).min(len)
    }

    fn order(&self, a: &Element<'_>, b: &Element<'_>) -> Ordering {
        let order = match (self.alphabetic, self.by) {
            (false, _) => {
                a.score.partial_cmp(&b.score).unwrap_or(Ordering::Equal).then_with(|| order_of(a.item, b.item))
            }
            (true, Some(_)) => match (&a.weight, &b.weight) {
                (Some(a), Some(b)) => self.order_of_texts(a, b),
                (a, b) => a.is_some().cmp(&b.is_some()),
            },
            (true, None) => {
                let (mut left, mut right) = (itoa::Buffer::new(), itoa::Buffer::new());
                self.order_of_texts(a.item.as_bytes(&mut left), b.item.as_bytes(&mut right))
            }
        };
        if self.descending { order.reverse() } else { order }
    }

    /// What is stored is in the same order everywhere, what is shown in that of the reader's language.
    fn order_of_texts(&self, a: &[u8], b: &[u8]) -> Ordering {
        if self.store.is_some() { a.cmp(b) } else { collation::compare(a, b) }
    }

    /// Whether elements may be equal in the order asked for and yet differ: then it is not the same everywhere.
    fn is_partial(&self) -> bool {
        !self.unordered && self.alphabetic && self.by.is_some()
    }
}

/// An element and what it is ordered by; what is not found is the least.
struct Element<'v> {
    item: Item<'v>,
    score: f64,
    weight: Option<Vec<u8>>,
}

fn order_of(a: Item<'_>, b: Item<'_>) -> Ordering {
    a.as_bytes(&mut itoa::Buffer::new()).cmp(b.as_bytes(&mut itoa::Buffer::new()))
}

fn run(cx: &mut Cx<'_>, args: &mut Args<'_>, may_store: bool) -> Result<(), CommandError> {
    let key = args.bytes();
    let every_key = cx.host.may_read_every_key(cx.client, args.argv());
    let mut query = Query::read(args, may_store, every_key)?;
    let value = cx.value(key).unwrap_or_else(|| Value::List(List::new()));
    if matches!(value, Value::Set(_)) && query.unordered && (query.store.is_some() || cx.turn.in_script) {
        // Without an order of their own, members are put in one that is the same everywhere.
        (query.unordered, query.alphabetic, query.by) = (false, true, None);
    }
    let chosen = if query.unordered { as_they_are(&value, &query)? } else { ordered(cx, &value, &query)? };
    match query.store {
        Some(destination) => store(cx, destination, &chosen, &query),
        None => answer(cx, &chosen, &query),
    }
    Ok(())
}

/// All elements of what can be sorted.
fn elements(value: &Value) -> Result<Box<dyn Iterator<Item = Item<'_>> + '_>, CommandError> {
    Ok(match value {
        Value::List(list) => Box::new(list.iter()),
        Value::Set(set) => Box::new(set.iter()),
        Value::Zset(zset) => Box::new(zset.iter().map(|(member, _)| member)),
        _ => return Err(CommandError::WRONG_TYPE),
    })
}

/// The elements asked for in the order that the value has, backwards when that has a meaning.
fn as_they_are<'v>(value: &'v Value, query: &Query<'_>) -> Result<Vec<Item<'v>>, CommandError> {
    let span = query.span(value.len());
    let backward = value.len() - span.end..value.len() - span.start;
    Ok(match value {
        Value::List(list) if query.descending => list.iter_range_back(backward).collect(),
        Value::List(list) => list.iter_range(span).collect(),
        Value::Zset(zset) if query.descending => zset.iter_range_back(backward).map(|(member, _)| member).collect(),
        Value::Zset(zset) => zset.iter_range(span).map(|(member, _)| member).collect(),
        _ => elements(value)?.skip(span.start).take(span.len()).collect(),
    })
}

/// The elements asked for in order.
fn ordered<'v>(cx: &mut Cx<'_>, value: &'v Value, query: &Query<'_>) -> Result<Vec<Item<'v>>, CommandError> {
    let mut all = Vec::with_capacity(value.len());
    let (mut convertible, mut text) = (true, itoa::Buffer::new());
    for item in elements(value)? {
        let mut element = Element { item, score: 0.0, weight: None };
        let weight = query.by.map(|by| by.look_up(cx, item.as_bytes(&mut text)));
        if query.alphabetic {
            element.weight = weight.flatten();
        } else {
            let score = match weight {
                None => score_of(item.as_bytes(&mut text)),
                Some(None) => Some(0.0),
                Some(Some(weight)) => score_of(&weight),
            };
            convertible &= score.is_some();
            element.score = score.unwrap_or(0.0);
        }
        all.push(element);
    }
    if !convertible {
        return Err(CommandError::fixed("ERR One or more scores can't be converted into double"));
    }
    all.sort_by(|a, b| query.order(a, b));
    let span = query.span(all.len());
    Ok(all[span].iter().map(|element| element.item).collect())
}

/// A weight as `strtod` reads it: spaces in front, nothing at all as 0, a zero byte as the end.
fn score_of(text: &[u8]) -> Option<f64> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0.0);
    }
    let digits = text.iter().position(|byte| !matches!(byte, b' ' | b'\t'..=b'\r'))?;
    parse_f64(&text[digits..])
}

fn answer(cx: &mut Cx<'_>, chosen: &[Item<'_>], query: &Query<'_>) {
    let mut text = itoa::Buffer::new();
    cx.reply.array(chosen.len() * query.get.len().max(1));
    for item in chosen {
        let element = item.as_bytes(&mut text);
        if query.get.is_empty() {
            cx.reply.bulk(element);
        }
        for pattern in &query.get {
            let found = pattern.look_up(cx, element);
            cx.reply.bulk_or_null(found);
        }
    }
}

/// Puts the result at a key as a list. What is not there becomes an empty string.
fn store(cx: &mut Cx<'_>, destination: &[u8], chosen: &[Item<'_>], query: &Query<'_>) {
    let (limits, mut text) = (cx.limits(), itoa::Buffer::new());
    let mut list = List::new();
    for item in chosen {
        let element = item.as_bytes(&mut text);
        if query.get.is_empty() {
            list.push(End::Back, element, &limits);
        }
        for pattern in &query.get {
            let found = pattern.look_up(cx, element).unwrap_or_default();
            list.push(End::Back, &found, &limits);
        }
    }
    if query.is_partial() && !list.is_empty() {
        log_effect(cx, destination, &list);
    }
    cx.dirty(list.len().saturating_sub(1));
    cx.put_result(destination, list, "sortstore");
}

/// Elements in one logged RPUSH.
const PUSHED_MAX: usize = 1000;

/// Logs the list that was made: where weights are equal, another server need not come to the same order.
fn log_effect(cx: &mut Cx<'_>, destination: &[u8], list: &List) {
    cx.delete_if_due(destination);
    if cx.peek(destination).is_some() {
        cx.log_as(&[b"DEL", destination]);
    }
    let elements: Vec<Vec<u8>> = list.iter().map(|item| item.to_vec()).collect();
    for part in elements.chunks(PUSHED_MAX) {
        let mut words: Vec<&[u8]> = vec![b"RPUSH", destination];
        words.extend(part.iter().map(Vec::as_slice));
        cx.log_as(&words);
    }
}
