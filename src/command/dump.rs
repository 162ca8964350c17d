//! DUMP and RESTORE: a value as bytes that any server of this kind takes.

use super::ttl::is_past;
use super::{Args, Command, CommandError, Cx, Event, Flags, Group, KeyFlags, KeySpec, Ttl};
use crate::env::UnixMillis;
use crate::keyspace::{AccessPolicy, Entry};
use crate::value::payload::{self, RestoreError};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "dump",
        arity: 2,
        flags: Flags::READ,
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: dump,
        group: Group::Generic,
        since: "2.6.0",
        complexity: "O(N), N being the size of the value.",
        summary: "The value at a key as bytes that RESTORE takes.",
        syntax: "key",
        tips: &["nondeterministic_output"],
        ..Command::DEFAULT
    },
    Command {
        name: "restore",
        arity: -4,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::DANGEROUS),
        keys: &[KeySpec::first(KeyFlags::OW.and(KeyFlags::UPDATE))],
        run: restore,
        group: Group::Generic,
        since: "2.6.0",
        complexity: "O(N), N being the size of the value; O(N*log(N)) for a sorted set.",
        summary: "Creates a key from what DUMP answered.",
        syntax: "key ttl:integer serialized-value [REPLACE {3.0.0}] [ABSTTL {5.0.0}] [IDLETIME seconds:integer \
                 {5.0.0}] [FREQ frequency:integer {5.0.0}]",
        ..Command::DEFAULT
    },
    Command {
        name: "restore-asking",
        arity: -4,
        flags: Flags::WRITE
            .and(Flags::DENYOOM)
            .and(Flags::ASKING)
            .and(Flags::DANGEROUS)
            .and(Flags::KEYSPACE)
            .and(Flags::SYSTEM),
        keys: &[KeySpec::first(KeyFlags::OW.and(KeyFlags::UPDATE))],
        run: restore,
        group: Group::Server,
        since: "3.0.0",
        complexity: "O(N), N being the size of the value; O(N*log(N)) for a sorted set.",
        summary: "RESTORE as MIGRATE sends it to the importing node of a cluster.",
        syntax: "key ttl:integer serialized-value [REPLACE {3.0.0}] [ABSTTL {5.0.0}] [IDLETIME seconds:integer \
                 {5.0.0}] [FREQ frequency:integer {5.0.0}]",
        ..Command::DEFAULT
    },
];

/// How payloads are written and read; the server's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadRules {
    /// Long strings are compressed (`rdbcompression`).
    pub compression: bool,
    /// The checksum is not compared (DEBUG SET-SKIP-CHECKSUM-VALIDATION).
    pub any_checksum: bool,
}

impl Default for PayloadRules {
    fn default() -> Self {
        Self { compression: true, any_checksum: false }
    }
}

fn dump(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    args.finish()?;
    let rules = cx.host.payload_rules();
    match cx.entry(key) {
        (Some(entry), reply) => reply.bulk(payload::dump(entry.value(), rules.compression)),
        (None, reply) => reply.null(),
    }
    Ok(())
}

/// The options of RESTORE.
#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle_seconds: Option<u64>,
    frequency: Option<u8>,
}

impl Options {
    fn read(args: &mut Args<'_>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        while !args.is_empty() {
            if args.word("replace") {
                options.replace = true;
            } else if args.word("absttl") {
                options.absolute = true;
            } else if args.remaining() > 1 && options.frequency.is_none() && args.word("idletime") {
                let seconds = args.int();
                args.check()?;
                let refused = CommandError::fixed("ERR Invalid IDLETIME value, must be >= 0");
                options.idle_seconds = Some(u64::try_from(seconds).map_err(|_| refused)?);
            } else if args.remaining() > 1 && options.idle_seconds.is_none() && args.word("freq") {
                let frequency = args.int();
                args.check()?;
                let refused = CommandError::fixed("ERR Invalid FREQ value, must be >= 0 and <= 255");
                options.frequency = Some(u8::try_from(frequency).map_err(|_| refused)?);
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        Ok(options)
    }
}

fn restore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, ttl, payload) = (args.bytes(), args.bytes(), args.bytes());
    let options = Options::read(args)?;
    cx.delete_if_due(key);
    if !options.replace && cx.use_entry(key).is_some() {
        return Err(CommandError::fixed("BUSYKEY Target key name already exists."));
    }
    let ttl = super::parse_i64(ttl).ok_or(CommandError::NOT_INTEGER)?;
    if ttl < 0 {
        return Err(CommandError::fixed("ERR Invalid TTL value, must be >= 0"));
    }
    let rules = cx.host.payload_rules();
    if payload::is_packed(payload) {
        cx.host.payload_checked();
    }
    let value = payload::restore(payload, &cx.limits(), rules.any_checksum).map_err(|error| match error {
        RestoreError::Footer => CommandError::fixed("ERR DUMP payload version or checksum are wrong"),
        RestoreError::Value(error) => {
            // Stock's words for it, which operators look for.
            tracing::warn!("RESTORE: payload integrity check failed: {error}");
            CommandError::fixed("ERR Bad data format")
        }
    })?;
    let expiry = match (ttl, options.absolute) {
        (0, _) => None,
        (_, true) => Some(UnixMillis(ttl)),
        // Beyond the end of time it wraps to long ago, as in stock.
        (_, false) => Some(UnixMillis(ttl.wrapping_add(cx.now().0))),
    };
    cx.reply.ok();
    if expiry.is_some_and(|at| is_past(cx, at)) {
        if options.replace && cx.remove(key) {
            cx.log_as(&[b"DEL", key]);
        }
        return Ok(());
    }
    let replayable = !rules.any_checksum && payload::is_for_stock_7_0(payload);
    if !replayable || (expiry.is_some() && !options.absolute) {
        let mut logged = args.argv().to_vec();
        let (mut text, rewritten) =
            (itoa::Buffer::new(), (!replayable).then(|| payload::dump(value.as_ref(), rules.compression)));
        if let Some(rewritten) = &rewritten {
            logged[3] = rewritten;
        }
        if let Some(at) = expiry.filter(|_| !options.absolute) {
            logged[2] = text.format(at.0).as_bytes();
            logged.push(b"ABSTTL");
        }
        cx.log_as(&logged);
    }
    cx.remove_silently(key);
    cx.put(key, value, Ttl::from(expiry));
    set_access(cx, key, &options);
    cx.dirty(1);
    cx.notify(Event::Generic, "restore", key);
    Ok(())
}

/// Gives the key the access clock that the options tell, as far as the policy keeps such a one.
fn set_access(cx: &mut Cx<'_>, key: &[u8], options: &Options) {
    let clock = cx.database().access_clock();
    let told = match clock.policy() {
        AccessPolicy::Lru => options.idle_seconds.map(|idle| clock.with_idle_seconds(idle)),
        AccessPolicy::Lfu { .. } => options.frequency.map(|counter| clock.with_frequency(counter)),
    };
    if let (Some(told), Some(entry)) = (told, cx.peek(key)) {
        Entry::set_clock(entry, told);
    }
}
