//! What the files of a data directory are, by what is in them: names and manifests may be wrong, what verifies is not.
//!
//! Invariant: a file is what it says itself. What says nothing is what its name says.

use super::journal::{journal_name, made_sequence};
use crate::env::disk::read_file;
use crate::env::{Disk, DiskFile, OpenMode};
use crate::persist::log::format::{SegmentHeader, frame_magic};
use crate::persist::log::{OpenedSegment, SegmentReader, WriterOptions};
use crate::persist::position::{is_position_line, position_in};
use crate::persist::rdb::{Index, is_rdb};
use crate::persist::tape::{Next, Tape};
use crate::persist::{
    BaseIdentity, CloseState, FileEntry, Manifest, ManifestError, OpenError, OpenOptions, Position, strays,
};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// No manifest is longer.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// How far a frame is looked for.
const LOOKED_BYTES: usize = 1 << 20;
/// As much of a file shows what it is.
const HEAD_BYTES: usize = 16;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Manifest,
    /// Of the log, with its sequence.
    Base(u64),
    Incremental(u64),
    /// Outside the log's directory.
    Dump,
    Single,
    Unknown,
}

/// What is in a file.
#[derive(Clone, Debug)]
pub enum Content {
    Empty,
    Manifest(Manifest),
    Segment(SegmentHeader),
    /// Begins as a segment of ours, and does not verify.
    Headless,
    /// A data set of one moment: which, if it says so.
    Snapshot(Option<Position>),
    /// Commands by a stock server.
    Commands,
    /// Nothing that can be told.
    Other,
}

/// A file.
#[derive(Clone, Debug)]
pub struct Stored {
    pub path: PathBuf,
    pub name: String,
    pub place: Place,
    pub content: Content,
    /// It is a data set that is written as commands.
    pub as_commands: bool,
    identity: BaseIdentity,
}

impl Stored {
    /// Its content says that it is another thing than its name does.
    fn is_something_else(&self) -> bool {
        match (&self.content, self.place) {
            (Content::Manifest(_), place) => place != Place::Manifest,
            (Content::Segment(_) | Content::Headless, place) => !matches!(place, Place::Incremental(_)),
            (Content::Snapshot(_), place) => matches!(place, Place::Manifest | Place::Incremental(_)),
            (Content::Empty | Content::Commands | Content::Other, _) => false,
        }
    }

    fn position(&self) -> Option<&Position> {
        if let Content::Snapshot(position) = &self.content { position.as_ref() } else { None }
    }
}

/// What became of the manifest.
pub enum Found<'i> {
    InPlace(&'i Manifest),
    Elsewhere(&'i Stored, &'i Manifest),
    Damaged(ManifestError),
    Missing,
}

