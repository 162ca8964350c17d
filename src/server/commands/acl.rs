//! ACL: users, what they may do, and what they were refused.

use super::acl_describe::{describe_entry, describe_user};
use crate::command::{Args, Command, CommandError, Cx, Flags, Group, parse_i64, quoted};
use crate::engine::{CATEGORIES, DEFAULT_USER, Parts, User, Users, hexadecimal};
use crate::env::disk::{OsDisk, read_file};
use crate::env::secret_bytes;
use crate::server::Server;
use crate::server::errand;
use crate::server::listener::os_text;

const BASE: Flags = Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::KEY_READ);
const ADMIN: Flags = BASE.and(Flags::ADMIN);

pub static COMMANDS: &[Command] = &[Command {
    name: "acl",
    arity: -2,
    group: Group::Server,
    since: "6.0.0",
    complexity: "Depends on subcommand.",
    summary: "Users and what they may do.",
    subcommands: SUBCOMMANDS,
    ..Command::DEFAULT
}];

const SUB: Command = Command { group: Group::Server, since: "6.0.0", complexity: "O(N)", ..Command::DEFAULT };

static SUBCOMMANDS: &[Command] = &[
    Command {
        name: "cat",
        arity: -2,
        flags: BASE,
        run: cat,
        complexity: "O(1) since the categories and commands are a fixed set.",
        summary: "The categories of commands, or the commands of one.",
        syntax: "[categoryname]",
        ..SUB
    },
    Command {
        name: "deluser",
        arity: -3,
        flags: ADMIN,
        run: deluser,
        secrets: Some(behind_the_name),
        complexity: "O(1) amortized time considering the typical user.",
        summary: "Deletes users and ends their connections.",
        syntax: "username [username ...]",
        ..SUB
    },
    Command {
        name: "dryrun",
        arity: -4,
        flags: ADMIN,
        run: dryrun,
        since: "7.0.0",
        complexity: "O(1).",
        summary: "Whether a user may make a call, without making it.",
        syntax: "username command [arg [arg ...]]",
        ..SUB
    },
    Command {
        name: "genpass",
        arity: -2,
        flags: BASE,
        run: genpass,
        complexity: "O(1)",
        summary: "Random digits to be used as a password.",
        syntax: "[bits:integer]",
        ..SUB
    },
    Command {
        name: "getuser",
        arity: 3,
        flags: ADMIN,
        run: getuser,
        secrets: Some(behind_the_name),
        complexity: "O(N). Where N is the number of password, command and pattern rules that the user has.",
        summary: "The rules of a user.",
        syntax: "username",
        ..SUB
    },
    Command {
        name: "help",
        arity: 2,
        flags: Flags::LOADING.and(Flags::STALE),
        run: help,
        complexity: "O(1)",
        summary: "What the subcommands are for.",
        ..SUB
    },
    Command {
        name: "list",
        arity: 2,
        flags: ADMIN,
        run: list,
        complexity: "O(N). Where N is the number of configured users.",
        summary: "All users, each as a line of an ACL file.",
        ..SUB
    },
    Command {
        name: "load",
        arity: 2,
        flags: ADMIN,
        run: load,
        complexity: "O(N). Where N is the number of configured users.",
        summary: "Reads the users from the ACL file, all of them or none.",
        ..SUB
    },
    Command {
        name: "log",
        arity: -2,
        flags: ADMIN,
        run: log,
        complexity: "O(N) with N being the number of entries shown.",
        summary: "What was refused lately, newest first.",
        syntax: "[operation:<count:integer | RESET>]",
        ..SUB
    },
    Command {
        name: "save",
        arity: 2,
        flags: ADMIN,
        run: save,
        complexity: "O(N). Where N is the number of configured users.",
        summary: "Writes the users to the ACL file.",
        ..SUB
    },
    Command {
        name: "setuser",
        arity: -3,
        flags: ADMIN,
        run: setuser,
        secrets: Some(behind_the_name),
        complexity: "O(N). Where N is the number of rules provided.",
        summary: "Makes a user, or changes what it may do.",
        syntax: "username [rule [rule ...]]",
        ..SUB
    },
    Command {
        name: "users",
        arity: 2,
        flags: ADMIN,
        run: users,
        complexity: "O(N). Where N is the number of configured users.",
        summary: "The names of all users.",
        ..SUB
    },
    Command {
        name: "whoami",
        arity: 2,
        flags: BASE,
        run: whoami,
        complexity: "O(1)",
        summary: "The name of the connection's user.",
        ..SUB
    },
];

