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
    graven::server::run(&argv, AllocatorProbe { figures, by_thread, report, purge, setting, text })
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

/// Why jemalloc does not do it, as the system says such things.
fn reason(error: &tikv_jemalloc_ctl::Error) -> &'static str {
    let text = error.to_string();
    if text.contains("unknown") {
        "No such file or directory"
    } else if text.contains("void") {
        "Operation not permitted"
    } else if text.contains("failure") {
        "Resource temporarily unavailable"
    } else if text.contains("side effects") {
        "Bad address"
    } else {
        "Invalid argument"
    }
}

/// Figures come in several sizes: the largest that fits is taken.
fn setting(name: &str, value: Option<i64>) -> Result<Option<i64>, &'static str> {
    use tikv_jemalloc_ctl::{Access, AsName};
    let key = format!("{name}\0");
    let name = key.as_bytes().name();
    let outcome = match value {
        None => (name.read().map(|value: u64| Some(value as i64)))
            .or_else(|_| name.read().map(|value: u32| Some(i64::from(value))))
            .or_else(|_| name.read().map(|value: bool| Some(i64::from(value)))),
        Some(new) => (name.update(new as u64).map(|old| Some(old as i64)))
            .or_else(|_| name.update(new as u32).map(|old| Some(i64::from(old))))
            .or_else(|_| name.update(new != 0).map(|old| Some(i64::from(old))))
            .or_else(|error| name.write(new as u64).map(|()| None).map_err(|_| error)),
    };
    outcome.map_err(|error| reason(&error))
}

fn text(name: &str) -> Result<String, &'static str> {
    use tikv_jemalloc_ctl::{Access, AsName};
    let key = format!("{name}\0");
    let wanted = key.as_bytes().name();
    if !wanted.value_type_str() {
        return Err(setting(name, None).err().unwrap_or("Invalid argument"));
    }
    let value: Result<&'static [u8], _> = wanted.read();
    value.map(|text| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned()).map_err(|error| reason(&error))
}
