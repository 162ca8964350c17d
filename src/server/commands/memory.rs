//! MEMORY: what a key occupies, and what the process does with memory.

use crate::command::{Args, Command, CommandError, Cx, Flags, Group, KeyFlags, KeySpec};
use crate::server::{Server, info};

const SUB: Command = Command { group: Group::Server, since: "4.0.0", ..Command::DEFAULT };

pub static COMMANDS: &[Command] = &[Command {
    name: "memory",
    arity: -2,
    complexity: "Depends on subcommand.",
    summary: "A container for memory diagnostics commands.",
    subcommands: SUBCOMMANDS,
    ..SUB
}];

static SUBCOMMANDS: &[Command] = &[
    Command {
        name: "usage",
        arity: -3,
        flags: Flags::READ,
        keys: &[KeySpec::at(2, KeyFlags::RO)],
        run: usage,
        complexity: "O(N) where N is the number of samples.",
        summary: "Estimates the memory usage of a key.",
        syntax: "key [SAMPLES count:integer]",
        ..SUB
    },
    Command {
        name: "stats",
        arity: 2,
        flags: Flags::OPERATOR,
        run: stats,
        complexity: "O(1)",
        summary: "Returns details about memory usage.",
        tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
        ..SUB
    },
    Command {
        name: "doctor",
        arity: 2,
        flags: Flags::OPERATOR,
        run: doctor,
        complexity: "O(1)",
        summary: "Outputs a memory problems report.",
        tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
        ..SUB
    },
    Command {
        name: "malloc-stats",
        arity: 2,
        flags: Flags::KEY_READ,
        run: malloc_stats,
        complexity: "Depends on how much memory is allocated, could be slow",
        summary: "Returns the allocator statistics.",
        tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
        ..SUB
    },
    Command {
        name: "purge",
        arity: 2,
        flags: Flags::KEY_READ,
        run: purge,
        complexity: "Depends on how much memory is allocated, could be slow",
        summary: "Asks the allocator to release memory.",
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        ..SUB
    },
    Command {
        name: "help",
        arity: 2,
        flags: Flags::LOADING.and(Flags::STALE),
        run: help,
        complexity: "O(1)",
        summary: "Returns helpful text about the different subcommands.",
        ..SUB
    },
];

/// Bytes of a key and its value. They are counted, not sampled, so that the number of samples changes nothing.
fn usage(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    while let Some(option) = args.next() {
        if !option.eq_ignore_ascii_case(b"samples") || args.is_empty() {
            return Err(CommandError::SYNTAX);
        }
        let samples = args.int();
        args.check()?;
        if samples < 0 {
            return Err(CommandError::SYNTAX);
        }
    }
    match cx.peek(key).map(|entry| entry.memory_bytes()) {
        Some(bytes) => cx.reply.count(bytes),
        None => cx.reply.null(),
    }
    Ok(())
}

/// A figure of MEMORY STATS, by the field of INFO memory that says the same.
const FIELDS: [(&str, &str); 10] = [
    ("peak.allocated", "used_memory_peak"),
    ("total.allocated", "used_memory"),
    ("startup.allocated", "used_memory_startup"),
    ("replication.backlog", "mem_replication_backlog"),
    ("clients.slaves", "mem_clients_slaves"),
    ("clients.normal", "mem_clients_normal"),
    ("cluster.links", "mem_cluster_links"),
    ("aof.buffer", "mem_aof_buffer"),
    ("lua.caches", "used_memory_scripts_eval"),
    ("functions.caches", "used_memory_functions"),
];

const RATIOS: [(&str, &str); 11] = [
    ("allocator.allocated", "allocator_allocated"),
    ("allocator.active", "allocator_active"),
    ("allocator.resident", "allocator_resident"),
    ("allocator-fragmentation.ratio", "allocator_frag_ratio"),
    ("allocator-fragmentation.bytes", "allocator_frag_bytes"),
    ("allocator-rss.ratio", "allocator_rss_ratio"),
    ("allocator-rss.bytes", "allocator_rss_bytes"),
    ("rss-overhead.ratio", "rss_overhead_ratio"),
    ("rss-overhead.bytes", "rss_overhead_bytes"),
    ("fragmentation", "mem_fragmentation_ratio"),
    ("fragmentation.bytes", "mem_fragmentation_bytes"),
];