/// Who the users are, and by which passwords, is shown to nobody.
fn behind_the_name(argv: &[&[u8]]) -> Vec<usize> {
    (2..argv.len()).collect()
}

/// Surplus arguments of subcommands that take some.
fn no_more(args: &Args<'_>, name: &[u8]) -> Result<(), CommandError> {
    if args.is_empty() {
        return Ok(());
    }
    Err(CommandError::subcommand_syntax("acl", name))
}

fn spelled<'a>(args: &Args<'a>) -> &'a [u8] {
    args.argv()[1]
}

fn cat(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let category = args.next();
    no_more(args, spelled(args))?;
    let Some(category) = category else {
        cx.reply.array(CATEGORIES.len());
        CATEGORIES.iter().for_each(|name| cx.reply.bulk(name));
        return Ok(());
    };
    let known = CATEGORIES.iter().find(|known| known.as_bytes().eq_ignore_ascii_case(category));
    let known = known.ok_or_else(|| {
        let shown = quoted(&category[..category.len().min(128)]);
        CommandError::new(format!("ERR Unknown category '{shown}'"))
    })?;
    let table = Parts::of(cx).table.clone();
    let within: Vec<String> = table
        .all()
        .iter()
        .filter(|resolved| resolved.command.categories().contains(known))
        .map(|resolved| resolved.full_name())
        .collect();
    cx.reply.array(within.len());
    within.iter().for_each(|name| cx.reply.bulk(name));
    Ok(())
}

fn deluser(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let names = args.rest();
    if names.contains(&DEFAULT_USER) {
        return Err(CommandError::fixed("ERR The 'default' user cannot be removed"));
    }
    let mut deleted = 0;
    for name in names {
        deleted += i64::from(Parts::of(cx).remove_user(name));
    }
    cx.reply.int(deleted);
    Ok(())
}

fn dryrun(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let name = args.bytes();
    let argv = args.rest();
    let parts = Parts::of(cx);
    let not_found = |what: &str, name: &[u8]| CommandError::new(format!("ERR {what} '{}' not found", quoted(name)));
    let user = parts.access.users.get(name).ok_or_else(|| not_found("User", name))?;
    let resolved = parts.table.named(argv).ok_or_else(|| not_found("Command", argv[0]))?;
    if !resolved.command.arity_fits(argv.len()) {
        return Err(CommandError::wrong_arity(&resolved.full_name()));
    }
    match user.check(resolved, argv) {
        Ok(()) => cx.reply.ok(),
        Err(denied) => cx.reply.bulk(CommandError::new(denied.text(&user, resolved, argv, true)).line()),
    }
    Ok(())
}

fn genpass(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    const BITS_MAX: i64 = 4096;
    if args.remaining() > 1 {
        return Err(CommandError::subcommand_syntax("acl", spelled(args)));
    }
    let bits = if args.is_empty() { 256 } else { args.int() };
    args.check()?;
    if !(1..=BITS_MAX).contains(&bits) {
        return Err(CommandError::new(format!(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to \
             {BITS_MAX}"
        )));
    }
    let mut random = vec![0; (bits as usize).div_ceil(8)];
    secret_bytes(&mut random)
        .map_err(|error| CommandError::new(format!("ERR the system has no random bytes to give: {error}")))?;
    let mut digits = hexadecimal(&random);
    digits.truncate((bits as usize).div_ceil(4));
    cx.reply.bulk(digits);
    Ok(())
}

fn getuser(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let name = args.bytes();
    match Parts::of(cx).access.users.get(name) {
        Some(user) => describe_user(cx.reply, &user),
        None => cx.reply.null(),
    }
    Ok(())
}

fn list(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    let users = Parts::of(cx).access.users.all();
    cx.reply.array(users.len());
    users.iter().for_each(|user| cx.reply.bulk(user.line()));
    Ok(())
}

fn users(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    let users = Parts::of(cx).access.users.all();
    cx.reply.array(users.len());
    users.iter().for_each(|user| cx.reply.bulk(user.name()));
    Ok(())
}

fn whoami(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    let id = cx.client;
    let user = Parts::of(cx).client_mut(id).user.clone();
    cx.reply.bulk(user.name());
    Ok(())
}

