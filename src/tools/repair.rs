//! `graven repair`: says what of a damaged directory can be saved and, when told to, saves it.
//!
//! Planning and making are [`crate::persist`]'s; what was made is loaded as a start would load it before success is told.
//!
//! Invariant: without `--apply` nothing is written.

use super::Exit;
use super::dataset::families;
use super::place::Place;
use super::{json, moment, target};
use crate::command::CommandTable;
use crate::engine::quote;
use crate::env::disk::parent;
use crate::env::{Clock, Disk, Entropy};
use crate::persist::{
    Applied, ArchivePlan, Crossing, Discard, InPlace, LoadReport, Loss, OpenError, OpenOptions, Plan, RepairError,
    SetAside, Target, Unused, examine, plan,
};
use clap::Args;
use serde_json::{Value as Json, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Keys that are named in a report for people.
const NAMED_MAX: usize = 10;

/// The options of the verb.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// A data directory, an RDB file, or an append-only file of one part.
    pub path: PathBuf,
    /// Carry the plan out; without this nothing is written.
    #[arg(long)]
    pub apply: bool,
    /// Make the repaired directory here, instead of in place: a directory that does not exist, or is empty.
    #[arg(long, value_name = "DIR")]
    pub into: Option<PathBuf>,
    /// Go on behind every gap, also where a whole segment is missing, or a file without checksums cannot be parsed.
    #[arg(long, conflicts_with = "stop_at_gap")]
    pub across_gaps: bool,
    /// End the log before the first gap, also where only a frame is damaged.
    #[arg(long)]
    pub stop_at_gap: bool,
    /// Report for machines.
    #[arg(long)]
    pub json: bool,
}

/// What was found, and done.
pub struct Repaired {
    pub plan: Plan,
    /// Where the result lies, what was written and what was kept.
    pub applied: Option<crate::persist::Applied>,
    /// What a start on the result loads.
    pub loads: Option<LoadReport>,
}

/// Why there is no repair.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("{0}")]
    Plan(OpenError),
    #[error("{0}")]
    Apply(RepairError),
    #[error("what was made is whole and still no server starts on it: {0}")]
    Useless(OpenError),
    #[error("{} holds nothing that verifies: there is nothing to save. Move it away to start empty", path.display())]
    Nothing { path: PathBuf },
    #[error("{0}")]
    Usage(String),
    #[error("{}", .0.0)]
    Said((String, Exit)),
}

impl Failed {
    pub fn exit(&self) -> Exit {
        match self {
            Self::Plan(OpenError::Io { .. }) | Self::Apply(RepairError::Io { .. }) => Exit::Io,
            Self::Plan(_) | Self::Useless(_) | Self::Nothing { .. } => Exit::Damaged,
            Self::Usage(_) | Self::Apply(_) => Exit::Usage,
            Self::Said((_, exit)) => *exit,
        }
    }
}

