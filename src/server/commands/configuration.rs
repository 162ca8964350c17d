//! CONFIG.

use crate::command::{Args, Command, CommandError, Cx, Flags, Group};
use crate::engine::Parts;
use crate::env::disk::{OsDisk, read_file};
use crate::server::config::{Settings, failed, is_secret, rewritten};
use crate::server::listener::os_text;
use crate::server::state::apply_settings;
use crate::server::{Server, errand, standing, switching};
use std::sync::Arc;

const OPERATOR: Flags =
    Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE).and(Flags::DANGEROUS).and(Flags::OPERATOR);
/// What changes nothing that the log has to do with.
const ADMIN: Flags = OPERATOR.and(Flags::KEY_READ);

pub static COMMANDS: &[Command] = &[Command {
    name: "config",
    arity: -2,
    group: Group::Server,
    since: "2.0.0",
    complexity: "Depends on subcommand.",
    summary: "A container for server configuration commands.",
    subcommands: SUBCOMMANDS,
    ..Command::DEFAULT
}];

static SUBCOMMANDS: &[Command] = &[
    Command {
        name: "get",
        arity: -3,
        flags: ADMIN,
        run: get,
        group: Group::Server,
        since: "2.0.0",
        complexity: "O(N) when N is the number of configuration parameters provided",
        summary: "Returns the effective values of configuration parameters.",
        syntax: "parameter [parameter ...]",
        ..Command::DEFAULT
    },
    Command {
        name: "set",
        arity: -4,
        flags: OPERATOR,
        run: set,
        secrets: Some(secret_values),
        group: Group::Server,
        since: "2.0.0",
        complexity: "O(N) when N is the number of configuration parameters provided",
        summary: "Sets configuration parameters in-flight.",
        syntax: "parameter_value:(parameter value) [parameter_value ...]",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        ..Command::DEFAULT
    },
    Command {
        name: "resetstat",
        arity: 2,
        flags: ADMIN,
        run: resetstat,
        group: Group::Server,
        since: "2.0.0",
        complexity: "O(1)",
        summary: "Resets the server's statistics.",
        ..Command::DEFAULT
    },
    Command {
        name: "rewrite",
        arity: 2,
        flags: ADMIN,
        run: rewrite,
        group: Group::Server,
        since: "2.8.0",
        complexity: "O(1)",
        summary: "Persists the effective configuration to file.",
        ..Command::DEFAULT
    },
    Command {
        name: "help",
        arity: 2,
        flags: Flags::LOADING.and(Flags::STALE),
        run: help,
        group: Group::Server,
        since: "5.0.0",
        complexity: "O(1)",
        summary: "Returns helpful text about the different subcommands.",
        ..Command::DEFAULT
    },
];

fn get(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let found = Server::of(cx)?.config.get(args.rest());
    cx.reply.map(found.len());
    for (name, value) in found {
        cx.reply.bulk(name);
        cx.reply.bulk(value);
    }
    Ok(())
}

/// Values of directives that hold passwords.
fn secret_values(argv: &[&[u8]]) -> Vec<usize> {
    (2..argv.len()).step_by(2).filter(|at| is_secret(argv[*at])).map(|at| at + 1).collect()
}

/// What says where the data is, and so may not change while it is being loaded.
const OF_THE_DATA: [&str; 3] = ["appendonly", "dbfilename", "dir"];

