//! `graven restore`: a new directory that holds what a log held at a moment.

use super::dataset::families;
use super::moment;
use super::place::Place;
use super::{Exit, repair::Failed, target};
use crate::command::CommandTable;
use crate::env::{Disk, Entropy, UnixMillis};
use crate::persist::archive::UnpackingDisk;
use crate::persist::{
    At, Discard, LoadReport, Lsn, Moment, OpenError, OpenOptions, Reached, RestoreError, Target, There, examine,
    later_dump, restore_plan,
};
use clap::Args;
use serde_json::{Value as Json, json};
use std::path::PathBuf;
use std::sync::Arc;

/// The options of the verb.
#[derive(Args, Clone, Debug)]
#[group(skip)]
#[command(group(clap::ArgGroup::new("moment").required(true)))]
pub struct Options {
    /// The data directory.
    pub path: PathBuf,
    /// Everything that was logged up to this time (RFC 3339, or seconds since 1970).
    #[arg(long, value_name = "TIME", value_parser = moment::parse, group = "moment")]
    pub to_time: Option<UnixMillis>,
    /// Everything before this position.
    #[arg(long, value_name = "LSN", group = "moment")]
    pub to_lsn: Option<u64>,
    /// Everything before the last command of this name, or that begins with these words.
    #[arg(long, value_name = "COMMAND", group = "moment")]
    pub before_command: Option<String>,
    /// The directory to make, which does not exist or is empty.
    #[arg(long, value_name = "DIR")]
    pub into: PathBuf,
    /// Report for machines.
    #[arg(long)]
    pub json: bool,
}

/// What was made.
pub struct Restored {
    pub reached: Reached,
    pub loads: LoadReport,
    /// What was found where nothing names it, or was not used although something does.
    pub notes: Vec<String>,
    into: PathBuf,
}

/// Makes the directory.
///
/// # Errors
/// Why there is none, in one line with what there is, and how the tool ends.
pub fn restore(
    disk: &Arc<dyn Disk>,
    place: &Place,
    options: &Options,
    entropy: &mut dyn Entropy,
) -> Result<Restored, (String, Exit)> {
    let Place::Directory(names) = place else {
        return Err((
            format!("{} is a file: what is restored is a data directory", options.path.display()),
            Exit::Usage,
        ));
    };
    let words: Vec<Vec<u8>> = options
        .before_command
        .iter()
        .flat_map(|text| text.split_whitespace())
        .map(|word| word.as_bytes().to_vec())
        .collect();
    if let Some(name) = words.first()
        && CommandTable::new(&families()).find(name).is_none()
    {
        return Err((format!("there is no command '{}'", name.escape_ascii()), Exit::Usage));
    }
    if options.before_command.is_some() && words.is_empty() {
        return Err(("--before-command names no command".into(), Exit::Usage));
    }
    let begins = |command: &[&[u8]]| {
        command.len() >= words.len()
            && command[0].eq_ignore_ascii_case(&words[0])
            && command[1..].iter().zip(&words[1..]).all(|(word, wanted)| word == wanted)
    };
    let wanted = match (options.to_lsn, options.to_time) {
        (Some(lsn), _) => Moment::Lsn(Lsn(lsn)),
        (_, Some(time)) => Moment::Time(time),
        _ => Moment::Before(&begins),
    };
    let vacant = target::Target::vacant(&**disk, &options.into, "what is restored is a directory of its own")?;
    let plain = Arc::clone(disk);
    let disk: &Arc<dyn Disk> = &(Arc::new(UnpackingDisk::new(Arc::clone(disk))) as Arc<dyn Disk>);
    if let Some(lsn) = later_dump(disk, names).map_err(|error| refused(&RestoreError::Open(error)))? {
        let dump = names.directory.join(&names.dump_file);
        complain!(
            "{} stands later than the log beside it, at LSN {lsn}, and is what a start loads; moments are those of the log",
            dump.display()
        );
    }
    let (plan, reached) = restore_plan(&**disk, &*plain, names, &wanted).map_err(|error| refused(&error))?;
    let target = Target::Into(options.into.clone());
    let failed = |failed: Failed| (failed.to_string(), failed.exit());
    let mut make = || {
        let made = plan.apply(&**disk, names, &target, entropy).map_err(|error| failed(Failed::Apply(error)))?;
        let made = OpenOptions { directory: made.directory, ..(**names).clone() };
        examine(Arc::clone(disk), &made, &mut Discard).map_err(|error| failed(Failed::Useless(error)))
    };
    let loads = vacant.unless(&**disk, make())?;
    Ok(Restored { reached, loads, notes: plan.notes, into: options.into.clone() })
}

