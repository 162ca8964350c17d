//! The archive: superseded bases and segments, compressed, kept for as long as a restore may ask for them.

mod archiver;
mod contents;
mod look;
mod packed;
mod past;
mod unpacking;

pub use self::archiver::{ArchiveError, ArchiveFigures, ArchiveStep, Archiver, ArchiverOptions, Retain};
pub use self::contents::{Archived, ArchivedKind, Contents, Label, MANIFEST_NAME, Span, beside};
pub use self::look::{LookError, Unlisted, look, number_of, unlisted};
pub use self::packed::{BLOCK_BYTES, Packed, PackedError, Packing, Unpacked};
pub use self::past::{Chain, Past, Start, original_name};
pub use self::unpacking::UnpackingDisk;

/// Its directory, in the data directory.
pub const DIRECTORY: &str = "archive";
/// How its files' names end.
pub const ENDING: &str = ".zst";