fn set(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let words = args.rest();
    if !words.len().is_multiple_of(2) {
        return Err(CommandError::SYNTAX);
    }
    let pairs: Vec<(&[u8], &[u8])> = words.chunks(2).map(|pair| (pair[0], pair[1])).collect();
    let server = Server::of(cx)?;
    let (config, changed) = server.config.with(&pairs).map_err(CommandError::new)?;
    let settings = Settings::resolve(&config, &server.working_directory);
    let shared = server.shared()?;
    let before = shared.settings();
    if shared.loading.is_under_way()
        && let Some(name) = changed.iter().find(|name| OF_THE_DATA.contains(name))
    {
        return Err(CommandError::new(failed(name.as_bytes(), "the data is being loaded")));
    }
    // In a transaction nobody waits for a disk: what is in the way is told by the log and INFO, and tried again.
    if settings.appendonly && !before.appendonly && cx.turn.may_block {
        let (place, switched) = (Arc::clone(&shared), settings.clone());
        match errand::run(cx, move || switching::prepare(&place, &switched).map(|()| Vec::new()))? {
            None => return Ok(()),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::warn!("The append-only file cannot be switched on: {error}");
                let reason = "Unable to turn on AOF. Check server logs.";
                return Err(CommandError::new(failed(b"appendonly", reason)));
            }
        }
    }
    let server = Server::of(cx)?;
    if settings.appendonly && !before.appendonly {
        server.rewriting.forget_failures();
    }
    crate::server::apply::apply(&shared, &before, &settings)
        .map_err(|refused| CommandError::new(failed(refused.directive.as_bytes(), &refused.reason)))?;
    server.config = config;
    let password = (before.password != settings.password).then(|| settings.password.clone());
    if changed.contains(&"dir") {
        tracing::info!("Directory changed to {}", settings.dir.display());
    }
    let crate::value::Limits { hash_seed, list_packed_threshold, .. } = cx.store.limits;
    cx.store.limits = crate::value::Limits { hash_seed, list_packed_threshold, ..settings.limits };
    if before.access_policy != settings.access_policy {
        cx.store.set_access_policy(settings.access_policy, cx.now());
    }
    apply_settings(Parts::of(cx), &settings);
    let generations = settings.snapshot_generations;
    shared.set_settings(settings);
    if generations < before.snapshot_generations {
        standing::prune_soon(&shared);
    }
    if let Some(password) = password {
        Parts::of(cx).set_default_password(&password);
    }
    cx.reply.ok();
    Ok(())
}

fn resetstat(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    let shared = Server::of(cx)?.shared()?;
    shared.counters.reset();
    shared.gauge.reset_stats();
    shared.defrag.reset_stats();
    let parts = Parts::of(cx);
    parts.stats.reset();
    parts.memory.reset_stats();
    cx.reply.ok();
    Ok(())
}

/// Says in the configuration file what is in force.
fn rewrite(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    if Server::of(cx)?.config_file.is_none() {
        return Err(CommandError::fixed("ERR The server is running without a config file"));
    }
    match rewrite_file(cx, false)? {
        None => Ok(()),
        Some(Ok(())) => {
            tracing::info!("CONFIG REWRITE executed with success.");
            cx.reply.ok();
            Ok(())
        }
        Some(Err(error)) => {
            tracing::warn!("CONFIG REWRITE failed: {error}");
            Err(CommandError::new(format!("ERR Rewriting config file: {error}")))
        }
    }
}

/// Rewrites the configuration file, whole, by a thread of its own; `None` while that is under way, the error as the system
/// says it. `all`: defaults too.
pub fn rewrite_file(cx: &mut Cx<'_>, all: bool) -> Result<Option<Result<(), String>>, CommandError> {
    let server = Server::of(cx)?;
    let Some(path) = server.config_file.clone() else { return Ok(Some(Err("Bad address".to_owned()))) };
    let config = server.config.clone();
    let elsewhere = !server.shared()?.settings().acl_filename.is_empty();
    // Users that have a file of their own are not said here.
    let users: Vec<Vec<u8>> = match elsewhere {
        true => Vec::new(),
        false => Parts::of(cx).access.users.all().iter().map(|user| user.line()).collect(),
    };
    let work = move || {
        let old = match read_file(&OsDisk, &path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            old => old?,
        };
        OsDisk.replace_as_it_was(&path, &rewritten(&old, &config, Some(&users), all)).map(|()| Vec::new())
    };
    Ok(errand::run(cx, work)?.map(|outcome| outcome.map(drop).map_err(|error| os_text(&error))))
}

fn help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    cx.help(
        "CONFIG",
        &[
            "GET <pattern>",
            "    Return parameters matching the glob-like <pattern> and their values.",
            "SET <directive> <value>",
            "    Set the configuration <directive> to <value>.",
            "RESETSTAT",
            "    Reset statistics reported by the INFO command.",
            "REWRITE",
            "    Rewrite the configuration file.",
        ],
    );
    Ok(())
}
