//! Places by name: adding them, where they are, how far from each other.

use super::geohash::Point;
use super::shape::distance;
use super::{DECLARATION, READ, point, reply_distance, reply_point, unit};
use crate::command::zset::{AddRule, add};
use crate::command::{Args, Command, CommandError, Cx, Flags, KeyFlags, KeySpec};
use crate::value::{Zset, ZsetRef};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "geoadd",
        arity: -5,
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::UPDATE))],
        run: geoadd,
        since: "3.2.0",
        complexity: "O(log(N)) for each item added, where N is the number of elements in the sorted set.",
        summary: "Adds places to a sorted set, creating it if needed.",
        syntax: "key [condition:<NX | XX> {6.2.0}] [change:CH {6.2.0}] longitude_latitude_member:(longitude:double \
                 latitude:double member) [longitude_latitude_member ...]",
        ..DECLARATION
    },
    Command {
        name: "geodist",
        arity: -4,
        flags: Flags::READ,
        keys: &[KeySpec::first(READ)],
        run: geodist,
        since: "3.2.0",
        complexity: "O(log(N))",
        summary: "The distance between two places in a sorted set.",
        syntax: "key member1 member2 [unit:<M | KM | FT | MI>]",
        ..DECLARATION
    },
    Command {
        name: "geohash",
        arity: -2,
        flags: Flags::READ,
        keys: &[KeySpec::first(READ)],
        run: geohash,
        since: "3.2.0",
        complexity: "O(log(N)) for each member requested, where N is the number of elements in the sorted set.",
        summary: "Places in a sorted set as standard geohashes.",
        syntax: "key member [member ...]",
        ..DECLARATION
    },
    Command {
        name: "geopos",
        arity: -2,
        flags: Flags::READ,
        keys: &[KeySpec::first(READ)],
        run: geopos,
        since: "3.2.0",
        complexity: "O(N) where N is the number of members requested.",
        summary: "Longitude and latitude of places in a sorted set.",
        syntax: "key member [member ...]",
        ..DECLARATION
    },
];

fn geoadd(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    let mut rule = AddRule::default();
    while rule.read_option(args) {}
    if args.is_empty() || !args.remaining().is_multiple_of(3) || (rule.new_only && rule.existing_only) {
        return Err(CommandError::SYNTAX);
    }
    let options = &args.argv()[2..args.argv().len() - args.remaining()];
    let mut members = Vec::with_capacity(args.remaining() / 3);
    while !args.is_empty() {
        members.push((point(args)?.score(), args.bytes()));
    }
    let sum = add(cx, key, rule, &members)?;
    if sum.any() {
        // As scores, so that whoever replays the log need not compute them.
        let scores: Vec<String> = members.iter().map(|(score, _)| format!("{score:.0}")).collect();
        let pairs = scores.iter().zip(&members).flat_map(|(score, (_, member))| [score.as_bytes(), *member]);
        let words: Vec<&[u8]> = [b"ZADD", key].into_iter().chain(options.iter().copied()).chain(pairs).collect();
        cx.log_as(&words);
    }
    cx.reply.count(rule.count(&sum));
    Ok(())
}

fn place(zset: Option<ZsetRef<'_>>, member: &[u8]) -> Option<Point> {
    zset?.score(member).map(Point::of_score)
}

fn geodist(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, a, b) = (args.bytes(), args.bytes(), args.bytes());
    if args.remaining() > 1 {
        return Err(CommandError::SYNTAX);
    }
    let meters = if args.is_empty() { 1.0 } else { unit(args)? };
    let (zset, reply) = cx.read::<Zset>(key)?;
    match place(zset, a).zip(place(zset, b)) {
        Some((a, b)) => reply_distance(reply, distance(a, b) / meters),
        None => reply.null(),
    }
    Ok(())
}

fn geohash(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, members) = (args.bytes(), args.rest());
    let (zset, reply) = cx.read::<Zset>(key)?;
    reply.array(members.len());
    for member in members {
        reply.bulk_or_null(place(zset, member).map(Point::geohash));
    }
    Ok(())
}

fn geopos(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, members) = (args.bytes(), args.rest());
    let (zset, reply) = cx.read::<Zset>(key)?;
    reply.array(members.len());
    for member in members {
        match place(zset, member) {
            Some(point) => reply_point(reply, point),
            None => reply.null_array(),
        }
    }
    Ok(())
}
