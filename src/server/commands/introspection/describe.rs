//! COMMAND INFO: one command as cluster clients and proxies read it.

use crate::command::{Begin, Find, KeySpec, Resolved};
use crate::resp::Reply;

/// The entry of one command.
pub(super) fn describe(reply: &mut Reply, resolved: &Resolved) {
    let command = resolved.command;
    let (first, last, step) = legacy_range(command.keys);
    reply.array(10);
    reply.bulk(resolved.full_name());
    reply.int(i64::from(command.arity));
    words(reply, command.flags.names(), "");
    for position in [first, last, step] {
        reply.int(position);
    }
    words(reply, command.categories().into_iter(), "@");
    reply.set(command.tips.len());
    command.tips.iter().for_each(|tip| reply.bulk(tip));
    reply.set(command.keys.len());
    for spec in command.keys {
        describe_spec(reply, spec);
    }
    reply.set(command.subcommands.len());
    for sub in command.subcommands {
        describe(reply, &Resolved { command: sub, parent: Some(command), index: 0 });
    }
}

/// A set of status replies.
pub(super) fn words<'w>(reply: &mut Reply, words: impl Iterator<Item = &'w str>, prefix: &str) {
    let words: Vec<&str> = words.collect();
    reply.set(words.len());
    for word in words {
        reply.simple(format!("{prefix}{word}"));
    }
}

/// First key, last key and step as they were before key specs: what the plain ranges cover together.
fn legacy_range(specs: &[KeySpec]) -> (i64, i64, i64) {
    let ranges = specs.iter().filter_map(|spec| match (spec.begin, spec.find) {
        (Begin::Index(first), Find::Range { last, step, .. }) => {
            let first = first as i64;
            Some((first, if last >= 0 { first + i64::from(last) } else { i64::from(last) }, step as i64))
        }
        _ => None,
    });
    // A last key counted from the end lies behind every one that is counted from the beginning.
    let later = |a: i64, b: i64| if a < 0 || b < 0 { a.min(b) } else { a.max(b) };
    ranges.reduce(|a, b| (a.0.min(b.0), later(a.1, b.1), a.2.max(b.2))).unwrap_or((0, 0, 0))
}

fn describe_spec(reply: &mut Reply, spec: &KeySpec) {
    reply.map(3);
    reply.bulk("flags");
    words(reply, spec.flags.names(), "");
    reply.bulk("begin_search");
    reply.map(2);
    reply.bulk("type");
    match spec.begin {
        Begin::Index(index) => {
            reply.bulk("index");
            fields(reply, &[("index", index as i64)]);
        }
        Begin::Keyword { word, from } => {
            reply.bulk("keyword");
            reply.bulk("spec");
            reply.map(2);
            reply.bulk("keyword");
            reply.bulk(word);
            reply.bulk("startfrom");
            reply.int(i64::from(from));
        }
        Begin::Unknown => {
            reply.bulk("unknown");
            fields(reply, &[]);
        }
    }
    reply.bulk("find_keys");
    reply.map(2);
    reply.bulk("type");
    match spec.find {
        Find::Range { last, step, limit } => {
            reply.bulk("range");
            fields(reply, &[("lastkey", i64::from(last)), ("keystep", step as i64), ("limit", limit as i64)]);
        }
        Find::Count { at, first, step } => {
            reply.bulk("keynum");
            fields(reply, &[("keynumidx", at as i64), ("firstkey", first as i64), ("keystep", step as i64)]);
        }
        Find::Unknown => {
            reply.bulk("unknown");
            fields(reply, &[]);
        }
    }
}

fn fields(reply: &mut Reply, fields: &[(&str, i64)]) {
    reply.bulk("spec");
    reply.map(fields.len());
    for (name, value) in fields {
        reply.bulk(name);
        reply.int(*value);
    }
}
