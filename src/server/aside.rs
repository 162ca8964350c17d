//! What a connection is answered while a script is past its time and nobody gets the engine.
//!
//! What stops the script or the server is done. Commands about the connection itself are
//! answered by what is known of the client, and run, unheard, before its next command that the engine does: a key that was
//! watched meanwhile is watched before anything of it can be read. Everything else is refused.

use super::commands::{Greeting, NAMELESS, credentials, introduce};
use super::shared::Shared;
use crate::command::{Args, ClientId, CommandError, Flags, Resolved};
use crate::engine::{Client, DEFAULT_USER, Engine, KillBy, ReplyMode, User, check_subscriber};
use crate::resp::{Protocol, Reply, Request};
use std::sync::Arc;

/// Requests that the engine has yet to be told of, at most; who sends more is refused.
const UNTOLD_MAX: usize = 1024;

/// A client as it was when the engine was last held, and what it has become since.
#[derive(Default)]
pub struct Aside {
    pub authenticated: bool,
    pub protocol: Protocol,
    /// Whom it acts as; `None`: the engine has not met it yet.
    user: Option<Arc<User>>,
    pub subscriber: bool,
    in_transaction: bool,
    silent: bool,
    /// Its next reply is left out.
    skips: bool,
    untold: Vec<Untold>,
}

enum Untold {
    Run(Request),
    /// A command was refused that was to be queued.
    Refused,
    /// The reply that was to be left out was.
    Skipped,
}

/// What is done with a request.
pub enum Answer {
    Reply(Vec<u8>),
    /// The connection ends behind it.
    Last(Vec<u8>),
}

impl Aside {
    /// Takes over what the engine knows.
    pub fn note(&mut self, client: &Client) {
        self.authenticated = client.authenticated;
        self.protocol = client.protocol;
        self.subscriber = client.is_subscriber();
        self.in_transaction = client.transaction.is_some();
        self.silent = client.reply_mode == ReplyMode::Off;
        self.skips = client.reply_mode == ReplyMode::Skip;
        if !self.user.as_ref().is_some_and(|user| Arc::ptr_eq(user, &client.user)) {
            self.user = Some(Arc::clone(&client.user));
        }
    }

    /// Tells the engine what has happened without it; true when there was something.
    pub fn tell(&mut self, engine: &mut Engine, id: ClientId) -> bool {
        let untold = std::mem::take(&mut self.untold);
        let any = !untold.is_empty();
        for what in untold {
            match what {
                Untold::Run(request) => engine.execute_unheard(id, &request),
                Untold::Refused => engine.parts.refuse_transaction(id),
                Untold::Skipped => engine.parts.client_mut(id).reply_mode = ReplyMode::On,
            }
        }
        any
    }

    /// Answers a request; `id`: of the client, as it will be when the engine meets it.
    pub fn answer(&mut self, shared: &Shared, id: ClientId, request: &Request) -> Answer {
        let argv: Vec<&[u8]> = request.args().collect();
        let mut reply = Reply::new(self.protocol);
        let outcome = match self.admit(shared, &argv) {
            Err(error) => Err(self.refused(error, argv[0].eq_ignore_ascii_case(b"exec"))),
            Ok(resolved) => self.perform(shared, id, resolved, request, &argv, &mut reply),
        };
        if let Err(error) = &outcome {
            reply.error(error.line());
        }
        let ends = outcome.is_ok() && argv[0].eq_ignore_ascii_case(b"quit");
        let skips = std::mem::take(&mut self.skips);
        if skips {
            self.untold.push(Untold::Skipped);
        }
        let bytes = if self.silent || skips { Vec::new() } else { reply.as_bytes().to_vec() };
        if ends { Answer::Last(bytes) } else { Answer::Reply(bytes) }
    }

    /// What is checked before a command runs, as far as it can be without the engine, in its order.
    fn admit(&self, shared: &Shared, argv: &[&[u8]]) -> Result<Resolved, CommandError> {
        let resolved = shared.table.resolve(argv)?;
        let flags = resolved.command.flags;
        let signed_in = self.authenticated || !shared.users.must_authenticate();
        if !signed_in && !flags.has(Flags::NO_AUTH) {
            return Err(CommandError::NO_AUTH);
        }
        if self.queues(resolved) && flags.has(Flags::NO_MULTI) {
            return Err(CommandError::NOT_IN_MULTI);
        }
        if !flags.has(Flags::NO_AUTH) {
            let name = self.user.as_ref().map_or(DEFAULT_USER, |user| user.name());
            let user = shared.users.get(name).ok_or(CommandError::NO_AUTH)?;
            user.check(resolved, argv).map_err(|denied| denied.error(&user, resolved, argv))?;
        }
        if self.protocol == Protocol::Resp2 && self.subscriber {
            check_subscriber(&resolved)?;
        }
        if !flags.has(Flags::ALLOW_BUSY) {
            return Err(shared.script.busy_error());
        }
        Ok(resolved)
    }

