//! A HyperLogLog that is being changed.

use super::{damaged, header};
use crate::command::CommandError;
use crate::ds::hll::{self, Encoding, HEADER_BYTES, dense, sparse};
use crate::value::Str;

/// A sparse one is changed in a copy, a dense one where it lies.
pub(super) struct Target<'t> {
    text: &'t mut Str,
    /// The copy, while it is sparse.
    sparse: Option<Vec<u8>>,
    /// A sparse one may be this long (`hll-sparse-max-bytes`).
    bytes_max: usize,
}

impl<'t> Target<'t> {
    pub fn new(text: &'t mut Str, bytes_max: usize) -> Result<Self, CommandError> {
        let sparse = match header(text.as_ref())?.encoding {
            Encoding::Sparse => Some(text.to_vec()),
            Encoding::Dense => None,
        };
        Ok(Self { text, sparse, bytes_max })
    }

    /// Makes it dense if it is not; true when it was not.
    pub fn make_dense(&mut self) -> Result<bool, CommandError> {
        let Some(bytes) = &self.sparse else { return Ok(false) };
        *self.text = Str::raw(&sparse::to_dense(bytes).map_err(damaged)?);
        self.sparse = None;
        Ok(true)
    }

    /// Raises a register; false when it is as high already.
    pub fn raise(&mut self, index: usize, rank: u8) -> Result<bool, CommandError> {
        let Some(bytes) = &mut self.sparse else { return Ok(self.raise_dense(index, rank)) };
        let raised = sparse::raise(bytes, index, rank, self.bytes_max).map_err(damaged)?;
        if raised == sparse::Raised::Dense {
            *self.text = Str::raw(bytes);
            self.sparse = None;
        }
        Ok(raised != sparse::Raised::Not)
    }

    fn raise_dense(&mut self, index: usize, rank: u8) -> bool {
        let place = dense::place(index);
        let mut bytes = [0; 2];
        self.text.as_ref().read(place.byte, &mut bytes);
        let raised = place.get(bytes) < rank;
        if raised {
            self.text.set_range(place.byte, &place.put(bytes, rank)[..place.len]);
        }
        raised
    }

    /// Puts the changes in, and marks the cached cardinality as out of date.
    pub fn finish(self) {
        if let Some(bytes) = self.sparse {
            *self.text = Str::raw(&bytes);
        }
        let mut header = [0; HEADER_BYTES];
        self.text.as_ref().read(0, &mut header);
        let (at, byte) = hll::stale_mark(&header);
        self.text.set_range(at, &[byte]);
    }
}
