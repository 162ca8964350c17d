//! What the process uses of memory and processor time.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// The allocator's own figures, in bytes. The binary provides them; a library user may have any allocator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocator {
    pub allocated: usize,
    pub active: usize,
    pub resident: usize,
}

/// Asks the allocator; `None` where nobody can be asked.
pub type AllocatorProbe = fn() -> Option<Allocator>;

/// Pages of this process in memory, in bytes; 0 where the system does not tell.
#[expect(clippy::disallowed_methods, reason = "the kernel's figures about this process, no file of ours")]
pub fn resident_bytes() -> usize {
    let pages = std::fs::read("/proc/self/statm").ok().and_then(|text| {
        let text = String::from_utf8(text).ok()?;
        text.split_whitespace().nth(1)?.parse::<usize>().ok()
    });
    pages.unwrap_or(0) * page_bytes()
}

/// Memory of the machine, in bytes; 0 where the system does not tell.
pub fn system_bytes() -> usize {
    let pages = nix::unistd::sysconf(nix::unistd::SysconfVar::_PHYS_PAGES).ok().flatten().unwrap_or(0);
    usize::try_from(pages).unwrap_or(0) * page_bytes()
}

fn page_bytes() -> usize {
    let bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
    usize::try_from(bytes).unwrap_or(4096)
}

/// Processor seconds in the kernel and in user space: of the process, and of children that have ended.
pub fn cpu_seconds() -> [f64; 4] {
    let mut seconds = [0.0; 4];
    for (who, at) in [(UsageWho::RUSAGE_SELF, 0), (UsageWho::RUSAGE_CHILDREN, 2)] {
        if let Ok(usage) = getrusage(who) {
            seconds[at] = usage.system_time().num_microseconds() as f64 / 1e6;
            seconds[at + 1] = usage.user_time().num_microseconds() as f64 / 1e6;
        }
    }
    seconds
}

/// Bytes as people read them: `1.50M`.
pub fn human(bytes: usize) -> String {
    let value = bytes as f64;
    for (unit, letter) in [(1u64 << 10, 'B'), (1 << 20, 'K'), (1 << 30, 'M'), (1 << 40, 'G'), (1 << 50, 'T')] {
        if (bytes as u64) < unit {
            return if letter == 'B' {
                format!("{bytes}B")
            } else {
                format!("{:.2}{letter}", value / (unit >> 10) as f64)
            };
        }
    }
    format!("{:.2}P", value / (1u64 << 50) as f64)
}

#[cfg(test)]
mod tests {
    use super::{cpu_seconds, human, resident_bytes, system_bytes};

    #[test]
    fn figures_are_there() {
        assert!(resident_bytes() > 1 << 20);
        assert!(system_bytes() > resident_bytes());
        assert!(cpu_seconds()[0] + cpu_seconds()[1] > 0.0);
    }

    #[test]
    fn bytes_for_people() {
        for (bytes, text) in [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1536 << 10, "1.50M"), (5 << 30, "5.00G")] {
            assert_eq!(human(bytes), text);
        }
    }
}
