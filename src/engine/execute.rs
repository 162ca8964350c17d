//! One command at a time: admission, the call itself, its place in the log, its reply, and whom it wakes.

use super::access::refused_in_exec;
use super::acl::Context;
use super::blocking::timeout_reply;
use super::client::ReplyMode;
use super::memory::Room;
use super::observe::show_to_monitors;
use super::parts::Parts;
use super::{Engine, Flow, NOBODY};
use crate::command::{Args, Call, ClientId, CommandError, Cx, Flags, Host, Resolved, TimeoutReply};
use crate::resp::{Protocol, Reply, Request};
use arrayvec::ArrayVec;

/// Calls of so many words need no memory to be laid out.
const WORDS_INLINE: usize = 8;
/// Replies from this length on, in bytes, are worth a buffer of their own.
const LONG_REPLY: usize = 256 << 10;

impl Engine {
    /// Runs one request of a client, at the time last looked at; its reply goes into the client's outbox, tagged.
    pub fn execute(&mut self, id: ClientId, request: &Request) -> Flow {
        self.execute_known(id, request, None)
    }

    /// As [`Engine::execute`], for a request whose command was looked up before, where it has one.
    pub fn execute_known(&mut self, id: ClientId, request: &Request, known: Option<Resolved>) -> Flow {
        if request.len() <= WORDS_INLINE {
            let argv: ArrayVec<&[u8], WORDS_INLINE> = request.args().collect();
            self.execute_words(id, &argv, request, known)
        } else {
            let argv: Vec<&[u8]> = request.args().collect();
            self.execute_words(id, &argv, request, known)
        }
    }

    /// As [`Engine::execute`], for what the client was answered already.
    pub fn execute_unheard(&mut self, id: ClientId, request: &Request) {
        self.unheard = true;
        self.execute(id, request);
        self.unheard = false;
    }

    fn execute_words(&mut self, id: ClientId, argv: &[&[u8]], request: &Request, known: Option<Resolved>) -> Flow {
        if argv.is_empty() {
            return Flow::Continue;
        }
        let resolved = known.map_or_else(|| self.parts.table.resolve(argv), Ok);
        match self.admit(id, argv, &resolved) {
            Admission::Run => {}
            Admission::Queue => {
                let grows = resolved.is_ok_and(|resolved| resolved.command.flags.has(Flags::DENYOOM));
                self.queue(id, request, grows);
                return self.after(id);
            }
            Admission::Over => return Flow::Close,
            Admission::Wait => return Flow::LogFull,
            Admission::Pause => return Flow::Paused,
            Admission::Refuse(error) => {
                self.refuse(
                    id,
                    resolved.ok().or_else(|| self.parts.table.named(argv)),
                    argv[0].eq_ignore_ascii_case(b"exec"),
                    &error,
                );
                return self.after(id);
            }
        }
        let Ok(resolved) = resolved else { return Flow::Continue };
        self.begin_turn(id);
        let runs_script = resolved.command.flags.has(Flags::SCRIPT);
        if runs_script {
            self.turn.doubt = self.log.doubt().or_else(|| self.parts.settings.writes_refused.map(str::to_owned));
        }
        let began = self.parts.looked;
        let Some(mut cx) = self.cx(id) else { return Flow::Close };
        cx.turn.unit.lend(request.blocks());
        shown_call(&mut cx, resolved, Call { argv, raw: request.resp_bytes() });
        self.parts.stats.command_time += self.parts.looked.saturating_sub(began);
        // A script says itself when it has seen more than keys.
        let flags = resolved.command.flags;
        let needed_now = flags.has(Flags::OPERATOR) && self.log.doubt().is_some();
        self.turn.reads_all &= !needed_now;
        let pure = flags.has(Flags::KEY_READ) || runs_script || needed_now;
        if let Some(mut block) = self.turn.block.take() {
            self.reply.clear();
            let call = block.call.take().map_or_else(|| request.clone(), |words| Request::from_args(&words));
            let blocked = self.parts.blocking.block(id, self.turn_db, block, call);
            self.parts.client_mut(id).blocked = Some(blocked);
            self.end_turn(id, pure, Delivery::Own);
            self.serve_ready();
            return Flow::Parked;
        }
        self.end_turn(id, pure, Delivery::Own);
        self.parts.end_caching_wish(id, resolved);
        self.serve_ready();
        self.after(id)
    }

