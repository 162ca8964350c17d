//! Access control: users, the rules that describe them, and whether a call is theirs to make.
//!
//! A rule is text (`on`, `~key*`, `+get`, `+@read`, `(...)`); [`User::apply`] reads it, [`User::describe`] writes rules
//! that make an equal user. The rest is matching. Nothing here knows a connection; see `access.rs` for that.
//!
//! Invariants
//! - A user changes as a whole: a list of rules with an error in it changes nothing.
//! - A user who may do everything costs one look at a flag per command.

mod audit;
mod check;
mod load;
mod password;
mod rules;
mod selector;
#[cfg(test)]
mod tests;
mod user;
mod users;

pub use audit::{AuditLog, Context, Entry, Reason};
pub use check::Denied;
pub use rules::{RuleError, Terms};
pub use selector::{CATEGORIES, Selector};
pub use user::User;
pub use users::{DEFAULT_USER, Users};
