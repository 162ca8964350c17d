//! Seeded damage of directories with known content: a start refuses, loads all, or, above every durable mark of a log that
//! was not closed, cuts and says so; and a check finds what was done.

mod archive;
mod crashes;

use super::{FileReport, Place, Report, Role, Verdict, check, repair};
use crate::env::disk::sim::{CrashMode, SimDisk};
use crate::env::disk::{Disk, OpenMode};
use crate::env::{Entropy, ManualClock, SeededEntropy};
use crate::persist::log::format::SegmentHeader;
use crate::persist::rdb::{self, RdbEntry, RdbSink, Refusal};
use crate::persist::tests::compaction::{compaction_in_blocks, complete};
use crate::persist::tests::lineage::save_beside;
use crate::persist::tests::model::{Db, History, START, State, Store, open_db, options, word_list};
use crate::persist::{
    CloseState, Flow, Lsn, Manifest, OpenError, OpenOptions, Reading, Scanned, Spot, SyncPolicy, Visitor, examine_file,
    scan, summed_blocks, survey_segment, walk_file,
};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Damages in the ordinary run; GRAVEN_DAMAGES asks for more, or, as `4998-4999`, for some.
const DAMAGES: u64 = 2_500;

fn config() -> OpenOptions {
    options(SyncPolicy::Always)
}

/// Damages that one made directory is used for, each on a copy of it.
const DAMAGES_EACH: u64 = 10;

type Contents = BTreeMap<PathBuf, Vec<u8>>;
type States = Vec<(u64, State)>;

/// A directory and what is known of it.
struct Known {
    number: u64,
    disk: SimDisk,
    /// End of each unit and the state then, in order.
    states: States,
    /// What the files held at earlier moments.
    earlier: Vec<Contents>,
    /// What a check says of it.
    report: Report,
    /// Another server's directory.
    other: OnceCell<Contents>,
}

impl Known {
    fn last(&self) -> &State {
        &self.states[self.states.len() - 1].1
    }

    fn other(&self) -> &Contents {
        self.other.get_or_init(|| made(self.number + (1 << 40)).0.contents())
    }
}

/// A value that no other write of any directory has.
fn set(db: &mut Db, history: &mut History, (number, unit): (u64, u64), chance: &mut SeededEntropy) {
    let value = format!("{number}.{unit}.{}", "v".repeat(20 + chance.below(300) as usize));
    let command = word_list(&["SET", &format!("k{unit}"), &value]);
    db.submit(chance.below(3) as u32, &[command, word_list(&["INCR", "n"])], history);
    db.pump_for(history, Duration::from_millis([0, 0, 0, 200][chance.below(4) as usize]));
}

/// A base of commands with this key is larger than what a manifest says of its two ends.
fn large(db: &mut Db, history: &mut History, (number, unit): (u64, u64), chance: &mut SeededEntropy) {
    for part in 0..3 {
        let value = format!("{number}.{}", "w".repeat(3_000 + chance.below(6_000) as usize));
        db.submit(0, &[word_list(&["SET", &format!("k{unit}.{part}"), &value])], history);
    }
    db.pump_for(history, Duration::ZERO);
}

/// A life with the log on: units, rewrites, saves; then its end.
fn live(
    disk: &SimDisk,
    (number, seed): (u64, u64),
    unit: &mut u64,
    known: (&mut States, &mut Vec<Contents>),
    chance: &mut SeededEntropy,
) {
    let (states, earlier) = known;
    let mut db = open_db(disk, &config(), seed).expect("an undamaged directory opens");
    let mut history = History::from(db.store.state.clone());
    history.states[0].0 = db.log.buffer.next().0;
    for _ in 0..chance.below(20) {
        set(&mut db, &mut history, (number, *unit), chance);
        *unit += 1;
        match chance.below(18) {
            0..3 => earlier.push(disk.contents()),
            3 => {
                let (as_commands, blocks) = (chance.below(3) == 0, Some(200 + chance.below(800)));
                if as_commands && chance.below(2) == 0 {
                    large(&mut db, &mut history, (number, *unit), chance);
                    *unit += 1;
                }
                let mut compaction = compaction_in_blocks(disk, &db, &config(), as_commands, blocks);
                complete(&mut compaction, &mut db, &mut history).expect("an undamaged disk");
            }
            4 => save_beside(disk, &mut db, &mut history),
            _ => {}
        }
    }
    if chance.below(2) == 0 {
        db.pump_for(&mut history, Duration::from_millis(200));
    }
    if chance.below(2) == 0 {
        db.log.buffer.close();
        assert!(db.pump_for(&mut history, Duration::from_millis(200)), "closes");
    }
    states.extend(history.states);
}

