//! MONITOR: every command as it is executed.

use crate::command::{Args, Command, CommandError, Cx, Flags, Group};
use crate::engine::Parts;

pub static COMMANDS: &[Command] = &[Command {
    name: "monitor",
    arity: 1,
    flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE),
    run: monitor,
    group: Group::Server,
    since: "1.0.0",
    summary: "Listens for all requests received by the server in real-time.",
    ..Command::DEFAULT
}];

fn monitor(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    args.finish()?;
    if !cx.turn.may_block {
        return Err(CommandError::fixed("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    let id = cx.client;
    let monitors = &mut Parts::of(cx).observed.monitors;
    if !monitors.contains(&id) {
        monitors.push(id);
        cx.reply.ok();
    }
    Ok(())
}
