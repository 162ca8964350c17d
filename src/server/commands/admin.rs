//! Commands of the operator: time, shutdown, persistence, and answers for what one lone primary is.

use super::debug::check_locality;
use crate::command::{Args, Command, CommandError, Cx, Flags, Group, TimeoutReply};
use crate::engine::Parts;
use crate::server::Server;
use crate::server::shutdown::{self, Request};
use crate::server::{info, rewriting, saving};

const ADMIN: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::DANGEROUS).and(Flags::KEY_READ);
const READY: Flags = Flags::LOADING.and(Flags::STALE);

const SERVER: Command = Command { group: Group::Server, complexity: "O(1)", ..Command::DEFAULT };

pub static COMMANDS: &[Command] = &[
    Command {
        name: "info",
        arity: -1,
        flags: READY.and(Flags::DANGEROUS).and(Flags::OPERATOR).and(Flags::KEY_READ),
        run: info_command,
        summary: "Returns information and statistics about the server.",
        syntax: "[section [section ...]]",
        tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
        ..SERVER
    },
    Command {
        name: "time",
        arity: 1,
        flags: READY.and(Flags::FAST).and(Flags::KEY_READ),
        run: time,
        since: "2.6.0",
        summary: "Returns the server time.",
        tips: &["nondeterministic_output"],
        ..SERVER
    },
    Command {
        name: "shutdown",
        arity: -1,
        flags: ADMIN.and(READY).and(Flags::NO_MULTI).and(Flags::ALLOW_BUSY),
        run: shutdown_command,
        summary: "Synchronously saves the database(s) to disk and shuts down the server.",
        syntax: "[nosave_save:<NOSAVE | SAVE>] [NOW {7.0.0}] [FORCE {7.0.0}] [ABORT {7.0.0}]",
        ..SERVER
    },
    Command {
        name: "bgrewriteaof",
        arity: 1,
        flags: ADMIN.and(Flags::NO_ASYNC_LOADING),
        run: rewrite_log,
        summary: "Asynchronously rewrites the append-only file to disk.",
        ..SERVER
    },
    Command {
        name: "role",
        arity: 1,
        flags: READY.and(Flags::FAST).and(Flags::NOSCRIPT).and(Flags::DANGEROUS).and(Flags::KEY_READ),
        run: role,
        also_in: &["@admin"],
        since: "2.8.12",
        summary: "Returns the replication role.",
        ..SERVER
    },
    Command {
        name: "wait",
        arity: 3,
        flags: Flags::NOSCRIPT.and(Flags::CONNECTION),
        run: wait,
        group: Group::Generic,
        since: "3.0.0",
        summary: "Blocks until the asynchronous replication of all preceding write commands sent by the connection is \
                  completed.",
        syntax: "numreplicas:integer timeout:integer",
        tips: &["request_policy:all_shards", "response_policy:agg_min"],
        ..SERVER
    },
    Command {
        name: "waitaof",
        arity: 4,
        flags: Flags::NOSCRIPT.and(Flags::CONNECTION).and(Flags::BLOCKING),
        run: waitaof,
        group: Group::Generic,
        since: "7.2.0",
        summary: "Blocks until all of the preceding write commands sent by the connection are written to the \
                  append-only file of the master and/or replicas.",
        syntax: "numlocal:integer numreplicas:integer timeout:integer",
        ..SERVER
    },
    Command {
        name: "module",
        arity: -2,
        since: "4.0.0",
        complexity: "Depends on subcommand.",
        summary: "A container for module commands.",
        subcommands: &[
            Command {
                name: "list",
                arity: 2,
                flags: ADMIN,
                run: module_list,
                since: "4.0.0",
                complexity: "O(N) where N is the number of loaded modules.",
                summary: "Returns all loaded modules.",
                tips: &["nondeterministic_output_order"],
                ..SERVER
            },
            Command {
                name: "load",
                arity: -3,
                flags: ADMIN.and(Flags::NO_ASYNC_LOADING),
                run: module_load,
                since: "4.0.0",
                summary: "Loads a module.",
                syntax: "path [arg [arg ...]]",
                ..SERVER
            },
            Command {
                name: "loadex",
                arity: -3,
                flags: ADMIN.and(Flags::NO_ASYNC_LOADING),
                run: module_load,
                since: "7.0.0",
                summary: "Loads a module using extended parameters.",
                syntax: "path [CONFIG configs:(name value) [CONFIG configs ...]] [ARGS args [args ...]]",
                ..SERVER
            },
            Command {
                name: "unload",
                arity: 3,
                flags: ADMIN.and(Flags::NO_ASYNC_LOADING),
                run: module_unload,
                since: "4.0.0",
                summary: "Unloads a module.",
                syntax: "name",
                ..SERVER
            },
            Command {
                name: "help",
                arity: 2,
                flags: READY,
                run: module_help,
                since: "5.0.0",
                summary: "Returns helpful text about the different subcommands.",
                ..SERVER
            },
        ],
        ..SERVER
    },
];

fn info_command(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let sections = info::Sections::parse(args.rest());
    let text = info::text(cx, &sections)?;
    cx.reply.verbatim(*b"txt", text);
    Ok(())
}

fn time(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    let micros = Parts::of(cx).clock.unix_micros();
    cx.reply.array(2);
    cx.reply.bulk_int(micros.div_euclid(1_000_000));
    cx.reply.bulk_int(micros.rem_euclid(1_000_000));
    Ok(())
}

