//! Tests of the command families, as scripts that a stock server can run too (see [`support`]).

pub(super) mod support;

mod bitmap;
mod dump;
mod expire;
mod geo;
mod hash;
mod hll;
mod keys;
mod list;
mod scan;
mod set;
mod sort;
mod stream;
mod string;
mod zset;
