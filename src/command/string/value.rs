//! SET and its kin: strings as a whole.

use super::shared::write;
use crate::command::ttl::{Expiry, Unit, is_past, log_expiry};
use crate::command::{
    Args, CallKeys, Command, CommandError, Cx, Deprecated, Event, Flags, Group, KeyFlags, KeySpec, Ttl,
};
use crate::env::UnixMillis;
use crate::value::{Str, StrRef};
use smallvec::smallvec;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "get",
        arity: 2,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: get,
        group: Group::String,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "The string at a key.",
        syntax: "key",
        ..Command::DEFAULT
    },
    Command {
        name: "set",
        arity: -3,
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::UPDATE).and(KeyFlags::VARIABLE_FLAGS))],
        run: set,
        group: Group::String,
        since: "1.0.0",
        complexity: "O(1)",
        find_keys: Some(set_keys),
        summary: "Sets the string at a key, whatever was there, with conditions and an expiry if wished.",
        syntax: "key value [condition:<NX | XX> {2.6.12}] [GET {6.2.0}] [expiration:<EX seconds:integer {2.6.12} | PX \
                 milliseconds:integer {2.6.12} | EXAT unix-time-seconds:unix-time {6.2.0} | PXAT \
                 unix-time-milliseconds:unix-time {6.2.0} | KEEPTTL {6.0.0}>]",
        ..Command::DEFAULT
    },
    Command {
        name: "setnx",
        arity: 3,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::OW.and(KeyFlags::INSERT))],
        run: setnx,
        group: Group::String,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Sets the string at a key that is not there yet.",
        syntax: "key value",
        ..Command::DEFAULT
    },
    Command {
        name: "setex",
        arity: 4,
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::first(KeyFlags::OW.and(KeyFlags::UPDATE))],
        run: setex,
        group: Group::String,
        since: "2.0.0",
        complexity: "O(1)",
        summary: "Sets the string at a key with a time to live in seconds.",
        syntax: "key seconds:integer value",
        ..Command::DEFAULT
    },
    Command {
        name: "psetex",
        arity: 4,
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::first(KeyFlags::OW.and(KeyFlags::UPDATE))],
        run: psetex,
        group: Group::String,
        since: "2.6.0",
        complexity: "O(1)",
        summary: "Sets the string at a key with a time to live in milliseconds.",
        syntax: "key milliseconds:integer value",
        ..Command::DEFAULT
    },
    Command {
        name: "getset",
        arity: 3,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::UPDATE))],
        run: getset,
        group: Group::String,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Sets the string at a key and answers the one that was there.",
        syntax: "key value",
        deprecated: Some(Deprecated { since: "6.2.0", replaced_by: "`SET` with the `GET` argument" }),
        ..Command::DEFAULT
    },
    Command {
        name: "getdel",
        arity: 2,
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::DELETE))],
        run: getdel,
        group: Group::String,
        since: "6.2.0",
        complexity: "O(1)",
        summary: "Answers the string at a key and deletes the key.",
        syntax: "key",
        ..Command::DEFAULT
    },
    Command {
        name: "getex",
        arity: -2,
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::UPDATE))],
        run: getex,
        group: Group::String,
        since: "6.2.0",
        complexity: "O(1)",
        summary: "Answers the string at a key and changes its expiry.",
        syntax: "key [expiration:<EX seconds:integer | PX milliseconds:integer | EXAT unix-time-seconds:unix-time | \
                 PXAT unix-time-milliseconds:unix-time | PERSIST>]",
        ..Command::DEFAULT
    },
    Command {
        name: "mget",
        arity: -2,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::all(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: mget,
        group: Group::String,
        since: "1.0.0",
        complexity: "O(N), N being the number of keys.",
        summary: "The strings at several keys.",
        syntax: "key [key ...]",
        tips: &["request_policy:multi_shard"],
        ..Command::DEFAULT
    },
    Command {
        name: "mset",
        arity: -3,
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::range(1, -1, 2, KeyFlags::OW.and(KeyFlags::UPDATE))],
        run: mset,
        group: Group::String,
        since: "1.0.1",
        complexity: "O(N), N being the number of keys.",
        summary: "Sets the strings at several keys at once.",
        syntax: "key_value:(key value) [key_value ...]",
        tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
        ..Command::DEFAULT
    },
    Command {
        name: "msetnx",
        arity: -3,
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::range(1, -1, 2, KeyFlags::OW.and(KeyFlags::INSERT))],
        run: msetnx,
        group: Group::String,
        since: "1.0.1",
        complexity: "O(N), N being the number of keys.",
        summary: "Sets the strings at several keys if none of the keys is there yet.",
        syntax: "key_value:(key value) [key_value ...]",
        tips: &["request_policy:multi_shard", "response_policy:agg_min"],
        ..Command::DEFAULT
    },
];

