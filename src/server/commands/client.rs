//! CLIENT: who is connected, and how connections behave.

use std::fmt::Write as _;

use super::client_kill::kill;
use super::client_tracking::{caching, getredir, redirection, tracking, trackinginfo};
use super::session::client_name;
use crate::command::{Args, ClientId, Command, CommandError, Cx, Flags, Group, parse_i64, quoted};
use crate::engine::{Client, Parts, ReplyMode};
use crate::env::UnixMillis;
use crate::resp::Protocol;
use crate::server::Server;

const BASE: Flags = Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::CONNECTION).and(Flags::KEY_READ);
const ADMIN: Flags = BASE.and(Flags::ADMIN).and(Flags::DANGEROUS);

pub static COMMANDS: &[Command] = &[Command {
    name: "client",
    arity: -2,
    group: Group::Connection,
    since: "2.4.0",
    complexity: "Depends on subcommand.",
    summary: "A container for client connection commands.",
    subcommands: SUBCOMMANDS,
    ..Command::DEFAULT
}];

const SUB: Command = Command { group: Group::Connection, flags: BASE, complexity: "O(1)", ..Command::DEFAULT };

static SUBCOMMANDS: &[Command] = &[
    Command {
        name: "id",
        arity: 2,
        run: id,
        since: "5.0.0",
        summary: "Returns the unique client ID of the connection.",
        ..SUB
    },
    Command {
        name: "info",
        arity: 2,
        run: info,
        since: "6.2.0",
        summary: "Returns information about the connection.",
        tips: &["nondeterministic_output"],
        ..SUB
    },
    Command {
        name: "list",
        arity: -2,
        flags: ADMIN,
        run: list,
        since: "2.4.0",
        complexity: "O(N) where N is the number of client connections",
        summary: "Lists open connections.",
        syntax: "[TYPE normal_master_replica_pubsub:<NORMAL | MASTER | REPLICA | PUBSUB> {5.0.0}] [ID \
                 id:(client-id:integer [client-id ...]) {6.2.0}]",
        tips: &["nondeterministic_output"],
        ..SUB
    },
    Command {
        name: "kill",
        arity: -3,
        flags: ADMIN,
        run: kill,
        since: "2.4.0",
        complexity: "O(N) where N is the number of client connections",
        summary: "Terminates open connections.",
        syntax: "filter:<ip:port {-2.8.12} | new-format:<[ID client-id:integer {2.8.12}] | [TYPE \
                 normal_master_slave_pubsub:<NORMAL | MASTER {3.2.0} | SLAVE | REPLICA {5.0.0} | PUBSUB> {2.8.12}] | \
                 [USER username] | [ADDR ip:port] | [LADDR ip:port {6.2.0}] | [SKIPME yes/no] | [MAXAGE \
                 maxage:integer {8.0.0}]> [new-format ...]>",
        ..SUB
    },
    Command {
        name: "pause",
        arity: -3,
        flags: ADMIN,
        run: pause,
        since: "2.9.50",
        summary: "Suspends commands processing.",
        syntax: "timeout:integer [mode:<WRITE | ALL> {6.2.0}]",
        ..SUB
    },
    Command {
        name: "unpause",
        arity: 2,
        flags: ADMIN,
        run: unpause,
        since: "6.2.0",
        complexity: "O(N) Where N is the number of paused clients",
        summary: "Resumes processing commands from paused clients.",
        ..SUB
    },
    Command {
        name: "capa",
        arity: -3,
        run: capa,
        since: "8.0.0",
        summary: "The connection says what it can do.",
        syntax: "capability [capability ...]",
        ..SUB
    },
    Command {
        name: "getname",
        arity: 2,
        run: getname,
        since: "2.6.9",
        summary: "Returns the name of the connection.",
        ..SUB
    },
    Command {
        name: "setname",
        arity: 3,
        run: setname,
        since: "2.6.9",
        summary: "Sets the connection name.",
        syntax: "connection-name",
        ..SUB
    },
    Command {
        name: "setinfo",
        arity: 4,
        run: setinfo,
        since: "7.2.0",
        summary: "Sets information specific to the client or connection.",
        syntax: "attr:<LIB-NAME libname | LIB-VER libver>",
        ..SUB
    },
    Command {
        name: "reply",
        arity: 3,
        run: reply,
        since: "3.2.0",
        summary: "Instructs the server whether to reply to commands.",
        syntax: "on_off_skip:<ON | OFF | SKIP>",
        ..SUB
    },
    Command {
        name: "no-evict",
        arity: 3,
        flags: ADMIN,
        run: no_evict,
        since: "7.0.0",
        summary: "Sets the client eviction mode of the connection.",
        syntax: "enabled:<ON | OFF>",
        ..SUB
    },
    Command {
        name: "no-touch",
        arity: 3,
        run: no_touch,
        since: "7.2.0",
        summary: "Controls whether commands sent by the client affect the LRU/LFU of accessed keys.",
        syntax: "enabled:<ON | OFF>",
        ..SUB
    },
    Command {
        name: "unblock",
        arity: -3,
        flags: ADMIN,
        run: unblock,
        since: "5.0.0",
        complexity: "O(log N) where N is the number of client connections",
        summary: "Unblocks a client blocked by a blocking command from a different connection.",
        syntax: "client-id:integer [timeout_error:<TIMEOUT | ERROR>]",
        ..SUB
    },
    Command {
        name: "caching",
        arity: 3,
        run: caching,
        since: "6.0.0",
        summary: "Whether the keys of the next command are tracked.",
        syntax: "mode:<YES | NO>",
        ..SUB
    },
    Command {
        name: "tracking",
        arity: -3,
        run: tracking,
        since: "6.0.0",
        complexity: "O(1). Some options may introduce additional complexity.",
        summary: "Tells the connection of changes of keys that it has read.",
        syntax: "status:<ON | OFF> [REDIRECT client-id:integer] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] \
                 [OPTOUT] [NOLOOP]",
        ..SUB
    },
    Command {
        name: "trackinginfo",
        arity: 2,
        run: trackinginfo,
        since: "6.2.0",
        summary: "How the connection tracks keys.",
        ..SUB
    },
    Command {
        name: "getredir",
        arity: 2,
        run: getredir,
        since: "6.0.0",
        summary: "Returns the client ID to which the connection's tracking notifications are redirected.",
        ..SUB
    },
    Command {
        name: "help",
        arity: 2,
        flags: Flags::LOADING.and(Flags::STALE).and(Flags::CONNECTION),
        run: help,
        since: "5.0.0",
        summary: "Returns helpful text about the different subcommands.",
        ..SUB
    },
];