/// A few lives of a server, each ended in its way, with timelines that no other directory has.
fn made(number: u64) -> (SimDisk, States, Vec<Contents>) {
    let mut chance = SeededEntropy::new(number);
    let mut disk = SimDisk::new();
    let (mut states, mut earlier, mut unit) = (Vec::new(), Vec::new(), 0);
    for _ in 0..1 + chance.below(3) {
        let seed = chance.next_u64();
        live(&disk, (number, seed), &mut unit, (&mut states, &mut earlier), &mut chance);
        disk = disk.crash(CrashMode::Kill, 0);
        earlier.push(disk.contents());
    }
    (disk, states, earlier)
}

fn known(number: u64) -> Known {
    let (disk, states, earlier) = made(number);
    let report = checked(&disk);
    Known { number, disk, states, earlier, report, other: OnceCell::new() }
}

/// What comes of each number, in their order, on all processors.
fn in_parallel<T: Send>(numbers: Range<u64>, of: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let next = AtomicU64::new(numbers.start);
    let work = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end {
                return done;
            }
            done.push((number, of(number)));
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut all: Vec<(u64, T)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        let ended = workers.into_iter().map(|worker| worker.join());
        ended.flat_map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, done)| done).collect()
}

/// How often each outcome was met, over all seeds, on all processors; none may be wrong.
fn outcomes<T: Ord + Send>(of: impl Fn(&Known, u64) -> Result<T, String> + Sync) -> BTreeMap<T, usize> {
    let asked = std::env::var("GRAVEN_DAMAGES").unwrap_or_else(|_| DAMAGES.to_string());
    let (from, to) = asked.split_once('-').unwrap_or(("0", &asked));
    let seeds = from.parse::<u64>().expect("a seed")..to.parse().expect("a seed");
    let batches = in_parallel(seeds.start / DAMAGES_EACH..seeds.end.div_ceil(DAMAGES_EACH), |number| {
        let (known, first) = (known(number), number * DAMAGES_EACH);
        let here = first.max(seeds.start)..seeds.end.min(first + DAMAGES_EACH);
        here.map(|seed| (seed, of(&known, seed))).collect::<Vec<_>>()
    });
    let (mut wrong, mut outcomes) = (Vec::new(), BTreeMap::new());
    for (seed, outcome) in batches.into_iter().flatten() {
        match outcome {
            Ok(outcome) => *outcomes.entry(outcome).or_insert(0) += 1,
            Err(reason) => wrong.push(format!("seed {seed}: {reason}")),
        }
    }
    let brief: Vec<&str> = wrong.iter().filter_map(|reason| reason.lines().next()).collect();
    let shown = wrong.iter().take(8).cloned().collect::<Vec<_>>().join("\n\n");
    assert!(wrong.is_empty(), "{} are wrong:\n{}\n\n{shown}", wrong.len(), brief.join("\n"));
    outcomes
}

fn put(disk: &SimDisk, path: &Path, content: &[u8]) {
    let file = disk.open(path, OpenMode::Truncate).expect("opens");
    file.write_all_at(content, 0).expect("can be written");
    file.sync_all().expect("can be synced");
    disk.sync_dir(path.parent().expect("has one")).expect("can be synced");
}