fn refused(error: &RestoreError) -> (String, Exit) {
    let exit = match error {
        RestoreError::Open(OpenError::Io { .. }) => Exit::Io,
        RestoreError::Open(_) | RestoreError::Damaged { .. } => Exit::Damaged,
        RestoreError::Outside(_) | RestoreError::NoCommand(_) | RestoreError::NoLog | RestoreError::Between { .. } => {
            Exit::Usage
        }
    };
    let text = match error {
        RestoreError::Outside(there) | RestoreError::NoCommand(there) => {
            format!("{error}, which holds {}", held(there))
        }
        RestoreError::Between { before, behind } => {
            let shown = |at: &At| {
                let lsn = at.lsn.map(|lsn| format!("LSN {lsn}"));
                let known: Vec<String> = lsn.into_iter().chain(at.time.map(moment::show)).collect();
                known.join(", ")
            };
            format!("{error}: there is what stands before ({}) and behind it ({})", shown(before), shown(behind))
        }
        other => other.to_string(),
    };
    (text, exit)
}

/// What there is, range by range, and what lies between them.
fn held(there: &There) -> String {
    let ranges = there.ranges.iter().map(|range| {
        let lsns = range.first.zip(range.end).map(|(first, end)| format!("LSN {first} to {end}"));
        let times =
            range.from.zip(range.to).map(|(from, to)| format!("{} to {}", moment::show(from), moment::show(to)));
        lsns.into_iter().chain(times).collect::<Vec<_>>().join(", ")
    });
    let ranges: Vec<String> = ranges.filter(|range| !range.is_empty()).collect();
    if ranges.is_empty() {
        return "neither positions nor times".into();
    }
    let mut text = ranges.join(", and behind a gap ");
    if !there.unplaced.is_empty() {
        let names: Vec<String> = there.unplaced.iter().map(|path| path.display().to_string()).collect();
        text += &format!("; a stock server wrote {}, whose moments cannot be told", names.join(", "));
    }
    text
}

impl Restored {
    pub fn to_text(&self) -> String {
        let Reached { lsn, time, commands, left_out } = self.reached;
        let mut text = format!("{}: {commands} commands behind the base", self.into.display());
        if let Some(lsn) = lsn {
            text += &format!(", up to LSN {lsn}");
        }
        if let Some(time) = time {
            text += &format!(", the last logged at {}", moment::show(time));
        }
        text += &format!("; {left_out} commands are left out");
        self.notes.iter().for_each(|note| text += &format!("\n{note}"));
        text += &format!("\na start loads {} keys of a base and {} commands", self.loads.keys, self.loads.commands);
        text
    }

