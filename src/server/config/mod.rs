//! Configuration: one declaration per directive feeds redis.conf, the command line, CONFIG GET and CONFIG SET.
//!
//! Text as written (`Line`), values in force (`Config`) and what the server works with (`Settings`) are three types.

mod argv;
mod declarations;
mod directive;
mod file;
mod rewrite;
mod settings;
mod store;
#[cfg(test)]
mod tests;
mod value;

pub use argv::{Invocation, parse_argv};
pub use declarations::DIRECTIVES;
pub use directive::{Change, Directive, Effect, Kind, is_secret};
pub use file::{ConfigError, Line, Sources};
pub use rewrite::rewritten;
pub use settings::{BindAddress, Locality, LogForm, LogLevel, OomScore, Settings, ShutdownFlags, Stamps, Syslog};
pub use store::{Config, Profile, Rename, failed};
pub use value::{BufferLimit, SavePoint, Value, memory as parse_memory};
