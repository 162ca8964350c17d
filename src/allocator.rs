//! What the server asks of jemalloc, the binary's allocator.

use std::ffi::c_void;
use std::sync::OnceLock;

use graven::server::{Allocator, AllocatorProbe};
use tikv_jemalloc_ctl::thread::{self, ThreadLocal};
use tikv_jemalloc_ctl::{Access, AsName, arenas, epoch, stats};
use tikv_jemalloc_sys::{mallctlbymib, mallctlnametomib};

pub const PROBE: AllocatorProbe =
    AllocatorProbe { figures, by_thread, report, purge, is_sparse, without_cache, setting, text };

/// What lies in the threads' caches, all arenas together: 4096 is jemalloc's number for all of them.
const ALL_CACHES: &[u8] = b"stats.arenas.4096.tcache_bytes\0";

/// What jemalloc counts, as of this moment.
fn figures() -> Option<Allocator> {
    epoch::advance().ok()?;
    Some(Allocator {
        allocated: stats::allocated::read().ok()?,
        cached: ALL_CACHES.name().read().unwrap_or(0),
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

/// How full a slab is, as `experimental.utilization.query` tells it (jemalloc 5.3, `ctl.c`).
#[repr(C)]
#[derive(Default)]
struct Utilization {
    /// Where its arena takes the next region of this size from.
    current_slab: usize,
    free: usize,
    regions: usize,
    /// Bytes.
    size: usize,
    /// Regions of this size in all slabs of the arena.
    free_in_all: usize,
    regions_in_all: usize,
}

/// The name as jemalloc resolves it; `None` where it does not know it.
fn utilization_query() -> Option<[usize; 3]> {
    static QUERY: OnceLock<Option<[usize; 3]>> = OnceLock::new();
    *QUERY.get_or_init(|| {
        let (mut query, mut len) = ([0; 3], 3);
        let name = c"experimental.utilization.query";
        #[expect(unsafe_code, reason = "the name is terminated, and both lengths are those of the array")]
        let error = unsafe { mallctlnametomib(name.as_ptr(), query.as_mut_ptr(), &raw mut len) };
        (error == 0 && len == 3).then_some(query)
    })
}

/// Whether the allocation lies in a slab that is no fuller than the slabs of its arena on average are, and not nearly full.
/// New room comes from the slab that is being filled, so nothing of that one moves.
fn is_sparse(place: *const u8) -> bool {
    let Some(query) = utilization_query() else { return false };
    let (mut slab, mut len, mut place) = (Utilization::default(), size_of::<Utilization>(), place);
    #[expect(
        unsafe_code,
        reason = "jemalloc takes an address and gives a structure, which its binding has no type for; it reads nothing at the                   address, and answers zeros for one that it does not know"
    )]
    let error = unsafe {
        mallctlbymib(
            query.as_ptr(),
            query.len(),
            (&raw mut slab).cast::<c_void>(),
            &raw mut len,
            (&raw mut place).cast::<c_void>(),
            size_of::<*const u8>(),
        )
    };
    let is_current = place.addr().wrapping_sub(slab.current_slab) < slab.size;
    if error != 0 || slab.free == 0 || is_current {
        return false;
    }
    let (used, used_in_all) = (slab.regions - slab.free, slab.regions_in_all - slab.free_in_all);
    let nearly_full = used * 8 > slab.regions * 7;
    !nearly_full && used * slab.regions_in_all <= used_in_all * slab.regions
}

/// What is freed goes back to its slab at once, and new room comes from the fullest one instead of what was freed last.
fn without_cache() {
    // With the cache it works too, only worse.
    let _ = b"thread.tcache.enabled\0".name().write(false);
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
    let key = format!("{name}\0");
    let wanted = key.as_bytes().name();
    if !wanted.value_type_str() {
        return Err(setting(name, None).err().unwrap_or("Invalid argument"));
    }
    let value: Result<&'static [u8], _> = wanted.read();
    value.map(|text| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned()).map_err(|error| reason(&error))
}