/// Replies the string at a key, or null.
fn reply_value(cx: &mut Cx<'_>, key: &[u8]) -> Result<bool, CommandError> {
    let (found, reply) = cx.read::<Str>(key)?;
    match found {
        Some(text) => write(text, 0..text.len(), reply),
        None => reply.null(),
    }
    Ok(found.is_some())
}

/// Puts a string at a key, counted and notified.
fn store(cx: &mut Cx<'_>, key: &[u8], value: &[u8], ttl: Ttl) {
    cx.put_string(key, StrRef::encode(value), ttl);
    cx.dirty(1);
    cx.notify(Event::String, "set", key);
    if let Ttl::At(_) = ttl {
        cx.notify(Event::Generic, "expire", key);
    }
}

/// The same with an expiry, logged with its moment.
fn store_until(cx: &mut Cx<'_>, key: &[u8], value: &[u8], at: UnixMillis) {
    store(cx, key, value, Ttl::At(at));
    cx.log_as(&[b"SET", key, value, b"PXAT", itoa::Buffer::new().format(at.0).as_bytes()]);
}

fn get(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    args.finish()?;
    reply_value(cx, key).map(drop)
}

/// Options of SET.
#[derive(Default)]
struct SetOptions<'a> {
    if_absent: bool,
    if_present: bool,
    get: bool,
    keep_ttl: bool,
    expiry: Option<Expiry<'a>>,
}

impl<'a> SetOptions<'a> {
    fn read(args: &mut Args<'a>) -> Self {
        let mut options = Self::default();
        while !args.is_empty() {
            if !options.if_present && args.word("nx") {
                options.if_absent = true;
            } else if !options.if_absent && args.word("xx") {
                options.if_present = true;
            } else if args.word("get") {
                options.get = true;
            } else if options.expiry.is_none() && args.word("keepttl") {
                options.keep_ttl = true;
            } else if let (false, Some(expiry)) = (options.keep_ttl, Expiry::option(args, options.expiry)) {
                options.expiry = Some(expiry);
            } else {
                args.fail(CommandError::SYNTAX);
                break;
            }
        }
        options
    }
}

/// Only with GET the value of before is read.
fn set_keys(argv: &[&[u8]]) -> Option<CallKeys> {
    let gets = argv.get(3..).unwrap_or_default().iter().any(|word| word.eq_ignore_ascii_case(b"get"));
    let flags = if gets {
        KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::UPDATE)
    } else {
        KeyFlags::OW.and(KeyFlags::UPDATE)
    };
    Some(smallvec![(1, flags)])
}

fn set(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, value) = (args.bytes(), args.bytes());
    let options = SetOptions::read(args);
    args.check()?;
    let at = options.expiry.map(|expiry| expiry.moment(cx, "set")).transpose()?;
    if options.get {
        reply_value(cx, key)?;
    }
    if options.if_absent || options.if_present {
        cx.delete_if_due(key);
        let found = cx.peek(key).is_some();
        if found == options.if_absent {
            cx.use_entry(key);
            if !options.get {
                cx.reply.null();
            }
            return Ok(());
        }
    }
    match at {
        Some(at) => store_until(cx, key, value, at),
        None if options.keep_ttl => {
            store(cx, key, value, Ttl::Keep);
            if options.get {
                cx.log_as(&[b"SET", key, value, b"KEEPTTL"]);
            }
        }
        None => {
            store(cx, key, value, Ttl::Clear);
            if options.get {
                cx.log_as(&[b"SET", key, value]);
            }
        }
    }
    if !options.get {
        cx.reply.ok();
    }
    Ok(())
}

