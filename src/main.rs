//! The `graven` binary.

use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use graven::server::{Allocator, AllocatorProbe};
use tikv_jemalloc_ctl::thread::{self, ThreadLocal};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let argv: Vec<_> = std::env::args_os().collect();
    if let Some(exit) = graven::tools::run(&argv) {
        return exit;
    }
    let argv: Vec<Vec<u8>> = argv.into_iter().map(OsStringExt::into_vec).collect();
    graven::server::run(&argv, AllocatorProbe { figures, by_thread, report, purge })
}

/// What jemalloc counts, as of this moment.
fn figures() -> Option<Allocator> {
    use tikv_jemalloc_ctl::{epoch, stats};
    epoch::advance().ok()?;
    Some(Allocator {
        allocated: stats::allocated::read().ok()?,
        active: stats::active::read().ok()?,
        resident: stats::resident::read().ok()?,
    })
}

thread_local! {
    /// Bytes that this thread has allocated and freed so far, as jemalloc counts them.
    static COUNTERS: Option<(ThreadLocal<u64>, ThreadLocal<u64>)> =
        thread::allocatedp::read().ok().zip(thread::deallocatedp::read().ok());
}

fn by_thread() -> Option<i64> {
    COUNTERS.with(|counters| counters.as_ref().map(|(plus, minus)| plus.get().wrapping_sub(minus.get()) as i64))
}

/// jemalloc's statistics in its own words.
fn report() -> String {
    let mut text = Vec::new();
    match tikv_jemalloc_ctl::stats_print::stats_print(&mut text, Default::default()) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) => format!("jemalloc does not tell: {error}\n"),
    }
}

/// Lets free pages decay at once, then at the pace of before. Arenas that were never used have none.
fn purge() -> bool {
    use tikv_jemalloc_ctl::{Access, AsName, arenas};
    let Ok(count) = arenas::narenas::read() else { return false };
    for arena in 0..count {
        for kind in ["dirty", "muzzy"] {
            let key = format!("arena.{arena}.{kind}_decay_ms\0");
            let name = key.as_bytes().name();
            let before: Result<isize, _> = name.read();
            if let Ok(before) = before {
                let decayed = name.write(0isize).and_then(|()| name.write(before));
                if decayed.is_err() {
                    return false;
                }
            }
        }
    }
    true
}
