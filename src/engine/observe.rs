//! What is watched while commands run: the slow log, latency spikes, and clients in MONITOR.
//!
//! Invariants
//! - A call that is quick costs one comparison here, and one more where nobody monitors.
//! - Arguments that a command declares as secrets are shown to nobody.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use super::parts::Parts;
use super::slowlog::Slowlog;
use super::spikes::{Spike, Spikes};
use crate::command::{ClientId, Cx, Flags, Resolved};

/// When the slow log and the latency monitor take notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Calls from this time on are logged; `None`: none is.
    slow_from: Option<Duration>,
    slow_calls_max: usize,
    /// Events from this time on are spikes.
    spike_from: Option<Duration>,
    /// The earlier of the two: what is quicker is of no interest to anybody.
    from: Duration,
}

impl Notice {
    pub const NEVER: Self = Self { slow_from: None, slow_calls_max: 0, spike_from: None, from: Duration::MAX };

    /// `slow_from`, `spike_from`: `None` switches the one or the other off, as does a slow log of no length.
    pub fn new(slow_from: Option<Duration>, slow_calls_max: usize, spike_from: Option<Duration>) -> Self {
        let slow_from = slow_from.filter(|_| slow_calls_max > 0);
        let from = [slow_from, spike_from].into_iter().flatten().min().unwrap_or(Duration::MAX);
        Self { slow_from, slow_calls_max, spike_from, from }
    }

    pub fn spike_from(&self) -> Option<Duration> {
        self.spike_from
    }

    pub fn slow_from(&self) -> Option<Duration> {
        self.slow_from
    }
}

/// See the module's header.
#[derive(Default)]
pub struct Observed {
    pub slowlog: Slowlog,
    pub spikes: Spikes,
    /// Clients in MONITOR.
    pub monitors: Vec<ClientId>,
}

impl Parts {
    /// A command has ended after this time: remembered if it is worth it.
    #[inline]
    pub fn observe(&mut self, client: ClientId, resolved: &Resolved, argv: &[&[u8]], time: Duration) {
        if time >= self.settings.notice.from {
            self.remember(client, resolved, argv, time);
        }
    }

    #[cold]
    fn remember(&mut self, client: ClientId, resolved: &Resolved, argv: &[&[u8]], time: Duration) {
        let notice = self.settings.notice;
        let flags = resolved.command.flags;
        self.spike(if flags.has(Flags::FAST) { "fast-command" } else { "command" }, time);
        if notice.slow_from.is_some_and(|from| time >= from) && !flags.has(Flags::SKIP_SLOWLOG) {
            let at = self.clock.unix_micros().div_euclid(1_000_000);
            let who = self.clients.get(client);
            let (address, name) = who.map(|c| (c.info.address.clone(), c.name.clone())).unwrap_or_default();
            let shown = without_secrets(resolved, argv);
            self.observed.slowlog.push(at, time, &shown, address, name, notice.slow_calls_max);
        }
    }

    /// Something that is no command took this long.
    pub fn spike(&mut self, event: &'static str, time: Duration) {
        if self.settings.notice.spike_from.is_some_and(|from| time >= from) {
            let at = self.clock.unix_micros().div_euclid(1_000_000);
            self.observed.spikes.add(event, Spike { at, millis: time.as_millis() as u64 });
        }
    }

    /// A client leaves MONITOR.
    pub fn stop_monitoring(&mut self, id: ClientId) {
        self.observed.monitors.retain(|monitor| *monitor != id);
    }
}

/// Tells clients in MONITOR of a call. The lines leave with what else the turn has to say.
#[inline]
pub(super) fn show_to_monitors(cx: &mut Cx<'_>, resolved: &Resolved, argv: &[&[u8]]) {
    if !Parts::of(cx).observed.monitors.is_empty() && !resolved.command.flags.has(Flags::ADMIN) {
        show(cx, resolved, argv);
    }
}

#[cold]
fn show(cx: &mut Cx<'_>, resolved: &Resolved, argv: &[&[u8]]) {
    let (client, db, in_script) = (cx.client, cx.db, cx.turn.in_script);
    let parts = Parts::of(cx);
    let micros = parts.clock.unix_micros();
    let mut line = format!("+{}.{:06} [{db} ", micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    match parts.clients.get(client) {
        _ if in_script => line.push_str("lua"),
        Some(client) if client.info.unix_socket => {
            let address = client.info.address.strip_suffix(":0").unwrap_or(&client.info.address);
            let _ = write!(line, "unix:{address}");
        }
        Some(client) => line.push_str(&client.info.address),
        None => {}
    }
    line.push(']');
    for word in &*without_secrets(resolved, argv) {
        line.push(' ');
        quote(&mut line, word);
    }
    line.push_str("\r\n");
    let line = line.into_bytes();
    for monitor in parts.observed.monitors.clone() {
        parts.outgoing.push((monitor, line.clone()));
    }
}

/// The words of a call as they may be shown.
fn without_secrets<'w>(resolved: &Resolved, argv: &'w [&'w [u8]]) -> Cow<'w, [&'w [u8]]> {
    let Some(secrets) = resolved.command.secrets else { return Cow::Borrowed(argv) };
    let mut shown = argv.to_vec();
    for at in secrets(argv) {
        if let Some(word) = shown.get_mut(at) {
            *word = b"(redacted)";
        }
    }
    Cow::Owned(shown)
}

/// A word in double quotes, readable and in one line.
pub fn quote(out: &mut String, word: &[u8]) {
    out.push('"');
    for byte in word {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(*byte)]),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            7 => out.push_str("\\a"),
            8 => out.push_str("\\b"),
            0x20..0x7f => out.push(char::from(*byte)),
            byte => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out.push('"');
}
