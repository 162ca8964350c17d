//! Commands about other servers, answered as a lone primary does: there are neither replicas nor a cluster.

use crate::command::{Args, Command, CommandError, Cx, Deprecated, Flags, Group, parse_i64};

const ADMIN: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::DANGEROUS).and(Flags::KEY_READ);
const STREAM: Flags = ADMIN.and(Flags::NO_ASYNC_LOADING).and(Flags::NO_MULTI);

const SERVER: Command = Command { group: Group::Server, complexity: "O(1)", ..Command::DEFAULT };
const CLUSTER: Command = Command { group: Group::Cluster, run: no_cluster, since: "3.0.0", ..SERVER };

pub static COMMANDS: &[Command] = &[
    Command {
        name: "replicaof",
        arity: 3,
        flags: ADMIN.and(Flags::STALE).and(Flags::NO_ASYNC_LOADING),
        run: replicaof,
        since: "5.0.0",
        summary: "Configures a server as replica of another, or promotes it to a master.",
        syntax: "args:<host-port:(host port:integer) | no-one:(no:NO ONE)>",
        ..SERVER
    },
    Command {
        name: "slaveof",
        arity: 3,
        flags: ADMIN.and(Flags::STALE).and(Flags::NO_ASYNC_LOADING),
        run: replicaof,
        summary: "Sets a Redis server as a replica of another, or promotes it to being a master.",
        syntax: "args:<host-port:(host port:integer) | no-one:(no:NO ONE)>",
        deprecated: Some(Deprecated { since: "5.0.0", replaced_by: "`REPLICAOF`" }),
        ..SERVER
    },
    Command {
        name: "failover",
        arity: -1,
        flags: ADMIN.and(Flags::STALE),
        run: failover,
        since: "6.2.0",
        summary: "Hands the role of the primary to a replica, in order.",
        syntax: "[TO target:(host port:integer [FORCE])] [ABORT] [TIMEOUT milliseconds:integer]",
        ..SERVER
    },
    Command {
        name: "psync",
        arity: -3,
        flags: STREAM,
        run: no_replication,
        since: "2.8.0",
        complexity: "",
        summary: "Sent by a replica to go on with the stream of changes.",
        syntax: "replicationid offset:integer",
        ..SERVER
    },
    Command {
        name: "sync",
        arity: 1,
        flags: STREAM,
        run: no_replication,
        complexity: "",
        summary: "Sent by a replica to begin the stream of changes.",
        ..SERVER
    },
    Command {
        name: "replconf",
        arity: -1,
        flags: ADMIN.and(Flags::LOADING).and(Flags::STALE).and(Flags::ALLOW_BUSY).and(Flags::SYSTEM),
        run: no_replication,
        since: "3.0.0",
        summary: "Sent by a replica to say what it can do and how far it is.",
        ..SERVER
    },
    Command {
        name: "cluster",
        arity: -2,
        flags: Flags::STALE,
        group: Group::Server,
        summary: "A container for Redis Cluster commands.",
        ..CLUSTER
    },
    Command {
        name: "asking",
        arity: 1,
        flags: Flags::FAST.and(Flags::CONNECTION),
        summary: "Announces a command that an -ASK reply has sent here.",
        ..CLUSTER
    },
    Command {
        name: "readonly",
        arity: 1,
        flags: READ.and(Flags::CONNECTION),
        summary: "Lets a connection to a replica of a cluster read.",
        ..CLUSTER
    },
    Command {
        name: "readwrite",
        arity: 1,
        flags: READ.and(Flags::CONNECTION),
        summary: "Ends what READONLY has begun.",
        ..CLUSTER
    },
];

const READ: Flags = Flags::LOADING.and(Flags::STALE).and(Flags::FAST);

const NO_REPLICATION: CommandError = CommandError::fixed("ERR replication is not supported by this version");

fn replicaof(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (host, port) = (args.bytes(), args.bytes());
    if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        cx.reply.ok();
        return Ok(());
    }
    if parse_i64(port).is_none_or(|port| !(0..=65535).contains(&port)) {
        return Err(CommandError::fixed("ERR Invalid master port"));
    }
    Err(NO_REPLICATION)
}

/// There is nobody to hand over to, whatever is asked for in the right words.
fn failover(_: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let only = args.remaining() == 1;
    if only && args.word("abort") {
        return Err(CommandError::fixed("ERR No failover in progress."));
    }
    let (mut to, mut force, mut timeout) = (false, false, None);
    while !args.is_empty() {
        if timeout.is_none() && args.remaining() > 1 && args.word("timeout") {
            let millis = args.int();
            args.check()?;
            if millis <= 0 {
                return Err(CommandError::fixed("ERR FAILOVER timeout must be greater than 0"));
            }
            timeout = Some(millis);
        } else if !to && args.remaining() > 2 && args.word("to") {
            args.bytes();
            args.int();
            args.check()?;
            to = true;
        } else if !force && args.word("force") {
            force = true;
        } else {
            return Err(CommandError::SYNTAX);
        }
    }
    Err(CommandError::fixed("ERR FAILOVER requires connected replicas."))
}

fn no_replication(_: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    args.rest();
    Err(NO_REPLICATION)
}

fn no_cluster(_: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    args.rest();
    Err(CommandError::fixed("ERR This instance has cluster support disabled"))
}