/// Whether a file is part of the data.
fn counts(path: &Path) -> bool {
    let path = path.to_string_lossy();
    !path.ends_with("graven.lock") && !path.ends_with(".torn") && !path.contains(".superseded-")
}

/// Does one thing to the files that must not happen to files; says what.
fn damage(known: &Known, disk: &SimDisk, chance: &mut SeededEntropy) -> String {
    let mut contents = disk.contents();
    contents.retain(|path, content| counts(path) && !content.is_empty());
    let paths: Vec<&PathBuf> = contents.keys().collect();
    let path = paths[chance.below(paths.len() as u64) as usize].clone();
    let content = &contents[&path];
    let at = chance.below(content.len() as u64) as usize;
    let longest = [4, 100, 2_000][chance.below(3) as usize];
    let len = (1 + chance.below(longest) as usize).min(content.len() - at);
    let name = path.display();
    let mut changed = content.clone();
    let what = match chance.below(14) {
        0 | 1 => {
            changed[at] ^= 1 << chance.below(8);
            format!("a bit of {name} at {at}")
        }
        2 => {
            changed[at..at + len].fill(0);
            format!("zeros over {len} bytes of {name} at {at}")
        }
        3 => {
            chance.fill(&mut changed[at..at + len]);
            format!("noise over {len} bytes of {name} at {at}")
        }
        4 => {
            changed.truncate(at);
            format!("{name} cut at {at}")
        }
        5 => {
            let copy = changed[at..at + len].to_vec();
            let to = chance.below(changed.len() as u64) as usize;
            changed.splice(to..to, copy);
            format!("{len} bytes of {name} at {at} repeated at {to}")
        }
        6 => {
            let other = paths[chance.below(paths.len() as u64) as usize];
            put(disk, other, content);
            changed = contents[other].clone();
            format!("{name} and {} swapped", other.display())
        }
        7 => {
            disk.remove(&path).expect("is there");
            disk.sync_dir(path.parent().expect("has one")).expect("can be synced");
            return format!("{name} gone");
        }
        8 => {
            changed.clear();
            format!("{name} emptied")
        }
        9 => {
            let numbers = paths
                .iter()
                .filter_map(|path| path.to_str()?.strip_suffix(".incr.aof")?.rsplit_once('.')?.1.parse::<u64>().ok());
            let copy = format!("/data/appendonlydir/appendonly.aof.{}.incr.aof", numbers.max().unwrap_or(0) + 1);
            put(disk, Path::new(&copy), content);
            return format!("{name} copied to {copy}");
        }
        10 => {
            let manifest = PathBuf::from("/data/appendonlydir/appendonly.aof.manifest");
            let Some(content) = contents.get(&manifest) else { return "nothing".into() };
            let mut lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
            let line = chance.below(lines.len() as u64) as usize;
            let doubled = chance.below(2) == 0;
            if doubled {
                lines.insert(line, lines[line]);
            } else {
                lines.remove(line);
            }
            put(disk, &manifest, &lines.concat());
            return format!("line {line} of the manifest {}", if doubled { "doubled" } else { "gone" });
        }
        11 => {
            let Some(there) = known.other().get(&path) else { return "nothing".into() };
            changed = there.clone();
            format!("{name} from another directory")
        }
        _ => {
            let then = &known.earlier[chance.below(known.earlier.len() as u64) as usize];
            let Some(old) = then.get(&path) else { return "nothing".into() };
            changed = old.clone();
            format!("{name} as it was before, {} bytes", old.len())
        }
    };
    put(disk, &path, &changed);
    what
}

/// What decides what may be cut: the last segment that the manifest names, as it lies there.
struct Last {
    closed: bool,
    mark: Lsn,
    end: Lsn,
    whole: bool,
}

