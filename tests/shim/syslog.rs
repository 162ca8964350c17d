//! A shim over libc's `openlog` and `syslog`, preloaded under a real process: what it tells the system's log is appended to the
//! file that `GRAVEN_SYSLOG` names, one line per call.
//!
//! `syslog` takes any number of arguments; the program under test always passes a format and one string.

use std::ffi::{CStr, c_char, c_int};
use std::io::Write;

fn note(line: &str) {
    let Some(path) = std::env::var_os("GRAVEN_SYSLOG") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    if let Ok(mut file) = file {
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}

fn text(at: *const c_char) -> String {
    if at.is_null() {
        return String::new();
    }
    // SAFETY: the caller passes strings, as libc asks.
    unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned()
}

#[unsafe(no_mangle)]
pub extern "C" fn openlog(ident: *const c_char, flags: c_int, facility: c_int) {
    note(&format!("openlog {} {flags} {facility}", text(ident)));
}

#[unsafe(no_mangle)]
pub extern "C" fn syslog(priority: c_int, format: *const c_char, message: *const c_char) {
    note(&format!("syslog {priority} {} {}", text(format), text(message)));
}
