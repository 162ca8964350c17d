//! LATENCY: spikes by event, and how the times of each command are distributed.

use super::latency_report::{doctor_report, graph_text};
use crate::command::{Args, Command, CommandError, Cx, Flags, Group, quoted};
use crate::engine::{Parts, Spikes};
use crate::server::Server;

const ADMIN: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE).and(Flags::KEY_READ);

const SUB: Command =
    Command { group: Group::Server, flags: ADMIN, since: "2.8.13", complexity: "O(1)", ..Command::DEFAULT };

pub static COMMANDS: &[Command] = &[Command {
    name: "latency",
    arity: -2,
    flags: Flags::NONE,
    complexity: "Depends on subcommand.",
    summary: "A container for latency diagnostics commands.",
    subcommands: SUBCOMMANDS,
    ..SUB
}];

static SUBCOMMANDS: &[Command] = &[
    Command {
        name: "latest",
        arity: 2,
        run: latest,
        summary: "Returns the latest latency samples for all events.",
        tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
        ..SUB
    },
    Command {
        name: "history",
        arity: 3,
        run: history,
        summary: "Returns timestamp-latency samples for an event.",
        syntax: "event",
        tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
        ..SUB
    },
    Command {
        name: "reset",
        arity: -2,
        run: reset,
        summary: "Resets the latency data for one or more events.",
        syntax: "[event [event ...]]",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        ..SUB
    },
    Command {
        name: "graph",
        arity: 3,
        run: graph,
        summary: "Renders a latency graph for an event.",
        syntax: "event",
        tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
        ..SUB
    },
    Command {
        name: "doctor",
        arity: 2,
        run: doctor,
        summary: "Returns a human-readable latency analysis report.",
        tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
        ..SUB
    },
    Command {
        name: "histogram",
        arity: -2,
        run: histogram,
        since: "7.0.0",
        complexity: "O(N) where N is the number of commands with latency information being retrieved.",
        summary: "Returns the cumulative distribution of latencies of a subset or all commands.",
        syntax: "[command [command ...]]",
        tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
        ..SUB
    },
    Command {
        name: "help",
        arity: 2,
        flags: Flags::LOADING.and(Flags::STALE),
        run: help,
        summary: "Returns helpful text about the different subcommands.",
        ..SUB
    },
];

/// All spikes, those that the log's threads noted included.
fn spikes<'c>(cx: &'c mut Cx<'_>) -> Result<&'c mut Spikes, CommandError> {
    let shared = Server::of(cx)?.shared()?;
    let parts = Parts::of(cx);
    shared.waits.collect(parts);
    Ok(&mut parts.observed.spikes)
}

fn latest(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    let spikes = spikes(cx)?;
    let events: Vec<_> = spikes
        .iter()
        .filter_map(|(event, series)| series.latest().map(|spike| (event, spike, series.highest)))
        .collect();
    cx.reply.array(events.len());
    for (event, spike, highest) in events {
        cx.reply.array(4);
        cx.reply.bulk(event);
        cx.reply.int(spike.at);
        cx.reply.int(spike.millis as i64);
        cx.reply.int(highest as i64);
    }
    Ok(())
}

fn history(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let event = args.bytes();
    let series = spikes(cx)?.get(event);
    let samples: Vec<_> = series.map(|(_, series)| series.samples().collect()).unwrap_or_default();
    cx.reply.array(samples.len());
    for spike in samples {
        cx.reply.array(2);
        cx.reply.int(spike.at);
        cx.reply.int(spike.millis as i64);
    }
    Ok(())
}

fn reset(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let events = args.rest();
    let spikes = spikes(cx)?;
    let forgotten = match events {
        [] => spikes.clear(),
        events => events.iter().filter(|event| spikes.forget(event)).count(),
    };
    cx.reply.count(forgotten);
    Ok(())
}

fn graph(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let event = args.bytes();
    let now = cx.now().0.div_euclid(1000);
    let Some((name, series)) = spikes(cx)?.get(event) else {
        let event = quoted(event);
        return Err(CommandError::new(format!("ERR No samples available for event '{event}'")));
    };
    let text = graph_text(name, series, now);
    cx.reply.verbatim(*b"txt", text);
    Ok(())
}

fn doctor(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    let now = cx.now().0.div_euclid(1000);
    spikes(cx)?;
    let parts = Parts::of(cx);
    let text = doctor_report(&parts.observed.spikes, &parts.settings.notice, now);
    cx.reply.verbatim(*b"txt", text);
    Ok(())
}

fn histogram(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let names = args.rest();
    let parts = Parts::of(cx);
    let table = parts.table.clone();
    let mut wanted = Vec::new();
    if names.is_empty() {
        wanted.extend(table.all().iter().copied());
    }
    for name in names {
        let Some(named) = table.lookup(name) else { continue };
        wanted.push(named);
        let is_sub =
            |one: &&crate::command::Resolved| one.parent.is_some_and(|parent| std::ptr::eq(parent, named.command));
        wanted.extend(table.all().iter().filter(is_sub).copied());
    }
    let found: Vec<_> = wanted
        .iter()
        .filter_map(|resolved| {
            let latency = parts.stats.per_command[resolved.index].latency.as_ref()?;
            Some((resolved.full_name(), latency.total(), latency.doubling()))
        })
        .collect();
    cx.reply.map(found.len());
    for (name, calls, steps) in found {
        cx.reply.bulk(name);
        cx.reply.map(2);
        cx.reply.bulk("calls");
        cx.reply.int(calls as i64);
        cx.reply.bulk("histogram_usec");
        cx.reply.map(steps.len());
        for (micros, count) in steps {
            cx.reply.int(micros as i64);
            cx.reply.int(count as i64);
        }
    }
    Ok(())
}

fn help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    cx.help(
        "LATENCY",
        &[
            "DOCTOR",
            "    Return a human readable latency analysis report.",
            "GRAPH <event>",
            "    Return an ASCII latency graph for the <event> class.",
            "HISTORY <event>",
            "    Return time-latency samples for the <event> class.",
            "LATEST",
            "    Return the latest latency samples for all events.",
            "RESET [<event> ...]",
            "    Reset latency data of one or more <event> classes.",
            "    (default: reset all data for all event classes)",
            "HISTOGRAM [COMMAND ...]",
            "    Return a cumulative distribution of latencies in the format of a histogram for the specified command \
             names.",
            "    If no commands are specified then all histograms are replied.",
        ],
    );
    Ok(())
}