fn setnx(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, value) = (args.bytes(), args.bytes());
    args.finish()?;
    cx.delete_if_due(key);
    let absent = cx.peek(key).is_none();
    if absent {
        store(cx, key, value, Ttl::Clear);
    } else {
        cx.use_entry(key);
    }
    cx.reply.int(i64::from(absent));
    Ok(())
}

fn setex(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    set_with_ttl(cx, args, Unit::EX, "setex")
}

fn psetex(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    set_with_ttl(cx, args, Unit::PX, "psetex")
}

fn set_with_ttl(cx: &mut Cx<'_>, args: &mut Args<'_>, unit: Unit, command: &str) -> Result<(), CommandError> {
    let (key, number, value) = (args.bytes(), args.bytes(), args.bytes());
    args.finish()?;
    let at = Expiry { unit, number }.moment(cx, command)?;
    store_until(cx, key, value, at);
    cx.reply.ok();
    Ok(())
}

fn getset(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, value) = (args.bytes(), args.bytes());
    args.finish()?;
    reply_value(cx, key)?;
    store(cx, key, value, Ttl::Clear);
    cx.log_as(&[b"SET", key, value]);
    Ok(())
}

fn getdel(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    args.finish()?;
    if reply_value(cx, key)? {
        cx.remove(key);
        cx.log_as(&[b"DEL", key]);
    }
    Ok(())
}

fn getex(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    let (mut persist, mut expiry) = (false, None);
    while !args.is_empty() {
        if expiry.is_none() && args.word("persist") {
            persist = true;
        } else if let (false, Some(given)) = (persist, Expiry::option(args, expiry)) {
            expiry = Some(given);
        } else {
            args.fail(CommandError::SYNTAX);
            break;
        }
    }
    args.check()?;
    if !reply_value(cx, key)? {
        return Ok(());
    }
    cx.log_nothing();
    if let Some(expiry) = expiry {
        let at = expiry.moment(cx, "getex")?;
        if expiry.unit.absolute && is_past(cx, at) {
            cx.remove(key);
            cx.log_as(&[b"DEL", key]);
            return Ok(());
        }
        cx.set_expiry(key, Some(at));
        cx.dirty(1);
        cx.notify(Event::Generic, "expire", key);
        log_expiry(cx, key, at);
    } else if persist && cx.peek(key).is_some_and(|entry| entry.expiry().is_some()) {
        cx.set_expiry(key, None);
        cx.dirty(1);
        cx.notify(Event::Generic, "persist", key);
        cx.log_as(&[b"PERSIST", key]);
    }
    Ok(())
}

fn mget(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let keys = args.rest();
    cx.reply.array(keys.len());
    for key in keys {
        match cx.read::<Str>(key) {
            Ok((Some(text), reply)) => write(text, 0..text.len(), reply),
            Ok((None, _)) | Err(_) => cx.reply.null(),
        }
    }
    Ok(())
}

fn mset(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    store_pairs(cx, args.rest(), "mset")?;
    cx.reply.ok();
    Ok(())
}

fn msetnx(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let pairs = args.rest();
    if !pairs.len().is_multiple_of(2) {
        return Err(CommandError::wrong_arity("msetnx"));
    }
    for pair in pairs.chunks_exact(2) {
        cx.delete_if_due(pair[0]);
    }
    let absent = pairs.chunks_exact(2).all(|pair| cx.use_entry(pair[0]).is_none());
    if absent {
        store_pairs(cx, pairs, "msetnx")?;
    }
    cx.reply.int(i64::from(absent));
    Ok(())
}

fn store_pairs(cx: &mut Cx<'_>, pairs: &[&[u8]], command: &str) -> Result<(), CommandError> {
    if !pairs.len().is_multiple_of(2) {
        return Err(CommandError::wrong_arity(command));
    }
    for pair in pairs.chunks_exact(2) {
        store(cx, pair[0], pair[1], Ttl::Clear);
    }
    Ok(())
}
