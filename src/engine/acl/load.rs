//! Users from lines: an ACL file as a whole, or the `user` lines of a configuration.

use super::rules::{RuleError, Terms, has_spaces, merge_selectors};
use super::user::User;
use super::users::{DEFAULT_USER, Users};
use crate::command::quoted;
use std::fmt::Write as _;
use std::sync::Arc;

impl Users {
    /// The users of an ACL file. `name`: of the file, for its errors.
    ///
    /// # Errors
    /// All that is wrong with it, in one line.
    pub fn parse_file(text: &[u8], name: &str, terms: Terms<'_>) -> Result<Vec<User>, String> {
        let mut users: Vec<User> = Vec::new();
        let mut errors = String::new();
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let number = at + 1;
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
            // Writing to a string cannot fail.
            let _ = match words.as_slice() {
                [b"user", user, ..] if has_spaces(user) => {
                    let user = quoted(user);
                    write!(errors, "'{name}:{number}: username '{user}' contains invalid characters. ")
                }
                [b"user", user, ..] if users.iter().any(|known| known.name() == *user) => {
                    let user = quoted(user);
                    write!(errors, "WARNING: Duplicate user '{user}' found on line {number}. ")
                }
                [b"user", user, rules @ ..] => {
                    let mut user = User::new(user, terms.all_channels);
                    let outcome = apply_line(&mut user, rules, &format!("{name}:{number}"), terms, &mut errors);
                    users.push(user);
                    outcome
                }
                _ => write!(errors, "{name}:{number} should start with user keyword followed by the username. "),
            };
        }
        if errors.is_empty() {
            return Ok(users);
        }
        errors.push_str("WARNING: ACL errors detected, no change to the previously active ACL rules was performed");
        Err(errors)
    }

    /// Adds a user of a configuration; its rules replace those that the default user has.
    ///
    /// # Errors
    /// The word that is wrong, and why.
    pub fn add_configured<W: AsRef<[u8]>>(
        &self,
        name: &[u8],
        words: &[W],
        terms: Terms<'_>,
    ) -> Result<(), (Vec<u8>, RuleError)> {
        if has_spaces(name) {
            return Err((name.to_vec(), RuleError::Syntax));
        }
        if name != DEFAULT_USER && self.get(name).is_some() {
            return Err((name.to_vec(), RuleError::DuplicateUser));
        }
        let rules = merge_selectors(words).map_err(|at| (words[at].as_ref().to_vec(), RuleError::Syntax))?;
        let mut user = User::new(name, terms.all_channels);
        for rule in rules {
            user.apply(&rule, terms).map_err(|error| (rule, error))?;
        }
        if !user.is_enabled() {
            tracing::info!(
                "The user '{}' is disabled (there is no 'on' modifier in the user description). Make sure this is not a \
                 configuration error.",
                quoted(name)
            );
        }
        self.put(Arc::new(user));
        Ok(())
    }
}

/// Of errors other than unknown commands only the first is told: the others may follow from it.
fn apply_line(
    user: &mut User,
    words: &[&[u8]],
    place: &str,
    terms: Terms<'_>,
    errors: &mut String,
) -> std::fmt::Result {
    let Ok(rules) = merge_selectors(words) else {
        return write!(errors, "{place}: Unmatched parenthesis in selector definition.");
    };
    let mut told = false;
    for rule in rules {
        let rule = rule.trim_ascii();
        match user.apply(rule, terms) {
            Ok(()) => {}
            Err(error @ RuleError::UnknownCommand) => {
                let rule = quoted(rule);
                write!(errors, "{place}: Error in applying operation '{rule}': {}. ", error.text())?;
            }
            Err(error) if !std::mem::replace(&mut told, true) => write!(errors, "{place}: {}. ", error.text())?,
            Err(_) => {}
        }
    }
    Ok(())
}
