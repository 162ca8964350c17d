//! Functions: libraries that stay, in the log like data, and the commands that load and call them.

mod commands;
mod libraries;
mod load;

pub use commands::COMMANDS;
pub use libraries::Libraries;
