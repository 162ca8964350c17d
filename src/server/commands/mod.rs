//! Commands that act on the connection or the server. Declared like all others; they reach the server through
//! `Server::of`.

mod acl;
mod acl_describe;
mod admin;
mod client;
mod client_kill;
mod client_tracking;
mod configuration;
mod debug;
mod introspection;
mod latency;
mod latency_report;
mod lolwut;
mod memory;
mod monitor;
mod peers;
mod saving;
mod session;
mod slowlog;

pub use client::describe as describe_client;
pub use session::{Greeting, NAMELESS, credentials, introduce};

use crate::command::Command;

/// All commands of this room.
pub fn families() -> Vec<&'static [Command]> {
    vec![
        session::COMMANDS,
        acl::COMMANDS,
        client::COMMANDS,
        introspection::COMMANDS,
        configuration::COMMANDS,
        admin::COMMANDS,
        peers::COMMANDS,
        debug::COMMANDS,
        saving::COMMANDS,
        slowlog::COMMANDS,
        latency::COMMANDS,
        monitor::COMMANDS,
        memory::COMMANDS,
        lolwut::COMMANDS,
    ]
}
