//! The title of the process, as `ps` shows it (`set-proc-title`, `proc-title-template`).
//!
//! The system shows the bytes that the arguments were passed in, and those of the environment behind them when the last
//! byte of the arguments is not zero. The environment is moved elsewhere first; then the title may have both.
#![expect(unsafe_code, reason = "the arguments lie where the system has put them, and nothing safe leads there")]

use std::ffi::{CStr, c_char};
use std::ptr;

use parking_lot::Mutex;

use super::config::Settings;

/// Where titles go, and what they say that no setting does.
struct Room {
    start: *mut c_char,
    /// Bytes that a title may have, its final zero counted.
    len: usize,
    program: String,
    config_file: Option<String>,
}

// SAFETY: the bytes belong to the process for as long as it lives, and are only touched under the lock.
unsafe impl Send for Room {}

static ROOM: Mutex<Option<Room>> = Mutex::new(None);

unsafe extern "C" {
    static mut environ: *mut *mut c_char;
}

/// Takes the place of arguments and environment for titles. Called once, while the process has one thread that knows its
/// environment; the arguments must have been read. `program` is the name that the process was started by.
pub fn make_room(program: String, config_file: Option<String>) {
    let Some((start, end)) = find_room() else { return };
    let start = ptr::with_exposed_provenance_mut::<c_char>(start);
    *ROOM.lock() = Some(Room { start, len: end - start.addr(), program, config_file });
}

/// From where to where titles may be written; the environment has been moved out of there. `None`: the system does not say.
fn find_room() -> Option<(usize, usize)> {
    #[expect(clippy::disallowed_methods, reason = "a file of the system's, outside of the data directory")]
    let text = std::fs::read("/proc/self/stat").ok()?;
    let text = String::from_utf8_lossy(&text);
    // Behind the name, which may hold anything, stands field 3; the places are fields 48 to 51.
    let mut fields =
        text.rsplit_once(')')?.1.split_ascii_whitespace().skip(48 - 3).map_while(|field| field.parse().ok());
    let mut next = || -> Option<usize> { fields.next() };
    let (args_start, args_end, env_start, env_end) = (next()?, next()?, next()?, next()?);
    if args_start == 0 || args_start >= args_end {
        return None;
    }
    if args_end != env_start || env_start >= env_end {
        return Some((args_start, args_end));
    }
    // SAFETY: one thread runs, so nobody reads or changes the environment meanwhile; its strings end with a zero, and each
    // is replaced by a copy that is never freed.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            if (env_start..env_end).contains(&(*entry).addr()) {
                *entry = CStr::from_ptr(*entry).to_owned().into_raw();
            }
            entry = entry.add(1);
        }
    }
    Some((args_start, env_end))
}

/// Shows the title that the settings describe.
pub fn show(settings: &Settings) {
    let room = ROOM.lock();
    let Some(room) = room.as_ref().filter(|_| settings.sets_title) else { return };
    let title = title(settings, &room.program, room.config_file.as_deref());
    let len = title.len().min(room.len - 1);
    // SAFETY: `room.len` bytes from `start` on are ours, mapped and writable, and no longer hold arguments or environment
    // that anybody reads; the rest behind the title is zero, so what still points there finds a string that ends.
    unsafe {
        ptr::copy_nonoverlapping(title.as_ptr().cast(), room.start, len);
        ptr::write_bytes(room.start.add(len), 0, room.len - len);
    }
}

fn title(settings: &Settings, program: &str, config_file: Option<&str>) -> String {
    let unix = settings.unixsocket.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let mut text = String::new();
    let mut rest = settings.title_template.as_str();
    // The template was checked when it was set: every brace belongs to a known name.
    while let Some((before, (name, after))) =
        rest.split_once('{').and_then(|(before, inner)| Some((before, inner.split_once('}')?)))
    {
        text.push_str(before);
        match name {
            "title" => text.push_str(program),
            "listen-addr" if settings.port == 0 => text.push_str(&format!("unixsocket:{unix}")),
            "listen-addr" => {
                let host = settings.bind.first().map_or("*".to_owned(), |address| {
                    format!("{}{}", if address.optional { "-" } else { "" }, address.host)
                });
                text.push_str(&format!("{host}:{}", settings.port));
            }
            "config-file" => text.push_str(config_file.unwrap_or("-")),
            "port" => text.push_str(&settings.port.to_string()),
            // There is no TLS.
            "tls-port" => text.push('0'),
            "unixsocket" => text.push_str(&unix),
            // `server-mode` is empty for a server alone.
            _ => {}
        }
        rest = after;
    }
    text.push_str(rest);
    text.trim_matches(' ').to_owned()
}

#[cfg(test)]
mod tests {
    use super::title;
    use crate::server::config::{Config, Profile, Settings};
    use std::path::Path;

    #[test]
    fn templates() {
        let mut settings = Settings::resolve(&Config::new(Profile::Stock), Path::new("/"));
        let mut check = |template: &str, file, expected: &str| {
            settings.title_template = template.into();
            assert_eq!(title(&settings, "redis-server", file), expected);
        };
        check("{title} {listen-addr} {server-mode}", None, "redis-server *:6379");
        check(" {config-file}/{port}{tls-port}:{unixsocket} x ", None, "-/63790: x");
        check("{config-file}", Some("/etc/x.conf"), "/etc/x.conf");
        (settings.port, settings.unixsocket) = (0, Some("/s".into()));
        let mut check = |template: &str, expected: &str| {
            settings.title_template = template.into();
            assert_eq!(title(&settings, "g", None), expected);
        };
        check("{listen-addr}", "unixsocket:/s");
    }
}
