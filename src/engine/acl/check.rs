//! Whether a call is allowed: its command, the keys it names and what it does with them, its channels.

use super::selector::Selector;
use super::user::User;
use crate::command::{CallKeys, CommandError, Flags, KeyFlags, Resolved, glob_matches, quoted};

/// Why a call is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    Command,
    /// The argument at this position.
    Key(usize),
    Channel(usize),
}

/// A call and, once somebody has asked, its keys.
struct Examined<'c> {
    resolved: Resolved,
    argv: &'c [&'c [u8]],
    keys: Option<CallKeys>,
}

impl Examined<'_> {
    /// A call whose keys cannot be told is refused by the command itself.
    fn keys(&mut self) -> &[(usize, KeyFlags)] {
        let (command, argv) = (self.resolved.command, self.argv);
        self.keys.get_or_insert_with(|| {
            let mut keys = command.keys_of_call(argv).unwrap_or_default();
            keys.retain(|(at, flags)| !flags.has(KeyFlags::NOT_KEY) && *at < argv.len());
            keys
        })
    }
}

impl User {
    /// Whether the user may make this call.
    ///
    /// # Errors
    /// No selector allows it: the last key or channel that stood in the way, or the command.
    pub fn check(&self, resolved: Resolved, argv: &[&[u8]]) -> Result<(), Denied> {
        if self.is_unrestricted() {
            return Ok(());
        }
        self.check_selectors(resolved, argv)
    }

    fn check_selectors(&self, resolved: Resolved, argv: &[&[u8]]) -> Result<(), Denied> {
        let mut call = Examined { resolved, argv, keys: None };
        let mut worst = Denied::Command;
        for selector in self.selectors() {
            match selector.check(&mut call) {
                Ok(()) => return Ok(()),
                Err(denied) => worst = worst.max(denied),
            }
        }
        Err(worst)
    }

    /// Whether the user may make this call whatever the keys that it reads are called: SORT with BY or GET reads keys
    /// that it does not name.
    pub fn may_read_every_key(&self, resolved: Resolved, argv: &[&[u8]]) -> bool {
        let mut call = Examined { resolved, argv, keys: None };
        let reads_all =
            |selector: &Selector| selector.all_keys || selector.keys.iter().any(|key| key.read && key.pattern == b"*");
        self.is_unrestricted()
            || self.selectors().iter().any(|selector| reads_all(selector) && selector.check(&mut call).is_ok())
    }

    /// Whether channels that the user could listen to before are lost to it.
    pub fn narrows_channels(&self, before: &Self) -> bool {
        let all = |user: &Self| user.selectors().iter().any(|selector| selector.all_channels);
        let keeps = |channel: &Vec<u8>| self.selectors().iter().any(|selector| selector.channels.contains(channel));
        !all(self) && (all(before) || !before.selectors().iter().flat_map(|selector| &selector.channels).all(keeps))
    }

    /// Whether the user may receive what is published here; a pattern must have been granted as it is written.
    pub fn may_subscribe(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.selectors().iter().any(|selector| selector.allows_channel(channel, is_pattern))
    }
}

impl Selector {
    fn check(&self, call: &mut Examined<'_>) -> Result<(), Denied> {
        if !self.allows_command(call.resolved, call.argv) {
            return Err(Denied::Command);
        }
        if !self.all_keys {
            let argv = call.argv;
            for (at, flags) in call.keys() {
                if !self.allows_key(argv[*at], *flags) {
                    return Err(Denied::Key(*at));
                }
            }
        }
        if !self.all_channels
            && let Some((first, last, is_pattern)) = channels(call.resolved.command.name, call.argv.len())
            && call.resolved.parent.is_none()
        {
            for at in first..last {
                if !self.allows_channel(call.argv[at], is_pattern) {
                    return Err(Denied::Channel(at));
                }
            }
        }
        Ok(())
    }

    fn allows_command(&self, resolved: Resolved, argv: &[&[u8]]) -> bool {
        if self.all_commands || resolved.command.flags.has(Flags::NO_AUTH) || self.allowed.has(resolved.index) {
            return true;
        }
        let granted = self.first_arguments.get(&resolved.index);
        let first = argv.get(resolved.first_argument());
        granted.zip(first).is_some_and(|(words, first)| words.iter().any(|word| word.eq_ignore_ascii_case(first)))
    }

    fn allows_key(&self, key: &[u8], flags: KeyFlags) -> bool {
        let reads = flags.has(KeyFlags::ACCESS);
        let writes = flags.has_any(KeyFlags::INSERT.and(KeyFlags::DELETE).and(KeyFlags::UPDATE));
        self.keys.iter().any(|granted| {
            (granted.read || !reads) && (granted.write || !writes) && glob_matches(&granted.pattern, key)
        })
    }

    fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.all_channels
            || self.channels.iter().any(
                |granted| {
                    if is_pattern { granted == channel } else { glob_matches(granted, channel) }
                },
            )
    }
}

/// Which arguments are channels that are published to or subscribed to, and whether they are patterns.
fn channels(name: &str, argc: usize) -> Option<(usize, usize, bool)> {
    match name {
        "publish" | "spublish" => Some((1, argc.min(2), false)),
        "subscribe" | "ssubscribe" => Some((1, argc, false)),
        "psubscribe" => Some((1, argc, true)),
        _ => None,
    }
}

impl Denied {
    /// What ACL DRYRUN says, and with `verbose` unset what a client is told.
    pub fn text(self, user: &User, resolved: Resolved, argv: &[&[u8]], verbose: bool) -> String {
        let name = quoted(user.name());
        let (what, at) = match self {
            Self::Command => {
                return format!("User {name} has no permissions to run the '{}' command", resolved.full_name());
            }
            Self::Key(at) => ("key", at),
            Self::Channel(at) => ("channel", at),
        };
        if verbose {
            let object = quoted(argv[at]);
            format!("User {name} has no permissions to access the '{object}' {what}")
        } else {
            format!("No permissions to access a {what}")
        }
    }

    /// The error of a refused call.
    pub fn error(self, user: &User, resolved: Resolved, argv: &[&[u8]]) -> CommandError {
        CommandError::new(format!("NOPERM {}", self.text(user, resolved, argv, false)))
    }
}
