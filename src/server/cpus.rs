//! Which processors the threads run on: `server_cpulist`, `bio_cpulist`, `aof_rewrite_cpulist`, `bgsave_cpulist`; and that those
//! who save let those go first who serve.
//!
//! Each thread says at its beginning what it works for; those that it starts itself stay where it is, and behind whom it
//! is, unless they say otherwise. Without a list a thread runs wherever the one that started it may.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// What a thread works for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Connections, commands, the log's writes.
    Serving,
    /// Syncs, freeing, archiving: what waits for a disk or takes long beside the commands.
    Aside,
    Rewriting,
    Saving,
}

/// The lists, as they are written: `0-7:2,9`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuLists {
    pub serving: String,
    pub aside: String,
    pub rewriting: String,
    pub saving: String,
}

/// How nice the threads are that write snapshots: when processors are short they get a third of what others get, so that a
/// request need not wait for the end of their turn, and a snapshot does not take for ever beside writers that never pause.
const NICE: libc::c_int = 5;

impl CpuLists {
    /// Has the calling thread run on the processors for this work from now on, and step behind where the work can wait.
    pub fn take(&self, work: Work) {
        if matches!(work, Work::Rewriting | Work::Saving) {
            #[expect(unsafe_code, reason = "it takes numbers alone; 0 is the calling thread (setpriority(2), Linux)")]
            let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
            // Stepping further behind is always allowed; where it is not done the thread works as it did.
            debug_assert_eq!(result, 0);
        }
        let list = match work {
            Work::Serving => &self.serving,
            Work::Aside => &self.aside,
            Work::Rewriting => &self.rewriting,
            Work::Saving => &self.saving,
        };
        if list.is_empty() {
            return;
        }
        let Some(processors) = parse(list) else {
            tracing::warn!("'{list}' is no list of processors; the threads of {work:?} run anywhere");
            return;
        };
        let mut set = CpuSet::new();
        // What a set has no room for no machine has.
        let _ = processors.into_iter().try_for_each(|processor| set.set(processor));
        if let Err(errno) = sched_setaffinity(Pid::from_raw(0), &set) {
            tracing::warn!("The threads of {work:?} cannot run on the processors {list}: {}", errno.desc());
        }
    }
}

/// The processors of a list of `n`, `first-last` and `first-last:step`; `None`: it is none.
fn parse(list: &str) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    for part in list.split(',') {
        let (range, step) = part.split_once(':').map_or((part, "1"), |(range, step)| (range, step));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.trim_start().parse().ok().filter(|number| *number <= CpuSet::count());
        let (first, last, step): (usize, usize, usize) = (number(first)?, number(last)?, number(step)?);
        if step == 0 || first > last || (part.contains(':') && !range.contains('-')) {
            return None;
        }
        all.extend((first..=last).step_by(step));
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn lists_of_processors() {
        for (list, expected) in [
            ("0", Some(vec![0])),
            ("1,3", Some(vec![1, 3])),
            ("0-7:2", Some(vec![0, 2, 4, 6])),
            ("1,10-11", Some(vec![1, 10, 11])),
            ("", None),
            ("1,", None),
            ("x", None),
            ("3-1", None),
            ("0-3:0", None),
            ("1:2", None),
            ("0-99999999999", None),
        ] {
            assert_eq!(parse(list), expected, "{list}");
        }
    }
}
