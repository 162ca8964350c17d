//! Data structures that know nothing of keys, commands or files.

pub mod bits;
mod cow_bytes;
mod decimal;
pub mod hll;
mod intset;
mod left;
mod listpack;
mod relocate;
pub mod rope;
pub mod table;
pub mod tree;

pub use cow_bytes::{CowBytes, allocation_size};
pub use decimal::parse_canonical_i64;
pub use intset::{Intset, IntsetDamage};
pub use left::{leave, own, take_left};
pub use listpack::{
    Item, Iter as ListpackIter, Listpack, ListpackBuilder, ListpackDamage, ListpackSlice, Needle, Pos, element_bytes,
    item_bytes, run,
};
pub use relocate::{Mover, Relocate, relocated};
pub use rope::{Block, Piece, Pieces, Rope};
pub use table::{Entry, HashSeed, Iter as TableIter, Table};
pub use tree::Tree;
