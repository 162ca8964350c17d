//! All users by name.
//!
//! Written by whoever holds the engine; read without it by those who must answer while a script keeps it.
//!
//! Invariant: the default user is always there.

use super::rules::Terms;
use super::user::User;
use crate::command::CommandTable;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Whom a connection acts as until it says otherwise.
pub const DEFAULT_USER: &[u8] = b"default";

/// A handle; clones share the users.
#[derive(Clone, Debug)]
pub struct Users {
    by_name: Arc<RwLock<BTreeMap<Vec<u8>, Arc<User>>>>,
}

impl Users {
    /// The default user alone, who may do everything.
    pub fn new(table: &CommandTable) -> Self {
        let default = Arc::new(User::unrestricted(DEFAULT_USER, table));
        let by_name = BTreeMap::from([(DEFAULT_USER.to_vec(), default)]);
        Self { by_name: Arc::new(RwLock::new(by_name)) }
    }

    pub fn get(&self, name: &[u8]) -> Option<Arc<User>> {
        self.by_name.read().get(name).cloned()
    }

    /// # Panics
    /// Never: the default user is always there.
    pub fn default_user(&self) -> Arc<User> {
        match self.get(DEFAULT_USER) {
            Some(user) => user,
            None => unreachable!("the default user is never removed"),
        }
    }

    /// Whether connections must prove who they are before anything else.
    pub fn must_authenticate(&self) -> bool {
        self.by_name.read().get(DEFAULT_USER).is_none_or(|user| !user.is_open())
    }

    /// In order of their names.
    pub fn all(&self) -> Vec<Arc<User>> {
        self.by_name.read().values().cloned().collect()
    }

    /// Puts a user in the place of one of the same name.
    pub fn put(&self, user: Arc<User>) {
        self.by_name.write().insert(user.name().to_vec(), user);
    }

    /// False when there is no such user, or it is the default one.
    pub fn remove(&self, name: &[u8]) -> bool {
        name != DEFAULT_USER && self.by_name.write().remove(name).is_some()
    }

    /// Puts these users in the place of all; without a default one among them there is one who may do everything.
    pub fn replace_all(&self, users: impl IntoIterator<Item = User>, table: &CommandTable) {
        let mut next = BTreeMap::from([(DEFAULT_USER.to_vec(), Arc::new(User::unrestricted(DEFAULT_USER, table)))]);
        next.extend(users.into_iter().map(|user| (user.name().to_vec(), Arc::new(user))));
        *self.by_name.write() = next;
    }

    /// Makes this the only password of the default user; an empty one: none is needed (`requirepass`).
    pub fn set_default_password(&self, password: &[u8], table: &CommandTable) {
        let mut user = (*self.default_user()).clone();
        let rule = if password.is_empty() { b"nopass".to_vec() } else { [b">", password].concat() };
        for rule in [b"resetpass".as_slice(), &rule] {
            let applied = user.apply(rule, Terms { table, all_channels: false });
            debug_assert_eq!(applied, Ok(()));
        }
        self.put(Arc::new(user));
    }
}
