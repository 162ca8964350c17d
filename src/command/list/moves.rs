//! An element from one list to another, at once or as soon as there is one.

use super::{DECLARATION, INSERT, TAKE, end_word, names};
use crate::command::{Args, Command, CommandError, Cx, Deprecated, Event, Flags, KeySpec, TimeoutReply};
use crate::value::{End, List, Type};

const KEYS: &[KeySpec] = &[KeySpec::first(TAKE), KeySpec::at(2, INSERT)];
const WRITES: Flags = Flags::WRITE.and(Flags::DENYOOM);
const WAITS: Flags = WRITES.and(Flags::NOSCRIPT).and(Flags::BLOCKING);

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "lmove",
        arity: 5,
        flags: WRITES,
        keys: KEYS,
        run: lmove,
        since: "6.2.0",
        complexity: "O(1)",
        summary: "Moves an element from an end of a list to an end of another, and returns it.",
        syntax: "source:key destination:key wherefrom:<LEFT | RIGHT> whereto:<LEFT | RIGHT>",
        ..DECLARATION
    },
    Command {
        name: "rpoplpush",
        arity: 3,
        flags: WRITES,
        keys: KEYS,
        run: rpoplpush,
        since: "1.2.0",
        complexity: "O(1)",
        summary: "Moves the last element of a list before the first of another, and returns it.",
        syntax: "source:key destination:key",
        deprecated: Some(Deprecated { since: "6.2.0", replaced_by: "`LMOVE` with the `RIGHT` and `LEFT` arguments" }),
        ..DECLARATION
    },
    Command {
        name: "blmove",
        arity: 6,
        flags: WAITS,
        keys: KEYS,
        run: blmove,
        since: "6.2.0",
        complexity: "O(1)",
        summary: "Moves an element from an end of a list to an end of another, and waits for one if there is none.",
        syntax: "source:key destination:key wherefrom:<LEFT | RIGHT> whereto:<LEFT | RIGHT> timeout:double",
        ..DECLARATION
    },
    Command {
        name: "brpoplpush",
        arity: 4,
        flags: WAITS,
        keys: KEYS,
        run: brpoplpush,
        since: "2.2.0",
        complexity: "O(1)",
        summary: "Moves the last element of a list before the first of another, and waits for one if there is none.",
        syntax: "source:key destination:key timeout:double",
        deprecated: Some(Deprecated { since: "6.2.0", replaced_by: "`BLMOVE` with the `RIGHT` and `LEFT` arguments" }),
        ..DECLARATION
    },
];

/// Which element goes where.
struct Move<'a> {
    source: &'a [u8],
    destination: &'a [u8],
    from: End,
    to: End,
}

impl<'a> Move<'a> {
    fn parse(args: &mut Args<'a>) -> Result<Self, CommandError> {
        let (source, destination) = (args.bytes(), args.bytes());
        let from = end_word(args).ok_or(CommandError::SYNTAX)?;
        let to = end_word(args).ok_or(CommandError::SYNTAX)?;
        Ok(Self { source, destination, from, to })
    }

    fn right_to_left(args: &mut Args<'a>) -> Self {
        Self { source: args.bytes(), destination: args.bytes(), from: End::Back, to: End::Front }
    }

    /// Moves and answers; false when the source is missing.
    fn run(&self, cx: &mut Cx<'_>) -> Result<bool, CommandError> {
        let Self { source, destination, from, to } = *self;
        cx.delete_if_due(source);
        let Some(list) = cx.get_for_change::<List>(source)? else { return Ok(false) };
        if source == destination {
            drop(list);
            return self.rotate(cx);
        }
        let index = if from == End::Front { 0 } else { list.len() - 1 };
        let element = list.get(index).map(|element| element.to_vec()).unwrap_or_default();
        // The share ends before the source is changed, which then need not be copied.
        drop(list);
        cx.edit::<List, _>(destination, names(to).push, |list, edit| {
            list.push(to, &element, &edit.limits);
            edit.changed(1);
        })?;
        cx.edit_existing::<List, _>(source, names(from).pop, |list, edit| {
            list.remove_from(from, 1, &edit.limits);
            edit.changed(1);
        })?;
        cx.reply.bulk(element);
        Ok(true)
    }

    fn rotate(&self, cx: &mut Cx<'_>) -> Result<bool, CommandError> {
        let element = cx.edit_existing::<List, _>(self.source, names(self.to).push, |list, edit| {
            let element = list.pop(self.from, &edit.limits)?;
            list.push(self.to, &element, &edit.limits);
            edit.changed(1);
            Some(element)
        })?;
        let Some(element) = element.flatten() else { return Ok(false) };
        cx.notify(Event::List, names(self.from).pop, self.source);
        cx.reply.bulk(element);
        Ok(true)
    }

    /// Moves, or waits until the source is there. Where nothing may wait the answer is null, not the null array that
    /// ends a wait.
    fn run_or_block(&self, cx: &mut Cx<'_>, timeout: i64) -> Result<bool, CommandError> {
        if self.run(cx)? {
            return Ok(true);
        }
        if cx.turn.may_block {
            cx.block(&[self.source], Type::List, timeout, TimeoutReply::NullArray);
        } else {
            cx.reply.null();
        }
        Ok(false)
    }
}

fn lmove(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let movement = Move::parse(args)?;
    args.finish()?;
    if !movement.run(cx)? {
        cx.reply.null();
    }
    Ok(())
}

fn rpoplpush(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let movement = Move::right_to_left(args);
    args.finish()?;
    if !movement.run(cx)? {
        cx.reply.null();
    }
    Ok(())
}

fn blmove(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let movement = Move::parse(args)?;
    let timeout = Cx::timeout(args.bytes())?;
    args.finish()?;
    if movement.run_or_block(cx, timeout)? {
        let Move { source, destination, from, to } = movement;
        cx.log_as(&[b"LMOVE", source, destination, names(from).word, names(to).word]);
    }
    Ok(())
}

fn brpoplpush(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let movement = Move::right_to_left(args);
    let timeout = Cx::timeout(args.bytes())?;
    args.finish()?;
    if movement.run_or_block(cx, timeout)? {
        cx.log_as(&[b"RPOPLPUSH", movement.source, movement.destination]);
    }
    Ok(())
}