/// Which file is the base.
pub enum BaseFound<'i> {
    /// The log began without one.
    NotNeeded,
    /// A file, under its own name or another one's.
    At(&'i Stored),
    /// None, although one is named; and a file of another log under its name.
    Missing { foreign: Option<&'i Stored> },
}

/// See the module's header.
pub struct Inventory {
    pub items: Vec<Stored>,
}

impl Inventory {
    /// Looks at every file of the log's directory but those that are `hidden`, and at the dump and the file of one part beside it.
    ///
    /// # Errors
    /// When a file with one of the log's names cannot be read.
    pub fn take(
        disk: &dyn Disk,
        options: &OpenOptions,
        writer: &WriterOptions,
        hidden: &HashSet<String>,
    ) -> Result<Self, OpenError> {
        let mut items = Vec::new();
        let manifest_path = writer.manifest_path();
        for name in disk.list(&writer.directory).map_err(OpenError::io(&writer.directory))? {
            let passed_over = name.ends_with(".tmp") || name.ends_with(".torn") || name == journal_name(writer);
            if passed_over || hidden.contains(&name) {
                continue;
            }
            let path = writer.directory.join(&name);
            let place = match (strays::sequence_of(&name, writer), strays::base_sequence_of(&name, writer)) {
                _ if path == manifest_path => Place::Manifest,
                (Some(sequence), _) => Place::Incremental(sequence),
                (_, Some(sequence)) => Place::Base(sequence),
                _ => match made_sequence(&name, writer) {
                    Some(sequence) if name.ends_with(".incr.aof") => Place::Incremental(sequence),
                    Some(sequence) => Place::Base(sequence),
                    None => Place::Unknown,
                },
            };
            match look(disk, &path) {
                Ok(seen) => items.push(seen.item(path, name, place)),
                // A directory, say.
                Err(_) if place == Place::Unknown => {}
                Err(error) => return Err(error),
            }
        }
        for (name, place) in [(&options.dump_file, Place::Dump), (&options.append_file, Place::Single)] {
            let path = options.directory.join(name);
            if disk.exists(&path).map_err(OpenError::io(&path))? && disk.list(&path).is_err() {
                items.push(look(disk, &path)?.item(path, name.clone(), place));
            }
        }
        Ok(Self { items })
    }

    pub fn at(&self, place: Place) -> Option<&Stored> {
        self.items.iter().find(|item| item.place == place)
    }

    /// Headers of segments, wherever they lie.
    pub fn headers(&self) -> impl Iterator<Item = &SegmentHeader> {
        self.items
            .iter()
            .filter_map(|item| if let Content::Segment(header) = &item.content { Some(header) } else { None })
    }

    /// The manifest: the file in its place or, where that is something else, one under another name.
    pub fn manifest(&self, disk: &dyn Disk) -> Result<Found<'_>, OpenError> {
        let there = self.at(Place::Manifest);
        if let Some(Stored { content: Content::Manifest(manifest), .. }) = there {
            return Ok(Found::InPlace(manifest));
        }
        for item in &self.items {
            if let Content::Manifest(manifest) = &item.content
                && manifest.state != CloseState::Unknown
            {
                return Ok(Found::Elsewhere(item, manifest));
            }
        }
        let Some(Stored { path, .. }) = there else { return Ok(Found::Missing) };
        let size = disk.open(path, OpenMode::Read).and_then(|file| file.len()).map_err(OpenError::io(path))?;
        let unreadable = ManifestError { line: 1, reason: "is of no manifest" };
        if size > MANIFEST_BYTES_MAX {
            return Ok(Found::Damaged(unreadable));
        }
        let content = read_file(disk, path).map_err(OpenError::io(path))?;
        Ok(Found::Damaged(Manifest::decode(&content).err().unwrap_or(unreadable)))
    }

    /// The base: the file with the identity that the manifest names or, where there is none, the one whose position agrees with the
    /// segments; else the one that has its name.
    pub fn base(&self, manifest: Option<&Manifest>, prefix: &str) -> BaseFound<'_> {
        let named: Option<&FileEntry> = match manifest {
            Some(manifest) => match manifest.base() {
                Some(base) => Some(base),
                None if self.begins_from_nothing() => return BaseFound::NotNeeded,
                None => None,
            },
            None => None,
        };
        let under_name = named.and_then(|named| {
            let of_log =
                |item: &&Stored| item.name == named.name && item.place != Place::Dump && item.place != Place::Single;
            let single =
                |item: &&Stored| item.name == named.name && named.name == prefix && item.place == Place::Single;
            self.items.iter().find(of_log).or_else(|| self.items.iter().find(single))
        });
        if let Some(identity) = manifest.and_then(|manifest| manifest.base_identity) {
            let is_it = |item: &&Stored| item.identity == identity && !matches!(item.content, Content::Empty);
            if let Some(item) = under_name.filter(is_it).or_else(|| self.items.iter().find(is_it)) {
                return BaseFound::At(item);
            }
        }
        let mut foreign = None;
        if let Some(item) = under_name.filter(|item| !item.is_something_else()) {
            if item.position().is_none_or(|position| self.is_of_this_history(position)) {
                // Damaged, or without a word where it stands.
                return BaseFound::At(item);
            }
            foreign = Some(item);
        }
        let in_place = |item: &Stored| matches!(item.place, Place::Base(_));
        let stands_there = |item: &&Stored| item.position().is_some_and(|position| self.connects(position));
        let best = self
            .items
            .iter()
            .filter(stands_there)
            .max_by_key(|item| (in_place(item), item.position().map(|position| position.lsn)));
        if let Some(item) = best {
            return BaseFound::At(item);
        }
        // Bases by their names alone, the last of them.
        let mut by_name: Vec<(u64, &Stored)> = self
            .items
            .iter()
            .filter(|item| foreign.is_none_or(|foreign| foreign.path != item.path) && !item.is_something_else())
            .filter_map(|item| if let Place::Base(sequence) = item.place { Some((sequence, item)) } else { None })
            .collect();
        by_name.sort_by_key(|(sequence, item)| (*sequence, item.name.clone()));
        by_name.retain(|(_, item)| item.position().is_none_or(|position| self.is_of_this_history(position)));
        // At last a data set of nobody's position under the name of something else.
        let is_lost = |item: &&Stored| {
            item.is_something_else() && matches!(item.content, Content::Snapshot(None)) && item.place != Place::Dump
        };
        match (by_name.pop(), named) {
            (Some((_, item)), _) => BaseFound::At(item),
            (None, Some(_)) => match self.items.iter().find(is_lost) {
                Some(item) => BaseFound::At(item),
                None => BaseFound::Missing { foreign },
            },
            (None, None) => BaseFound::NotNeeded,
        }
    }

    /// The dump: what stands in its place or, where that is something else, the data set under another name that is not the base.
    pub fn dump(&self, manifest: Option<&Manifest>, base: Option<&Path>) -> Option<&Stored> {
        let there = self.at(Place::Dump)?;
        let noted = manifest.and_then(|manifest| manifest.saved_dump).map(|saved| saved.identity);
        if Some(there.identity) == noted {
            return Some(there);
        }
        if let Some(item) = self.items.iter().find(|item| Some(item.identity) == noted) {
            return Some(item);
        }
        let is_base =
            base == Some(&there.path) && manifest.and_then(|manifest| manifest.base_identity) == Some(there.identity);
        if !there.is_something_else() && !is_base {
            return Some(there);
        }
        let named = manifest.and_then(Manifest::base).map(|base| base.name.as_str());
        let is_other = |item: &&Stored| {
            let out_of_place = item.is_something_else() || is_base && named == Some(item.name.as_str());
            matches!(item.content, Content::Snapshot(_)) && out_of_place && base != Some(&item.path)
        };
        self.items.iter().find(is_other).or(Some(there).filter(|there| !there.is_something_else()))
    }

    /// The first segment of all is there.
    fn begins_from_nothing(&self) -> bool {
        self.headers().any(|header| header.number == 1 && header.first == header.previous_end)
    }

    /// A segment begins where it stands, and descends from it.
    fn connects(&self, position: &Position) -> bool {
        let timeline = position.lineage.timeline;
        self.headers().any(|header| {
            header.first == position.lsn && [header.lineage.timeline, header.lineage.parent].contains(&timeline)
        })
    }

    /// No segment says otherwise.
    fn is_of_this_history(&self, position: &Position) -> bool {
        let streams = super::order::Streams::of(self);
        self.headers().next().is_none()
            || self.headers().any(|header| streams.are_one(header.lineage.timeline, position.lineage.timeline))
    }
}

