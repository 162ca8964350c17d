//! What changes the entries of a stream: XADD, XDEL, XTRIM, XSETID.

use super::id::{self, NewId};
use super::{DECLARATION, NONDETERMINISTIC, reply_id};
use crate::command::{Args, Command, CommandError, Cx, Event, Flags, KeyFlags, KeySpec, parse_i64};
use crate::value::{ENTRY_BYTES_MAX, Exactness, Stream, StreamId, Trim};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "xadd",
        arity: -5,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::UPDATE))],
        run: xadd,
        since: "5.0.0",
        complexity: "O(log(N)) for adding, and O(M) for trimming, M being the number of entries evicted",
        summary: "Adds an entry at the end of a stream, creating the stream if needed, and may trim it.",
        syntax: "key [NOMKSTREAM {6.2.0}] [trim:(strategy:<MAXLEN | MINID {6.2.0}> [operator:<equal:= | approximately:~>] \
                 threshold [LIMIT count:integer {6.2.0}])] id_or_auto:<auto_id:* | id> field_value:(field value) \
                 [field_value:(field value) ...]",
        tips: NONDETERMINISTIC,
        ..DECLARATION
    },
    Command {
        name: "xdel",
        arity: -3,
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::DELETE))],
        run: xdel,
        since: "5.0.0",
        complexity: "O(M*log(N)), M being the number of IDs given",
        summary: "Deletes entries of a stream and returns how many there were.",
        syntax: "key id [id ...]",
        ..DECLARATION
    },
    Command {
        name: "xtrim",
        arity: -4,
        flags: Flags::WRITE,
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::DELETE))],
        run: xtrim,
        since: "5.0.0",
        complexity: "O(M), M being the number of entries evicted; a hundred of them go in one step",
        summary: "Removes the oldest entries of a stream and returns how many that were.",
        syntax: "key trim:(strategy:<MAXLEN | MINID {6.2.0}> [operator:<equal:= | approximately:~>] threshold \
                 [LIMIT count:integer {6.2.0}])",
        tips: NONDETERMINISTIC,
        ..DECLARATION
    },
    Command {
        name: "xsetid",
        arity: -3,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::UPDATE))],
        run: xsetid,
        since: "5.0.0",
        complexity: "O(log(N))",
        summary: "Sets the last ID of a stream and what it knows of its past; meant for the log.",
        syntax: "key last-id [ENTRIESADDED entries_added:integer {7.0.0}] [MAXDELETEDID max_deleted_entry_id {7.0.0}]",
        ..DECLARATION
    },
];

const ID_TOO_LOW: CommandError =
    CommandError::fixed("ERR The ID specified in XADD is equal or smaller than the target stream top item");

const TOO_LARGE: CommandError = CommandError::fixed("ERR Elements are too large to be stored");

/// The options that XADD and XTRIM share.
#[derive(Clone, Copy, Default)]
struct Options {
    /// XADD alone: a missing stream is not created.
    existing_only: bool,
    trim: Option<(Trim, bool)>,
    limit: Option<u64>,
}

