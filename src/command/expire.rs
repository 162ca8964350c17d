//! Expiry: EXPIRE and its kin, and what is left of a key's time.

use crate::command::ttl::{Unit, is_past, log_expiry};
use crate::command::{Args, Command, CommandError, Cx, Event, Flags, Group, KeyFlags, KeySpec, parse_i64, quoted};
use crate::env::UnixMillis;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "expire",
        arity: -3,
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::UPDATE))],
        run: expire,
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Sets the time to live of a key, in seconds.",
        syntax: "key seconds:integer [condition:<NX | XX | GT | LT> {7.0.0}]",
        ..Command::DEFAULT
    },
    Command {
        name: "pexpire",
        arity: -3,
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::UPDATE))],
        run: pexpire,
        group: Group::Generic,
        since: "2.6.0",
        complexity: "O(1)",
        summary: "Sets the time to live of a key, in milliseconds.",
        syntax: "key milliseconds:integer [condition:<NX | XX | GT | LT> {7.0.0}]",
        ..Command::DEFAULT
    },
    Command {
        name: "expireat",
        arity: -3,
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::UPDATE))],
        run: expireat,
        group: Group::Generic,
        since: "1.2.0",
        complexity: "O(1)",
        summary: "Sets the moment at which a key expires, in seconds since 1970.",
        syntax: "key unix-time-seconds:unix-time [condition:<NX | XX | GT | LT> {7.0.0}]",
        ..Command::DEFAULT
    },
    Command {
        name: "pexpireat",
        arity: -3,
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::UPDATE))],
        run: pexpireat,
        group: Group::Generic,
        since: "2.6.0",
        complexity: "O(1)",
        summary: "Sets the moment at which a key expires, in milliseconds since 1970.",
        syntax: "key unix-time-milliseconds:unix-time [condition:<NX | XX | GT | LT> {7.0.0}]",
        ..Command::DEFAULT
    },
    Command {
        name: "persist",
        arity: 2,
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::UPDATE))],
        run: persist,
        group: Group::Generic,
        since: "2.2.0",
        complexity: "O(1)",
        summary: "Takes the expiry from a key.",
        syntax: "key",
        ..Command::DEFAULT
    },
    Command {
        name: "ttl",
        arity: 2,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: ttl,
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "The time that a key still has, in seconds.",
        syntax: "key",
        tips: &["nondeterministic_output"],
        ..Command::DEFAULT
    },
    Command {
        name: "pttl",
        arity: 2,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: pttl,
        group: Group::Generic,
        since: "2.6.0",
        complexity: "O(1)",
        summary: "The time that a key still has, in milliseconds.",
        syntax: "key",
        tips: &["nondeterministic_output"],
        ..Command::DEFAULT
    },
    Command {
        name: "expiretime",
        arity: 2,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: expiretime,
        group: Group::Generic,
        since: "7.0.0",
        complexity: "O(1)",
        summary: "The moment at which a key expires, in seconds since 1970.",
        syntax: "key",
        ..Command::DEFAULT
    },
    Command {
        name: "pexpiretime",
        arity: 2,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: pexpiretime,
        group: Group::Generic,
        since: "7.0.0",
        complexity: "O(1)",
        summary: "The moment at which a key expires, in milliseconds since 1970.",
        syntax: "key",
        ..Command::DEFAULT
    },
];

/// On which present expiry a new one depends.
#[derive(Default)]
struct Condition {
    none: bool,
    any: bool,
    later: bool,
    earlier: bool,
}

impl Condition {
    fn read(args: &mut Args<'_>) -> Result<Self, CommandError> {
        let mut condition = Self::default();
        while let Some(option) = args.peek() {
            let flag = [
                ("nx", &mut condition.none),
                ("xx", &mut condition.any),
                ("gt", &mut condition.later),
                ("lt", &mut condition.earlier),
            ]
            .into_iter()
            .find_map(|(word, flag)| args.word(word).then_some(flag));
            match flag {
                Some(flag) => *flag = true,
                None => {
                    let option = quoted(option);
                    return Err(CommandError::new(format!("ERR Unsupported option {option}")));
                }
            }
        }
        if condition.none && (condition.any || condition.later || condition.earlier) {
            return Err(CommandError::fixed("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if condition.later && condition.earlier {
            return Err(CommandError::fixed("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(condition)
    }

    /// A key without expiry counts as one that expires never.
    fn allows(&self, present: Option<UnixMillis>, new: UnixMillis) -> bool {
        !(self.none && present.is_some()
            || self.any && present.is_none()
            || self.later && present.is_none_or(|present| new <= present)
            || self.earlier && present.is_some_and(|present| new >= present))
    }
}

fn expire(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    expire_by(cx, args, Unit::EX, "expire")
}

fn pexpire(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    expire_by(cx, args, Unit::PX, "pexpire")
}

fn expireat(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    expire_by(cx, args, Unit::EXAT, "expireat")
}

fn pexpireat(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    expire_by(cx, args, Unit::PXAT, "pexpireat")
}

fn expire_by(cx: &mut Cx<'_>, args: &mut Args<'_>, unit: Unit, command: &str) -> Result<(), CommandError> {
    let (key, number) = (args.bytes(), args.bytes());
    let condition = Condition::read(args)?;
    let number = parse_i64(number).ok_or(CommandError::NOT_INTEGER)?;
    let at = unit.moment(number, cx.now()).ok_or_else(|| CommandError::invalid_expire(command))?;
    cx.delete_if_due(key);
    let present = cx.use_entry(key).map(|entry| entry.expiry());
    if !present.is_some_and(|present| condition.allows(present, at)) {
        cx.reply.int(0);
        return Ok(());
    }
    if is_past(cx, at) {
        cx.remove(key);
        cx.log_as(&[b"DEL", key]);
    } else {
        cx.set_expiry(key, Some(at));
        cx.dirty(1);
        cx.notify(Event::Generic, "expire", key);
        log_expiry(cx, key, at);
    }
    cx.reply.int(1);
    Ok(())
}

fn persist(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    args.finish()?;
    cx.delete_if_due(key);
    let expires = cx.use_entry(key).is_some_and(|entry| entry.expiry().is_some());
    if expires {
        cx.set_expiry(key, None);
        cx.dirty(1);
        cx.notify(Event::Generic, "persist", key);
    }
    cx.reply.int(i64::from(expires));
    Ok(())
}

fn ttl(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    reply_time(cx, args, Unit::EX)
}

fn pttl(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    reply_time(cx, args, Unit::PX)
}

fn expiretime(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    reply_time(cx, args, Unit::EXAT)
}

fn pexpiretime(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    reply_time(cx, args, Unit::PXAT)
}

/// -2 for a key that is absent, -1 for one that does not expire.
fn reply_time(cx: &mut Cx<'_>, args: &mut Args<'_>, unit: Unit) -> Result<(), CommandError> {
    let key = args.bytes();
    args.finish()?;
    let now = cx.now();
    let (found, reply) = cx.seen(key);
    reply.int(match found.map(|entry| entry.expiry()) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => {
            let millis = if unit.absolute { at.0 } else { at.0.saturating_sub(now.0).max(0) };
            if unit.seconds { millis / 1000 + i64::from(millis % 1000 >= 500) } else { millis }
        }
    });
    Ok(())
}