fn id(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    cx.reply.int(cx.client.0 as i64);
    Ok(())
}

fn info(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    let (id, now) = (cx.client, cx.now());
    let parts = Parts::of(cx);
    let line = parts.clients.get(id).map(|client| describe(client, parts, now)).unwrap_or_default();
    cx.reply.verbatim(*b"txt", line);
    Ok(())
}

fn list(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let mut class = None;
    let mut ids: Option<Vec<ClientId>> = None;
    if args.remaining() == 2 && args.word("type") {
        class = Some(class_named(args.bytes())?);
        args.finish()?;
    } else if args.word("id") {
        let words = args.rest();
        if words.is_empty() {
            return Err(CommandError::SYNTAX);
        }
        let id = |word: &&[u8]| parse_i64(word).map(|id| ClientId(id as u64));
        ids = Some(words.iter().map(id).collect::<Option<_>>().ok_or(CommandError::fixed("ERR Invalid client ID"))?);
    }
    args.finish()?;
    let now = cx.now();
    let parts = Parts::of(cx);
    let text: String = match ids {
        // As they were named: in that order, and as often.
        Some(ids) => {
            ids.iter().filter_map(|id| parts.clients.get(*id)).map(|client| describe(client, parts, now)).collect()
        }
        None => {
            let wanted = |client: &&Client| class.is_none_or(|class| class_of(client) == class);
            parts.clients.sorted().into_iter().filter(wanted).map(|client| describe(client, parts, now)).collect()
        }
    };
    cx.reply.verbatim(*b"txt", text);
    Ok(())
}

