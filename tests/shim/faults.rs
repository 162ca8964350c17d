//! A shim over libc's file calls, preloaded under a real process to make its disk fail, lie about progress or be slow.
//!
//! One source file without dependencies; tests build it with `rustc --crate-type cdylib` and start the process with
//! `LD_PRELOAD` and `GRAVEN_SHIM_CONTROL` set. Without the variable, or while no rule is set, every call passes through
//! untouched. Sockets and pipes are never touched.
//!
//! # The control file
//!
//! 4096 bytes, mapped by every process under the shim, so that asking whether the rules have changed costs one load.
//!
//! | offset | size | field                                                                                    |
//! |      0 |    8 | u64, native order: generation; odd while the rules are being written, then the next even |
//! |      8 |    8 | u64: processes that have loaded the shim                                                 |
//! |     16 | 2032 | rules, one per line, UTF-8, ended by a zero byte                                         |
//! |   2048 | 2048 | per rule two u64: calls that matched, calls that it struck; reset by who sets the rules  |
//!
//! A rule is `<op> <fault> <first> <times> <path>`, e.g. `sync eio 3 1 .incr.aof`: of the calls of this kind on a path
//! that contains `<path>`, counted over all processes from 0, those from `<first>` on, `<times>` of them (0: no end),
//! meet the fault. The first rule that strikes decides.
//!
//! Kinds of calls: `write` (write, pwrite, writev, pwritev, pwritev2), `sync` (fsync, fdatasync), `truncate` (ftruncate), `rename`
//! (the path is the new one), `unlink`, `open` (the path as the program gives it).
//!
//! Faults: an errno by number, or `eio`, `enospc`; `short:N` (a write transfers at most N bytes); `delay:MS` (before the
//! call); `hold` (the call waits for as long as these rules are set); `kill:N` (the process kills itself with SIGKILL
//! instead of the call, a write after its first N bytes).

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const CONTROL_BYTES: usize = 4096;
const LOADED_AT: usize = 8;
const RULES: std::ops::Range<usize> = 16..2048;
const COUNTS_AT: usize = 2048;
const RULES_MAX: usize = (CONTROL_BYTES - COUNTS_AT) / 16;

const EIO: c_int = 5;
const ENOSPC: c_int = 28;
const SIGKILL: c_int = 9;
const PROT_READ_WRITE: c_int = 3;
const MAP_SHARED: c_int = 1;
const RTLD_NEXT: *mut c_void = -1isize as *mut c_void;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Slice {
    base: *const c_void,
    len: usize,
}

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn mmap(at: *mut c_void, len: usize, prot: c_int, flags: c_int, fd: c_int, offset: i64) -> *mut c_void;
    fn __errno_location() -> *mut c_int;
    fn getpid() -> c_int;
    fn kill(pid: c_int, signal: c_int) -> c_int;
}

#[derive(Clone, Copy, PartialEq)]
enum Op {
    Write = 1,
    Sync = 2,
    Truncate = 4,
    Rename = 8,
    Unlink = 16,
    Open = 32,
}

#[derive(Clone, Copy)]
enum Fault {
    Errno(c_int),
    Short(usize),
    Delay(u64),
    Hold,
    Kill(usize),
}

struct Rule {
    op: Op,
    fault: Fault,
    first: u64,
    times: u64,
    path: String,
}

enum Verdict {
    Pass,
    Fail(c_int),
    /// The transfer is cut to so many bytes.
    Limit(usize),
    /// The process dies after so many bytes.
    Die(usize),
}

static CONTROL: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
/// Generation of the rules below, and the kinds of calls that they speak of.
static PARSED: AtomicU64 = AtomicU64::new(0);
static KINDS: AtomicU8 = AtomicU8::new(0);
static PARSED_RULES: Mutex<Option<Arc<Vec<Rule>>>> = Mutex::new(None);

#[used]
#[unsafe(link_section = ".init_array")]
static ON_LOAD: extern "C" fn() = on_load;