/// What of a file does not depend on its name.
struct Seen {
    content: Content,
    as_commands: bool,
    identity: BaseIdentity,
}

impl Seen {
    fn item(self, path: PathBuf, name: String, place: Place) -> Stored {
        let Self { content, as_commands, identity } = self;
        Stored { path, name, place, content, as_commands, identity }
    }
}

fn look(disk: &dyn Disk, path: &Path) -> Result<Seen, OpenError> {
    let file = disk.open(path, OpenMode::Read).map_err(OpenError::io(path))?;
    let identity = strays::base_identity(disk, path).map_err(OpenError::io(path))?;
    let content = match SegmentReader::open(&*file).map_err(OpenError::io(path))? {
        OpenedSegment::Empty => Content::Empty,
        OpenedSegment::Segment(reader) => Content::Segment(*reader.header()),
        OpenedSegment::BadHeader => Content::Headless,
        OpenedSegment::Foreign => foreign(disk, &*file, path)?,
    };
    let as_commands = matches!(content, Content::Snapshot(_)) && is_position_line(&head_of(&*file, path)?);
    Ok(Seen { content, as_commands, identity })
}

fn head_of(file: &dyn DiskFile, path: &Path) -> Result<Vec<u8>, OpenError> {
    let len = file.len().map_err(OpenError::io(path))?;
    let mut head = vec![0; usize::try_from(len).unwrap_or(HEAD_BYTES).min(HEAD_BYTES)];
    file.read_exact_at(&mut head, 0).map_err(OpenError::io(path))?;
    Ok(head)
}

/// What is in a file that does not begin as a segment.
fn foreign(disk: &dyn Disk, file: &dyn DiskFile, path: &Path) -> Result<Content, OpenError> {
    let len = file.len().map_err(OpenError::io(path))?;
    let head = head_of(file, path)?;
    let has_index = || Ok(Index::read(file).map_err(OpenError::io(path))?.is_some());
    if is_rdb(&head) || is_position_line(&head) || has_index()? {
        return Ok(Content::Snapshot(position_in(file, path).ok().flatten()));
    }
    let may_be_manifest = len <= MANIFEST_BYTES_MAX && (head.starts_with(b"#") || head.starts_with(b"file "));
    if may_be_manifest && let Ok(manifest) = Manifest::decode(&read_file(disk, path).map_err(OpenError::io(path))?) {
        return Ok(Content::Manifest(manifest));
    }
    Ok(if has_frames(file, path)? {
        // To a parser of commands their headers are comments.
        Content::Headless
    } else if begins_as_commands(file, path)? {
        Content::Commands
    } else {
        Content::Other
    })
}

/// Whether a frame of ours stands near the beginning of a file, whole or not.
fn has_frames(file: &dyn DiskFile, path: &Path) -> Result<bool, OpenError> {
    let len = file.len().map_err(OpenError::io(path))?;
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(LOOKED_BYTES).min(LOOKED_BYTES)];
    file.read_exact_at(&mut bytes, 0).map_err(OpenError::io(path))?;
    Ok(memchr::memmem::find(&bytes, frame_magic()).is_some())
}

/// Whether a file of nobody's header begins with a whole command.
fn begins_as_commands(file: &dyn DiskFile, path: &Path) -> Result<bool, OpenError> {
    let mut tape = Tape::new(file, 0).map_err(OpenError::io(path))?;
    loop {
        match tape.next().map_err(OpenError::io(path))? {
            Next::Comment | Next::Timestamp(_) => {}
            Next::Command => return Ok(true),
            Next::End | Next::Short | Next::Garbage(_) => return Ok(false),
        }
    }
}