fn last(disk: &SimDisk) -> Option<Last> {
    let log = Path::new("/data/appendonlydir");
    let content = crate::env::disk::read_file(disk, &log.join("appendonly.aof.manifest")).ok()?;
    let manifest = Manifest::decode(&content).ok()?;
    let path = log.join(&manifest.incremental().last()?.name);
    let file = disk.open(&path, OpenMode::Read).ok()?;
    let survey = survey_segment(&*file, &path).ok()??;
    let closed = matches!(manifest.state, CloseState::Closed { .. });
    Some(Last { closed, mark: survey.mark, end: survey.end, whole: survey.damage.is_none() })
}

fn checked(disk: &SimDisk) -> Report {
    let before = disk.contents();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let report = check(&shared, &Place::Directory(Box::new(config())));
    assert_eq!(disk.contents(), before, "a check changes nothing");
    report
}

/// What became of a damaged directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Refused,
    /// All was loaded, and the check found the damage.
    FoundAndHarmless,
    /// All was loaded, and nothing is left by which the damage could be told.
    Harmless,
    Cut,
    /// Whole frames are missing at the end of a log that was not closed: nothing tells that from a crash before them.
    CutBetweenFrames,
    /// The only segment of a log that was not closed is the first of another log, whole.
    AnotherLog,
}

/// Damages a directory in one way and looks what becomes of it; the reason when that is wrong.
fn one(known: &Known, seed: u64) -> Result<Outcome, String> {
    let (mut chance, disk) = (SeededEntropy::new(seed), known.disk.fork());
    let undamaged = &known.report;
    if undamaged.verdict != Verdict::Sound {
        return Err(format!("undamaged, and found: {undamaged}"));
    }
    let before = disk.contents();
    let what = damage(known, &disk, &mut chance);
    let changed = disk.contents() != before;
    let report = checked(&disk);
    let last = last(&disk);
    let loaded = open_db(&disk, &config(), 99);
    let would_start = report.start.as_ref().is_some_and(|start| start.would_start);
    let fail = |reason: &str| {
        let started = match &loaded {
            Ok(db) => format!("{:?}", db.report),
            Err(error) => error.to_string(),
        };
        Err(format!("{what}: {reason}\n{report}started: {started}"))
    };
    if would_start != loaded.is_ok() {
        return fail("check and start disagree");
    }
    if changed && report.to_string() == undamaged.to_string() {
        return fail("changed, and the check says what it said before");
    }
    let db = match &loaded {
        Err(_) if !changed => return fail("refused although nothing was damaged"),
        Err(_) if report.verdict < Verdict::Damaged => return fail("refused, and the check did not find why"),
        Err(error) if !error.to_string().contains("/data") => return fail("refused without a path"),
        Err(OpenError::Io { .. }) => return fail("a damage is no failure to read"),
        Err(_) => return Ok(Outcome::Refused),
        Ok(db) => db,
    };
    // What a start reads of a log is for it to judge.
    let is_of_log =
        |file: &&FileReport| [Role::Manifest, Role::Base, Role::Segment, Role::StockIncremental].contains(&file.role);
    let loads_log = db.report.source == "append only log";
    if loads_log && report.files.iter().filter(is_of_log).any(|file| file.verdict >= Verdict::Damaged) {
        return fail("a start believes what the check calls damaged");
    }
    let is_torn = report.files.iter().filter(is_of_log).any(|file| file.verdict == Verdict::Torn);
    if loads_log && db.report.torn.is_some() && !is_torn {
        return fail("a start cuts what the check calls sound");
    }
    if &db.store.state == known.last() {
        return match (db.report.torn.is_some(), report.verdict) {
            (true, Verdict::Sound) => fail("cut, and not found"),
            (_, Verdict::Sound) => Ok(Outcome::Harmless),
            _ => Ok(Outcome::FoundAndHarmless),
        };
    }
    let prefix = known.states.iter().rposition(|(_, state)| state == &db.store.state);
    // Nothing in a manifest tells the only segment of an open log from that of another one which also begins at the beginning.
    let only = report.files.iter().filter(|file| file.role == Role::Segment).count() == 1;
    if what.contains("incr.aof from another directory") && only && report.verdict == Verdict::Sound {
        return Ok(Outcome::AnotherLog);
    }
    let Some(prefix) = prefix else { return fail("no state that ever was") };
    let Some(last) = last else { return fail("less than everything, and the last segment cannot be read") };
    let end = known.states[prefix].0;
    if last.closed || end < last.mark.0 || end < last.end.0 {
        return fail("durable units are missing");
    }
    if !last.whole && loads_log && (db.report.torn.is_none() || report.verdict != Verdict::Torn) {
        return fail("cut without a word");
    }
    Ok(if last.whole { Outcome::CutBetweenFrames } else { Outcome::Cut })
}

