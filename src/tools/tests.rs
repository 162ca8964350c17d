//! Seeded damage of directories with known content: a start refuses, loads all, or, above every durable mark of a log that
//! was not closed, cuts and says so; and a check finds what was done.

use super::{Place, Report, Verdict, check};
use crate::env::disk::sim::{CrashMode, SimDisk};
use crate::env::disk::{Disk, OpenMode};
use crate::env::{Entropy, SeededEntropy};
use crate::persist::tests::model::{Db, History, State, open_db, options, word_list};
use crate::persist::{CloseState, Lsn, Manifest, OpenOptions, SyncPolicy, survey_segment};
use std::collections::BTreeMap;
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