impl Options {
    /// Reads options up to the ID, for XADD, or to the end.
    fn parse(cx: &Cx<'_>, args: &mut Args<'_>, adding: bool) -> Result<Self, CommandError> {
        let mut options = Self::default();
        while let Some(word) = args.peek() {
            let more = args.remaining() > 1;
            if adding && word == b"*" {
                break;
            } else if more && args.word("maxlen") {
                options.trim(args, |threshold| {
                    let most = parse_i64(threshold).ok_or(CommandError::NOT_INTEGER)?;
                    let most = u64::try_from(most);
                    most.map(Trim::MaxLen).map_err(|_| CommandError::fixed("ERR The MAXLEN argument must be >= 0."))
                })?;
            } else if more && args.word("minid") {
                options.trim(args, |threshold| id::strict(threshold, 0).map(Trim::MinId))?;
            } else if more && args.word("limit") {
                let limit = args.int();
                args.check()?;
                let limit = u64::try_from(limit);
                let limit = limit.map_err(|_| CommandError::fixed("ERR The LIMIT argument must be >= 0."))?;
                options.limit = Some(limit);
            } else if adding && args.word("nomkstream") {
                options.existing_only = true;
            } else if adding {
                NewId::parse(word)?;
                break;
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        options.agree(cx, adding)?;
        Ok(options)
    }

    fn trim<'a>(
        &mut self,
        args: &mut Args<'a>,
        read: impl FnOnce(&'a [u8]) -> Result<Trim, CommandError>,
    ) -> Result<(), CommandError> {
        if self.trim.is_some() {
            let text = "ERR syntax error, MAXLEN and MINID options at the same time are not compatible";
            return Err(CommandError::fixed(text));
        }
        let operator = args.remaining() > 1;
        let approximate = operator && args.word("~");
        if operator && !approximate {
            args.word("=");
        }
        self.trim = Some((read(args.bytes())?, approximate));
        Ok(())
    }

    /// Whether the options go together. In the log they always do: there a limit stands beside an exact threshold.
    fn agree(&self, cx: &Cx<'_>, adding: bool) -> Result<(), CommandError> {
        let refuse = |text| Err(CommandError::fixed(text));
        match self.trim {
            None if self.limit.is_some_and(|limit| limit > 0) => {
                refuse("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy")
            }
            None if !adding => refuse("ERR syntax error, XTRIM must be called with a trimming strategy"),
            None | Some((_, false)) if self.limit.is_some() && !cx.turn.replaying => {
                refuse("ERR syntax error, LIMIT cannot be used without the special ~ option")
            }
            _ => Ok(()),
        }
    }

    /// What trimming is to be done, and how exactly.
    fn trimming(&self, cx: &Cx<'_>) -> Option<(Trim, Exactness)> {
        let (trim, approximate) = self.trim?;
        if !approximate {
            return Some((trim, Exactness::Exact));
        }
        let limit = match self.limit {
            _ if cx.turn.replaying => 0,
            Some(limit) => limit,
            // A hundred nodes, within reason.
            None => match cx.limits().stream_node_max_entries.saturating_mul(100) as u64 {
                0 => 10_000,
                entries => entries.min(1_000_000),
            },
        };
        Some((trim, Exactness::Nodes { limit }))
    }
}

/// What trimming came to, as exact arguments: replay does not depend on where nodes end.
fn exact_arguments(trim: Trim, stream: &Stream) -> [String; 2] {
    match trim {
        Trim::MaxLen(_) => ["MAXLEN".to_owned(), stream.len().to_string()],
        Trim::MinId(_) => ["MINID".to_owned(), stream.first_entry_id().unwrap_or(StreamId::MAX).to_string()],
    }
}

struct Added {
    id: StreamId,
    /// The arguments to log, when something was trimmed.
    trimmed: Option<[String; 2]>,
}

fn xadd(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    let options = Options::parse(cx, args, true)?;
    let new_id = args.next().map(NewId::parse).transpose()?;
    let fields = args.rest();
    let Some(new_id) = new_id.filter(|_| !fields.is_empty() && fields.len().is_multiple_of(2)) else {
        return Err(CommandError::wrong_arity("xadd"));
    };
    if new_id == NewId::Given(StreamId::MIN) {
        return Err(CommandError::fixed("ERR The ID specified in XADD must be greater than 0-0"));
    }
    if options.existing_only && !cx.changeable::<Stream>(key)? {
        cx.reply.null();
        return Ok(());
    }
    let (now, trimming) = (cx.now().0 as u64, options.trimming(cx));
    let added = cx.edit::<Stream, _>(key, "xadd", |stream, edit| {
        if stream.last_id() == StreamId::MAX {
            let text = "ERR The stream has exhausted the last possible ID, unable to add more items";
            return Err(CommandError::fixed(text));
        }
        let last = stream.last_id();
        if new_id == NewId::AutoSequence(last.ms) && last.seq == u64::MAX {
            // That is what a stock server says here.
            return Err(TOO_LARGE);
        }
        let id = new_id.behind(last, now).ok_or(ID_TOO_LOW)?;
        if fields.iter().map(|word| word.len()).sum::<usize>() > ENTRY_BYTES_MAX {
            return Err(TOO_LARGE);
        }
        stream.add(id, fields, &edit.limits);
        edit.changed(1);
        let trimmed = trimming.filter(|(trim, exactness)| stream.trim(*trim, *exactness) > 0);
        Ok(Added { id, trimmed: trimmed.map(|(trim, _)| exact_arguments(trim, stream)) })
    })??;
    reply_id(cx.reply, added.id);
    if added.trimmed.is_some() {
        cx.notify(Event::Stream, "xtrim", key);
    }
    if added.trimmed.is_some() || trimming.is_some() || !matches!(new_id, NewId::Given(_)) {
        let id = added.id.to_string();
        let mut argv: Vec<&[u8]> = vec![b"XADD", key];
        argv.extend(added.trimmed.iter().flatten().map(String::as_bytes));
        argv.push(id.as_bytes());
        argv.extend_from_slice(fields);
        cx.log_as(&argv);
    }
    Ok(())
}

fn xtrim(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    let options = Options::parse(cx, args, false)?;
    let Some((trim, exactness)) = options.trimming(cx) else { return Err(CommandError::SYNTAX) };
    cx.writable::<Stream>(key)?;
    let edited = cx.edit_quietly::<Stream, _>(key, |stream| {
        let removed = stream.trim(trim, exactness);
        (removed, exact_arguments(trim, stream))
    });
    let (removed, exact) = edited.unwrap_or_default();
    if removed > 0 {
        let [what, threshold] = &exact;
        cx.log_as(&[b"XTRIM", key, what.as_bytes(), threshold.as_bytes()]);
        cx.dirty(removed);
        cx.host.key_modified(cx.db, key);
        cx.notify(Event::Stream, "xtrim", key);
    }
    cx.reply.count(removed);
    Ok(())
}

fn xdel(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    if !cx.writable::<Stream>(key)? {
        cx.reply.int(0);
        return Ok(());
    }
    let ids = args.rest().iter().map(|arg| id::strict(arg, 0)).collect::<Result<Vec<_>, _>>()?;
    let delete = |stream: &mut Stream| ids.iter().filter(|id| stream.delete(**id)).count();
    let deleted = cx.edit_quietly(key, delete).unwrap_or_default();
    if deleted > 0 {
        cx.dirty(deleted);
        cx.host.key_modified(cx.db, key);
        cx.notify(Event::Stream, "xdel", key);
    }
    cx.reply.count(deleted);
    Ok(())
}

fn xsetid(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    let last = id::strict(args.bytes(), 0)?;
    let (mut entries_added, mut max_deleted) = (None, StreamId::MIN);
    while !args.is_empty() {
        let more = args.remaining() > 1;
        if more && args.word("entriesadded") {
            let added = args.int();
            args.check()?;
            let added = u64::try_from(added);
            entries_added = Some(added.map_err(|_| CommandError::fixed("ERR entries_added must be positive"))?);
        } else if more && args.word("maxdeletedid") {
            max_deleted = id::strict(args.bytes(), 0)?;
            if last < max_deleted {
                let text = "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id";
                return Err(CommandError::fixed(text));
            }
        } else {
            return Err(CommandError::SYNTAX);
        }
    }
    if !cx.writable::<Stream>(key)? {
        return Err(CommandError::NO_SUCH_KEY);
    }
    let set = cx.edit_quietly::<Stream, _>(key, |stream| {
        let refuse = |text| Err(CommandError::fixed(text));
        if last < stream.max_deleted_id() {
            return refuse("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id");
        }
        if let Some(top) = stream.last_entry_id() {
            if last < top {
                return refuse("ERR The ID specified in XSETID is smaller than the target stream top item");
            }
            if entries_added.is_some_and(|added| added < stream.len() as u64) {
                let text = "ERR The entries_added specified in XSETID is smaller than the target stream length";
                return refuse(text);
            }
        }
        stream.set_id(last, entries_added, (max_deleted != StreamId::MIN).then_some(max_deleted));
        Ok(())
    });
    set.unwrap_or(Err(CommandError::NO_SUCH_KEY))?;
    cx.dirty(1);
    cx.notify(Event::Stream, "xsetid", key);
    cx.reply.ok();
    Ok(())
}