/// The classes that CLIENT LIST and CLIENT KILL tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Normal,
    Pubsub,
    /// Connections of replication, of which there are none.
    Replication,
}

pub fn class_named(word: &[u8]) -> Result<Class, CommandError> {
    match word.to_ascii_lowercase().as_slice() {
        b"normal" => Ok(Class::Normal),
        b"pubsub" => Ok(Class::Pubsub),
        b"master" | b"primary" | b"slave" | b"replica" => Ok(Class::Replication),
        _ => Err(CommandError::new(format!("ERR Unknown client type '{}'", quoted(word)))),
    }
}

pub fn class_of(client: &Client) -> Class {
    if client.is_subscriber() { Class::Pubsub } else { Class::Normal }
}

/// Replies from this length on, in bytes, are not in the fixed buffer of a stock server's client.
const REPLY_BUFFER: usize = 16 << 10;

/// One line of CLIENT LIST.
pub fn describe(client: &Client, parts: &Parts, now: UnixMillis) -> String {
    let seconds_since = |then: UnixMillis| (now.0 - then.0).max(0) / 1000;
    let (queued, queued_bytes) = match &client.transaction {
        Some(transaction) => (transaction.queued.len() as i64, transaction.bytes),
        None => (-1, 0),
    };
    let command = client
        .last_command
        .and_then(|index| parts.table.all().get(index))
        .map_or("NULL".to_owned(), |resolved| resolved.full_name());
    let held = client.outbox.meter.read();
    // What a stock server has in its fixed buffer, and what in its list of replies.
    let (buffered, beyond) = if held.unsent <= REPLY_BUFFER { (held.unsent, 0) } else { (0, held.unsent) };
    let listed = client.outbox.pieces() + usize::from(beyond > 0);
    let waiting = client.outbox.len() + beyond;
    let events = if held.unsent > 0 { "rw" } else { "r" };
    let mut line = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        line,
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={queued} \
         watch={} qbuf={} qbuf-free={} argv-mem={} multi-mem={queued_bytes} rbs={} rbp={} obl={} oll={} omem={} \
         tot-mem={} events={events} cmd={command} user={} redir={} resp={} lib-name={} lib-ver={} capa={}",
        client.id.0,
        client.info.address,
        client.info.local_address,
        client.info.descriptor,
        String::from_utf8_lossy(&client.name),
        seconds_since(client.connected_at),
        seconds_since(client.active_at),
        flags(client, parts),
        client.db,
        client.channels.len(),
        client.patterns.len(),
        client.shard_channels.len(),
        client.watches.len(),
        held.query,
        held.query_free,
        held.requests,
        held.send_buffer,
        held.send_peak,
        buffered,
        listed,
        waiting,
        client.memory_bytes(),
        String::from_utf8_lossy(client.user.name()),
        redirection(client.tracking.as_deref()),
        if client.protocol == Protocol::Resp3 { 3 } else { 2 },
        String::from_utf8_lossy(&client.library_name),
        String::from_utf8_lossy(&client.library_version),
        if client.redirects { "r" } else { "" },
    );
    line
}

fn flags(client: &Client, parts: &Parts) -> String {
    let mut flags = String::new();
    for (set, letter) in [
        (parts.observed.monitors.contains(&client.id), 'O'),
        (client.is_subscriber(), 'P'),
        (client.tracking.is_some(), 't'),
        (client.tracking.as_ref().is_some_and(|tracked| tracked.redirect_broken), 'R'),
        (client.tracking.as_ref().is_some_and(|tracked| tracked.options.broadcast), 'B'),
        (client.transaction.is_some(), 'x'),
        (client.blocked.is_some() || parts.pause.holds(client.id), 'b'),
        (client.watch_failed, 'd'),
        (client.closing, 'c'),
        (client.info.unix_socket, 'U'),
        (client.no_evict, 'e'),
        (client.no_touch, 'T'),
    ] {
        if set {
            flags.push(letter);
        }
    }
    if flags.is_empty() {
        flags.push('N');
    }
    flags
}

