//! The figures that XINFO gives of a radix tree: that of a stock server over the same nodes.

use super::{Stream, StreamNode};

/// Bytes of a key.
const DEPTH: usize = 16;

impl Stream {
    /// Nodes that entries lie in.
    pub fn node_count(&self) -> usize {
        self.nodes().count()
    }

    pub fn nodes(&self) -> impl Iterator<Item = &StreamNode> {
        self.inner.nodes.iter()
    }

    /// Nodes of a radix tree whose keys are the IDs of the nodes, chains of single children joined. O(nodes).
    pub fn radix_tree_nodes(&self) -> usize {
        let mut keys = self.nodes().map(|node| node.id().to_bytes());
        let Some(mut before) = keys.next() else { return 1 };
        // A branch lies where two neighbours begin to differ. Kept: the depths of those above the present key.
        let mut branches: Vec<usize> = Vec::new();
        let (mut count, mut nearest) = (0, None);
        for key in keys {
            let depth = before.iter().zip(&key).take_while(|(a, b)| a == b).count();
            count += leaf(nearest.max(Some(depth)));
            while let Some(lower) = branches.pop_if(|at| *at > depth) {
                count += chain(lower, branches.last().copied().max(Some(depth))) + 1;
            }
            if branches.last() != Some(&depth) {
                branches.push(depth);
            }
            (before, nearest) = (key, Some(depth));
        }
        count += leaf(nearest);
        while let Some(lower) = branches.pop() {
            count += chain(lower, branches.last().copied()) + 1;
        }
        count
    }
}

/// A key's end, and the chain to it from the branch above.
fn leaf(branch: Option<usize>) -> usize {
    1 + chain(DEPTH, branch)
}

/// Whether bytes lie between a node and the branch above it, of which one byte chose the way.
fn chain(depth: usize, branch: Option<usize>) -> usize {
    usize::from(depth > branch.map_or(0, |branch| branch + 1))
}
