//! Persistence: the log, the manifest, RDB files, and opening what they left.
//!
//! Knows bytes, frames and positions, never a command: loaded data goes to a [`Replay`].

pub mod archive;
mod backup;
mod base;
mod chain;
mod command_base;
mod compaction;
mod draft;
mod dumps;
mod error;
mod feed;
mod follow;
mod founding;
mod generations;
mod hex;
mod loader;
pub mod log;
mod lsn;
mod manifest;
mod ordered;
mod position;
pub mod rdb;
mod recovery;
mod repair;
mod replay;
mod reserve;
mod resp_scan;
mod scrub;
mod strays;
mod sums;
mod survey;
mod tape;
#[cfg(test)]
pub(crate) mod tests;
mod walk;

pub use backup::{Held, HeldFile};
pub use base::Reading;
pub use command_base::{write_commands, write_library, write_select};
pub use compaction::{BaseOptions, Compaction, CompactionError, CompactionStep};
pub use draft::{DraftWriter, SaveError, SaveStep};
pub use dumps::{MadeWay, make_way, note_saved, saved_dump};
pub use error::{Damage, DamageKind, OpenError};
pub use follow::follow;
pub use founding::{Founding, clear_unnamed, found, remove_mark};
pub use generations::{Older, SUPERSEDED, generations, prune, remove_drafts};
pub use log::{Cut, LogBuffer, LogStats, LogWriter, Progress, Restraint, Step, SyncPolicy, Trouble, Waited};
pub use lsn::{Lineage, Lsn, Position, Timeline};
pub use manifest::{BaseIdentity, CloseState, FileEntry, FileKind, Manifest, ManifestError, SavedDump, StoreError};
pub use position::position_of;
pub use recovery::{
    LoadReport, NotLoaded, OpenOptions, Opened, OpenedLog, World, examine, examine_file, later_dump, open,
};
pub use repair::{
    Applied, ArchivePlan, At, Crossing, InPlace, Loss, Moment, Plan, Reached, RepairError, RestoreError, SetAside,
    Target, There, Unused, plan, restore_plan,
};
pub use replay::{Block, Discard, Piece, Replay};
pub use reserve::{fill_reserve, release_reserve, reserve_bytes, reserve_path};
pub use resp_scan::{Scanned, scan};
pub use scrub::{Finding, ScrubStep, Scrubber};
pub use strays::base_identity;
#[cfg(test)]
pub use sums::blocks as summed_blocks;
pub use survey::{Contents, PlainSurvey, SegmentSurvey, survey_plain, survey_segment};
pub use tape::{Next, Tape};
pub use walk::{Flow, Form, Gap, LogFile, Pause, SegmentWalk, Spot, Visitor, log_files, walk_file, walk_log};
