//! What a handler works with: keys by type, the reply, and the bookkeeping of the turn.
//!
//! Invariants
//! - `read`, `get` and their kin are the one door to key reads: each raises the turn's read tag to what it touched.
//! - Reads never change the keyspace: a key that is due counts as absent. Writes delete it first, and log that.
//! - A collection that becomes empty is removed.

use super::{BlockRequest, ClientId, CommandError, Event, Host, StreamWait, TimeoutReply, Turn, parse_timeout};
use crate::env::{Entropy, UnixMillis};
use crate::keyspace::{Content, Database, Entry, Found, INLINE_MAX, Keyspace, Ttl};
use crate::resp::Reply;
use crate::value::{
    Hash, HashRef, Limits, List, ListRef, Set, Str, StrRef, Stream, Type, Value, ValueRef, Zset, ZsetRef,
};

/// A type of value that handlers ask for by name.
pub trait Kind: Clone + Into<Value> + TryFrom<Value> {
    const TYPE: Type;
    /// Class and of its notifications.
    const EVENT: Event;
    /// How a value is read.
    type Ref<'a>;

    fn of<'a>(value: ValueRef<'a>) -> Option<Self::Ref<'a>>;
}

/// A type that is changed in place.
pub trait Collection: Kind + Default {
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
}

impl Kind for Str {
    const TYPE: Type = Type::String;
    const EVENT: Event = Event::String;
    type Ref<'a> = StrRef<'a>;

    fn of<'a>(value: ValueRef<'a>) -> Option<StrRef<'a>> {
        match value {
            ValueRef::Str(text) => Some(text),
            _ => None,
        }
    }
}

macro_rules! collections {
    ($($kind:ident $event:ident $read:ty),*) => {$(
        impl Kind for $kind {
            const TYPE: Type = Type::$kind;
            const EVENT: Event = Event::$event;
            type Ref<'a> = $read;

            fn of<'a>(value: ValueRef<'a>) -> Option<$read> {
                match value {
                    ValueRef::$kind(value) => Some(value),
                    _ => None,
                }
            }
        }

        impl Collection for $kind {
            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                match value {
                    Value::$kind(value) => Some(value),
                    _ => None,
                }
            }

        }
    )*};
}

collections!(
    List List ListRef<'a>, Set Set &'a Set, Hash Hash HashRef<'a>, Zset Zset ZsetRef<'a>, Stream Stream &'a Stream
);

/// What an edit may use, and what it reports.
pub struct Edit<'e> {
    pub limits: Limits,
    pub entropy: &'e mut dyn Entropy,
    changed: u64,
    event: Option<&'static str>,
}

impl Edit<'_> {
    /// Counts changes; an edit that counts none leaves no trace.
    pub fn changed(&mut self, count: usize) {
        self.changed += count as u64;
    }

    /// Notifies another event than the call named.
    pub fn event(&mut self, event: &'static str) {
        self.event = Some(event);
    }

    /// Notifies nothing.
    pub fn silent(&mut self) {
        self.event = None;
    }
}

/// See the module's header.
pub struct Cx<'a> {
    pub store: &'a mut Keyspace,
    pub reply: &'a mut Reply,
    pub host: &'a mut dyn Host,
    pub turn: &'a mut Turn,
    pub client: ClientId,
    /// The selected database.
    pub db: u32,
    /// Reads update access clocks (not under CLIENT NO-TOUCH).
    touch: bool,
    /// The command is logged as it was sent, unless it says otherwise.
    as_sent: bool,
}

impl<'a> Cx<'a> {
    pub fn new(
        store: &'a mut Keyspace,
        reply: &'a mut Reply,
        host: &'a mut dyn Host,
        turn: &'a mut Turn,
        client: ClientId,
        db: u32,
        touch: bool,
    ) -> Self {
        Self { store, reply, host, turn, client, db, touch, as_sent: true }
    }

    // Bookkeeping of one command.

    /// A command begins; returns what `end_command` wants back.
    pub fn begin_command(&mut self) -> bool {
        std::mem::replace(&mut self.as_sent, true)
    }

    /// A command ends; true when it is to be logged as it was sent.
    pub fn end_command(&mut self, outer: bool) -> bool {
        std::mem::replace(&mut self.as_sent, outer)
    }

    /// Logs this command instead of the one that was sent; several calls log several commands, in order.
    pub fn log_as(&mut self, argv: &[&[u8]]) {
        self.as_sent = false;
        if !self.turn.replaying {
            self.turn.unit.push(self.db, argv);
        }
    }