/// The directory that a place stands for: a file is one with nothing else in it.
fn directory_of(place: &Place) -> OpenOptions {
    let path = match place {
        Place::Directory(options) => return (**options).clone(),
        Place::File(path) => path,
    };
    let parent = parent(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_rdb = name.ends_with(".rdb");
    let names = OpenOptions { directory: parent.to_owned(), append_only: !is_rdb, ..OpenOptions::default() };
    if is_rdb {
        OpenOptions { dump_file: name, ..names }
    } else {
        // No directory of a log has this name.
        OpenOptions { append_file: name, append_directory: ".none".into(), dump_file: ".none".into(), ..names }
    }
}

/// Plans a repair and, if that is wanted, carries it out.
///
/// # Errors
/// See [`Failed`].
pub fn repair(
    disk: &Arc<dyn Disk>,
    place: &Place,
    options: &Options,
    clock: &dyn Clock,
    entropy: &mut dyn Entropy,
) -> Result<Repaired, Failed> {
    if options.into.is_some() && !options.apply {
        return Err(Failed::Usage("--into says where --apply writes: give both, or neither for the plan".into()));
    }
    let vacant = match &options.into {
        Some(into) => {
            Some(target::Target::vacant(&**disk, into, "a repaired directory is made anew").map_err(Failed::Said)?)
        }
        None => None,
    };
    let names = directory_of(place);
    let crossing = match (options.across_gaps, options.stop_at_gap) {
        (true, _) => Crossing::Always,
        (_, true) => Crossing::Never,
        _ => Crossing::Frames,
    };
    let table = CommandTable::new(&families());
    let keys_of = |words: &[&[u8]]| -> Vec<Vec<u8>> {
        let keys = table.named(words).and_then(|resolved| resolved.command.keys_of_call(words)).unwrap_or_default();
        keys.into_iter().filter_map(|(at, _)| words.get(at).map(|word| word.to_vec())).collect()
    };
    // What another run has left half done is ended before anything is planned on top of it.
    let held = match options.apply && options.into.is_none() {
        true => Some(InPlace::begin(&**disk, &names).map_err(Failed::Apply)?),
        false => None,
    };
    let settled = held.as_ref().and_then(|held| held.settled);
    let mut plan = plan(disk, &names, crossing, &keys_of).map_err(Failed::Plan)?;
    if matches!(place, Place::Directory(_)) {
        plan.look_at_archive(&**disk, &names).map_err(Failed::Plan)?;
    }
    plan.notes.extend(settled.map(|settled| format!("a repair had been cut off: it is {settled}")));
    // What this way of looking finds nothing wrong with, a start must not either.
    let refused = examine(Arc::clone(disk), &names, &mut Discard).err();
    if let (false, Some(refused)) = (plan.is_needed(), &refused) {
        return Err(Failed::Usage(format!("nothing that repair can put right: {refused}")));
    }
    let archive_is_right = plan.archive.as_ref().is_none_or(|archive| !archive.is_needed());
    let only_settled = settled.is_some() && archive_is_right;
    let nothing_left = only_settled && plan.losses.is_empty() && plan.unused.is_empty() && plan.notes.len() == 1;
    if nothing_left && refused.is_none() {
        let loads = examine(Arc::clone(disk), &names, &mut Discard).map_err(Failed::Useless)?;
        let applied = Applied { directory: names.directory, ..Applied::default() };
        return Ok(Repaired { plan, applied: Some(applied), loads: Some(loads) });
    }
    if !options.apply || (!plan.is_needed() && options.into.is_none()) {
        return Ok(Repaired { plan, applied: None, loads: None });
    }
    if !plan.saves_something() {
        return Err(Failed::Nothing { path: names.directory });
    }
    let now = moment::show(clock.unix_millis()).replace([':', '.'], "-");
    let target = match &options.into {
        Some(directory) => Target::Into(directory.clone()),
        None => {
            let kept = free_name(&**disk, &names.directory, &format!("before-repair-{now}")).map_err(Failed::Apply)?;
            match held {
                Some(held) => Target::InPlace { kept, held },
                None => Target::InPlace { kept, held: InPlace::begin(&**disk, &names).map_err(Failed::Apply)? },
            }
        }
    };
    let applied = plan.apply(&**disk, &names, &target, entropy).map_err(Failed::Apply);
    let applied = match &vacant {
        Some(vacant) => vacant.unless(&**disk, applied)?,
        None => applied?,
    };
    let made = OpenOptions { directory: applied.directory.clone(), ..names };
    let loads = examine(Arc::clone(disk), &made, &mut Discard).map_err(Failed::Useless)?;
    Ok(Repaired { plan, applied: Some(applied), loads: Some(loads) })
}

/// This name, or one with a number where something stands under it that is not empty.
fn free_name(disk: &dyn Disk, directory: &Path, name: &str) -> Result<String, RepairError> {
    let mut free = name.to_owned();
    let mut number = 1;
    loop {
        let path = directory.join(&free);
        match disk.list(&path) {
            Ok(names) if names.is_empty() => return Ok(free),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(free),
            Err(source) if source.kind() != std::io::ErrorKind::NotADirectory => {
                return Err(RepairError::Io { path, source });
            }
            _ => {}
        }
        number += 1;
        free = format!("{name}-{number}");
    }
}

impl Repaired {
    /// A plan that would do something ends as damage does, so that scripts see it.
    pub fn exit(&self) -> Exit {
        let of_archive = |archive: &ArchivePlan| archive.aside.is_empty() && archive.missing.is_empty();
        let archive_is_whole = self.plan.archive.as_ref().is_none_or(of_archive);
        let torn_only = self.plan.losses.is_empty() && self.plan.unused.is_empty() && archive_is_whole;
        match (&self.applied, self.plan.is_needed()) {
            (Some(_), _) | (None, false) => Exit::Sound,
            (None, true) if torn_only => Exit::Torn,
            (None, true) => Exit::Damaged,
        }
    }

    pub fn to_json(&self) -> Json {
        let Plan { losses, unused, notes, frames, commands, keys, end, .. } = &self.plan;
        json!({
            "needed": self.plan.is_needed(),
            "applied": self.applied.is_some(),
            "notes": notes,
            "losses": losses.iter().map(loss_json).collect::<Vec<_>>(),
            "unused": unused.iter().map(|Unused { path, reason, frames, commands, bytes }| {
                json!({ "file": path, "reason": reason, "frames": frames, "commands": commands, "bytes": bytes })
            }).collect::<Vec<_>>(),
            "saved": { "frames": frames, "commands": commands, "keys": keys, "end": end.0 },
            "archive": self.plan.archive.as_ref().map(archive_json),
            "directory": self.applied.as_ref().map(|applied| &applied.directory),
            "written": self.applied.as_ref().map(|applied| &applied.written),
            "kept": self.applied.as_ref().map(|applied| &applied.kept),
            "loads": self.loads.as_ref().map(|loads| {
                json!({ "keys": loads.keys, "commands": loads.commands, "frames": loads.frames, "files": loads.files,
                        "end": loads.end.0 })
            }),
        })
    }

    pub fn to_text(&self) -> String {
        let Plan { losses, unused, notes, frames, commands, keys, .. } = &self.plan;
        let mut text = String::new();
        for note in notes {
            text += &format!("put right: {note}\n");
        }
        for loss in losses {
            text += &loss_text(loss);
        }
        for Unused { path, reason, frames, commands, bytes } in unused {
            text += &format!("left out: {}: {reason}", path.display());
            if *commands > 0 {
                text += &format!(" ({frames} frames, {commands} commands, {bytes} bytes)");
            }
            text.push('\n');
        }
        if let Some(archive) = &self.plan.archive {
            text += &archive_text(archive);
        }
        text += &format!("saved: {frames} frames, {commands} commands, {keys} keys of a base or dump\n");
        match (&self.applied, &self.loads) {
            (Some(applied), Some(loads)) => {
                text += &format!("made: {}, {} files written", applied.directory.display(), applied.written.len());
                if let Some(kept) = applied.kept.first().and_then(|kept| kept.parent()) {
                    text += &format!("; {} files as they were are kept in {}", applied.kept.len(), kept.display());
                }
                text += &format!(
                    "\na start loads {} keys of a base, {} commands, {} frames, up to LSN {}",
                    loads.keys, loads.commands, loads.frames, loads.end
                );
            }
            _ if self.plan.is_needed() => text += "nothing was written: --apply carries this out",
            _ => text += "nothing to repair",
        }
        text
    }
}

fn archive_text(archive: &ArchivePlan) -> String {
    let mut text = String::new();
    for note in &archive.notes {
        text += &format!("put right: {note}\n");
    }
    for SetAside { path, reason } in &archive.aside {
        text += &format!("left out: {}: {reason}\n", path.display());
    }
    for path in &archive.missing {
        text += &format!("lost: {}: the manifest of the archive names it and it is missing\n", path.display());
    }
    text + &format!("archive: {} files verify, {} bytes\n", archive.files, archive.bytes)
}

fn archive_json(archive: &ArchivePlan) -> Json {
    let ArchivePlan { directory, files, bytes, notes, aside, missing, .. } = archive;
    json!({
        "directory": directory, "files": files, "bytes": bytes, "notes": notes, "missing": missing,
        "unused": aside.iter().map(|SetAside { path, reason }| json!({ "file": path, "reason": reason })).collect::<Vec<_>>(),
    })
}

fn command_text(words: &[Vec<u8>]) -> String {
    let mut line = String::new();
    for word in words {
        quote(&mut line, word);
        line.push(' ');
    }
    line.trim_end().to_owned()
}

fn loss_text(loss: &Loss) -> String {
    let Loss { path, range, from, to, reason, keys, commands, names, crossed, before, after, touched, touched_keys } =
        loss;
    let mut text = format!("lost: {}: {reason}", path.display());
    let mut put = |what: std::fmt::Arguments<'_>| text.write_fmt(what).unwrap_or_default();
    if !range.is_empty() {
        put(format_args!("; {} bytes at offset {}", range.end - range.start, range.start));
    }
    match (from, to) {
        (Some(from), Some(to)) if to > from => {
            put(format_args!("; LSN {from} to {to}, {} bytes of commands", to.0 - from.0))
        }
        (Some(from), _) => put(format_args!("; from LSN {from} on")),
        _ => {}
    }
    if let Some(keys) = keys {
        put(format_args!("; {keys} keys"));
    }
    if *commands > 0 {
        put(format_args!("; {commands} commands in it can still be read, unverified"));
    }
    let named = |names: &mut dyn Iterator<Item = &(u32, Vec<u8>)>| {
        let shown = names.take(NAMED_MAX).map(|(db, name)| format!("{db}:{}", name.escape_ascii()));
        shown.collect::<Vec<_>>().join(" ")
    };
    if !names.is_empty() {
        let more =
            if names.len() > NAMED_MAX { format!(" and {} more", names.len() - NAMED_MAX) } else { String::new() };
        put(format_args!("\n      keys (database:name): {}{more}", named(&mut names.iter())));
    }
    if let Some(before) = before {
        put(format_args!("\n      before it: {}", command_text(before)));
    }
    if let Some(after) = after {
        put(format_args!("\n      behind it: {}", command_text(after)));
    }
    if *crossed && keys.is_none() {
        if *touched > 0 {
            let keys = named(&mut touched_keys.iter());
            put(format_args!(
                "\n      what follows is applied: {touched} commands on keys of the gap may give another result: {keys}"
            ));
        } else if names.is_empty() {
            put(format_args!(
                "\n      what follows is applied: which keys the gap has changed is not known, so that any may be wrong"
            ));
        } else {
            put(format_args!("\n      what follows is applied, and names none of these keys"));
        }
    } else if !crossed {
        put(format_args!("\n      the log ends before it"));
    }
    text.push('\n');
    text
}

fn loss_json(loss: &Loss) -> Json {
    let Loss { path, range, from, to, reason, keys, commands, names, crossed, before, after, touched, touched_keys } =
        loss;
    let words = |command: &Option<Vec<Vec<u8>>>| {
        command.as_ref().map(|words| words.iter().map(|word| json::text(word)).collect::<Vec<_>>())
    };
    let named = |names: &mut dyn Iterator<Item = &(u32, Vec<u8>)>| -> Vec<Json> {
        names.map(|(db, name)| json!({ "db": db, "key": json::text(name) })).collect()
    };
    json!({
        "file": path, "offset": range.start, "to_offset": range.end, "lsn": from.map(|lsn| lsn.0), "to_lsn": to.map(|lsn| lsn.0),
        "reason": reason, "keys": keys, "commands": commands, "names": named(&mut names.iter()), "crossed": crossed,
        "before": words(before), "after": words(after), "touched": touched,
        "touched_keys": named(&mut touched_keys.iter()),
    })
}