    fn queues(&self, resolved: Resolved) -> bool {
        self.in_transaction && !resolved.command.flags.has(Flags::TRANSACTION)
    }

    /// What a refusal does to a transaction, and its text.
    fn refused(&mut self, error: CommandError, exec: bool) -> CommandError {
        if exec {
            let word = if std::mem::take(&mut self.in_transaction) { "DISCARD" } else { "UNWATCH" };
            self.untold.push(Untold::Run(Request::from_args(&[word])));
            return error.aborting();
        }
        if self.in_transaction && !matches!(self.untold.last(), Some(Untold::Refused)) {
            self.untold.push(Untold::Refused);
        }
        error
    }

    fn perform(
        &mut self,
        shared: &Shared,
        id: ClientId,
        resolved: Resolved,
        request: &Request,
        argv: &[&[u8]],
        reply: &mut Reply,
    ) -> Result<(), CommandError> {
        let name = resolved.full_name();
        let full = self.untold.len() >= UNTOLD_MAX;
        if self.queues(resolved) && !matches!(name.as_str(), "quit" | "reset") {
            if full {
                return Err(self.refused(shared.script.busy_error(), false));
            }
            self.untold.push(Untold::Run(request.clone()));
            reply.simple("QUEUED");
            return Ok(());
        }
        match name.as_str() {
            "quit" => reply.ok(),
            "script|kill" => {
                shared.script.kill(KillBy::Script)?;
                reply.ok();
            }
            "function|kill" => {
                shared.script.kill(KillBy::Function)?;
                reply.ok();
            }
            "function|stats" => shared.script.write_stats(shared.clock.monotonic(), reply)?,
            "shutdown" if asks_nosave(argv) => {
                super::shutdown::without_saving(shared, argv);
                reply.ok();
            }
            "multi" | "discard" | "watch" | "unwatch" | "auth" | "hello" | "reset" if !full => {
                let outcome = self.about_itself(shared, id, resolved, argv, reply);
                // Who fails to prove who it is is noted.
                if outcome.is_ok() || matches!(name.as_str(), "auth" | "hello") {
                    self.untold.push(Untold::Run(request.clone()));
                }
                outcome?;
            }
            "exec" => return Err(self.refused(shared.script.busy_error(), true)),
            _ => return Err(self.refused(shared.script.busy_error(), false)),
        }
        Ok(())
    }

    /// A command that is about the connection alone.
    fn about_itself(
        &mut self,
        shared: &Shared,
        id: ClientId,
        resolved: Resolved,
        argv: &[&[u8]],
        reply: &mut Reply,
    ) -> Result<(), CommandError> {
        match resolved.command.name {
            "multi" if self.in_transaction => return Err(CommandError::NESTED_MULTI),
            "multi" => self.in_transaction = true,
            "discard" if !self.in_transaction => return Err(CommandError::DISCARD_WITHOUT_MULTI),
            "discard" => self.in_transaction = false,
            "watch" if self.in_transaction => return Err(CommandError::WATCH_IN_MULTI),
            "auth" => {
                let (name, password) = credentials(&argv[1..], &shared.users)?;
                self.sign_in(shared, name, password)?;
            }
            "hello" => {
                let greeting = Greeting::parse(&mut Args::new(argv, 1))?;
                if let Some((name, password)) = greeting.credentials {
                    self.sign_in(shared, name, password)?;
                }
                if !self.authenticated && shared.users.must_authenticate() {
                    return Err(NAMELESS);
                }
                self.protocol = greeting.protocol.unwrap_or(self.protocol);
                introduce(reply, self.protocol, id);
                return Ok(());
            }
            "reset" => {
                let user = shared.users.default_user();
                self.authenticated = user.is_open();
                self.user = Some(user);
                self.protocol = Protocol::Resp2;
                (self.in_transaction, self.subscriber, self.silent) = (false, false, false);
                reply.simple("RESET");
                return Ok(());
            }
            _ => {}
        }
        reply.ok();
        Ok(())
    }

    fn sign_in(&mut self, shared: &Shared, name: &[u8], password: &[u8]) -> Result<(), CommandError> {
        let user = shared.users.get(name).filter(|user| user.accepts(password)).ok_or(CommandError::WRONG_PASS)?;
        self.authenticated = true;
        self.user = Some(user);
        Ok(())
    }
}

fn asks_nosave(argv: &[&[u8]]) -> bool {
    argv[1..].iter().any(|word| word.eq_ignore_ascii_case(b"nosave"))
}