/// Keys that are set once and never deleted, with their values.
fn set_once(state: &State) -> BTreeMap<&(u32, String), &String> {
    state.iter().filter(|((_, key), _)| key.starts_with('k')).collect()
}

/// The keys that frames that verify set to what they hold at the end, wherever the frames lie.
fn verifying(disk: &SimDisk, last: &State) -> BTreeSet<(u32, String)> {
    struct Seen<'l>(BTreeSet<(u32, String)>, &'l State);
    impl Visitor for Seen<'_> {
        fn command(&mut self, spot: &Spot<'_>, words: &[&[u8]]) -> Flow {
            if words[0] == b"SET" && spot.lsn.is_some() {
                let key = (spot.db, String::from_utf8_lossy(words[1]).into_owned());
                if self.1.get(&key).is_some_and(|value| value.as_bytes() == words[2]) {
                    self.0.insert(key);
                }
            }
            Flow::Continue(())
        }
    }
    let mut seen = Seen(BTreeSet::new(), last);
    for path in disk.contents().into_keys().filter(|path| counts(path)) {
        let _ = walk_file(disk, &path, &config().limits, &mut seen).expect("can be read");
    }
    seen.0
}

/// The keys of the blocks that are in a base or dump still, byte by byte, by the file: counted by comparing with what was there
/// before, whatever the code that saves them thinks; where files were swapped, in any of them.
fn whole_blocks(before: &Contents, after: &Contents, swapped: bool) -> Vec<(PathBuf, BTreeSet<(u32, String)>)> {
    struct Names(BTreeSet<(u32, String)>);
    impl RdbSink for Names {
        fn entry(&mut self, entry: RdbEntry<'_>) -> Result<(), Refusal> {
            self.0.insert((entry.db, String::from_utf8_lossy(entry.key).into_owned()));
            Ok(())
        }

        fn library(&mut self, _: &[u8]) -> Result<(), Refusal> {
            Ok(())
        }
    }
    let mut found = Vec::new();
    for (path, content) in before.iter().filter(|(path, _)| !path.to_string_lossy().ends_with(".incr.aof")) {
        if !after.contains_key(path) {
            continue;
        }
        let scratch = SimDisk::new();
        let files = || after.iter().filter(|(now, _)| swapped || *now == path).map(|(_, content)| content);
        let is_there = |bytes: &[u8]| files().any(|content| memchr::memmem::find(content, bytes).is_some());
        scratch.create_dir(Path::new("/scratch")).expect("made");
        put(&scratch, Path::new("/scratch/file"), content);
        let file = scratch.open(Path::new("/scratch/file"), OpenMode::Read).expect("opens");
        let mut names = Names(BTreeSet::new());
        if path.extension().is_some_and(|form| form == "aof") {
            let (blocks, end) = summed_blocks(&*file).expect("can be read").expect("has checksum lines");
            let lines = blocks[1..].iter().map(|block| block.range.start).chain([end]);
            // A line tells how far what stands before it verifies, and is the seed of the next: both must be there, in their place.
            let before = [0].into_iter().chain(blocks.iter().map(|block| block.range.end));
            for ((block, behind), before) in blocks.iter().zip(lines).zip(before) {
                let range = before as usize..behind as usize;
                if files().any(|now| now.get(range.clone()) == Some(&content[range.clone()])) {
                    names_in(&content[block.range.start as usize..block.range.end as usize], &mut names.0);
                }
            }
            found.push((path.clone(), names.0));
            continue;
        }
        let Some(index) = rdb::Index::read(&*file).expect("can be read") else { continue };
        for block in &index.blocks {
            let with_field = block.offset as usize..(block.offset + block.len + rdb::BLOCK_FIELD_BYTES) as usize;
            if is_there(&content[with_field]) {
                rdb::read_block(&*file, block, &config().limits, &mut names).expect("was whole");
            }
        }
        found.push((path.clone(), names.0));
    }
    found
}