    pub fn to_json(&self) -> Json {
        let Reached { lsn, time, commands, left_out } = self.reached;
        json!({ "directory": self.into, "lsn": lsn.map(|lsn| lsn.0), "time_ms": time.map(|time| time.0), "commands": commands,
                "left_out": left_out, "notes": self.notes, "loads": { "keys": self.loads.keys, "commands": self.loads.commands } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SeededEntropy;
    use crate::env::disk::sim::{CrashMode, SimDisk};
    use crate::persist::SyncPolicy;
    use crate::persist::tests::archive;
    use crate::persist::tests::compaction::{compaction, complete};
    use crate::persist::tests::model::{Db, History, START, State, Workload, open_db, options as names};
    use std::time::Duration;

    fn asked(into: &str) -> Options {
        Options {
            path: "/data".into(),
            to_time: None,
            to_lsn: None,
            before_command: None,
            into: into.into(),
            json: false,
        }
    }

    /// Ends a life, cleanly or by a kill; the disk behind it.
    fn end(disk: &SimDisk, mut db: Db, history: &mut History, workload: &mut Workload) -> SimDisk {
        db.pump_for(history, Duration::from_millis(200));
        if workload.below(2) == 0 {
            db.log.buffer.close();
            assert!(db.pump_for(history, Duration::from_millis(200)), "closes");
        }
        drop(db);
        disk.crash(CrashMode::Kill, 0)
    }

    /// A history over segments, kills and clean ends.
    fn lives(seed: u64) -> (SimDisk, History) {
        let (mut disk, mut workload) = (SimDisk::new(), Workload::new(seed));
        let mut all: Option<History> = None;
        for life in 0..4 {
            let mut db = open_db(&disk, &names(SyncPolicy::Always), life + 1).expect("opens");
            let mut history = History::from(db.store.state.clone());
            history.states[0].0 = db.log.buffer.next().0;
            for _ in 0..15 {
                let (index, unit) = workload.unit();
                db.submit(index, &unit, &mut history);
                if workload.below(3) > 0 {
                    db.pump_for(&mut history, Duration::from_millis(10));
                }
            }
            disk = end(&disk, db, &mut history, &mut workload);
            match &mut all {
                None => all = Some(history),
                Some(all) => all.states.extend(history.states.into_iter().skip(1)),
            }
        }
        (disk, all.expect("four lives"))
    }

    /// A thousand moments of histories with restarts: each is what the model says, whole units only.
    #[test]
    fn every_moment_can_be_restored() {
        for seed in 0..20 {
            let (disk, history) = lives(seed);
            let shared: Arc<dyn Disk> = Arc::new(disk.clone());
            let place = Place::Directory(Box::new(names(SyncPolicy::Always)));
            let mut chance = SeededEntropy::new(seed);
            for moment in 0..50 {
                let at = chance.below(history.states.len() as u64) as usize;
                let (end, _) = history.states[at];
                // Inside the unit behind it that unit is not over yet.
                let next = history.states.get(at + 1).map_or(end, |(next, _)| next - 1);
                let lsn = end + chance.below(next - end + 1);
                let into = format!("/restored-{moment}");
                let options = Options { to_lsn: Some(lsn), ..asked(&into) };
                let restored = restore(&shared, &place, &options, &mut chance);
                let restored = restored.unwrap_or_else(|(reason, _)| panic!("seed {seed}: to {lsn}: {reason}"));
                // A database that is selected for the unit behind the moment changes no key.
                let reached = restored.reached.lsn.expect("a position").0;
                assert!((end..=lsn).contains(&reached), "seed {seed}: to {lsn}: {reached}");
                let made = OpenOptions { directory: into.into(), ..names(SyncPolicy::Always) };
                let mut db = open_db(&disk, &made, 77).expect("a restored directory opens");
                assert_eq!(db.store.state, history.states[at].1, "seed {seed}: to {lsn}");
                // And goes on from there.
                let mut on = History::from(db.store.state.clone());
                db.submit(0, &[vec!["INCR".into(), "counter".into()]], &mut on);
                db.pump_for(&mut on, Duration::from_millis(200));
                let expected = db.store.state.clone();
                drop(db);
                assert_eq!(open_db(&disk, &made, 78).expect("opens again").store.state, expected);
            }
        }
    }

    /// A history over rewrites, roll-overs, kills and clean ends, archived as it goes: ends of units, times, states.
    fn archived_lives(seed: u64) -> (SimDisk, Vec<(u64, i64, State)>) {
        let (mut disk, mut workload) = (SimDisk::new(), Workload::new(seed));
        let options = archive::options(SyncPolicy::Always);
        let (mut all, mut now) = (vec![(1, START.0, State::new())], START.0);
        for life in 0..4 {
            let mut db = open_db(&disk, &options, life + 1).expect("opens");
            let mut history = History::from(db.store.state.clone());
            let mut archiver = archive::keep_everything(&disk, &db, &options);
            for round in 0..24 {
                let (index, unit) = workload.unit();
                now += workload.below(3) as i64;
                db.now = now;
                db.submit(index, &unit, &mut history);
                let (end, state) = history.states.last().expect("a unit").clone();
                all.push((end, now, state));
                db.pump_for(&mut history, Duration::ZERO);
                if round % 8 == 5 {
                    let as_commands = workload.below(2) == 0;
                    let mut rewrite = compaction(&disk, &db, &options, as_commands);
                    complete(&mut rewrite, &mut db, &mut history).expect("rewritten");
                    archiver.look_again();
                }
                // Sometimes it is killed with work to do.
                for _ in 0..workload.below(6) {
                    archiver.step().expect("archives");
                    db.pump_for(&mut history, Duration::ZERO);
                }
            }
            disk = end(&disk, db, &mut history, &mut workload);
        }
        (disk, all)
    }

    #[test]
    fn a_thousand_moments_of_an_archived_history_are_what_the_model_says() {
        for seed in 0..20 {
            let (disk, all) = archived_lives(seed);
            assert!(archive::contents(&disk).files.len() > 8, "seed {seed}");
            let shared: Arc<dyn Disk> = Arc::new(disk.clone());
            let place = Place::Directory(Box::new(archive::options(SyncPolicy::Always)));
            let mut chance = SeededEntropy::new(seed);
            for moment in 0..50 {
                let at = chance.below(all.len() as u64) as usize;
                let (end, time, _) = all[at];
                let into = format!("/restored-{moment}");
                let (options, expected) = if chance.below(2) == 0 {
                    // Inside the unit behind it that unit is not over yet.
                    let next = all.get(at + 1).map_or(end, |(next, _, _)| next - 1);
                    let lsn = end + chance.below(next - end + 1);
                    (Options { to_lsn: Some(lsn), ..asked(&into) }, at)
                } else {
                    let last = all.iter().rposition(|(_, logged, _)| *logged <= time).expect("itself");
                    (Options { to_time: Some(UnixMillis(time)), ..asked(&into) }, last)
                };
                let what = format!("seed {seed}: to LSN {:?} or time {:?}", options.to_lsn, options.to_time);
                if let Err((reason, _)) = restore(&shared, &place, &options, &mut chance) {
                    panic!("{what}: {reason}");
                }
                let made = OpenOptions { directory: into.into(), ..archive::options(SyncPolicy::Always) };
                let db = open_db(&disk, &made, 77).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(db.store.state, all[expected].2, "{what}");
            }
        }
    }

    #[test]
    fn before_a_command_goes_back_as_far_as_the_archive_does() {
        let (disk, all) = archived_lives(3);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let place = Place::Directory(Box::new(archive::options(SyncPolicy::Always)));
        let mut chance = SeededEntropy::new(1);
        for (number, name) in ["del k1", "del k2", "set k3", "incr counter"].into_iter().enumerate() {
            let options = Options { before_command: Some(name.into()), ..asked(&format!("/before-{number}")) };
            let restored =
                restore(&shared, &place, &options, &mut chance).unwrap_or_else(|(reason, _)| panic!("{reason}"));
            let made = OpenOptions { directory: options.into, ..archive::options(SyncPolicy::Always) };
            let db = open_db(&disk, &made, 77).expect("opens");
            let at = all.iter().rposition(|(end, _, _)| Some(Lsn(*end)) <= restored.reached.lsn).expect("a unit's end");
            assert_eq!(db.store.state, all[at].2, "{name}");
        }
        // It begins with the first segment of all: before that there was nothing.
        let before_all = Options { to_time: Some(UnixMillis(1)), ..asked("/nothing") };
        let restored =
            restore(&shared, &place, &before_all, &mut chance).unwrap_or_else(|(reason, _)| panic!("{reason}"));
        assert_eq!((restored.loads.keys, restored.loads.commands), (0, 0));
        let behind = Options { to_time: Some(UnixMillis(i64::MAX)), ..asked("/none") };
        let (reason, exit) = restore(&shared, &place, &behind, &mut chance).map(|_| ()).expect_err("not logged yet");
        assert_eq!((exit, reason.lines().count()), (Exit::Usage, 1), "{reason}");
        let oldest = format!("LSN 1 to {}", all.last().expect("units").0);
        assert!(reason.contains(&oldest) && reason.contains("2023-11-14T22:13:20"), "{reason}");
    }

    #[test]
    fn the_last_command_of_a_name_and_its_transaction_are_left_out() {
        let (disk, history) = lives(3);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let place = Place::Directory(Box::new(names(SyncPolicy::Always)));
        let options = Options { before_command: Some("del k1".into()), ..asked("/restored") };
        let mut chance = SeededEntropy::new(1);
        let restored = restore(&shared, &place, &options, &mut chance).unwrap_or_else(|(reason, _)| panic!("{reason}"));
        let made = OpenOptions { directory: "/restored".into(), ..names(SyncPolicy::Always) };
        let db = open_db(&disk, &made, 77).expect("opens");
        let at =
            history.states.iter().position(|(end, _)| Some(Lsn(*end)) == restored.reached.lsn).expect("a unit's end");
        assert_eq!(db.store.state, history.states[at].1);
        assert!(restored.reached.left_out > 0);
        let again = restore(&shared, &place, &options, &mut chance).map(|_| ()).expect_err("is not empty");
        assert_eq!(again.1, Exit::Usage);
    }

    #[test]
    fn what_is_not_in_the_log_is_refused_with_what_is() {
        let (disk, history) = lives(4);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let place = Place::Directory(Box::new(names(SyncPolicy::Always)));
        let end = history.states.last().expect("states").0;
        let before = disk.contents();
        for options in [
            Options { to_lsn: Some(end + 1), ..asked("/none") },
            Options { to_lsn: Some(0), ..asked("/none") },
            Options { to_time: Some(UnixMillis(i64::MAX)), ..asked("/none") },
            Options { before_command: Some("FLUSHALL".into()), ..asked("/none") },
            Options { before_command: Some("NOSUCH".into()), ..asked("/none") },
        ] {
            let (reason, exit) =
                restore(&shared, &place, &options, &mut SeededEntropy::new(1)).map(|_| ()).expect_err("refused");
            assert_eq!((exit, reason.lines().count()), (Exit::Usage, 1), "{reason}");
        }
        assert_eq!(disk.contents(), before, "nothing was written");
    }
}