    fn after(&self, id: ClientId) -> Flow {
        match self.parts.clients.get(id) {
            Some(client) if !client.closing => Flow::Continue,
            _ => Flow::Close,
        }
    }

    /// Everything that is checked before a command runs, in stock's order.
    fn admit(&mut self, id: ClientId, argv: &[&[u8]], resolved: &Result<Resolved, CommandError>) -> Admission {
        let now = self.now;
        let Some(client) = self.parts.clients.get_mut(id) else {
            return Admission::Refuse(CommandError::fixed("ERR client is gone"));
        };
        // Who was sent away has sent this before it knew.
        if client.closing {
            return Admission::Over;
        }
        client.active_at = now;
        client.commands += 1;
        let resolved = match resolved {
            Ok(resolved) => resolved,
            Err(error) => {
                client.last_command = self.parts.table.named(argv).map(|named| named.index);
                return Admission::Refuse(error.clone());
            }
        };
        client.last_command = Some(resolved.index);
        let flags = resolved.command.flags;
        let is_stranger = !client.authenticated && self.parts.access.users.must_authenticate();
        if is_stranger && !flags.has(Flags::NO_AUTH) {
            return Admission::Refuse(CommandError::NO_AUTH);
        }
        let queueing = client.transaction.is_some() && !flags.has(Flags::TRANSACTION);
        if queueing && flags.has(Flags::NO_MULTI) {
            return Admission::Refuse(CommandError::NOT_IN_MULTI);
        }
        let name = resolved.command.name;
        let executes = flags.has(Flags::TRANSACTION) && name == "exec";
        let transaction = client.transaction.as_ref();
        let nothing_to_do = executes && transaction.is_none_or(|transaction| transaction.queued.is_empty());
        let grows = flags.has(Flags::DENYOOM) || (executes && transaction.is_some_and(|transaction| transaction.grows));
        let only_listens = client.protocol == Protocol::Resp2 && client.is_subscriber();
        if let Err(denied) = client.user.check(*resolved, argv) {
            let context = if client.transaction.is_some() { Context::Multi } else { Context::Toplevel };
            let error = denied.error(&client.user, *resolved, argv);
            self.parts.note_denied(id, denied, (*resolved, argv), context, now);
            return Admission::Refuse(error);
        }
        if self.parts.settings.memory.max > 0 {
            // Queued commands take memory too, whatever they will do.
            let queues = queueing && !matches!(name, "quit" | "reset");
            if self.make_room() == Room::Exhausted && (queues || grows) {
                return Admission::Refuse(CommandError::OUT_OF_MEMORY);
            }
        }
        let (writes, runs_script) = (flags.has(Flags::WRITE), flags.has(Flags::SCRIPT));
        if writes || runs_script || executes {
            // A script is told where it comes to write.
            let may_write = || !runs_script && !frees_space(name) && !nothing_to_do;
            if let Some(doubt) = self.log.doubt().filter(|_| may_write()) {
                return Admission::Refuse(CommandError::new(doubt));
            }
        }
        // A read that keeps what it computed in the key.
        let may_log = flags.has(Flags::READONLY.and(Flags::MAY_REPLICATE));
        if (writes || runs_script || may_log || executes) && !self.log.has_room() {
            return Admission::Wait;
        }
        if let Some(reason) = self.parts.settings.writes_refused
            && (writes || name == "ping")
        {
            return Admission::Refuse(CommandError::fixed(reason));
        }
        if only_listens && let Err(error) = check_subscriber(resolved) {
            return Admission::Refuse(error);
        }
        if self.parts.settings.loading && !flags.has(Flags::LOADING) {
            return Admission::Refuse(CommandError::LOADING);
        }
        // To stock a monitor is a kind of replica.
        if !self.parts.observed.monitors.is_empty()
            && (writes || may_log || flags.has(Flags::READONLY) || flags.has(Flags::MAY_REPLICATE))
            && self.parts.observed.monitors.contains(&id)
        {
            return Admission::Refuse(CommandError::fixed("ERR Replica can't interact with the keyspace"));
        }
        if self.parts.pause.is_on() && !self.unheard && self.parts.waits_for_pause(id, resolved, now) {
            return Admission::Pause;
        }
        if queueing && !matches!(name, "quit" | "reset") {
            return Admission::Queue;
        }
        Admission::Run
    }