/// The keys that are set in a block of commands.
fn names_in(block: &[u8], names: &mut BTreeSet<(u32, String)>) {
    let mut store = Store::default();
    let mut at = 0;
    while at < block.len() {
        at = match scan(block, at) {
            Scanned::Command { words, end } => {
                let words: Vec<&[u8]> = words.into_iter().map(|word| &block[word]).collect();
                store.apply(&words);
                end
            }
            Scanned::Comment { end } => end,
            _ => panic!("a block that was whole holds no command at {at}"),
        };
    }
    names.extend(store.state.into_keys());
}

/// Keys and values of one file.
fn keys_of_file(disk: &SimDisk, path: &Path) -> Result<State, OpenError> {
    let mut store = Store::default();
    examine_file(disk, path, &config().limits, Reading::default(), &mut store)?;
    Ok(store.state)
}

/// Of the segments that lie there with a header that verifies, half or more were never in this directory; and no base tells whose log
/// it is.
fn may_be_of_another_log(known: &Known, disk: &SimDisk) -> bool {
    let is_ours = |header: &SegmentHeader| {
        known
            .earlier
            .iter()
            .flat_map(BTreeMap::values)
            .any(|content| SegmentHeader::decode(content).is_some_and(|(own, _)| own.lineage == header.lineage))
    };
    let there = disk.contents();
    let headers = there.values().filter_map(|content| SegmentHeader::decode(content)).map(|(header, _)| header);
    let (ours, others): (Vec<_>, Vec<_>) = headers.partition(is_ours);
    ours.len() <= others.len() && !there.keys().any(|path| path.to_string_lossy().contains(".base."))
}

