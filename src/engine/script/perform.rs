//! One command of a script: what it may be, and its run.

use crate::command::{Call, CommandError, CommandTable, Cx, Flags, Resolved};
use crate::engine::access::refused_in_script;
use crate::engine::execute::{frees_space, shown_call};
use crate::engine::parts::Parts;
use std::sync::Arc;

/// What the script may do.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub read_only: bool,
    /// Short memory stops nothing: the script said so, or has written already and is not to be done by half.
    pub may_grow: bool,
}

/// Runs one command of a script, its reply or error into `cx.reply`. `logged`: what it changes goes into the log. Whether
/// it is a write, and ran.
pub fn perform(cx: &mut Cx<'_>, argv: &[Vec<u8>], rules: Rules, logged: bool) -> bool {
    let words: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
    let (resolved, refused) = admit(cx, &words, rules);
    if let Some(error) = refused {
        let parts = Parts::of(cx);
        if let Some(resolved) = resolved {
            parts.stats.per_command[resolved.index].rejected += 1;
        }
        parts.stats.count_error(error.code());
        cx.reply.error(error.line());
        return false;
    }
    let Some(resolved) = resolved else { return false };
    if !resolved.command.flags.has(Flags::KEY_READ) {
        cx.reads_all();
    }
    let (id, place) = (cx.client, cx.turn.unit.place());
    shown_call(cx, resolved, Call { argv: &words, raw: None });
    if !logged {
        cx.turn.unit.cut(place);
    }
    // SELECT within a script lasts until its end.
    if let Some(client) = Parts::of(cx).clients.get(id) {
        cx.db = client.db;
    }
    resolved.command.flags.has(Flags::WRITE)
}

/// The command, as far as there is one, and why it may not run.
fn admit(cx: &mut Cx<'_>, words: &[&[u8]], rules: Rules) -> (Option<Resolved>, Option<CommandError>) {
    let table: Arc<CommandTable> = Arc::clone(&Parts::of(cx).table);
    let resolved = match table.resolve(words) {
        Ok(resolved) => resolved,
        Err(error) => {
            let unknown = table.find(words[0]).is_none() || error.text().starts_with("ERR unknown subcommand");
            let text = match unknown {
                true => "ERR Unknown Redis command called from script",
                false => "ERR Wrong number of args calling Redis command from script",
            };
            return (table.named(words), Some(CommandError::fixed(text)));
        }
    };
    let flags = resolved.command.flags;
    if !flags.has(Flags::NOSCRIPT)
        && let Some(refusal) = refused_in_script(cx, resolved, words)
    {
        return (Some(resolved), Some(CommandError::new(refusal)));
    }
    // What has begun to write goes on: half of a script would be worse.
    let untouched = cx.turn.unit.is_empty() && cx.turn.dirty == 0;
    if flags.has(Flags::WRITE)
        && untouched
        && !rules.read_only
        && !frees_space(resolved.command.name)
        && let Some(doubt) = &cx.turn.doubt
    {
        return (Some(resolved), Some(CommandError::new(doubt.clone())));
    }
    let refused = if flags.has(Flags::NOSCRIPT) && !Parts::of(cx).settings.any_command_in_scripts {
        Some("ERR This Redis command is not allowed from script")
    } else if rules.read_only && (flags.has(Flags::WRITE) || flags.has(Flags::MAY_REPLICATE)) {
        Some("ERR Write commands are not allowed from read-only scripts.")
    } else {
        None
    };
    let short = if rules.may_grow { None } else { Parts::of(cx).check_memory(flags).err() };
    (Some(resolved), refused.map(CommandError::fixed).or(short))
}

/// `redis.acl_check_cmd`: whether the user may call this; an error when it is no command.
pub fn may_call(cx: &mut Cx<'_>, argv: &[Vec<u8>]) {
    let words: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
    let id = cx.client;
    let parts = Parts::of(cx);
    let named = parts.table.named(&words);
    match named {
        Some(resolved) => {
            let may = parts.client_mut(id).user.check(resolved, &words).is_ok();
            cx.reply.int(i64::from(may));
        }
        None => cx.reply.error("ERR Invalid command passed to redis.acl_check_cmd()"),
    }
}
