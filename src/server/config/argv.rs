//! The command line, in the grammar of redis-server.
//!
//! `[server] [file] [-] [--directive value ...] [-]`: a word that begins with `--` opens a directive where none waits
//! for its value; a directive and its value may stand in one word.

use std::path::PathBuf;

use super::file::Sources;
use crate::resp::split_args;

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    Version,
    Help,
    Serve {
        sources: Sources,
        /// Stock's defaults hold.
        stock: bool,
    },
}

/// Names under which the program behaves as a stock server.
const STOCK_NAMES: [&str; 2] = ["redis-server", "valkey-server"];

/// Reads a command line; `argv[0]` is the program's name.
pub fn parse_argv(argv: &[Vec<u8>], working_directory: &std::path::Path) -> Invocation {
    let program = argv.first().map(|name| name.rsplit(|byte| *byte == b'/').next().unwrap_or_default());
    let stock_name = STOCK_NAMES.iter().any(|name| program == Some(name.as_bytes()));
    let mut args = argv.get(1..).unwrap_or_default();
    if let [first, rest @ ..] = args
        && first == b"server"
        && !stock_name
    {
        args = rest;
    }
    match args {
        [only] if matches!(only.as_slice(), b"-v" | b"--version") => return Invocation::Version,
        [only] if matches!(only.as_slice(), b"-h" | b"--help") => return Invocation::Help,
        _ => {}
    }
    let mut sources = Sources::default();
    if let [first, rest @ ..] = args
        && !first.starts_with(b"-")
    {
        use std::os::unix::ffi::OsStrExt;
        sources.file = Some(working_directory.join(PathBuf::from(std::ffi::OsStr::from_bytes(first))));
        args = rest;
    }
    if let [first, rest @ ..] = args
        && first == b"-"
    {
        sources.standard_input = true;
        args = rest;
    }
    if let [rest @ .., last] = args
        && last == b"-"
    {
        sources.standard_input = true;
        args = rest;
    }
    sources.options = options(args);
    let stock = stock_name || sources.file.is_some() || sources.standard_input;
    Invocation::Serve { sources, stock }
}

/// Turns options into configuration lines.
fn options(args: &[Vec<u8>]) -> Vec<u8> {
    let mut lines = Vec::new();
    let mut complete = true;
    for (at, arg) in args.iter().enumerate() {
        if !(complete && arg.starts_with(b"--")) {
            push_quoted(&mut lines, arg);
            lines.push(b' ');
            complete = true;
            continue;
        }
        if !lines.is_empty() {
            lines.push(b'\n');
        }
        lines.extend_from_slice(&arg[2..]);
        lines.push(b' ');
        let value_inside = split_args(arg).is_none_or(|words| words.len() != 1);
        let next_opens = args.get(at + 1).is_none_or(|next| next.starts_with(b"--"));
        // A `--save` without values, as scripts that join lists produce it, clears the save points.
        if !value_inside && arg.eq_ignore_ascii_case(b"--save") && next_opens {
            lines.extend_from_slice(b"\"\"");
        } else {
            complete = value_inside;
        }
    }
    lines
}

fn push_quoted(out: &mut Vec<u8>, word: &[u8]) {
    out.push(b'"');
    for byte in word {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            0x20..0x7f => out.push(*byte),
            byte => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    out.push(b'"');
}
