//! Rules as words: what can be wrong with one, and how words become rules.

use crate::command::CommandTable;

/// What rules are read by.
#[derive(Clone, Copy)]
pub struct Terms<'t> {
    /// Which commands there are.
    pub table: &'t CommandTable,
    /// New users and selectors may use every channel (`acl-pubsub-default`).
    pub all_channels: bool,
}

/// Why a rule cannot be applied. The texts are the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleError {
    Syntax,
    UnknownCommand,
    PatternAfterAllKeys,
    PatternAfterAllChannels,
    FirstArgumentOfSubcommand,
    NoSuchPassword,
    BadPasswordHash,
    DuplicateUser,
}

impl RuleError {
    pub fn text(self) -> &'static str {
        match self {
            Self::Syntax => "Syntax error",
            Self::UnknownCommand => "Unknown command or category name in ACL",
            Self::PatternAfterAllKeys => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any \
                 effect. Try 'resetkeys' to start with an empty list of patterns"
            }
            Self::PatternAfterAllChannels => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any \
                 effect. Try 'resetchannels' to start with an empty list of channels"
            }
            Self::FirstArgumentOfSubcommand => "Allowing first-arg of a subcommand is not supported",
            Self::NoSuchPassword => "The password you are trying to remove from the user does not exist",
            Self::BadPasswordHash => {
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
            }
            Self::DuplicateUser => "Duplicate user found. A user can only be defined once in config files",
        }
    }
}

/// Joins the words of each selector, from `(` to `)`, to one rule.
///
/// # Errors
/// The position of an opening parenthesis that nothing closes.
pub fn merge_selectors<W: AsRef<[u8]>>(words: &[W]) -> Result<Vec<Vec<u8>>, usize> {
    let mut rules = Vec::new();
    let mut open: Option<(usize, Vec<u8>)> = None;
    for (at, word) in words.iter().map(AsRef::as_ref).enumerate() {
        match &mut open {
            None if word.starts_with(b"(") && !word.ends_with(b")") => open = Some((at, word.to_vec())),
            None => rules.push(word.to_vec()),
            Some((_, selector)) => {
                selector.push(b' ');
                selector.extend_from_slice(word);
                if word.ends_with(b")") {
                    rules.extend(open.take().map(|(_, selector)| selector));
                }
            }
        }
    }
    open.map_or(Ok(rules), |(at, _)| Err(at))
}

/// Names and patterns may hold neither white space nor zero bytes: rules are written in lines.
pub fn has_spaces(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c | 0))
}
