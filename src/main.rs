//! The `graven` binary.

use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use graven::server::{Allocator, AllocatorProbe};
use tikv_jemalloc_ctl::thread::{self, ThreadLocal};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let argv: Vec<Vec<u8>> = std::env::args_os().map(OsStringExt::into_vec).collect();
    graven::server::run(&argv, AllocatorProbe { figures, by_thread })
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
