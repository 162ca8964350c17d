//! DEBUG: what tests ask of a server. Allowed by `enable-debug-command`.

mod digest;
mod keys;
mod reload;

use crate::command::{Args, Command, CommandError, Cx, Flags, Group};
use crate::engine::Parts;
use crate::server::Server;
use crate::server::config::{Locality, parse_memory};

pub static COMMANDS: &[Command] = &[Command {
    name: "debug",
    arity: -2,
    flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE).and(Flags::SYSTEM),
    run: debug,
    group: Group::Server,
    complexity: "Depends on subcommand.",
    summary: "A container for debugging commands.",
    ..Command::DEFAULT
}];

/// Subcommands about fork children, replicas, clusters and allocators, which have no counterpart here.
const MEANINGLESS: [&str; 14] = [
    "change-repl-id",
    "pause-after-fork",
    "pause-cron",
    "drop-cluster-packet-filter",
    "close-cluster-link-on-packet-drop",
    "delay-rdb-client-free-seconds",
    "dict-resizing",
    "dict-stats",
    "replybuffer",
    "set-disable-deny-scripts",
    "aof-flush-sleep",
    "config-rewrite-force-all",
    "mallctl",
    "mallctl-str",
];

/// The largest element that may be asked to be packed, as in stock: a little less than 4 GiB.
const PACKED_THRESHOLD_MAX: u64 = (1 << 32) - (1 << 20);

fn debug(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    allowed(cx)?;
    let subcommand = args.bytes();
    match subcommand.to_ascii_lowercase().as_slice() {
        b"sleep" if args.remaining() == 1 => {
            let seconds = args.float();
            args.check()?;
            sleep(cx, seconds)
        }
        b"set-active-expire" if args.remaining() == 1 => {
            Parts::of(cx).settings.active_expire = args.int() != 0;
            args.check()?;
            cx.reply.ok();
            Ok(())
        }
        b"set-skip-checksum-validation" if args.remaining() == 1 => {
            Parts::of(cx).settings.payload.any_checksum = args.int() != 0;
            args.check()?;
            cx.reply.ok();
            Ok(())
        }
        b"digest" if args.is_empty() => {
            cx.reads_all();
            cx.reply.simple(digest::of_all(cx.store));
            Ok(())
        }
        b"digest-value" => {
            cx.reads_all();
            cx.reply.array(args.remaining());
            for key in args.rest() {
                cx.reply.simple(digest::of_value(cx.store.db(cx.db), key));
            }
            Ok(())
        }
        b"object" if matches!(args.remaining(), 1 | 2) => keys::object(cx, args.bytes()),
        b"populate" if (1..=3).contains(&args.remaining()) => keys::populate(cx, args),
        b"htstats" if matches!(args.remaining(), 1 | 2) => {
            let db = args.int();
            args.check()?;
            keys::table_stats(cx, db)
        }
        b"stringmatch-len" if args.remaining() == 2 => {
            keys::string_match(cx, args.bytes(), args.bytes());
            Ok(())
        }
        b"quicklist-packed-threshold" if args.remaining() == 1 => {
            let bytes = parse_memory(args.bytes()).filter(|bytes| *bytes <= PACKED_THRESHOLD_MAX);
            let refused = "ERR argument must be a memory value bigger than 1 and smaller than 4gb";
            cx.store.limits.list_packed_threshold = bytes.ok_or(CommandError::fixed(refused))? as usize;
            cx.reply.ok();
            Ok(())
        }
        b"reload" => reload::reload(cx, args),
        // What a crash does to the data is what is asked for.
        b"segfault" | b"panic" | b"assert" if args.is_empty() => std::process::abort(),
        b"error" if args.remaining() == 1 => {
            cx.reply.error(args.bytes());
            Ok(())
        }
        b"log" if args.remaining() == 1 => {
            tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(args.bytes()));
            cx.reply.ok();
            Ok(())
        }
        b"jmap" => Err(CommandError::fixed("ERR DEBUG JMAP has no meaning here")),
        b"protocol" if args.remaining() == 1 => protocol(cx, args.bytes()),
        b"help" => {
            help(cx);
            Ok(())
        }
        other if MEANINGLESS.iter().any(|known| known.as_bytes() == other) => {
            cx.reply.ok();
            Ok(())
        }
        _ => Err(CommandError::subcommand_syntax("debug", subcommand)),
    }
}

