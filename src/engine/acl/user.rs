//! A user: who it is, how it proves that, and what it may do.

use super::password::PasswordHash;
use super::rules::{RuleError, Terms, merge_selectors};
use super::selector::Selector;
use crate::command::{CommandTable, quoted};
use crate::resp::split_args;

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    name: Vec<u8>,
    enabled: bool,
    /// Any password will do.
    nopass: bool,
    /// Payloads that it restores are to be checked deeply, which they always are.
    sanitize_payload: bool,
    passwords: Vec<PasswordHash>,
    /// Never empty: the first one is the user's own.
    selectors: Vec<Selector>,
    /// One of the selectors allows everything.
    unrestricted: bool,
}

impl User {
    /// A user who may do nothing. `all_channels`: what `acl-pubsub-default` grants.
    pub fn new(name: &[u8], all_channels: bool) -> Self {
        Self {
            name: name.to_vec(),
            enabled: false,
            nopass: false,
            sanitize_payload: true,
            passwords: Vec::new(),
            selectors: vec![Selector::new(all_channels)],
            unrestricted: false,
        }
    }

    /// A user who may do everything and needs no password, as the default user of a new server.
    pub fn unrestricted(name: &[u8], table: &CommandTable) -> Self {
        let terms = Terms { table, all_channels: false };
        let mut user = Self::new(name, false);
        for rule in ["on", "nopass", "~*", "&*", "+@all"] {
            let applied = user.apply(rule.as_bytes(), terms);
            debug_assert_eq!(applied, Ok(()));
        }
        user
    }

    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Clients may act as this user.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Clients are this user without proving it.
    pub fn is_open(&self) -> bool {
        self.enabled && self.nopass
    }

    /// A password has to be given, be the user on or off.
    pub fn wants_password(&self) -> bool {
        !self.nopass
    }

    pub fn is_unrestricted(&self) -> bool {
        self.unrestricted
    }

    /// The user's own selector first.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// SHA-256 of each password, in hexadecimal.
    pub fn passwords(&self) -> impl ExactSizeIterator<Item = String> {
        self.passwords.iter().map(PasswordHash::to_string)
    }

    /// Whether the user is enabled and this is one of its passwords. Takes the same time for every password.
    pub fn accepts(&self, password: &[u8]) -> bool {
        let given = PasswordHash::of(password);
        let known = self.passwords.iter().fold(false, |found, hash| hash.is_same(&given) | found);
        self.enabled && (self.nopass || known)
    }

    /// Takes these rules, or none of them.
    ///
    /// # Errors
    /// The text for the client: which rule is wrong, and why.
    pub fn with<W: AsRef<[u8]>>(&self, words: &[W], terms: Terms<'_>) -> Result<Self, String> {
        let rules = merge_selectors(words).map_err(|at| {
            let word = quoted(words[at].as_ref());
            format!("Unmatched parenthesis in acl selector starting at '{word}'.")
        })?;
        let mut changed = self.clone();
        for rule in &rules {
            changed
                .apply(rule, terms)
                .map_err(|error| format!("Error in ACL SETUSER modifier '{}': {}", quoted(rule), error.text()))?;
        }
        Ok(changed)
    }

    /// Applies one rule.
    ///
    /// # Errors
    /// The rule is wrong; then nothing has changed.
    pub fn apply(&mut self, rule: &[u8], terms: Terms<'_>) -> Result<(), RuleError> {
        match rule.to_ascii_lowercase().as_slice() {
            b"" => {}
            b"on" => self.enabled = true,
            b"off" => self.enabled = false,
            b"nopass" => {
                self.nopass = true;
                self.passwords.clear();
            }
            b"resetpass" => {
                self.nopass = false;
                self.passwords.clear();
            }
            b"sanitize-payload" => self.sanitize_payload = true,
            b"skip-sanitize-payload" => self.sanitize_payload = false,
            b"clearselectors" => self.selectors.truncate(1),
            b"reset" => *self = Self::new(&self.name, terms.all_channels),
            _ => match rule {
                [b'>', password @ ..] => self.add_password(PasswordHash::of(password)),
                [b'#', digits @ ..] => {
                    self.add_password(PasswordHash::parse(digits).ok_or(RuleError::BadPasswordHash)?);
                }
                [b'<', password @ ..] => self.remove_password(PasswordHash::of(password))?,
                [b'!', digits @ ..] => {
                    self.remove_password(PasswordHash::parse(digits).ok_or(RuleError::BadPasswordHash)?)?;
                }
                [b'(', inner @ .., b')'] => {
                    let mut selector = Selector::new(terms.all_channels);
                    for word in split_args(inner).unwrap_or_default() {
                        selector.apply(&word, terms.table)?;
                    }
                    self.selectors.push(selector);
                }
                _ => self.selectors[0].apply(rule, terms.table)?,
            },
        }
        self.unrestricted = self.selectors.iter().any(Selector::is_unrestricted);
        Ok(())
    }

    fn add_password(&mut self, hash: PasswordHash) {
        if !self.passwords.contains(&hash) {
            self.passwords.push(hash);
        }
        self.nopass = false;
    }

    fn remove_password(&mut self, hash: PasswordHash) -> Result<(), RuleError> {
        let at = self.passwords.iter().position(|known| *known == hash).ok_or(RuleError::NoSuchPassword)?;
        self.passwords.remove(at);
        Ok(())
    }

    /// Flags as ACL GETUSER lists them.
    pub fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.enabled { "on" } else { "off" }];
        flags.extend(self.nopass.then_some("nopass"));
        flags.push(if self.sanitize_payload { "sanitize-payload" } else { "skip-sanitize-payload" });
        flags
    }

    /// Rules that make an equal user of a new one, in the order of ACL LIST.
    pub fn describe(&self) -> Vec<u8> {
        let mut parts: Vec<Vec<u8>> = self.flags().iter().map(|flag| flag.as_bytes().to_vec()).collect();
        parts.extend(self.passwords().map(|digits| format!("#{digits}").into_bytes()));
        parts.extend(self.selectors.iter().enumerate().map(|(at, selector)| match at {
            0 => selector.describe(),
            _ => [b"(", selector.describe().as_slice(), b")"].concat(),
        }));
        parts.join(&b' ')
    }

    /// The line of ACL LIST, of an ACL file and of redis.conf.
    pub fn line(&self) -> Vec<u8> {
        [b"user ", self.name.as_slice(), b" ", &self.describe()].concat()
    }
}
