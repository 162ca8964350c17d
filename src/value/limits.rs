//! How large a collection may grow before it is stored in its large form.

use crate::ds::HashSeed;

/// The thresholds between packed and large encodings, named as the stock server's directives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub hash_max_listpack_entries: usize,
    pub hash_max_listpack_value: usize,
    pub set_max_intset_entries: usize,
    pub set_max_listpack_entries: usize,
    pub set_max_listpack_value: usize,
    pub zset_max_listpack_entries: usize,
    pub zset_max_listpack_value: usize,
    /// Positive: elements in one list node; -1 to -5: 4, 8, 16, 32 or 64 KiB of them.
    pub list_max_listpack_size: i64,
    /// List elements from this size on stand alone in their node; 0: those that are larger than a node may be.
    pub list_packed_threshold: usize,
    /// Accepted and kept for CONFIG GET: nodes are never compressed in memory.
    pub list_compress_depth: usize,
    /// How large a node of a stream may grow, in bytes and in entries; 0: without such a limit.
    pub stream_node_max_bytes: usize,
    pub stream_node_max_entries: usize,
    /// Length of a sparse HyperLogLog, header included.
    pub hll_sparse_max_bytes: usize,
    /// Seed of the tables that grow out of packed collections; drawn once from entropy by whoever opens the data.
    pub hash_seed: HashSeed,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hash_max_listpack_entries: 128,
            hash_max_listpack_value: 64,
            set_max_intset_entries: 512,
            set_max_listpack_entries: 128,
            set_max_listpack_value: 64,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value: 64,
            list_max_listpack_size: -2,
            list_packed_threshold: 0,
            list_compress_depth: 0,
            stream_node_max_bytes: 4096,
            stream_node_max_entries: 100,
            hll_sparse_max_bytes: 3000,
            hash_seed: HashSeed(0, 0),
        }
    }
}
