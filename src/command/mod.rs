//! Commands: one declaration each, above its handler; a family is a slice, the table is those slices joined.
//!
//! A handler reads its arguments through [`Args`], reaches keys through [`Cx`] and answers into `cx.reply`. It never
//! blocks, sleeps, does I/O or reads a clock: it asks through `cx`, and the engine acts after it has returned.

mod args;
mod bitmap;
mod cx;
mod databases;
mod declare;
mod dump;
mod error;
mod expire;
mod extended;
mod geo;
mod glob;
mod hash;
mod hll;
mod keys;
mod list;
mod multi_pop;
mod number;
mod scan;
mod set;
mod sort;
mod stream;
mod string;
mod syntax;
mod table;
#[cfg(test)]
mod tests;
mod ttl;
mod turn;
mod zset;

pub use crate::keyspace::Ttl;
pub use args::Args;
pub use cx::{Collection, Cx, Edit, Kind};
pub use databases::forget_all;
pub use declare::{
    Begin, CallKeys, Command, Deprecated, Find, FindKeys, Flags, Group, KeyFlags, KeySpec, Run, Secrets,
};
pub use dump::PayloadRules;
pub use error::{CommandError, quoted};
pub use glob::{glob_matches, glob_matches_nocase};
pub use keys::target_database;
pub use number::{parse_f64, parse_f64_saturating, parse_i64, parse_timeout};
pub use syntax::{Argument, parse_syntax};
pub use table::{CommandTable, Resolved};
pub use turn::{BlockRequest, Call, ClientId, Event, Host, StreamWait, TimeoutReply, Turn, Unit};

/// The families that need nothing above the keyspace.
pub fn data_families() -> Vec<&'static [Command]> {
    [
        &[databases::COMMANDS, dump::COMMANDS, expire::COMMANDS, keys::COMMANDS, scan::COMMANDS, sort::COMMANDS][..],
        string::FAMILIES.as_slice(),
        bitmap::FAMILIES.as_slice(),
        &[hll::COMMANDS],
        hash::FAMILIES.as_slice(),
        list::FAMILIES.as_slice(),
        set::FAMILIES.as_slice(),
        zset::FAMILIES.as_slice(),
        geo::FAMILIES.as_slice(),
        stream::FAMILIES.as_slice(),
    ]
    .concat()
}
