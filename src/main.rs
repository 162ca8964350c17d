//! The `graven` binary.

use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use graven::server::Allocator;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let argv: Vec<Vec<u8>> = std::env::args_os().map(OsStringExt::into_vec).collect();
    graven::server::run(&argv, allocator_figures)
}

/// What jemalloc counts, as of this moment.
fn allocator_figures() -> Option<Allocator> {
    use tikv_jemalloc_ctl::{epoch, stats};
    epoch::advance().ok()?;
    Some(Allocator {
        allocated: stats::allocated::read().ok()?,
        active: stats::active::read().ok()?,
        resident: stats::resident::read().ok()?,
    })
}
