//! Who a connection acts as, what it is refused, and what a change of users means for those who are connected.
//!
//! Invariant: a client holds its user as it is now; whoever changes a user hands the new one to its clients, and ends
//! those whose user is gone or who listen to what they may not hear any more.

use super::acl::{AuditLog, Context, Denied, Entry, Reason, Terms, User, Users};
use super::parts::Parts;
use crate::command::{ClientId, Cx, Resolved};
use crate::env::UnixMillis;
use std::sync::Arc;

/// Users, and what they were refused.
pub struct Access {
    pub users: Users,
    pub log: AuditLog,
}

impl Parts {
    /// What rules are read by at present.
    pub fn acl_terms(&self) -> Terms<'_> {
        Terms { table: &self.table, all_channels: self.settings.acl_all_channels }
    }

    /// Whether a client's user may make this call; a refusal is counted and noted in the log.
    ///
    /// # Errors
    /// It may not.
    pub(super) fn permit(
        &mut self,
        id: ClientId,
        resolved: Resolved,
        argv: &[&[u8]],
        context: Context,
        now: UnixMillis,
    ) -> Result<(), (Denied, Arc<User>)> {
        let Some(client) = self.clients.get(id) else { return Ok(()) };
        let Err(denied) = client.user.check(resolved, argv) else { return Ok(()) };
        let user = Arc::clone(&client.user);
        self.note_denied(id, denied, (resolved, argv), context, now);
        Err((denied, user))
    }

    /// Counts that a client's user may not make a call, and notes it in the log.
    pub(super) fn note_denied(
        &mut self,
        id: ClientId,
        denied: Denied,
        (resolved, argv): (Resolved, &[&[u8]]),
        context: Context,
        now: UnixMillis,
    ) {
        let Some(user) = self.clients.get(id).map(|client| Arc::clone(&client.user)) else { return };
        let (reason, name);
        let object = match denied {
            Denied::Command => {
                reason = Reason::Command;
                name = resolved.full_name();
                name.as_bytes()
            }
            Denied::Key(at) => {
                reason = Reason::Key;
                argv[at]
            }
            Denied::Channel(at) => {
                reason = Reason::Channel;
                argv[at]
            }
        };
        self.note_refusal(id, reason, context, object, user.name(), now);
    }

    fn note_refusal(
        &mut self,
        id: ClientId,
        reason: Reason,
        context: Context,
        object: &[u8],
        user: &[u8],
        now: UnixMillis,
    ) {
        *self.stats.access_denied.of(reason) += 1;
        let client = match self.clients.get(id) {
            Some(client) => (self.describe_client)(client, self, now),
            None => String::new(),
        };
        let entry = Entry::new(reason, context, object, user, client, now);
        self.access.log.note(entry, self.settings.acl_log_len_max);
    }

    /// Makes a client act as a user. False when name and password do not fit, or the user is off; that is noted.
    /// `command`: the word that asked for it.
    pub fn authenticate(
        &mut self,
        id: ClientId,
        name: &[u8],
        password: &[u8],
        command: &[u8],
        now: UnixMillis,
    ) -> bool {
        let known = self.access.users.get(name).filter(|user| user.accepts(password));
        match known {
            Some(user) => {
                self.sign_in(id, user);
                true
            }
            None => {
                let in_transaction = self.clients.get(id).is_some_and(|client| client.transaction.is_some());
                let context = if in_transaction { Context::Multi } else { Context::Toplevel };
                self.note_refusal(id, Reason::Auth, context, command, name, now);
                false
            }
        }
    }

    /// Makes a client act as a user who has shown to be it.
    pub fn sign_in(&mut self, id: ClientId, user: Arc<User>) {
        if let Some(client) = self.clients.get_mut(id) {
            client.user = user;
            client.authenticated = true;
        }
    }

    /// Makes a client what a new connection is.
    pub fn sign_out(&mut self, id: ClientId) {
        let user = self.access.users.default_user();
        if let Some(client) = self.clients.get_mut(id) {
            client.authenticated = user.is_open();
            client.user = user;
        }
    }

    /// Puts a user in the place of the one of its name.
    pub fn change_user(&mut self, user: User) {
        let user = Arc::new(user);
        self.access.users.put(Arc::clone(&user));
        self.hand_out(|name| (name == user.name()).then(|| Some(Arc::clone(&user))));
    }

    /// Makes this the default user's only password (`requirepass`).
    pub fn set_default_password(&mut self, password: &[u8]) {
        let table = Arc::clone(&self.table);
        self.access.users.set_default_password(password, &table);
        let user = self.access.users.default_user();
        self.hand_out(|name| (name == user.name()).then(|| Some(Arc::clone(&user))));
    }

    /// Removes a user and ends its connections. False when there is none, or it is the default one.
    pub fn remove_user(&mut self, name: &[u8]) -> bool {
        let removed = self.access.users.remove(name);
        if removed {
            self.hand_out(|other| (other == name).then_some(None));
        }
        removed
    }

    /// Puts these users in the place of all.
    pub fn replace_users(&mut self, users: Vec<User>) {
        let (table, handle) = (Arc::clone(&self.table), self.access.users.clone());
        handle.replace_all(users, &table);
        self.hand_out(|name| Some(handle.get(name)));
    }

    /// Asks for each client's user what has become of it: nothing, another version of it, or that it is gone.
    fn hand_out(&mut self, of: impl Fn(&[u8]) -> Option<Option<Arc<User>>>) {
        let default = self.access.users.default_user();
        let mut over = Vec::new();
        for client in self.clients.iter_mut() {
            match of(client.user.name()) {
                None => {}
                Some(Some(user)) => {
                    let must_leave = user.narrows_channels(&client.user) && {
                        let deaf_to = |channel: &Vec<u8>| !user.may_subscribe(channel, false);
                        client.patterns.iter().any(|pattern| !user.may_subscribe(pattern, true))
                            || client.channels.iter().chain(&client.shard_channels).any(deaf_to)
                    };
                    client.user = user;
                    if must_leave {
                        over.push(client.id);
                    }
                }
                Some(None) => {
                    client.user = Arc::clone(&default);
                    client.authenticated = false;
                    over.push(client.id);
                }
            }
        }
        over.into_iter().for_each(|id| self.end_client(id));
    }

    /// Ends a connection; that of the running command only after its reply.
    pub fn end_client(&mut self, id: ClientId) {
        let acting = self.acting;
        if let Some(client) = self.clients.get_mut(id) {
            client.closing = true;
            if id != acting {
                client.outbox.close();
            }
        }
    }
}

/// Why a command of a script may not run for the script's caller.
pub(super) fn refused_in_script(cx: &mut Cx<'_>, resolved: Resolved, argv: &[&[u8]]) -> Option<String> {
    let (id, now) = (cx.client, cx.now());
    let (denied, user) = Parts::of(cx).permit(id, resolved, argv, Context::Lua, now).err()?;
    Some(format!("NOPERM ACL failure in script: {}", denied.text(&user, resolved, argv, false)))
}

/// Why a queued command may not run any more.
pub(super) fn refused_in_exec(cx: &mut Cx<'_>, resolved: Resolved, argv: &[&[u8]]) -> Option<String> {
    let (id, now) = (cx.client, cx.now());
    let (denied, _) = Parts::of(cx).permit(id, resolved, argv, Context::Multi, now).err()?;
    let reason = match denied {
        Denied::Command => "no permission to execute the command or subcommand",
        Denied::Key(_) => "no permission to touch the specified keys",
        Denied::Channel(_) => "no permission to access one of the channels used as arguments to the command",
    };
    Some(format!(
        "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is \
         no longer allowed for the following reason: {reason}"
    ))
}
