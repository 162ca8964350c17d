//! Seeded damage of directories with known content: a start refuses, loads all, or, above every durable mark of a log that
//! was not closed, cuts and says so; and a check finds what was done.

mod crashes;

use super::{Place, Report, Verdict, check, repair};
use crate::env::disk::sim::{CrashMode, SimDisk};
use crate::env::disk::{Disk, OpenMode};
use crate::env::{Entropy, ManualClock, SeededEntropy};
use crate::persist::tests::model::{Db, History, START, State, open_db, options, word_list};
use crate::persist::{
    CloseState, Flow, Lsn, Manifest, OpenOptions, Spot, SyncPolicy, Visitor, survey_segment, walk_file,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Damages in the ordinary run; GRAVEN_DAMAGES asks for more.
const DAMAGES: u64 = 2_500;

fn config() -> OpenOptions {
    options(SyncPolicy::Always)
}

type Contents = BTreeMap<PathBuf, Vec<u8>>;

/// A directory and what is known of it.
struct Known {
    disk: SimDisk,
    /// End of each unit and the state then, in order.
    states: Vec<(u64, State)>,
    /// What the files held at earlier moments.
    earlier: Vec<Contents>,
}

impl Known {
    fn last(&self) -> &State {
        &self.states[self.states.len() - 1].1
    }
}

fn set(db: &mut Db, history: &mut History, unit: u64, chance: &mut SeededEntropy) {
    let value = "v".repeat(20 + chance.below(300) as usize);
    let command = word_list(&["SET", &format!("k{unit}"), &value]);
    db.submit(chance.below(3) as u32, &[command, word_list(&["INCR", "n"])], history);
    db.pump_for(history, Duration::from_millis([0, 0, 0, 200][chance.below(4) as usize]));
}

/// A few lives of a server, each ended in its way.
fn known(chance: &mut SeededEntropy) -> Known {
    let mut disk = SimDisk::new();
    let (mut states, mut earlier, mut unit) = (Vec::new(), Vec::new(), 0);
    for life in 0..1 + chance.below(3) {
        let mut db = open_db(&disk, &config(), life + 1).expect("an undamaged directory opens");
        let mut history = History::from(db.store.state.clone());
        history.states[0].0 = db.log.buffer.next().0;
        for _ in 0..chance.below(20) {
            set(&mut db, &mut history, unit, chance);
            unit += 1;
            if chance.below(6) == 0 {
                earlier.push(disk.contents());
            }
        }
        if chance.below(2) == 0 {
            db.pump_for(&mut history, Duration::from_millis(200));
        }
        if chance.below(2) == 0 {
            db.log.buffer.close();
            assert!(db.pump_for(&mut history, Duration::from_millis(200)), "closes");
        }
        drop(db);
        disk = disk.crash(CrashMode::Kill, 0);
        earlier.push(disk.contents());
        states.extend(history.states);
    }
    Known { disk, states, earlier }
}

fn put(disk: &SimDisk, path: &Path, content: &[u8]) {
    let file = disk.open(path, OpenMode::Truncate).expect("opens");
    file.write_all_at(content, 0).expect("can be written");
    file.sync_all().expect("can be synced");
    disk.sync_dir(path.parent().expect("has one")).expect("can be synced");
}

/// Does one thing to the files that must not happen to files; says what.
fn damage(known: &Known, chance: &mut SeededEntropy) -> String {
    let mut contents = known.disk.contents();
    contents.retain(|path, content| !path.ends_with("graven.lock") && !content.is_empty());
    let paths: Vec<&PathBuf> = contents.keys().collect();
    let path = paths[chance.below(paths.len() as u64) as usize].clone();
    let content = &contents[&path];
    let at = chance.below(content.len() as u64) as usize;
    let longest = [4, 100, 2_000][chance.below(3) as usize];
    let len = (1 + chance.below(longest) as usize).min(content.len() - at);
    let name = path.display();
    let mut changed = content.clone();
    let what = match chance.below(9) {
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
            put(&known.disk, other, content);
            changed = contents[other].clone();
            format!("{name} and {} swapped", other.display())
        }
        7 => {
            known.disk.remove(&path).expect("is there");
            known.disk.sync_dir(path.parent().expect("has one")).expect("can be synced");
            return format!("{name} gone");
        }
        _ => {
            let then = &known.earlier[chance.below(known.earlier.len() as u64) as usize];
            let Some(old) = then.get(&path) else { return "nothing".into() };
            changed = old.clone();
            format!("{name} as it was before, {} bytes", old.len())
        }
    };
    put(&known.disk, &path, &changed);
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
}

/// Damages a directory in one way and looks what becomes of it; the reason when that is wrong.
fn one(seed: u64) -> Result<Outcome, String> {
    let mut chance = SeededEntropy::new(seed);
    let known = known(&mut chance);
    if checked(&known.disk).verdict != Verdict::Sound {
        return Err(format!("undamaged, and found: {}", checked(&known.disk)));
    }
    let before = known.disk.contents();
    let what = damage(&known, &mut chance);
    let changed = known.disk.contents() != before;
    let report = checked(&known.disk);
    let last = last(&known.disk);
    let loaded = open_db(&known.disk, &config(), 99);
    let fail = |reason: &str| {
        let started = match &loaded {
            Ok(db) => format!("{:?}", db.report),
            Err(error) => error.to_string(),
        };
        Err(format!("{what}: {reason}\n{report}started: {started}"))
    };
    let db = match &loaded {
        Err(_) if !changed => return fail("refused although nothing was damaged"),
        Err(_) if report.verdict < Verdict::Damaged => return fail("refused, and the check did not find why"),
        Err(_) => return Ok(Outcome::Refused),
        Ok(db) => db,
    };
    if &db.store.state == known.last() {
        return match (db.report.torn.is_some(), report.verdict) {
            (true, Verdict::Sound) => fail("cut, and not found"),
            (_, Verdict::Sound) => Ok(Outcome::Harmless),
            _ => Ok(Outcome::FoundAndHarmless),
        };
    }
    let Some(prefix) = known.states.iter().rposition(|(_, state)| state == &db.store.state) else {
        return fail("no state that ever was");
    };
    let Some(last) = last else { return fail("less than everything, and the last segment cannot be read") };
    let end = known.states[prefix].0;
    if last.closed || end < last.mark.0 || end < last.end.0 {
        return fail("durable units are missing");
    }
    if !last.whole && (db.report.torn.is_none() || report.verdict != Verdict::Torn) {
        return fail("cut without a word");
    }
    Ok(if last.whole { Outcome::CutBetweenFrames } else { Outcome::Cut })
}