extern "C" fn on_load() {
    use std::os::fd::AsRawFd;
    let Some(path) = std::env::var_os("GRAVEN_SHIM_CONTROL") else { return };
    let Ok(file) = std::fs::OpenOptions::new().read(true).write(true).open(path) else { return };
    if !file.metadata().is_ok_and(|metadata| metadata.len() == CONTROL_BYTES as u64) {
        return;
    }
    // SAFETY: a fresh shared mapping of a file of that size.
    let at = unsafe {
        mmap(std::ptr::null_mut(), CONTROL_BYTES, PROT_READ_WRITE, MAP_SHARED, file.as_raw_fd(), 0).cast::<u8>()
    };
    if at as isize != -1 {
        CONTROL.store(at, Ordering::Release);
        if let Some(loaded) = word(LOADED_AT) {
            loaded.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn word(offset: usize) -> Option<&'static AtomicU64> {
    let control = CONTROL.load(Ordering::Acquire);
    // SAFETY: the mapping is never undone, page-aligned, and `offset` is a multiple of 8 within it.
    (!control.is_null()).then(|| unsafe { &*control.add(offset).cast::<AtomicU64>() })
}

fn parse(line: &str) -> Option<Rule> {
    let mut fields = line.splitn(5, ' ');
    let op = match fields.next()? {
        "write" => Op::Write,
        "sync" => Op::Sync,
        "truncate" => Op::Truncate,
        "rename" => Op::Rename,
        "unlink" => Op::Unlink,
        "open" => Op::Open,
        _ => return None,
    };
    let fault = fields.next()?;
    let (name, number) = fault.split_once(':').unwrap_or((fault, "0"));
    let fault = match name {
        "eio" => Fault::Errno(EIO),
        "enospc" => Fault::Errno(ENOSPC),
        "short" => Fault::Short(number.parse().ok()?),
        "delay" => Fault::Delay(number.parse().ok()?),
        "hold" => Fault::Hold,
        "kill" => Fault::Kill(number.parse().ok()?),
        errno => Fault::Errno(errno.parse().ok()?),
    };
    let (first, times) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Rule { op, fault, first, times, path: fields.next()?.to_owned() })
}

/// The rules now, and their generation.
fn rules() -> (u64, Arc<Vec<Rule>>) {
    let mut parsed = PARSED_RULES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    loop {
        let generation = word(0).map_or(0, |generation| generation.load(Ordering::SeqCst));
        if generation % 2 == 1 {
            std::thread::yield_now();
            continue;
        }
        if let Some(rules) = parsed.as_ref().filter(|_| PARSED.load(Ordering::SeqCst) == generation) {
            return (generation, rules.clone());
        }
        let control = CONTROL.load(Ordering::Acquire);
        let mut text = Vec::new();
        for at in RULES {
            // SAFETY: within the mapping, which is there since a generation could be read. Volatile, as others write.
            match unsafe { control.add(at).read_volatile() } {
                0 => break,
                byte => text.push(byte),
            }
        }
        if word(0).is_none_or(|now| now.load(Ordering::SeqCst) != generation) {
            continue;
        }
        let text = String::from_utf8_lossy(&text);
        let rules: Vec<_> = text
            .lines()
            .map(|line| {
                parse(line).unwrap_or_else(|| {
                    eprintln!("fault shim: cannot read the rule {line:?}");
                    std::process::abort()
                })
            })
            .take(RULES_MAX)
            .collect();
        KINDS.store(rules.iter().fold(0, |kinds, rule| kinds | rule.op as u8), Ordering::SeqCst);
        *parsed = Some(Arc::new(rules));
        PARSED.store(generation, Ordering::SeqCst);
    }
}

fn judge(op: Op, path: impl FnOnce() -> Option<String>) -> Verdict {
    let Some(generation) = word(0) else { return Verdict::Pass };
    let concerns = || {
        generation.load(Ordering::SeqCst) != PARSED.load(Ordering::SeqCst)
            || KINDS.load(Ordering::SeqCst) & op as u8 != 0
    };
    if !concerns() {
        return Verdict::Pass;
    }
    let mut path = Some(path);
    let mut name = String::new();
    loop {
        let (now, rules) = rules();
        if rules.iter().all(|rule| rule.op != op) {
            return Verdict::Pass;
        }
        if let Some(path) = path.take() {
            match path() {
                Some(found) => name = found,
                None => return Verdict::Pass,
            }
        }
        let mut struck = None;
        for (index, rule) in rules.iter().enumerate() {
            let (Some(matched), Some(strikes)) = (word(COUNTS_AT + 16 * index), word(COUNTS_AT + 16 * index + 8))
            else {
                continue;
            };
            if rule.op == op && name.contains(&rule.path) {
                let n = matched.fetch_add(1, Ordering::SeqCst);
                if struck.is_none() && n >= rule.first && (rule.times == 0 || n - rule.first < rule.times) {
                    strikes.fetch_add(1, Ordering::SeqCst);
                    struck = Some(rule.fault);
                }
            }
        }
        match struck {
            None => return Verdict::Pass,
            Some(Fault::Errno(errno)) => return Verdict::Fail(errno),
            Some(Fault::Short(bytes)) => return Verdict::Limit(bytes.max(1)),
            Some(Fault::Kill(bytes)) => return Verdict::Die(bytes),
            Some(Fault::Delay(millis)) => {
                std::thread::sleep(Duration::from_millis(millis));
                return Verdict::Pass;
            }
            Some(Fault::Hold) => {
                while generation.load(Ordering::SeqCst) == now {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }
}

fn fail(errno: c_int) -> isize {
    // SAFETY: the calling thread's own errno.
    unsafe { *__errno_location() = errno };
    -1
}

fn die() -> ! {
    // SAFETY: no memory is involved. The signal cannot be caught.
    unsafe { kill(getpid(), SIGKILL) };
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Where a descriptor of a file leads; none for sockets, pipes and the like.
fn path_of(fd: c_int) -> Option<String> {
    let path = std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()?.to_string_lossy().into_owned();
    path.starts_with('/').then_some(path)
}

/// A path that a caller gave.
///
/// # Safety
/// As the call itself: null or a terminated string.
unsafe fn path_given(path: *const c_char) -> Option<String> {
    // SAFETY: the caller's promise.
    (!path.is_null()).then(|| unsafe { CStr::from_ptr(path) }.to_string_lossy().into_owned())
}

/// The next definition of a symbol, looked up once.
macro_rules! real {
    ($name:ident: $kind:ty) => {{
        static REAL: AtomicUsize = AtomicUsize::new(0);
        let mut at = REAL.load(Ordering::Relaxed);
        if at == 0 {
            // SAFETY: a terminated name.
            at = unsafe { dlsym(RTLD_NEXT, concat!(stringify!($name), "\0").as_ptr().cast()) } as usize;
            assert!(at != 0, "no {}", stringify!($name));
            REAL.store(at, Ordering::Relaxed);
        }
        // SAFETY: libc defines the symbol with this signature.
        unsafe { std::mem::transmute::<usize, $kind>(at) }
    }};
}

fn transfer(fd: c_int, len: usize, go: impl Fn(usize) -> isize) -> isize {
    match judge(Op::Write, || path_of(fd)) {
        Verdict::Pass => go(len),
        Verdict::Fail(errno) => fail(errno),
        Verdict::Limit(most) => go(len.min(most)),
        Verdict::Die(first) => {
            go(len.min(first));
            die()
        }
    }
}

fn act(op: Op, path: impl FnOnce() -> Option<String>, go: impl FnOnce() -> c_int) -> c_int {
    match judge(op, path) {
        Verdict::Pass | Verdict::Limit(_) => go(),
        Verdict::Fail(errno) => fail(errno) as c_int,
        Verdict::Die(_) => die(),
    }
}

/// The first `most` bytes of a vectored write.
///
/// # Safety
/// `slices` is as the vectored call promises: `count` of them.
unsafe fn first_bytes(slices: *const Slice, count: c_int, mut most: usize) -> Vec<Slice> {
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: the caller's promise.
    let given = if count == 0 { &[][..] } else { unsafe { std::slice::from_raw_parts(slices, count) } };
    let mut first = Vec::with_capacity(count);
    for slice in given {
        let len = slice.len.min(most);
        most -= len;
        first.push(Slice { base: slice.base, len });
    }
    first
}

macro_rules! positioned_write {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(fd: c_int, buf: *const c_void, len: usize, offset: i64) -> isize {
            let real = real!($name: unsafe extern "C" fn(c_int, *const c_void, usize, i64) -> isize);
            // SAFETY: the caller's arguments, with a length no greater.
            transfer(fd, len, |len| unsafe { real(fd, buf, len, offset) })
        }
    )*};
}
positioned_write!(pwrite pwrite64);

#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, buf: *const c_void, len: usize) -> isize {
    let real = real!(write: unsafe extern "C" fn(c_int, *const c_void, usize) -> isize);
    // SAFETY: the caller's arguments, with a length no greater.
    transfer(fd, len, |len| unsafe { real(fd, buf, len) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(fd: c_int, slices: *const Slice, count: c_int) -> isize {
    let real = real!(writev: unsafe extern "C" fn(c_int, *const Slice, c_int) -> isize);
    // SAFETY: the caller's arguments, or shorter copies of them.
    transfer(fd, usize::MAX, |most| unsafe {
        if most == usize::MAX {
            real(fd, slices, count)
        } else {
            real(fd, first_bytes(slices, count, most).as_ptr(), count)
        }
    })
}

macro_rules! positioned_vectored_write {
    ($($name:ident($($flags:ident: $kind:ty)?))*) => {$(
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            fd: c_int, slices: *const Slice, count: c_int, offset: i64 $(, $flags: $kind)?
        ) -> isize {
            let real = real!($name: unsafe extern "C" fn(c_int, *const Slice, c_int, i64 $(, $kind)?) -> isize);
            // SAFETY: the caller's arguments, or shorter copies of them.
            transfer(fd, usize::MAX, |most| unsafe {
                if most == usize::MAX {
                    real(fd, slices, count, offset $(, $flags)?)
                } else {
                    real(fd, first_bytes(slices, count, most).as_ptr(), count, offset $(, $flags)?)
                }
            })
        }
    )*};
}
positioned_vectored_write!(pwritev() pwritev64() pwritev2(flags: c_int) pwritev64v2(flags: c_int));

macro_rules! sync {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(fd: c_int) -> c_int {
            let real = real!($name: unsafe extern "C" fn(c_int) -> c_int);
            // SAFETY: the caller's argument.
            act(Op::Sync, || path_of(fd), || unsafe { real(fd) })
        }
    )*};
}
sync!(fsync fdatasync);

macro_rules! truncate {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(fd: c_int, len: i64) -> c_int {
            let real = real!($name: unsafe extern "C" fn(c_int, i64) -> c_int);
            // SAFETY: the caller's arguments.
            act(Op::Truncate, || path_of(fd), || unsafe { real(fd, len) })
        }
    )*};
}
truncate!(ftruncate ftruncate64);

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let real = real!(rename: unsafe extern "C" fn(*const c_char, *const c_char) -> c_int);
    // SAFETY: the caller's arguments.
    act(Op::Rename, || unsafe { path_given(to) }, || unsafe { real(from, to) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    let real = real!(unlink: unsafe extern "C" fn(*const c_char) -> c_int);
    // SAFETY: the caller's argument.
    act(Op::Unlink, || unsafe { path_given(path) }, || unsafe { real(path) })
}

/// `open` is variadic; on the platforms concerned (64-bit Linux, x86 and Arm) its third argument is passed like a
/// declared one, and what the caller left out is not looked at.
macro_rules! open {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(path: *const c_char, flags: c_int, mode: u32) -> c_int {
            let real = real!($name: unsafe extern "C" fn(*const c_char, c_int, ...) -> c_int);
            // SAFETY: the caller's arguments.
            act(Op::Open, || unsafe { path_given(path) }, || unsafe { real(path, flags, mode) })
        }
    )*};
}
open!(open open64);

macro_rules! openat {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(at: c_int, path: *const c_char, flags: c_int, mode: u32) -> c_int {
            let real = real!($name: unsafe extern "C" fn(c_int, *const c_char, c_int, ...) -> c_int);
            // SAFETY: the caller's arguments.
            act(Op::Open, || unsafe { path_given(path) }, || unsafe { real(at, path, flags, mode) })
        }
    )*};
}
openat!(openat openat64);
