//! Crash enumeration: one run for each step at which it can be cut off.

use std::fmt;

use super::crash::CrashMode;
use super::disk::SimDisk;
use super::state::Step;

/// Where and how a run was ended. Printed with a failure, it is enough to see the run again.
#[derive(Clone, Debug)]
pub struct CrashPoint {
    /// Number of the step in flight; of a run that came to its end, the number of its steps.
    pub step: u64,
    /// What that step was; none where the run came to its end.
    pub in_flight: Option<Step>,
    pub mode: CrashMode,
    pub seed: u64,
}

impl fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.in_flight {
            Some(step) => write!(f, "{:?} with seed {} in step {} ({step})", self.mode, self.seed, self.step),
            None => write!(f, "{:?} with seed {} after all {} steps", self.mode, self.seed, self.step),
        }
    }
}

impl SimDisk {
    /// Runs `run` on copies of this disk, cut off in its first step, in its second, and so on until it comes to its
    /// end; `check` then gets what the run returned (what had been acknowledged, say) and the disk that the next start
    /// finds, once for each kind of crash and seed in `crashes`. Returns the number of steps of the whole run.
    ///
    /// For a second crash in what follows the first, call it again on the disk that `check` gets.
    ///
    /// ```
    /// use graven::env::disk::sim::{CrashMode, SimDisk};
    /// use graven::env::disk::{read_file, replace_file};
    /// use std::path::Path;
    ///
    /// let (path, disk) = (Path::new("/greeting"), SimDisk::new());
    /// replace_file(&disk, path, b"old").unwrap();
    /// let crashes: Vec<_> = (0..20).map(|seed| (CrashMode::ANY_POWER_CUT, seed)).collect();
    /// disk.for_each_crash(
    ///     &crashes,
    ///     |disk| replace_file(disk, path, b"new").is_ok(),
    ///     |acknowledged, disk, crash| {
    ///         let found = read_file(&disk, path).unwrap();
    ///         assert!(found == b"new" || found == b"old" && !acknowledged, "{crash}");
    ///     },
    /// );
    /// ```
    pub fn for_each_crash<T>(
        &self,
        crashes: &[(CrashMode, u64)],
        mut run: impl FnMut(&SimDisk) -> T,
        mut check: impl FnMut(&T, SimDisk, &CrashPoint),
    ) -> u64 {
        for step in 0.. {
            let disk = self.fork();
            disk.freeze_at(step);
            let result = run(&disk);
            let in_flight = disk.history().get(step as usize).cloned();
            let finished = in_flight.is_none();
            let step = disk.steps().min(step);
            for (mode, seed) in crashes {
                let point = CrashPoint { step, in_flight: in_flight.clone(), mode: *mode, seed: *seed };
                check(&result, disk.crash(*mode, *seed), &point);
            }
            if finished {
                return step;
            }
        }
        unreachable!("a run of 2^64 steps")
    }
}
