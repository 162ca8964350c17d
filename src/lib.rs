//! graven: a persistence-first, Redis-compatible data store.
//!
//! Rooms depend downwards only (see ARCHITECTURE.md): `env`, then `resp` and `ds`, then `value`, `keyspace`,
//! `persist`, `command`, `engine`, and on top `server` and `tools`.

pub mod env;

pub mod ds;
pub mod resp;

pub mod value;

pub mod keyspace;

pub mod persist;

pub mod command;

pub mod engine;

pub mod server;

pub mod tools;

/// The level of compatibility that INFO, HELLO and scripts report.
pub const REDIS_VERSION: &str = "7.2.4";