fn stats(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    let figures = Figures::read(cx)?;
    let databases: Vec<(usize, usize, usize)> = cx
        .store
        .databases()
        .iter()
        .enumerate()
        .filter(|(_, db)| !db.is_empty())
        .map(|(index, db)| (index, db.len(), db.expires_len()))
        .collect();
    let keys: usize = databases.iter().map(|(_, keys, _)| keys).sum();
    let at = cx.reply.begin();
    let mut fields = 0;
    for (name, source) in FIELDS {
        cx.reply.bulk(name);
        cx.reply.int(figures.number(source) as i64);
        fields += 1;
    }
    for (index, keys, expires) in &databases {
        cx.reply.bulk(format!("db.{index}"));
        cx.reply.map(3);
        for (name, bytes) in [
            ("overhead.hashtable.main", keys * size_of::<usize>() * 2),
            ("overhead.hashtable.expires", expires * size_of::<u64>() * 2),
            ("overhead.hashtable.slot-to-keys", 0),
        ] {
            cx.reply.bulk(name);
            cx.reply.count(bytes);
        }
        fields += 1;
    }
    let (used, startup) = (figures.number("used_memory"), figures.number("used_memory_startup"));
    let dataset = figures.number("used_memory_dataset");
    for (name, number) in [
        ("overhead.total", figures.number("used_memory_overhead")),
        ("keys.count", keys as f64),
        ("keys.bytes-per-key", ((used - startup).max(0.0) / keys.max(1) as f64).floor()),
        ("dataset.bytes", dataset),
    ] {
        cx.reply.bulk(name);
        cx.reply.int(number as i64);
        fields += 1;
    }
    for (name, source) in
        [("dataset.percentage", "used_memory_dataset_perc"), ("peak.percentage", "used_memory_peak_perc")]
    {
        cx.reply.bulk(name);
        cx.reply.double(figures.number(source));
        fields += 1;
    }
    for (name, source) in RATIOS {
        cx.reply.bulk(name);
        if name.ends_with("ratio") || name == "fragmentation" {
            cx.reply.double(figures.number(source));
        } else {
            cx.reply.int(figures.number(source) as i64);
        }
        fields += 1;
    }
    cx.reply.end_map(at, fields);
    Ok(())
}

/// The figures of INFO memory.
struct Figures(std::collections::HashMap<String, f64>);

impl Figures {
    fn read(cx: &mut Cx<'_>) -> Result<Self, CommandError> {
        let text = info::text(cx, &info::Sections::parse(&[b"memory"]))?;
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        let number = |text: &str| text.trim_end_matches('%').parse().ok();
        Ok(Self(pairs.filter_map(|(name, text)| Some((name.to_owned(), number(text)?))).collect()))
    }

    fn number(&self, field: &str) -> f64 {
        self.0.get(field).copied().unwrap_or(0.0)
    }
}

/// Below this there is nothing that would be worth a diagnosis, bytes.
const WORTH_A_LOOK: f64 = 5.0 * 1024.0 * 1024.0;

fn doctor(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    let figures = Figures::read(cx)?;
    let used = figures.number("used_memory");
    let mut findings = Vec::new();
    if figures.number("used_memory_peak") > used * 1.5 {
        findings.push(
            "Peak memory: at some time much more memory was in use than now. The allocator keeps some of it, so that the \
             process may look larger than its data; it will be used again before the system is asked for more.",
        );
    }
    for (field, limit, bytes, finding) in [
        (
            "mem_fragmentation_ratio",
            1.4,
            "mem_fragmentation_bytes",
            "High total fragmentation: the process occupies much more than the data needs, or has been swapped out.",
        ),
        (
            "allocator_frag_ratio",
            1.1,
            "allocator_frag_bytes",
            "High allocator fragmentation: free memory lies scattered between values in use. Values of very different \
             sizes that come and go do that.",
        ),
        (
            "allocator_rss_ratio",
            1.1,
            "allocator_rss_bytes",
            "High allocator RSS overhead: the allocator holds free pages. MEMORY PURGE gives them back.",
        ),
        (
            "rss_overhead_ratio",
            1.1,
            "rss_overhead_bytes",
            "High process RSS overhead: memory that is not the allocator's, such as that of scripts or libraries.",
        ),
    ] {
        if figures.number(field) > limit && figures.number(bytes) > 10.0 * 1024.0 * 1024.0 {
            findings.push(finding);
        }
    }
    let clients = cx_clients(cx).max(1) as f64;
    if figures.number("mem_clients_normal") / clients > 200.0 * 1024.0 {
        findings.push(
            "Big client buffers: connections hold much memory each. CLIENT LIST shows which (tot-mem): some may not read \
             their replies.",
        );
    }
    let text = if used < WORTH_A_LOOK {
        "Very little memory is in use: too little to judge by.\n".to_owned()
    } else if findings.is_empty() {
        "Memory is in good order: nothing to report.\n".to_owned()
    } else {
        let list: String = findings.iter().map(|finding| format!(" * {finding}\n\n")).collect();
        format!("What stands out:\n\n{list}")
    };
    cx.reply.verbatim(*b"txt", text);
    Ok(())
}

fn cx_clients(cx: &mut Cx<'_>) -> usize {
    crate::engine::Parts::of(cx).clients.len()
}

fn malloc_stats(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    let text = (Server::of(cx)?.allocator.report)();
    if text.is_empty() {
        cx.reply.bulk("Stats not supported for the current allocator");
    } else {
        cx.reply.verbatim(*b"txt", text);
    }
    Ok(())
}

fn purge(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    if !(Server::of(cx)?.allocator.purge)() {
        return Err(CommandError::fixed("ERR Error purging dirty pages"));
    }
    cx.reply.ok();
    Ok(())
}

fn help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    cx.help(
        "MEMORY",
        &[
            "DOCTOR",
            "    Return memory problems reports.",
            "MALLOC-STATS",
            "    Return internal statistics report from the memory allocator.",
            "PURGE",
            "    Attempt to purge dirty pages for reclamation by the allocator.",
            "STATS",
            "    Return information about the memory usage of the server.",
            "USAGE <key> [SAMPLES <count>]",
            "    Return memory in bytes used by <key> and its value. Nested values are",
            "    sampled up to <count> times (default: 5, 0 means sample all).",
        ],
    );
    Ok(())
}