/// Damages a directory in one way and repairs it, into another one or in place; the reason when what comes of it is wrong.
fn mended(known: &Known, seed: u64) -> Result<&'static str, String> {
    let (mut chance, disk) = (SeededEntropy::new(seed), known.disk.fork());
    let undamaged = disk.contents();
    let mut what = damage(known, &disk, &mut chance);
    if chance.below(5) == 0 {
        what = format!("{what}; {}", damage(known, &disk, &mut chance));
    }
    let before = disk.contents();
    let blocks = whole_blocks(&undamaged, &before, what.contains("swapped"));
    let (there, original) = (verifying(&disk, known.last()), disk.fork());
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let in_place = chance.below(2) == 0;
    let options = repair::Options {
        path: "/data".into(),
        apply: true,
        into: (!in_place).then(|| "/mended".into()),
        across_gaps: true,
        stop_at_gap: false,
        json: false,
    };
    let place = Place::Directory(Box::new(config()));
    let plan = repair::Options { apply: false, into: None, ..options.clone() };
    let clock = ManualClock::at(START);
    let planned = repair::repair(&shared, &place, &plan, &clock, &mut chance);
    if disk.contents() != before {
        return Err(format!("{what}: a plan has changed something"));
    }
    let fail = |reason: String| {
        let planned = planned.as_ref().map_or_else(ToString::to_string, repair::Repaired::to_text);
        Err(format!("{what}: {reason}\n{planned}\n{}", checked(&original)))
    };
    let repaired = match repair::repair(&shared, &place, &options, &clock, &mut chance) {
        Ok(repaired) => repaired,
        Err(repair::Failed::Nothing { .. }) if there.is_empty() && blocks.iter().all(|(_, keys)| keys.is_empty()) => {
            return Ok("nothing left");
        }
        Err(failed) => return fail(format!("not repaired: {failed}")),
    };
    let after = disk.contents();
    if in_place {
        let kept: Vec<&Vec<u8>> =
            after.iter().filter(|(path, _)| path.starts_with("/data")).map(|(_, content)| content).collect();
        let names = |path: &Path| path.to_string_lossy().contains("appendonlydir/");
        if let Some((path, _)) =
            before.iter().find(|(path, content)| names(path) && !content.is_empty() && !kept.contains(content))
        {
            return fail(format!("{} is nowhere any more", path.display()));
        }
    } else if before.iter().any(|(path, content)| after.get(path) != Some(content)) {
        return fail("what was repaired into another directory has changed".into());
    }
    let made = if in_place { "/data" } else { "/mended" };
    let db = match open_db(&disk, &OpenOptions { directory: made.into(), ..config() }, 99) {
        Ok(db) => db,
        Err(error) => return fail(format!("no start on what was made: {error}")),
    };
    let (state, last) = (set_once(&db.store.state), set_once(known.last()));
    if what.contains("incr.aof from another directory") && may_be_of_another_log(known, &original) {
        // Nothing is left by which it could be told which of the two is our log.
        return Ok("another log");
    }
    // Of a block that the end of its file cuts, what can be decoded is kept, although no checksum proves it; the plan says so.
    let unproven = repaired.plan.losses.iter().any(|loss| loss.reason.contains("the file ends inside a block"));
    if let Some((key, _)) = state.iter().find(|(key, value)| last.get(*key) != Some(value))
        && !unproven
    {
        return fail(format!("{key:?} was never so"));
    }
    let told = repaired.plan.is_needed();
    for (path, keys) in blocks.iter().filter(|(_, keys)| !keys.is_empty()) {
        // Of a dump beside a log what was saved is in the dump.
        let dump;
        let there = if path.ends_with("dump.rdb") {
            dump = match keys_of_file(&disk, &Path::new(made).join("dump.rdb")) {
                Ok(state) => state,
                Err(error) => return fail(format!("the dump that was made does not load: {error}")),
            };
            &dump
        } else {
            &db.store.state
        };
        if let Some(key) = keys.iter().find(|key| !there.contains_key(*key)) {
            return fail(format!("{key:?} of a block of {} that verifies is not in what was made", path.display()));
        }
    }
    if let Some(key) = there.iter().find(|key| !state.contains_key(*key)) {
        return fail(format!("{key:?} of a frame that verifies is not in what was made"));
    }
    match (state.len() == last.len(), told) {
        (true, true) => Ok("all saved"),
        (true, false) => Ok("nothing to do"),
        (false, true) => Ok("some saved"),
        // Whole frames gone at the end of a log that was not closed: nothing tells of them.
        (false, false) if what.contains("cut at") || what.contains("as it was before") => Ok("cut between frames"),
        (false, false) => fail("something is gone without a word".into()),
    }
}

#[test]
fn repair_saves_every_frame_that_verifies() {
    let outcomes = outcomes(mended);
    assert!(
        ["all saved", "some saved", "nothing to do"].iter().all(|outcome| outcomes.contains_key(outcome)),
        "{outcomes:?}"
    );
}

#[test]
fn damage_is_refused_or_harmless_or_a_torn_tail() {
    let outcomes = outcomes(one);
    let met = [Outcome::Refused, Outcome::FoundAndHarmless, Outcome::Harmless, Outcome::Cut];
    assert!(
        met.iter().all(|outcome| outcomes.contains_key(outcome)),
        "not everything that can become of damage was met: {outcomes:?}"
    );
}
