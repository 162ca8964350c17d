//! SAVE, BGSAVE, LASTSAVE.

use crate::command::{Args, Command, CommandError, Cx, Flags, Group, TimeoutReply};
use crate::server::Server;
use crate::server::saving::{self, AskedBy, Waited};
use crate::value::Type;

const ADMIN: Flags =
    Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::DANGEROUS).and(Flags::NO_ASYNC_LOADING).and(Flags::KEY_READ);

const SERVER: Command = Command { group: Group::Server, complexity: "O(1)", ..Command::DEFAULT };

pub static COMMANDS: &[Command] = &[
    Command {
        name: "lastsave",
        arity: 1,
        flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST).and(Flags::DANGEROUS).and(Flags::KEY_READ),
        run: lastsave,
        also_in: &["@admin"],
        summary: "Returns the Unix timestamp of the last successful save to disk.",
        tips: &["nondeterministic_output"],
        ..SERVER
    },
    Command {
        name: "save",
        arity: 1,
        flags: ADMIN.and(Flags::NO_MULTI),
        run: save,
        complexity: "O(N) where N is the total number of keys in all databases",
        summary: "Saves the databases to disk, and answers when that is done.",
        ..SERVER
    },
    Command {
        name: "bgsave",
        arity: -1,
        flags: ADMIN,
        run: bgsave,
        summary: "Asynchronously saves the database(s) to disk.",
        syntax: "[SCHEDULE {3.2.2}]",
        ..SERVER
    },
];

fn lastsave(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    let saved = Server::of(cx)?.saving.last_saved();
    cx.reply.int(saved.0 / 1000);
    Ok(())
}

/// Waits for a save of its own; others are served meanwhile.
fn save(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    let id = cx.client;
    match Server::of(cx)?.saving.waited(id) {
        Some(Waited::Done) => {
            cx.reply.ok();
            return Ok(());
        }
        Some(Waited::Failed) => return Err(CommandError::fixed("ERR")),
        Some(Waited::NotYet) if !cx.turn.may_block => {
            return Err(CommandError::fixed("ERR the save goes on in the background"));
        }
        Some(Waited::NotYet) => {}
        None => {
            let number = saving::start(cx, AskedBy::Waiting)?;
            Server::of(cx)?.saving.wait_for(id, number);
        }
    }
    cx.block(&[], Type::String, 0, TimeoutReply::Again);
    Ok(())
}

fn bgsave(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    // It says what to do while a rewrite is under way: here both go on side by side.
    args.word("schedule");
    args.finish()?;
    let in_transaction = !cx.turn.may_block;
    let saving = &mut Server::of(cx)?.saving;
    if in_transaction && !saving.is_running() {
        saving.schedule();
        cx.reply.simple("Background saving scheduled");
        return Ok(());
    }
    saving::start(cx, AskedBy::Background)?;
    cx.reply.simple("Background saving started");
    Ok(())
}