fn shutdown_command(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let request = shutdown::parse(args.rest())?;
    let shared = Server::of(cx)?.shared()?;
    match request {
        Request::End(_) if shared.loading.is_under_way() => crate::server::start::give_up_loading(),
        Request::Abort if shared.abort_shutdown() => {
            tracing::info!("Shutdown manually aborted");
            cx.reply.ok();
            Ok(())
        }
        Request::Abort => Err(CommandError::fixed("ERR No shutdown in progress.")),
        Request::End(flags) if saving::wanted_at_the_end(flags, &shared.settings()) => {
            let id = cx.client;
            if !Server::of(cx)?.saving.note_ending(id) {
                return Err(CommandError::fixed("ERR Errors trying to SHUTDOWN. Check logs."));
            }
            shared.request_shutdown(flags);
            cx.block(&[], crate::value::Type::String, 0, TimeoutReply::Again);
            Ok(())
        }
        Request::End(flags) => {
            let id = cx.client;
            Parts::of(cx).client_mut(id).closing = true;
            shared.request_shutdown(flags);
            Ok(())
        }
    }
}

fn rewrite_log(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    let in_transaction = !cx.turn.may_block;
    let rewriting = &mut Server::of(cx)?.rewriting;
    if in_transaction && !rewriting.is_running() {
        rewriting.schedule();
        cx.reply.simple("Background append only file rewriting scheduled");
        return Ok(());
    }
    rewriting::start(cx)?;
    cx.reply.simple("Background append only file rewriting started");
    Ok(())
}

fn role(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    cx.reply.array(3);
    cx.reply.bulk("master");
    cx.reply.int(0);
    cx.reply.array(0);
    Ok(())
}

/// A lone primary: no replica will ever confirm, and who waits for one does so until the time is over.
fn wait(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let replicas = args.int();
    let timeout = args.int_or(CommandError::fixed("ERR timeout is not an integer or out of range"));
    args.finish()?;
    if timeout < 0 {
        return Err(CommandError::TIMEOUT_NEGATIVE);
    }
    if replicas > 0 && cx.turn.may_block {
        cx.block(&[], crate::value::Type::String, timeout, TimeoutReply::Again);
    } else {
        cx.reply.int(0);
    }
    Ok(())
}

/// Waits until what was written so far is durable. The position is that of the first call: later writes of others do
/// not move it.
fn waitaof(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    const LOCAL: CommandError = CommandError::fixed("ERR value is out of range, value must between 0 and 1");
    let local = args.int();
    let replicas = args.int();
    let timeout = args.int_or(CommandError::fixed("ERR timeout is not an integer or out of range"));
    args.finish()?;
    if !(0..=1).contains(&local) {
        return Err(LOCAL);
    }
    if replicas < 0 {
        return Err(CommandError::MUST_BE_POSITIVE);
    }
    if timeout < 0 {
        return Err(CommandError::TIMEOUT_NEGATIVE);
    }
    let (id, may_block, stamp) = (cx.client, cx.turn.may_block, cx.turn.stamp);
    let server = Server::of(cx)?;
    let shared = server.shared()?;
    if !shared.settings().appendonly {
        server.awaiting_sync.remove(&id);
        if local > 0 {
            return Err(CommandError::fixed(
                "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
            ));
        }
        return reply_synced(cx, 0);
    }
    // A log that is being begun does not count.
    let position = *server.awaiting_sync.entry(id).or_insert(stamp);
    let synced = i64::from(shared.founded_log().is_some_and(|log| log.progress.durable().0 >= position));
    if (synced >= local && replicas == 0) || !may_block {
        server.awaiting_sync.remove(&id);
        return reply_synced(cx, synced);
    }
    shared.await_sync(position);
    cx.block(&[], crate::value::Type::String, timeout, TimeoutReply::Again);
    Ok(())
}

fn reply_synced(cx: &mut Cx<'_>, local: i64) -> Result<(), CommandError> {
    cx.reply.array(2);
    cx.reply.int(local);
    cx.reply.int(0);
    Ok(())
}

fn module_list(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    cx.reply.array(0);
    Ok(())
}

fn module_help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    cx.help(
        "MODULE",
        &[
            "LIST",
            "    Return a list of loaded modules.",
            "LOAD <path> [<arg> ...]",
            "    Load a module library from <path>, passing to it any optional arguments.",
            "LOADEX <path> [[CONFIG NAME VALUE] [CONFIG NAME VALUE]] [ARGS ...]",
            "    Load a module library from <path>, while passing it module configurations and optional arguments.",
            "UNLOAD <name>",
            "    Unload a module.",
        ],
    );
    Ok(())
}

fn may_load(cx: &mut Cx<'_>) -> Result<(), CommandError> {
    let policy = Server::of(cx)?.shared()?.settings().module_command;
    check_locality(cx, policy, "MODULE", "enable-module-command")
}

fn module_load(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    may_load(cx)?;
    tracing::warn!("Module {} failed to load: modules are not supported", String::from_utf8_lossy(args.bytes()));
    Err(CommandError::fixed("ERR Error loading the extension. Please check the server logs."))
}

fn module_unload(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    may_load(cx)?;
    Err(CommandError::fixed("ERR Error unloading module: no such module with that name"))
}