fn getname(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    let id = cx.client;
    let name = Parts::of(cx).client_mut(id).name.clone();
    cx.reply.bulk_or_null((!name.is_empty()).then_some(name));
    Ok(())
}

fn setname(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let name = client_name(args.bytes())?;
    let id = cx.client;
    Parts::of(cx).client_mut(id).name = name;
    cx.reply.ok();
    Ok(())
}

fn setinfo(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (option, value) = (args.bytes(), args.bytes());
    let id = cx.client;
    let client = Parts::of(cx).client_mut(id);
    let (name, field) = if option.eq_ignore_ascii_case(b"lib-name") {
        ("lib-name", &mut client.library_name)
    } else if option.eq_ignore_ascii_case(b"lib-ver") {
        ("lib-ver", &mut client.library_version)
    } else {
        let option = quoted(option);
        return Err(CommandError::new(format!("ERR Unrecognized option '{option}'")));
    };
    if !value.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Err(CommandError::new(format!("ERR {name} cannot contain spaces, newlines or special characters.")));
    }
    *field = value.to_vec();
    cx.reply.ok();
    Ok(())
}

fn reply(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let id = cx.client;
    let mode = args.bytes();
    let client = Parts::of(cx).client_mut(id);
    if mode.eq_ignore_ascii_case(b"on") {
        client.reply_mode = ReplyMode::On;
        cx.reply.ok();
    } else if mode.eq_ignore_ascii_case(b"off") {
        client.reply_mode = ReplyMode::Off;
    } else if mode.eq_ignore_ascii_case(b"skip") {
        if client.reply_mode == ReplyMode::On {
            client.reply_mode = ReplyMode::SkipNext;
        }
    } else {
        return Err(CommandError::SYNTAX);
    }
    Ok(())
}

fn on_off(word: &[u8]) -> Result<bool, CommandError> {
    if word.eq_ignore_ascii_case(b"on") {
        Ok(true)
    } else if word.eq_ignore_ascii_case(b"off") {
        Ok(false)
    } else {
        Err(CommandError::SYNTAX)
    }
}

fn no_evict(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let on = on_off(args.bytes())?;
    let id = cx.client;
    Parts::of(cx).client_mut(id).no_evict = on;
    cx.reply.ok();
    Ok(())
}

fn no_touch(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let on = on_off(args.bytes())?;
    let id = cx.client;
    Parts::of(cx).client_mut(id).no_touch = on;
    cx.reply.ok();
    Ok(())
}