/// Keys that are set once and never deleted, with their values.
fn set_once(state: &State) -> BTreeMap<&(u32, String), &String> {
    state.iter().filter(|((_, key), _)| key.starts_with('k')).collect()
}

/// The keys that are set in frames that verify, wherever they lie.
fn verifying(disk: &SimDisk) -> BTreeSet<(u32, String)> {
    #[derive(Default)]
    struct Seen(BTreeSet<(u32, String)>);
    impl Visitor for Seen {
        fn command(&mut self, spot: &Spot<'_>, words: &[&[u8]]) -> Flow {
            if words[0] == b"SET" && spot.lsn.is_some() {
                self.0.insert((spot.db, String::from_utf8_lossy(words[1]).into_owned()));
            }
            Flow::Continue(())
        }
    }
    let mut seen = Seen::default();
    for path in disk.contents().into_keys().filter(|path| path.to_string_lossy().ends_with(".incr.aof")) {
        let _ = walk_file(disk, &path, &config().limits, &mut seen).expect("can be read");
    }
    seen.0
}

/// Damages a directory in one way and repairs it, into another one or in place; the reason when what comes of it is wrong.
fn mended(seed: u64) -> Result<&'static str, String> {
    let mut chance = SeededEntropy::new(seed);
    let known = known(&mut chance);
    let what = damage(&known, &mut chance);
    let before = known.disk.contents();
    let (there, original) = (verifying(&known.disk), known.disk.fork());
    let shared: Arc<dyn Disk> = Arc::new(known.disk.clone());
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
    if known.disk.contents() != before {
        return Err(format!("{what}: a plan has changed something"));
    }
    let fail = |reason: String| {
        let planned = planned.as_ref().map_or_else(ToString::to_string, repair::Repaired::to_text);
        Err(format!("{what}: {reason}\n{planned}\n{}", checked(&original)))
    };
    let repaired = match repair::repair(&shared, &place, &options, &clock, &mut chance) {
        Ok(repaired) => repaired,
        Err(repair::Failed::Nothing { .. }) if there.is_empty() => return Ok("nothing left"),
        Err(failed) => return fail(format!("not repaired: {failed}")),
    };
    let after = known.disk.contents();
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
    let db = match open_db(&known.disk, &OpenOptions { directory: made.into(), ..config() }, 99) {
        Ok(db) => db,
        Err(error) => return fail(format!("no start on what was made: {error}")),
    };
    let (state, last) = (set_once(&db.store.state), set_once(known.last()));
    if let Some((key, _)) = state.iter().find(|(key, value)| last.get(*key) != Some(value)) {
        return fail(format!("{key:?} was never so"));
    }
    let told = repaired.plan.is_needed();
    // Files that hold other versions of what is in the log have no place in it.
    let complete = there.iter().all(|key| state.contains_key(key) || !last.contains_key(key));
    if !complete && repaired.plan.unused.is_empty() {
        return fail("a frame that verifies is not in what was made".into());
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
    let more = std::env::var("GRAVEN_DAMAGES").ok().and_then(|text| text.parse().ok());
    let (mut wrong, mut outcomes) = (Vec::new(), BTreeMap::new());
    for seed in 0..more.unwrap_or(DAMAGES) {
        match mended(seed) {
            Ok(outcome) => *outcomes.entry(outcome).or_insert(0) += 1,
            Err(reason) => wrong.push(format!("seed {seed}: {reason}")),
        }
    }
    let shown = wrong.iter().take(8).cloned().collect::<Vec<_>>().join("\n\n");
    let brief: Vec<&str> = wrong.iter().filter_map(|reason| reason.lines().next()).collect();
    assert!(wrong.is_empty(), "{} are wrong:\n{}\n{shown}", wrong.len(), brief.join("\n"));
    assert!(
        ["all saved", "some saved", "nothing to do"].iter().all(|outcome| outcomes.contains_key(outcome)),
        "{outcomes:?}"
    );
}

#[test]
fn damage_is_refused_or_harmless_or_a_torn_tail() {
    let more = std::env::var("GRAVEN_DAMAGES").ok().and_then(|text| text.parse().ok());
    let (mut wrong, mut outcomes) = (Vec::new(), BTreeMap::new());
    for seed in 0..more.unwrap_or(DAMAGES) {
        match one(seed) {
            Ok(outcome) => *outcomes.entry(outcome).or_insert(0) += 1,
            Err(reason) => wrong.push(format!("seed {seed}: {reason}")),
        }
    }
    let shown = wrong.iter().take(8).cloned().collect::<Vec<_>>().join("\n\n");
    assert!(wrong.is_empty(), "{} are wrong:\n{shown}", wrong.len());
    assert_eq!(outcomes.len(), 5, "not everything that can become of damage was met: {outcomes:?}");
}