fn setuser(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let name = args.bytes();
    let rules = args.rest();
    if name.iter().any(|byte| byte.is_ascii_whitespace() || matches!(byte, 0 | 0x0b)) {
        return Err(CommandError::fixed("ERR Usernames can't contain spaces or null characters"));
    }
    let parts = Parts::of(cx);
    let before = parts.access.users.get(name);
    let before = before.map_or_else(|| User::new(name, parts.settings.acl_all_channels), |user| (*user).clone());
    let changed = before.with(rules, parts.acl_terms()).map_err(|reason| CommandError::new(format!("ERR {reason}")))?;
    parts.change_user(changed);
    cx.reply.ok();
    Ok(())
}

fn log(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let argument = args.next();
    no_more(args, spelled(args))?;
    let count = match argument {
        None => 10,
        Some(word) if word.eq_ignore_ascii_case(b"reset") => {
            Parts::of(cx).access.log.clear();
            cx.reply.ok();
            return Ok(());
        }
        Some(word) => parse_i64(word).ok_or(CommandError::NOT_INTEGER)?,
    };
    let now = cx.now();
    let entries: Vec<_> = {
        let log = &Parts::of(cx).access.log;
        log.iter().take(usize::try_from(count).unwrap_or(0)).cloned().collect()
    };
    cx.reply.array(entries.len());
    entries.iter().for_each(|entry| describe_entry(cx.reply, entry, now));
    Ok(())
}

/// The ACL file: its name as it was configured, and where it is.
fn file(cx: &mut Cx<'_>) -> Result<(String, std::path::PathBuf), CommandError> {
    let settings = Server::of(cx)?.shared()?.settings();
    if settings.acl_filename.is_empty() {
        return Err(CommandError::fixed(
            "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL \
             SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in \
             order to store users in the Redis configuration.",
        ));
    }
    let path = settings.acl_path();
    Ok((settings.acl_filename.clone(), path))
}

fn save(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    let (name, path) = file(cx)?;
    let mut text = Vec::new();
    for user in Parts::of(cx).access.users.all() {
        text.extend_from_slice(&user.line());
        text.push(b'\n');
    }
    let work = move || OsDisk.replace_as_it_was(&path, &text).map(|()| Vec::new());
    match errand::run(cx, work)? {
        None => Ok(()),
        Some(Ok(_)) => {
            cx.reply.ok();
            Ok(())
        }
        Some(Err(error)) => {
            tracing::warn!("Saving the ACL file {name}: {error}");
            Err(CommandError::fixed(
                "ERR There was an error trying to save the ACLs. Please check the server logs for more information",
            ))
        }
    }
}

fn load(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    let (name, path) = file(cx)?;
    let Some(outcome) = errand::run(cx, move || read_file(&OsDisk, &path))? else { return Ok(()) };
    let text = outcome.map_err(|error| {
        let reason = os_text(&error);
        CommandError::new(format!("ERR Error loading ACLs, opening file '{name}': {reason}"))
    })?;
    let parts = Parts::of(cx);
    let users = Users::parse_file(&text, &name, parts.acl_terms())
        .map_err(|errors| CommandError::new(format!("ERR {errors}")))?;
    parts.replace_users(users);
    cx.reply.ok();
    Ok(())
}

fn help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    cx.help(
        "ACL",
        &[
            "CAT [<category>]",
            "    List all commands that belong to <category>, or all command categories",
            "    when no category is specified.",
            "DELUSER <username> [<username> ...]",
            "    Delete a list of users.",
            "DRYRUN <username> <command> [<arg> ...]",
            "    Returns whether the user can execute the given command without executing the command.",
            "GETUSER <username>",
            "    Get the user's details.",
            "GENPASS [<bits>]",
            "    Generate a secure 256-bit user password. The optional `bits` argument can",
            "    be used to specify a different size.",
            "LIST",
            "    Show users details in config file format.",
            "LOAD",
            "    Reload users from the ACL file.",
            "LOG [<count> | RESET]",
            "    Show the ACL log entries.",
            "SAVE",
            "    Save the current config to the ACL file.",
            "SETUSER <username> <attribute> [<attribute> ...]",
            "    Create or modify a user with the specified attributes.",
            "USERS",
            "    List all the registered usernames.",
            "WHOAMI",
            "    Return the current connection username.",
        ],
    );
    Ok(())
}