fn unblock(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    if args.remaining() > 2 {
        return Err(CommandError::subcommand_syntax("client", args.argv()[1]));
    }
    let id = args.int();
    let with_error = match args.next() {
        None => false,
        Some(reason) if reason.eq_ignore_ascii_case(b"timeout") => false,
        Some(reason) if reason.eq_ignore_ascii_case(b"error") => true,
        Some(_) => return Err(CommandError::fixed("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
    };
    args.finish()?;
    let id = ClientId(u64::try_from(id).unwrap_or(0));
    let parts = Parts::of(cx);
    let waits = parts.clients.get(id).is_some_and(|client| client.blocked.is_some());
    if waits {
        parts.unblock.push((id, with_error));
    }
    cx.reply.int(i64::from(waits));
    Ok(())
}

fn pause(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    const TIMEOUT: CommandError = CommandError::fixed("ERR timeout is not an integer or out of range");
    const MODE: CommandError = CommandError::fixed("ERR CLIENT PAUSE mode must be WRITE or ALL");
    if args.remaining() > 2 {
        return Err(CommandError::subcommand_syntax("client", args.argv()[1]));
    }
    let millis = args.int_or(TIMEOUT);
    let mode = args.next();
    args.check()?;
    let everything = match mode {
        Some(mode) if mode.eq_ignore_ascii_case(b"write") => false,
        Some(mode) if !mode.eq_ignore_ascii_case(b"all") => return Err(MODE),
        _ => true,
    };
    if millis < 0 {
        return Err(CommandError::TIMEOUT_NEGATIVE);
    }
    let until = cx.now().0.checked_add(millis).map(UnixMillis).ok_or(TIMEOUT)?;
    Parts::of(cx).pause(until, everything);
    if let Ok(shared) = Server::of(cx).and_then(|server| server.shared()) {
        shared.ticker.ring(until);
    }
    cx.reply.ok();
    Ok(())
}

fn unpause(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    Parts::of(cx).unpause();
    cx.reply.ok();
    Ok(())
}

/// Notes what a client can do; what nobody knows of is passed over. There is nothing to redirect to as long as nothing is
/// replicated.
fn capa(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let id = cx.client;
    if args.rest().iter().any(|capability| capability.eq_ignore_ascii_case(b"redirect")) {
        Parts::of(cx).client_mut(id).redirects = true;
    }
    cx.reply.ok();
    Ok(())
}

fn help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    cx.help(
        "CLIENT",
        &[
            "CACHING (YES|NO)",
            "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
            "GETREDIR",
            "    Return the client ID we are redirecting to when tracking is enabled.",
            "GETNAME",
            "    Return the name of the current connection.",
            "ID",
            "    Return the ID of the current connection.",
            "INFO",
            "    Return information about the current client connection.",
            "KILL <ip:port>",
            "    Kill connection made from <ip:port>.",
            "KILL <option> <value> [<option> <value> [...]]",
            "    Kill connections. Options are:",
            "    * ADDR (<ip:port>|<unixsocket>:0)",
            "      Kill connections made from the specified address",
            "    * LADDR (<ip:port>|<unixsocket>:0)",
            "      Kill connections made to specified local address",
            "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
            "      Kill connections by type.",
            "    * USER <username>",
            "      Kill connections authenticated by <username>.",
            "    * SKIPME (YES|NO)",
            "      Skip killing current connection (default: yes).",
            "    * ID <client-id>",
            "      Kill connections by client id.",
            "    * MAXAGE <maxage>",
            "      Kill connections older than the specified age.",
            "LIST [options ...]",
            "    Return information about client connections. Options:",
            "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
            "      Return clients of specified type.",
            "    * ID <id> [<id> ...]",
            "      Return clients of specified IDs only.",
            "UNPAUSE",
            "    Stop the current client pause, resuming traffic.",
            "PAUSE <timeout> [WRITE|ALL]",
            "    Suspend all, or just write, clients for <timeout> milliseconds.",
            "REPLY (ON|OFF|SKIP)",
            "    Control the replies sent to the current connection.",
            "SETNAME <name>",
            "    Assign the name <name> to the current connection.",
            "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
            "         [OPTIN] [OPTOUT] [NOLOOP]",
            "    Control server assisted client side caching.",
            "TRACKINGINFO",
            "    Report tracking status for the current connection.",
            "UNBLOCK <clientid> [TIMEOUT|ERROR]",
            "    Unblock the specified blocked client.",
            "SETINFO <option> <value>",
            "    Set client meta attr. Options are:",
            "    * LIB-NAME: the client lib name.",
            "    * LIB-VER: the client lib version.",
            "NO-EVICT (ON|OFF)",
            "    Protect current client connection from eviction.",
            "NO-TOUCH (ON|OFF)",
            "    Will not touch LRU/LFU stats when this mode is on.",
            "CAPA <capability> [<capability> ...]",
            "    Say what the client can do.",
        ],
    );
    Ok(())
}