fn allowed(cx: &mut Cx<'_>) -> Result<(), CommandError> {
    let id = cx.client;
    let policy = Server::of(cx)?.shared()?.settings().debug_command;
    let info = &Parts::of(cx).client_mut(id).info;
    let local = info.unix_socket || info.address.starts_with("127.") || info.address.starts_with("[::1]");
    match policy {
        Locality::Everybody => Ok(()),
        Locality::LocalConnections if local => Ok(()),
        _ => Err(CommandError::fixed(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it \
             from a local connection, otherwise you need to set this option in the configuration file, and then \
             restart the server.",
        )),
    }
}

/// Keeps the engine for a while, as a slow command would.
fn sleep(cx: &mut Cx<'_>, seconds: f64) -> Result<(), CommandError> {
    let time = std::time::Duration::try_from_secs_f64(seconds.max(0.0)).map_err(|_| CommandError::OUT_OF_RANGE)?;
    let never = parking_lot::Mutex::new(());
    parking_lot::Condvar::new().wait_for(&mut never.lock(), time);
    cx.reply.ok();
    Ok(())
}

/// One reply of each type of RESP3.
#[expect(clippy::approx_constant, reason = "the number that stock answers")]
fn protocol(cx: &mut Cx<'_>, kind: &[u8]) -> Result<(), CommandError> {
    match kind.to_ascii_lowercase().as_slice() {
        b"string" => cx.reply.bulk("Hello World"),
        b"integer" => cx.reply.int(12345),
        b"double" => cx.reply.double(3.141),
        b"null" => cx.reply.null(),
        b"array" => {
            cx.reply.array(3);
            (0..3).for_each(|n| cx.reply.int(n));
        }
        b"set" => {
            cx.reply.set(3);
            (0..3).for_each(|n| cx.reply.int(n));
        }
        b"map" => {
            cx.reply.map(3);
            for n in 0..3 {
                cx.reply.int(n);
                cx.reply.boolean(n == 1);
            }
        }
        b"attrib" => {
            if cx.reply.attribute(1) {
                cx.reply.bulk("key-popularity");
                cx.reply.array(2);
                cx.reply.bulk("key:123");
                cx.reply.int(90);
            }
            cx.reply.bulk("Some real reply following the attribute");
        }
        b"push" => {
            cx.reply.push(2);
            cx.reply.bulk("server-cpu-usage");
            cx.reply.int(42);
        }
        b"verbatim" => cx.reply.verbatim(*b"txt", "This is a verbatim\nstring"),
        b"true" => cx.reply.boolean(true),
        b"false" => cx.reply.boolean(false),
        b"bignum" => cx.reply.big_number("1234567999999999999999999999999999999"),
        _ => {
            return Err(CommandError::fixed(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}

fn help(cx: &mut Cx<'_>) {
    cx.help(
        "DEBUG",
        &[
            "DIGEST",
            "    One number for the content of all databases.",
            "DIGEST-VALUE <key> [<key> ...]",
            "    One number for the value of each key.",
            "ERROR <string>",
            "    Return a Redis protocol error with <string> as message.",
            "HTSTATS <dbid>",
            "    Sizes of the tables of a database.",
            "LOG <message>",
            "    Write <message> to the server log.",
            "OBJECT <key>",
            "    How the value at a key is stored.",
            "PANIC | SEGFAULT | ASSERT",
            "    Crash the server.",
            "POPULATE <count> [<prefix>] [<size>]",
            "    Create <count> strings named <prefix>:<num> (default: key), unless they are there; they are logged.",
            "PROTOCOL <type>",
            "    Reply with a test value of the specified type.",
            "QUICKLIST-PACKED-THRESHOLD <size>",
            "    List elements from this size on stand alone in their node; 0: those larger than a node may be.",
            "RELOAD [NOSAVE] [NOFLUSH] [MERGE]",
            "    Save the data to disk and load it from there.",
            "SET-ACTIVE-EXPIRE <0|1>",
            "    Setting it to 0 disables expiring keys in background.",
            "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
            "    Setting it to 1 lets RESTORE take payloads of any checksum.",
            "SLEEP <seconds>",
            "    Stop the server for <seconds>. Decimals allowed.",
            "STRINGMATCH-LEN <pattern> <string>",
            "    Whether a glob-style pattern matches a string.",
        ],
    );
}
