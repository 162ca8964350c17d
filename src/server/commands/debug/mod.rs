//! DEBUG: what tests ask of a server. Allowed by `enable-debug-command`.

mod digest;
mod help;
mod keys;
mod process;
mod reload;
mod reload_log;
mod replace;

use crate::command::{Args, Command, CommandError, Cx, Flags, Group, parse_i64};
use crate::engine::Parts;
use crate::resp::Protocol;
use crate::server::Server;
use crate::server::config::{Locality, parse_memory};
use crate::server::knobs::nap;

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

/// About fork children, clients that take a dump, and links of a cluster: there are none, so whatever is asked for holds.
const NONE_OF_THEM: [&str; 4] = [
    "pause-after-fork",
    "drop-cluster-packet-filter",
    "close-cluster-link-on-packet-drop",
    "delay-rdb-client-free-seconds",
];

/// What shows or changes the data, and so has to wait until it is loaded.
const OF_THE_DATA: [&[u8]; 10] = [
    b"listpack",
    b"quicklist",
    b"digest",
    b"digest-value",
    b"object",
    b"populate",
    b"htstats",
    b"htstats-key",
    b"reload",
    b"loadaof",
];

/// The largest element that may be asked to be packed, as in stock: a little less than 4 GiB.
const PACKED_THRESHOLD_MAX: u64 = (1 << 32) - (1 << 20);

fn debug(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let policy = Server::of(cx)?.shared()?.settings().debug_command;
    check_locality(cx, policy, "DEBUG", "enable-debug-command")?;
    let subcommand = args.bytes();
    let named = subcommand.to_ascii_lowercase();
    if Parts::of(cx).settings.loading && OF_THE_DATA.contains(&named.as_slice()) {
        return Err(CommandError::LOADING);
    }
    match named.as_slice() {
        b"sleep" if args.remaining() == 1 => {
            let seconds = args.float();
            args.check()?;
            sleep(cx, seconds)
        }
        b"set-active-expire" if args.remaining() == 1 => {
            Parts::of(cx).settings.active_expire = number(args.bytes()) != 0;
            cx.reply.ok();
            Ok(())
        }
        b"set-skip-checksum-validation" if args.remaining() == 1 => {
            Parts::of(cx).settings.payload.any_checksum = number(args.bytes()) != 0;
            cx.reply.ok();
            Ok(())
        }
        b"set-disable-deny-scripts" if args.remaining() == 1 => {
            Parts::of(cx).settings.any_command_in_scripts = number(args.bytes()) != 0;
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
        b"htstats" if args.remaining() >= 1 => {
            let db = args.int();
            args.check()?;
            keys::database_tables(cx, db, args.word("full"))
        }
        b"htstats-key" if args.remaining() >= 1 => {
            let key = args.bytes();
            keys::value_table(cx, key, args.word("full"))
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
        b"loadaof" if args.is_empty() => reload_log::reload_log(cx),
        // What a crash does to the data is what is asked for.
        b"segfault" | b"panic" | b"assert" | b"oom" if args.is_empty() => std::process::abort(),
        b"error" if args.remaining() == 1 => {
            cx.reply.error(args.bytes());
            Ok(())
        }
        b"log" if args.remaining() == 1 => {
            tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(args.bytes()));
            cx.reply.ok();
            Ok(())
        }
        b"protocol" if args.remaining() == 1 => protocol(cx, args.bytes()),
        b"change-repl-id" if args.is_empty() => process::change_replication_id(cx),
        b"config-rewrite-force-all" if args.is_empty() => process::rewrite_whole_file(cx),
        b"pause-cron" if args.remaining() == 1 => process::pause_cron(cx, number(args.bytes()) != 0),
        b"aof-flush-sleep" if args.remaining() == 1 => process::flush_sleep(cx, number(args.bytes())),
        // To replicas alone: there are none.
        b"replicate" if !args.is_empty() => {
            args.rest();
            cx.reply.ok();
            Ok(())
        }
        b"clusterlink" if args.remaining() == 3 => {
            Err(CommandError::fixed("ERR Debug option only available for cluster mode enabled setup!"))
        }
        b"leak" if args.remaining() == 1 => {
            Box::leak(Box::<[u8]>::from(args.bytes()));
            cx.reply.ok();
            Ok(())
        }
        b"listpack" if args.remaining() == 1 => keys::listpack(cx, args.bytes()),
        b"quicklist" if matches!(args.remaining(), 1 | 2) => {
            let (key, level) = (args.bytes(), args.next());
            keys::quicklist(cx, key, level.is_some_and(|level| number(level) != 0))
        }
        b"replybuffer" if args.remaining() == 2 => process::reply_buffers(cx, args, subcommand),
        b"mallctl" if !args.is_empty() => process::allocator_number(cx, args),
        b"mallctl-str" if !args.is_empty() => process::allocator_text(cx, args),
        b"dict-resizing" if args.remaining() == 1 => Err(CommandError::fixed(
            "ERR DEBUG DICT-RESIZING is not supported: tables grow and shrink by one bucket at a time, there is no resizing \
             to be put off",
        )),
        b"help" if args.is_empty() => {
            help::help(cx);
            Ok(())
        }
        other if args.remaining() == 1 && NONE_OF_THEM.iter().any(|known| known.as_bytes() == other) => {
            cx.reply.ok();
            Ok(())
        }
        _ => Err(CommandError::subcommand_syntax("debug", subcommand)),
    }
}

/// A number as C's `atoi` reads it: 0 where there is none.
fn number(word: &[u8]) -> i64 {
    let digits = word.iter().enumerate().take_while(|(at, byte)| byte.is_ascii_digit() || (*at == 0 && **byte == b'-'));
    parse_i64(&word[..digits.count()]).unwrap_or(0)
}

/// Whether this connection may use a command that a directive keeps from others.
pub fn check_locality(cx: &mut Cx<'_>, policy: Locality, command: &str, directive: &str) -> Result<(), CommandError> {
    let id = cx.client;
    let info = &Parts::of(cx).client_mut(id).info;
    let local = info.unix_socket || info.address.starts_with("127.") || info.address.starts_with("[::1]");
    match policy {
        Locality::Everybody => Ok(()),
        Locality::LocalConnections if local => Ok(()),
        _ => Err(CommandError::new(format!(
            "ERR {command} command not allowed. If the {directive} option is set to \"local\", you can run it from a local \
             connection, otherwise you need to set this option in the configuration file, and then restart the server."
        ))),
    }
}

/// Keeps the engine for a while, as a slow command would.
fn sleep(cx: &mut Cx<'_>, seconds: f64) -> Result<(), CommandError> {
    let time = std::time::Duration::try_from_secs_f64(seconds.max(0.0)).map_err(|_| CommandError::OUT_OF_RANGE)?;
    nap(time);
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
        b"push" if cx.reply.protocol() == Protocol::Resp2 => {
            return Err(CommandError::fixed("ERR RESP2 is not supported by this command"));
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
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}
