//! LCS: what two strings have in common.

use crate::command::{Args, Command, CommandError, Cx, Flags, Group, KeyFlags, KeySpec};
use crate::resp::Reply;
use crate::value::{Str, Value};

pub(super) static COMMANDS: &[Command] = &[Command {
    name: "lcs",
    arity: -3,
    flags: Flags::READ,
    keys: &[KeySpec::range(1, 1, 1, KeyFlags::RO.and(KeyFlags::ACCESS))],
    run: lcs,
    group: Group::String,
    since: "7.0.0",
    complexity: "O(N*M), N and M being the lengths of the strings.",
    summary: "The longest common subsequence of two strings.",
    syntax: "key1:key key2:key@0 [LEN] [IDX] [MINMATCHLEN len:integer] [WITHMATCHLEN]",
    ..Command::DEFAULT
}];

const NOT_STRINGS: CommandError = CommandError::fixed("ERR The specified keys must contain string values");
const LEN_AND_IDX: CommandError =
    CommandError::fixed("ERR If you want both the length and indexes, please just use IDX.");
const TOO_LONG: CommandError = CommandError::fixed("ERR String too long for LCS");
const TOO_MUCH_MEMORY: CommandError =
    CommandError::fixed("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");

#[derive(Default)]
struct Options {
    len: bool,
    idx: bool,
    with_match_len: bool,
    match_len_min: i64,
}

fn lcs(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (a, b) = (cx.value(args.bytes()), cx.value(args.bytes()));
    let (a, b) = (text(a)?, text(b)?);
    let mut options = Options::default();
    while !args.is_empty() {
        if args.word("idx") {
            options.idx = true;
        } else if args.word("len") {
            options.len = true;
        } else if args.word("withmatchlen") {
            options.with_match_len = true;
        } else if args.word("minmatchlen") {
            options.match_len_min = args.int();
            args.check()?;
        } else {
            return Err(CommandError::SYNTAX);
        }
    }
    if options.idx && options.len {
        return Err(LEN_AND_IDX);
    }
    let lengths = Lengths::of(&a, &b, cx.host.string_bytes_max())?;
    if options.idx {
        reply_matches(cx.reply, &a, &b, &lengths, &options);
    } else if options.len {
        cx.reply.int(i64::from(lengths.at(a.len(), b.len())));
    } else {
        let mut common: Vec<u8> = steps(&a, &b, &lengths).filter(|step| step.matched).map(|step| a[step.i]).collect();
        common.reverse();
        cx.reply.bulk(common);
    }
    Ok(())
}

fn text(value: Option<Value>) -> Result<Vec<u8>, CommandError> {
    match value {
        None => Ok(Vec::new()),
        Some(Value::Str(text)) => Ok(Str::to_vec(&text)),
        Some(_) => Err(NOT_STRINGS),
    }
}

/// Length of the longest common subsequence of every two prefixes.
struct Lengths {
    cells: Vec<u32>,
    columns: usize,
}

impl Lengths {
    fn of(a: &[u8], b: &[u8], bytes_max: usize) -> Result<Self, CommandError> {
        if a.len() >= u32::MAX as usize - 1 || b.len() >= u32::MAX as usize - 1 {
            return Err(TOO_LONG);
        }
        let columns = b.len() + 1;
        let cells = (a.len() + 1).checked_mul(columns).ok_or(TOO_MUCH_MEMORY)?;
        if cells.checked_mul(size_of::<u32>()).is_none_or(|bytes| bytes > bytes_max) {
            return Err(TOO_MUCH_MEMORY);
        }
        let mut lengths = Self { cells: vec![0; cells], columns };
        for (i, x) in a.iter().enumerate() {
            let (above, row) = lengths.cells[i * columns..(i + 2) * columns].split_at_mut(columns);
            for (j, y) in b.iter().enumerate() {
                row[j + 1] = if x == y { above[j] + 1 } else { above[j + 1].max(row[j]) };
            }
        }
        Ok(lengths)
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.cells[i * self.columns + j]
    }
}

/// One step of the walk from the ends of both strings to their beginnings: where it led, and whether by a common byte.
struct Step {
    i: usize,
    j: usize,
    matched: bool,
}

fn steps(a: &[u8], b: &[u8], lengths: &Lengths) -> impl Iterator<Item = Step> {
    let (mut i, mut j) = (a.len(), b.len());
    std::iter::from_fn(move || {
        if i == 0 || j == 0 {
            return None;
        }
        let matched = a[i - 1] == b[j - 1];
        if matched {
            (i, j) = (i - 1, j - 1);
        } else if lengths.at(i - 1, j) > lengths.at(i, j - 1) {
            i -= 1;
        } else {
            j -= 1;
        }
        Some(Step { i, j, matched })
    })
}

/// The runs that both strings share, from the last to the first.
fn reply_matches(reply: &mut Reply, a: &[u8], b: &[u8], lengths: &Lengths, options: &Options) {
    reply.map(2);
    reply.bulk("matches");
    let mark = reply.begin_array();
    let mut count = 0;
    let mut emit = |i: usize, j: usize, len: usize| {
        if (len as i64) < options.match_len_min {
            return;
        }
        count += 1;
        reply.array(if options.with_match_len { 3 } else { 2 });
        for start in [i, j] {
            reply.array(2);
            reply.count(start);
            reply.count(start + len - 1);
        }
        if options.with_match_len {
            reply.count(len);
        }
    };
    let mut run: Option<(usize, usize, usize)> = None;
    for step in steps(a, b, lengths) {
        run = match (step.matched, run) {
            (true, run) => Some((step.i, step.j, run.map_or(0, |(_, _, len)| len) + 1)),
            (false, Some((i, j, len))) => {
                emit(i, j, len);
                None
            }
            (false, None) => None,
        };
    }
    if let Some((i, j, len)) = run {
        emit(i, j, len);
    }
    reply.end_array(mark, count);
    reply.bulk("len");
    reply.int(i64::from(lengths.at(a.len(), b.len())));
}