    fn refuse(&mut self, id: ClientId, resolved: Option<Resolved>, exec: bool, error: &CommandError) {
        self.parts.refuse_transaction(id);
        if let Some(resolved) = resolved {
            self.parts.stats.per_command[resolved.index].rejected += 1;
        }
        if exec {
            self.parts.discard_transaction(id);
        }
        self.parts.stats.count_error(error.code());
        self.begin_turn(id);
        if exec {
            self.reply.error(error.aborting().line());
        } else {
            self.reply.error(error.line());
        }
        self.end_turn(id, false, Delivery::Own);
    }

    fn queue(&mut self, id: ClientId, request: &Request, grows: bool) {
        self.begin_turn(id);
        if let Some(transaction) = self.parts.client_mut(id).transaction.as_mut() {
            transaction.bytes += request.heap_bytes();
            transaction.grows |= grows;
            transaction.queued.push(request.clone());
        }
        self.reply.simple("QUEUED");
        self.end_turn(id, false, Delivery::Own);
    }

    pub(super) fn begin_turn(&mut self, id: ClientId) {
        self.turn.begin(self.now, self.log.next());
        self.parts.acting = id;
        let (protocol, db) = self.parts.clients.get(id).map_or((Protocol::Resp2, 0), |c| (c.protocol, c.db));
        self.reply.clear();
        self.reply.set_protocol(protocol);
        self.turn_db = db;
    }