    /// Logs nothing for what was sent: its effects log themselves.
    pub fn log_nothing(&mut self) {
        self.as_sent = false;
    }

    /// Counts changes that no edit counted.
    pub fn dirty(&mut self, count: usize) {
        self.turn.dirty += count as u64;
    }

    pub fn now(&self) -> UnixMillis {
        self.turn.now
    }

    pub fn limits(&self) -> Limits {
        self.store.limits
    }

    pub fn entropy(&mut self) -> &mut dyn Entropy {
        self.host.entropy()
    }

    pub fn notify(&mut self, class: Event, event: &str, key: &[u8]) {
        self.host.notify(class, event, key, self.db);
    }

    pub fn database(&mut self) -> &mut Database {
        self.store.db_mut(self.db)
    }

    /// What was read is more than single keys: the reply waits for the whole log.
    pub fn reads_all(&mut self) {
        self.turn.reads_all = true;
    }

    /// Lines of a HELP subcommand, in stock's frame.
    pub fn help(&mut self, command: &str, lines: &[&str]) {
        self.reply.array(lines.len() + 3);
        self.reply.simple(format!("{command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
        for line in lines {
            self.reply.simple(line);
        }
        self.reply.simple("HELP");
        self.reply.simple("    Print this help.");
    }

    /// Asks to be run again when one of the keys holds a value of this kind. Where nothing may block, the reply is that
    /// of a wait that is over.
    pub fn block(&mut self, keys: &[&[u8]], kind: Type, timeout: i64, on_timeout: TimeoutReply) {
        if !self.turn.may_block {
            match on_timeout {
                TimeoutReply::NullArray => self.reply.null_array(),
                TimeoutReply::Null => self.reply.null(),
                // Such a command looks at `may_block` by itself.
                TimeoutReply::Again => {}
            }
            return;
        }
        let deadline = (timeout > 0).then(|| UnixMillis(self.turn.now.0.saturating_add(timeout)));
        let keys = keys.iter().map(|key| key.to_vec()).collect();
        let request = BlockRequest { keys, kind, deadline, on_timeout, call: None, wakes_when_gone: false };
        self.turn.block = Some(request);
    }

    /// As [`Cx::block`], for entries of streams.
    pub fn block_on_streams(&mut self, keys: &[&[u8]], wait: StreamWait) {
        self.block(keys, Type::Stream, wait.timeout, TimeoutReply::NullArray);
        if let Some(request) = &mut self.turn.block {
            (request.call, request.wakes_when_gone) = (wait.call, wait.wakes_when_gone);
        }
    }

    /// Reads the timeout argument of a blocking command.
    pub fn timeout(arg: &[u8]) -> Result<i64, CommandError> {
        parse_timeout(arg)
    }

    // Reading keys.

    /// The key's entry, and the reply to write it to.
    pub fn entry(&mut self, key: &[u8]) -> (Option<&Entry>, &mut Reply) {
        self.look_up(key, self.touch)
    }

    /// As [`Cx::entry`], but its access clock is left alone.
    pub fn seen(&mut self, key: &[u8]) -> (Option<&Entry>, &mut Reply) {
        self.look_up(key, false)
    }

    /// As [`Cx::seen`], for who asks about the entry itself: that it is missing is counted, but told to nobody.
    pub fn inspect(&mut self, key: &[u8]) -> (Option<&Entry>, &mut Reply) {
        let now = self.turn.expiry_now();
        let (found, stamp) = self.store.db(self.db).get_stamped(key, now);
        self.turn.read_tag = self.turn.read_tag.max(stamp + 1);
        self.host.looked_up(found.is_some());
        (found, self.reply)
    }

    fn look_up(&mut self, key: &[u8], touch: bool) -> (Option<&Entry>, &mut Reply) {
        let now = self.turn.expiry_now();
        let database = self.store.db(self.db);
        let (found, stamp) = database.get_stamped(key, now);
        self.turn.read_tag = self.turn.read_tag.max(stamp + 1);
        self.host.looked_up(found.is_some());
        if found.is_none() {
            self.host.notify(Event::KeyMiss, "keymiss", key, self.db);
        }
        if let (Some(entry), true) = (found, touch) {
            database.touch(entry);
        }
        (found, self.reply)
    }

    /// The key's value if it holds this type, and the reply to write it to.
    pub fn read<T: Kind>(&mut self, key: &[u8]) -> Result<(Option<T::Ref<'_>>, &mut Reply), CommandError> {
        let (found, reply) = self.entry(key);
        match found {
            None => Ok((None, reply)),
            Some(entry) => match T::of(entry.value()) {
                Some(value) => Ok((Some(value), reply)),
                None => Err(CommandError::WRONG_TYPE),
            },
        }
    }

    /// A share of the key's value if it holds this type: O(1), independent of later changes.
    pub fn get<T: Kind>(&mut self, key: &[u8]) -> Result<Option<T>, CommandError> {
        match self.value(key) {
            None => Ok(None),
            Some(value) => T::try_from(value).map(Some).map_err(|_| CommandError::WRONG_TYPE),
        }
    }

    /// A share of the key's value, whatever its type.
    pub fn value(&mut self, key: &[u8]) -> Option<Value> {
        self.entry(key).0.map(Entry::to_value)
    }

    /// Type of the key's value; counts and touches like a read.
    pub fn type_of(&mut self, key: &[u8]) -> Option<Type> {
        self.entry(key).0.map(|entry| entry.value().kind())
    }

    pub fn exists(&mut self, key: &[u8]) -> bool {
        self.type_of(key).is_some()
    }

    /// The key's entry, seen without touching or counting it.
    pub fn peek(&mut self, key: &[u8]) -> Option<&Entry> {
        let now = self.turn.expiry_now();
        let (found, stamp) = self.store.db(self.db).get_stamped(key, now);
        self.turn.read_tag = self.turn.read_tag.max(stamp + 1);
        found
    }

    /// As [`Cx::get`], but neither touched nor counted: what a change of the key begins with that does so itself.
    pub fn get_for_change<T: Kind>(&mut self, key: &[u8]) -> Result<Option<T>, CommandError> {
        match self.peek(key).map(Entry::to_value) {
            None => Ok(None),
            Some(value) => T::try_from(value).map(Some).map_err(|_| CommandError::WRONG_TYPE),
        }
    }

    /// The key's entry, touched but not counted: what a change begins with, whether it comes to one or not.
    pub fn use_entry(&mut self, key: &[u8]) -> Option<&Entry> {
        let touch = self.touch;
        let (now, db) = (self.turn.expiry_now(), self.db);
        let database = self.store.db(db);
        let (found, stamp) = database.get_stamped(key, now);
        self.turn.read_tag = self.turn.read_tag.max(stamp + 1);
        if let (Some(entry), true) = (found, touch) {
            database.touch(entry);
        }
        found
    }

    /// As [`Cx::peek`], for a key known to hold a string.
    pub fn peek_string(&mut self, key: &[u8]) -> Option<StrRef<'_>> {
        self.peek(key).and_then(|entry| Str::of(entry.value()))
    }

    /// Whether a key is there but due.
    pub fn is_due(&self, db: u32, key: &[u8]) -> bool {
        self.store.db(db).is_due(key, self.turn.expiry_now())
    }

    // Changing keys.

    /// Deletes the key if it is due, and logs that; every write begins with it.
    pub fn delete_if_due(&mut self, key: &[u8]) -> bool {
        if !self.is_due(self.db, key) {
            return false;
        }
        let watched = self.host.spike_clock();
        self.remove_silently(key);
        self.host.spike_since("expire-del", watched);
        self.host.expired(key);
        if !self.turn.replaying {
            self.turn.unit.push(self.db, &[b"DEL", key]);
        }
        self.host.notify(Event::Expired, "expired", key, self.db);
        true
    }

    /// Changes the collection at a key, creating it when missing. The closure reports its changes by
    /// [`Edit::changed`]; `event` is notified if there were any.
    pub fn edit<T: Collection, R>(
        &mut self,
        key: &[u8],
        event: &'static str,
        change: impl FnOnce(&mut T, &mut Edit<'_>) -> R,
    ) -> Result<R, CommandError> {
        let mut change = Some(change);
        let edited = self.edit_present(key, event, &mut change)?;
        let (None, Some(change)) = (&edited, change) else { return edited.ok_or(CommandError::WRONG_TYPE) };
        let mut value = T::default();
        let (result, changed, event) = self.run_edit(&mut value, event, change);
        let value: Value = value.into();
        if changed > 0 && !value.is_empty() {
            self.set_value(key, value, Ttl::Clear);
            self.report::<T>(key, changed, event);
            self.host.key_ready(self.db, key, T::TYPE);
        }
        Ok(result)
    }

    /// Changes the collection at a key if there is one.
    pub fn edit_existing<T: Collection, R>(
        &mut self,
        key: &[u8],
        event: &'static str,
        change: impl FnOnce(&mut T, &mut Edit<'_>) -> R,
    ) -> Result<Option<R>, CommandError> {
        self.edit_present(key, event, &mut Some(change))
    }

    /// Changes the collection at a key if there is one, and tells nobody: neither those who watch the key nor those who
    /// wait for it. The command counts, notifies and says so itself where it must.
    pub fn edit_quietly<T: Collection, R>(&mut self, key: &[u8], change: impl FnOnce(&mut T) -> R) -> Option<R> {
        let (now, stamp) = (self.turn.expiry_now(), self.turn.stamp);
        self.store.db_mut(self.db).edit(key, now, stamp, |value| T::of_mut(value).map(change)).flatten()
    }

    /// Whether a key holds this type; false when it is absent, a due one being deleted first. Raises the read tag,
    /// so that a write that changes nothing depends on what it saw.
    pub fn writable<T: Kind>(&mut self, key: &[u8]) -> Result<bool, CommandError> {
        self.delete_if_due(key);
        match self.use_entry(key).map(|entry| entry.value().kind()) {
            Some(kind) if kind != T::TYPE => Err(CommandError::WRONG_TYPE),
            found => Ok(found.is_some()),
        }
    }

    /// As [`Cx::writable`], for what goes on to a change that counts as the access.
    pub fn changeable<T: Kind>(&mut self, key: &[u8]) -> Result<bool, CommandError> {
        self.delete_if_due(key);
        match self.peek(key).map(|entry| entry.value().kind()) {
            Some(kind) if kind != T::TYPE => Err(CommandError::WRONG_TYPE),
            found => Ok(found.is_some()),
        }
    }

    /// Changes the collection at a key if there is one; the change is left where there is none. Begins as
    /// [`Cx::writable`] does, in the same lookup.
    fn edit_present<T: Collection, R>(
        &mut self,
        key: &[u8],
        event: &'static str,
        change: &mut Option<impl FnOnce(&mut T, &mut Edit<'_>) -> R>,
    ) -> Result<Option<R>, CommandError> {
        self.delete_if_due(key);
        let (times, limits) = ((self.turn.expiry_now(), self.turn.stamp), self.store.limits);
        let database = self.store.db_mut(self.db);
        let mut edit = Edit { limits, entropy: self.host.entropy(), changed: 0, event: Some(event) };
        let (found, seen) = database.edit_kind(key, times, T::TYPE, self.touch, |value| {
            let change = change.take()?;
            let result = change(T::of_mut(value)?, &mut edit);
            Some((result, value.is_empty()))
        });
        self.turn.read_tag = self.turn.read_tag.max(seen + 1);
        let (changed, event) = (edit.changed, edit.event);
        let (result, gone) = match found {
            Found::Changed(Some(edited)) => edited,
            Found::Changed(None) | Found::OtherType => return Err(CommandError::WRONG_TYPE),
            Found::Nothing => return Ok(None),
        };
        if changed > 0 {
            self.report::<T>(key, changed, event);
        }
        if gone {
            self.remove_silently(key);
            self.host.notify(Event::Generic, "del", key, self.db);
        } else if changed > 0 {
            self.host.key_ready(self.db, key, T::TYPE);
        }
        Ok(Some(result))
    }

    fn run_edit<T, R>(
        &mut self,
        value: &mut T,
        event: &'static str,
        change: impl FnOnce(&mut T, &mut Edit<'_>) -> R,
    ) -> (R, u64, Option<&'static str>) {
        let mut edit = Edit { limits: self.store.limits, entropy: self.host.entropy(), changed: 0, event: Some(event) };
        let result = change(value, &mut edit);
        (result, edit.changed, edit.event)
    }

    fn report<T: Kind>(&mut self, key: &[u8], changed: u64, event: Option<&'static str>) {
        self.turn.dirty += changed;
        self.host.key_modified(self.db, key);
        if let Some(event) = event {
            self.host.notify(T::EVENT, event, key, self.db);
        }
    }

    /// Changes the string at a key; a missing one begins as empty. Its expiry stays. The closure reports its changes;
    /// an unchanged string is left as it is.
    pub fn edit_string<R>(
        &mut self,
        key: &[u8],
        event: &'static str,
        change: impl FnOnce(&mut Str, &mut Edit<'_>) -> Result<R, CommandError>,
    ) -> Result<R, CommandError> {
        self.delete_if_due(key);
        let mut text = match self.peek(key).map(Entry::value) {
            None => Str::encode(b""),
            Some(ValueRef::Str(text)) if text.len() > INLINE_MAX => return self.edit_long_string(key, event, change),
            Some(ValueRef::Str(text)) => text.into(),
            Some(_) => {
                self.use_entry(key);
                return Err(CommandError::WRONG_TYPE);
            }
        };
        let (result, changed, event) = self.run_edit(&mut text, event, change);
        if result.is_err() {
            self.use_entry(key);
        }
        let result = result?;
        if changed > 0 {
            // A new value is a use of the key by itself.
            self.set_value(key, Value::Str(text), Ttl::Keep);
            self.report::<Str>(key, changed, event);
        } else {
            self.use_entry(key);
        }
        Ok(result)
    }

    /// A string with an allocation of its own is changed where it lies, not copied.
    fn edit_long_string<R>(
        &mut self,
        key: &[u8],
        event: &'static str,
        change: impl FnOnce(&mut Str, &mut Edit<'_>) -> Result<R, CommandError>,
    ) -> Result<R, CommandError> {
        self.use_entry(key);
        let (now, stamp, limits) = (self.turn.expiry_now(), self.turn.stamp, self.store.limits);
        let mut edit = Edit { limits, entropy: self.host.entropy(), changed: 0, event: Some(event) };
        let result = self.store.db_mut(self.db).edit_string(key, now, stamp, |text| change(text, &mut edit));
        let (changed, event) = (edit.changed, edit.event);
        if changed > 0 {
            self.report::<Str>(key, changed, event);
        }
        result.unwrap_or(Err(CommandError::WRONG_TYPE))
    }

    /// Puts a value at a key, whatever was there. Counts no change and notifies nothing: the command does, where its
    /// events differ.
    pub fn put(&mut self, key: &[u8], value: Value, ttl: Ttl) {
        let kind = value.kind();
        self.set_value(key, value, ttl);
        self.host.key_modified(self.db, key);
        self.host.key_ready(self.db, key, kind);
    }

    /// Puts the result of a `*STORE` command at a key, or removes the key when the result is empty; answers with its size.
    pub fn put_result<T: Collection>(&mut self, key: &[u8], result: T, event: &str) {
        let result: Value = result.into();
        let len = result.len();
        if len == 0 {
            self.remove(key);
        } else {
            self.put(key, result, Ttl::Clear);
            self.dirty(1);
            self.notify(T::EVENT, event, key);
        }
        self.reply.count(len);
    }

    /// Puts a string at a key, whatever was there, as [`Cx::put`] does; no copy beside the entry's own, and none at all of
    /// a long argument of the call.
    pub fn put_string(&mut self, key: &[u8], text: StrRef<'_>, ttl: Ttl) {
        self.delete_if_due(key);
        let stamp = self.turn.stamp;
        let content = match text {
            StrRef::Raw(bytes) if let Some(block) = self.turn.unit.block(bytes) => {
                Str::from_block(block.clone()).into()
            }
            text => Content::from(text),
        };
        if !self.store.db_mut(self.db).set(key, content, ttl, stamp) {
            self.announce_new(key);
        }
        self.host.key_modified(self.db, key);
    }

    fn set_value(&mut self, key: &[u8], value: Value, ttl: Ttl) {
        self.delete_if_due(key);
        let stamp = self.turn.stamp;
        if !self.store.db_mut(self.db).set(key, value, ttl, stamp) {
            self.announce_new(key);
        }
    }

    /// Notifies that a key has come to be; its command's own event follows.
    pub fn announce_new(&mut self, key: &[u8]) {
        self.host.notify(Event::New, "new", key, self.db);
    }

    /// Removes a key as DEL does: counted and notified. False when it was not there.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.delete_if_due(key);
        let removed = self.remove_silently(key);
        if removed {
            self.turn.dirty += 1;
            self.host.notify(Event::Generic, "del", key, self.db);
        }
        removed
    }

    /// Removes a key without counting or notifying.
    pub fn remove_silently(&mut self, key: &[u8]) -> bool {
        let stamp = self.turn.stamp;
        let removed = self.store.db_mut(self.db).remove(key, stamp);
        if removed {
            self.host.key_modified(self.db, key);
        }
        removed
    }

    /// Sets or clears a key's expiry. False when the key is not there. Counts and notifies nothing.
    pub fn set_expiry(&mut self, key: &[u8], expiry: Option<UnixMillis>) -> bool {
        self.delete_if_due(key);
        let (now, stamp) = (self.turn.expiry_now(), self.turn.stamp);
        let set = self.store.db_mut(self.db).set_expiry(key, expiry, now, stamp);
        if set {
            self.host.key_modified(self.db, key);
        }
        set
    }
}
