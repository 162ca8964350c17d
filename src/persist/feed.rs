//! The way of what is loaded from the loader to whoever applies it: at once, or through a bounded queue to another
//! thread, so that reading, checksums and parsing go on beside the applying.
//!
//! Invariant: pieces are applied in order, and behind one that cannot be applied none is.

use super::OpenError;
use super::base::Reading;
use super::replay::{Piece, Replay};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Bytes and pieces that are handed over together.
const BUNDLE_BYTES: usize = 256 << 10;
const BUNDLE_PIECES: usize = 512;
/// Bundles that may wait to be applied; with the largest frames, about so many MiB.
const BUNDLES_AHEAD: usize = 32;

/// A piece and where it stands.
pub struct Placed {
    path: PathBuf,
    offset: u64,
    piece: Piece,
}

impl Placed {
    fn apply(self, replay: &mut dyn Replay) -> Result<(), OpenError> {
        let Self { path, offset, piece } = self;
        let of_base = matches!(piece, Piece::Keys { .. } | Piece::Expected { .. } | Piece::Library(_));
        replay.piece(piece).map_err(|reason| {
            if of_base { OpenError::BadBase { path, reason } } else { OpenError::BadReplay { path, offset, reason } }
        })
    }
}

/// A queue between a loader's thread and an applier's.
pub fn queue() -> (SyncSender<Vec<Placed>>, Receiver<Vec<Placed>>) {
    sync_channel(BUNDLES_AHEAD)
}

/// Takes what the loader found.
pub struct Feed<'r> {
    way: Way<'r>,
    /// How bases are to be read.
    pub reading: Reading,
    /// Commands given so far.
    pub commands: u64,
}

enum Way<'r> {
    Direct(&'r mut dyn Replay),
    Ahead { queue: SyncSender<Vec<Placed>>, bundle: Vec<Placed>, bytes: usize },
}

impl<'r> Feed<'r> {
    /// Applies each piece as it comes.
    pub fn direct(replay: &'r mut dyn Replay, reading: Reading) -> Self {
        Self { way: Way::Direct(replay), reading, commands: 0 }
    }

    /// Sends pieces to another thread, where [`apply`] takes them from the other end of the queue.
    pub fn through(queue: SyncSender<Vec<Placed>>, reading: Reading) -> Self {
        Self { way: Way::Ahead { queue, bundle: Vec::new(), bytes: 0 }, reading, commands: 0 }
    }

    /// # Errors
    /// When the piece cannot be applied, or one before it could not (which its applier then reports).
    pub fn give(&mut self, path: &Path, offset: u64, piece: Piece) -> Result<(), OpenError> {
        let size = match &piece {
            Piece::Commands(block) => {
                self.commands += block.len() as u64;
                block.bytes.len()
            }
            Piece::Keys { batch, .. } => batch.len() * 64,
            Piece::Library(text) => text.len(),
            Piece::FileBegins | Piece::Expected { .. } => 0,
        };
        let placed = Placed { path: path.to_owned(), offset, piece };
        match &mut self.way {
            Way::Direct(replay) => placed.apply(*replay),
            Way::Ahead { bundle, bytes, .. } => {
                bundle.push(placed);
                *bytes += size;
                if *bytes >= BUNDLE_BYTES || bundle.len() >= BUNDLE_PIECES { self.flush() } else { Ok(()) }
            }
        }
    }

    /// Hands over what was given.
    pub fn flush(&mut self) -> Result<(), OpenError> {
        let Way::Ahead { queue, bundle, bytes } = &mut self.way else { return Ok(()) };
        *bytes = 0;
        queue.send(std::mem::take(bundle)).map_err(|refused| {
            let path = refused.0.into_iter().next().map(|placed| placed.path).unwrap_or_default();
            OpenError::BadReplay { path, offset: 0, reason: "what stands before it cannot be applied".into() }
        })
    }
}

/// Applies what a loader gives to the other end, until it has given all.
///
/// # Errors
/// For the first piece that cannot be applied.
pub fn apply(bundles: Receiver<Vec<Placed>>, replay: &mut dyn Replay) -> Result<(), OpenError> {
    for bundle in bundles {
        for placed in bundle {
            placed.apply(replay)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::Block;

    struct Until(usize, Vec<usize>);

    impl Replay for Until {
        fn piece(&mut self, piece: Piece) -> Result<(), String> {
            let Piece::Commands(block) = piece else { return Ok(()) };
            if block.bytes.len() == self.0 {
                return Err("no more".into());
            }
            self.1.push(block.bytes.len());
            Ok(())
        }
    }

    fn give(feed: &mut Feed<'_>, pieces: usize) -> Result<(), OpenError> {
        for len in 0..pieces {
            feed.give(Path::new("/f"), len as u64, Piece::Commands(Block::over(vec![0; len])))?;
        }
        feed.flush()
    }

    #[test]
    fn a_piece_that_cannot_be_applied_is_named_by_its_place_either_way() {
        for refused in [7, 1_900] {
            let mut direct = Until(refused, Vec::new());
            let error = give(&mut Feed::direct(&mut direct, Reading::default()), 2_000).expect_err("refused");
            let mut ahead = Until(refused, Vec::new());
            let (queue, bundles) = queue();
            let other = std::thread::scope(|scope| {
                scope.spawn(move || give(&mut Feed::through(queue, Reading::default()), 2_000));
                apply(bundles, &mut ahead).expect_err("refused")
            });
            assert_eq!(other.to_string(), error.to_string());
            assert_eq!(other.to_string(), format!("/f offset {refused}: no more"));
            assert_eq!((ahead.1.len(), direct.1.len()), (refused, refused), "in order, and none behind it");
        }
    }
}