    pub(super) fn cx(&mut self, id: ClientId) -> Option<Cx<'_>> {
        let client = self.parts.clients.get(id)?;
        let (db, touch) = (client.db, !client.no_touch);
        Some(Cx::new(&mut self.store, &mut self.reply, &mut self.parts, &mut self.turn, id, db, touch))
    }

    /// Gives the turn's unit its place in the log, and what was said in it its tag.
    pub(super) fn end_turn(&mut self, id: ClientId, pure: bool, delivery: Delivery) {
        let logged = match self.turn.unit.seal() {
            Some((db, unit)) => {
                self.log.append(db, unit, self.turn.now);
                true
            }
            None => false,
        };
        self.turn.unit.let_go();
        self.parts.stats.dirty += self.turn.dirty;
        self.store.count_left();
        self.parts.bound_tracking();
        let end = self.log.next();
        // Messages to oneself follow the reply: they never stand inside of it, nor before it.
        let mut to_itself = Vec::new();
        let Parts { outgoing, outgoing_last, clients, .. } = &mut self.parts;
        for (listener, message) in outgoing.drain(..).chain(outgoing_last.drain(..)) {
            if listener == id {
                to_itself.push(message);
            } else if let Some(client) = clients.get(listener) {
                client.outbox.push(end, &message);
            }
        }
        let tag = if pure && !logged && !self.turn.reads_all { self.turn.read_tag.min(end) } else { end };
        self.parts.acting = NOBODY;
        let Some(client) = self.parts.clients.get_mut(id) else { return };
        let silent = match client.reply_mode {
            _ if self.unheard => true,
            ReplyMode::On => false,
            ReplyMode::Off => true,
            ReplyMode::SkipNext => {
                client.reply_mode = ReplyMode::Skip;
                true
            }
            ReplyMode::Skip => {
                client.reply_mode = ReplyMode::On;
                true
            }
        };
        if !silent {
            match delivery {
                _ if self.reply.len() >= LONG_REPLY || self.reply.has_runs() => {
                    client.outbox.long_reply(tag, self.reply.take());
                    if delivery == Delivery::Late {
                        client.outbox.wake();
                    }
                }
                Delivery::Own => client.outbox.reply(tag, self.reply.as_bytes()),
                Delivery::Late => client.outbox.late_reply(tag, self.reply.as_bytes()),
            }
        }
        for message in to_itself {
            client.outbox.push(end, &message);
        }
        self.reply.clear();
    }

    /// Tells what is told once for all that was executed. Whoever has executed requests does this before it lets go of the
    /// engine.
    pub fn finish_pass(&mut self) {
        if self.parts.tracking.prefix_count() == 0 {
            return;
        }
        self.parts.broadcast_changes();
        let end = self.log.next();
        for (listener, message) in self.parts.outgoing.drain(..) {
            if let Some(client) = self.parts.clients.get(listener) {
                client.outbox.push(end, &message);
            }
        }
    }

    /// Runs the commands that waited for the keys of this turn, until no key is ready.
    pub(super) fn serve_ready(&mut self) {
        if !self.parts.unblock.is_empty() {
            for (id, with_error) in std::mem::take(&mut self.parts.unblock) {
                self.unblock(id, with_error);
            }
        }
        while let Some(ready) = self.parts.blocking.next_ready() {
            let (db, key) = &ready.place;
            for wanted in self.parts.blocking.waiting_for(&ready.place) {
                let holds = self.store.holds(*db, key, wanted.kind);
                if (holds && ready.written) || (!holds && wanted.or_gone) {
                    self.retry(wanted.client);
                }
            }
        }
    }

    /// Runs a blocked client's command again; it stays blocked if it asks to.
    fn retry(&mut self, id: ClientId) {
        let Some(client) = self.parts.clients.get_mut(id) else { return };
        let Some(blocked) = client.blocked.take() else { return };
        // It is admitted once more: memory may have run short while it waited.
        if self.parts.settings.memory.max > 0 {
            self.make_room();
        }
        self.begin_turn(id);
        let argv: Vec<&[u8]> = blocked.call.args().collect();
        let Ok(resolved) = self.parts.table.resolve(&argv) else { return };
        // What was allowed when the wait began may not be any more.
        let refused = match self.parts.permit(id, resolved, &argv, Context::Toplevel, self.now) {
            Err((denied, user)) => Err(denied.error(&user, resolved, &argv)),
            Ok(()) => self.parts.check_memory(resolved.command.flags),
        };
        match refused {
            Err(error) => {
                self.parts.stats.per_command[resolved.index].rejected += 1;
                self.parts.stats.count_error(error.code());
                self.reply.error(error.line());
            }
            Ok(()) => {
                let watched = self.parts.spike_clock();
                if let Some(mut cx) = self.cx(id) {
                    call(&mut cx, resolved, Call { argv: &argv, raw: None });
                }
                if self.turn.block.is_none() {
                    self.parts.spike_since("command-unblocking", watched);
                }
            }
        }
        if self.turn.block.take().is_some() {
            self.reply.clear();
            self.parts.client_mut(id).blocked = Some(blocked);
            // What it has done all the same has its place in the log.
            if !self.turn.unit.is_empty() {
                self.end_turn(id, false, Delivery::Own);
            }
            return;
        }
        self.parts.blocking.unblock(id, &blocked);
        self.end_turn(id, false, Delivery::Late);
    }

    /// Runs the command of a client that waits for something else than a key again: that may have come about.
    pub fn look_again(&mut self, id: ClientId) {
        let waits = self.parts.clients.get(id).and_then(|client| client.blocked.as_ref());
        if waits.is_some_and(|blocked| blocked.on_timeout == TimeoutReply::Again) {
            self.retry(id);
            self.finish_pass();
        }
    }

    /// Ends the wait of a client with this reply; false when it does not wait.
    pub(super) fn end_wait(&mut self, id: ClientId, reply: WaitEnd) -> bool {
        let Some(blocked) = self.parts.clients.get_mut(id).and_then(|client| client.blocked.take()) else {
            return false;
        };
        self.parts.blocking.unblock(id, &blocked);
        self.begin_turn(id);
        match reply {
            WaitEnd::Timeout if blocked.on_timeout == TimeoutReply::Again => {
                self.turn.may_block = false;
                let argv: Vec<&[u8]> = blocked.call.args().collect();
                if let (Ok(resolved), Some(mut cx)) = (self.parts.table.resolve(&argv), self.cx(id)) {
                    call(&mut cx, resolved, Call { argv: &argv, raw: None });
                }
            }
            WaitEnd::Timeout => {
                timeout_reply(blocked.on_timeout, &mut self.reply);
                self.count_ended_wait(&blocked.call, false);
            }
            WaitEnd::Error(text) => {
                self.count_ended_wait(&blocked.call, true);
                self.parts.stats.count_error(text.split(' ').next().unwrap_or("ERR"));
                self.reply.error(text);
            }
        }
        self.end_turn(id, false, Delivery::Late);
        true
    }
}

impl Engine {
    /// A call whose wait ended without its key counts like one that ran.
    fn count_ended_wait(&mut self, request: &Request, failed: bool) {
        let argv: Vec<&[u8]> = request.args().collect();
        let Some(resolved) = self.parts.table.named(&argv) else { return };
        self.parts.stats.commands += 1;
        let stats = &mut self.parts.stats.per_command[resolved.index];
        stats.calls += 1;
        stats.failed += u64::from(failed);
    }
}

/// Why a wait ends without its key.
pub(super) enum WaitEnd {
    Timeout,
    Error(&'static str),
}

/// Whether the connection that the reply is for is looking already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    Own,
    Late,
}

enum Admission {
    Run,
    Queue,
    /// The connection is ending.
    Over,
    /// The log has no room: the connection waits, the command has not begun.
    Wait,
    /// Clients are paused: the same.
    Pause,
    Refuse(CommandError),
}

/// Writes that make room, and so are let in when the log is in doubt.
pub(super) fn frees_space(name: &str) -> bool {
    matches!(name, "del" | "unlink" | "flushdb" | "flushall")
}

/// What a RESP2 connection with subscriptions may ask for.
pub fn check_subscriber(resolved: &Resolved) -> Result<(), CommandError> {
    match resolved.command.name {
        "subscribe" | "unsubscribe" | "psubscribe" | "punsubscribe" | "ssubscribe" | "sunsubscribe" | "ping"
        | "quit" | "reset" => Ok(()),
        _ => Err(CommandError::new(format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
             context",
            resolved.full_name()
        ))),
    }
}

/// Runs a queued command of a transaction; its reply, or its error, is one element of the transaction's.
pub(super) fn run_nested(cx: &mut Cx<'_>, request: &Request) {
    let argv: Vec<&[u8]> = request.args().collect();
    match Parts::of(cx).table.resolve(&argv) {
        Ok(resolved) => match refused_in_exec(cx, resolved, &argv) {
            None => {
                cx.turn.unit.lend(request.blocks());
                shown_call(cx, resolved, Call { argv: &argv, raw: request.resp_bytes() });
            }
            Some(refusal) => cx.reply.error(refusal),
        },
        Err(error) => cx.reply.error(error.line()),
    }
}

/// A command that clients in MONITOR see: a script before what it calls, everything else when it has run.
pub(super) fn shown_call(cx: &mut Cx<'_>, resolved: Resolved, what: Call<'_>) {
    let flags = resolved.command.flags;
    if flags.has(Flags::SCRIPT) {
        show_to_monitors(cx, &resolved, what.argv);
    }
    call(cx, resolved, what);
    if !flags.has(Flags::SKIP_MONITOR) {
        show_to_monitors(cx, &resolved, what.argv);
    }
}

/// One command: its handler, its statistics, and what it adds to the turn's unit.
pub(super) fn call(cx: &mut Cx<'_>, resolved: Resolved, call: Call<'_>) {
    let started = Parts::of(cx).looked;
    let dirty = cx.turn.dirty;
    let reply_start = cx.reply.len();
    let (outer_log, db) = (cx.begin_command(), cx.db);
    let mut args = Args::new(call.argv, resolved.first_argument());
    let outcome = (resolved.command.run)(cx, &mut args);
    let as_sent = cx.end_command(outer_log);
    if cx.turn.dirty > dirty && as_sent && !cx.turn.replaying {
        match call.raw {
            Some(raw) => cx.turn.unit.push_raw(db, raw),
            None => cx.turn.unit.push(db, call.argv),
        }
    }
    if let Err(error) = &outcome {
        cx.reply.truncate(reply_start);
        cx.reply.error(error.line());
    }
    let client = cx.client;
    // A call that waits is counted when its wait is over.
    let counts = !cx.turn.replaying && cx.turn.block.is_none();
    let parts = Parts::of(cx);
    parts.remember_keys(client, resolved, call.argv);
    if !counts {
        return;
    }
    parts.looked = parts.clock.monotonic();
    let spent = parts.looked.saturating_sub(started);
    parts.stats.commands += 1;
    let stats = &mut parts.stats.per_command[resolved.index];
    stats.ended(spent, parts.settings.latency_tracking);
    if let Err(error) = &outcome {
        stats.failed += 1;
        if !error.is_counted() {
            parts.stats.count_error(error.code());
        }
    }
    parts.observe(client, &resolved, call.argv, spent);
}

/// A reply buffer that a nested call writes into instead of the outer one.
pub(super) fn capture(cx: &mut Cx<'_>, protocol: Protocol, run: impl FnOnce(&mut Cx<'_>)) -> Vec<u8> {
    let mut inner = Reply::new(protocol);
    std::mem::swap(cx.reply, &mut inner);
    run(cx);
    std::mem::swap(cx.reply, &mut inner);
    inner.into_bytes()
}
