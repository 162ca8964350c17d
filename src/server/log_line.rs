//! The server's log, one line per event, in the format of stock servers: `pid:role dd Mon yyyy hh:mm:ss.mmm * text`.
//!
//! Lines go to standard output or to a file. The file is opened for each line, so that rotating it by renaming needs no
//! signal; nothing is buffered.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Level, Metadata, Subscriber};

use super::config::LogLevel;
use crate::env::Clock;

/// The letter behind the pid: what the process is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Reading its configuration.
    Starting = b'C',
    Primary = b'M',
}

/// Prints events as log lines.
pub struct LogLines {
    clock: Arc<dyn Clock>,
    target: Mutex<Target>,
    level: AtomicU8,
    role: AtomicU8,
}

enum Target {
    StandardOutput,
    File(PathBuf),
}

static INSTALLED: OnceLock<Arc<LogLines>> = OnceLock::new();

/// The process's log, if it is ours.
pub fn installed() -> Option<&'static Arc<LogLines>> {
    INSTALLED.get()
}

impl LogLines {
    /// Lines to standard output, from `notice` on.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            target: Mutex::new(Target::StandardOutput),
            level: AtomicU8::new(LogLevel::Notice as u8),
            role: AtomicU8::new(Role::Starting as u8),
        })
    }

    /// Makes this the process's log.
    ///
    /// Returns false when there is one already, as in a test that starts two servers.
    pub fn install(self: &Arc<Self>) -> bool {
        INSTALLED.set(Arc::clone(self)).is_ok()
            && tracing::subscriber::set_global_default(Handle(Arc::clone(self))).is_ok()
    }

    /// Sends further lines to a file; `None` is standard output.
    ///
    /// # Errors
    /// The file cannot be opened for appending.
    pub fn set_file(&self, path: Option<PathBuf>) -> std::io::Result<()> {
        *self.target.lock() = match path {
            Some(path) => {
                open_for_append(&path)?;
                Target::File(path)
            }
            None => Target::StandardOutput,
        };
        Ok(())
    }

    pub fn set_level(&self, level: LogLevel) {
        self.level.store(level as u8, Ordering::Relaxed);
    }

    pub fn set_role(&self, role: Role) {
        self.role.store(role as u8, Ordering::Relaxed);
    }

    fn write(&self, mark: char, text: &str) {
        let role = char::from(self.role.load(Ordering::Relaxed));
        let stamp = format_time(self.clock.unix_micros());
        let line = format!("{}:{role} {stamp} {mark} {text}\n", std::process::id());
        // A log that cannot be written must not take the server down.
        let _ = match &*self.target.lock() {
            Target::StandardOutput => std::io::stdout().lock().write_all(line.as_bytes()),
            Target::File(path) => open_for_append(path).and_then(|mut file| file.write_all(line.as_bytes())),
        };
    }
}

#[expect(clippy::disallowed_methods, reason = "the log file is the operator's, outside of the data directory")]
fn open_for_append(path: &std::path::Path) -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new().create(true).append(true).open(path)
}

/// What tracing calls; shares the state with whoever changes it.
struct Handle(Arc<LogLines>);

impl Subscriber for Handle {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        mark_of(metadata.level()).0 as u8 >= self.0.level.load(Ordering::Relaxed)
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        self.0.write(mark_of(event.metadata().level()).1, &text.line);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// Stock's level and its mark.
fn mark_of(level: &Level) -> (LogLevel, char) {
    match *level {
        Level::TRACE => (LogLevel::Debug, '.'),
        Level::DEBUG => (LogLevel::Verbose, '-'),
        Level::INFO => (LogLevel::Notice, '*'),
        Level::WARN | Level::ERROR => (LogLevel::Warning, '#'),
    }
}

/// The message, then further fields as ` name=value`; line breaks cannot forge a line.
#[derive(Default)]
struct Text {
    line: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let start = self.line.len();
        // Writing to a string cannot fail.
        let _ = if field.name() == "message" {
            write!(self.line, "{value:?}")
        } else {
            write!(self.line, " {}={value:?}", field.name())
        };
        if self.line[start..].contains(['\n', '\r']) {
            let safe = self.line[start..].replace(['\n', '\r'], " ");
            self.line.replace_range(start.., &safe);
        }
    }
}

/// `dd Mon yyyy hh:mm:ss.mmm` in the local time zone.
fn format_time(unix_micros: i64) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (seconds, millis) = (unix_micros.div_euclid(1_000_000), unix_micros.rem_euclid(1_000_000) / 1000);
    let time = super::local_time::local_time(seconds);
    let month = MONTHS.get(time.month).copied().unwrap_or("???");
    format!(
        "{:02} {month} {:04} {:02}:{:02}:{:02}.{millis:03}",
        time.day, time.year, time.hour, time.minute, time.second
    )
}

#[cfg(test)]
mod tests {
    use super::{LogLines, Role};
    use crate::env::{ManualClock, UnixMillis};
    use crate::server::config::LogLevel;
    use std::sync::Arc;

    #[test]
    fn lines_have_stocks_form_and_levels() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("log");
        let log = LogLines::new(Arc::new(ManualClock::at(UnixMillis(1_795_226_094_815))));
        log.set_file(Some(path.clone())).expect("a file");
        log.set_role(Role::Primary);
        tracing::subscriber::with_default(super::Handle(Arc::clone(&log)), || {
            tracing::info!("Ready to accept connections");
            tracing::debug!("not at this level");
            tracing::warn!(code = 7, "two\nlines");
        });
        log.set_level(LogLevel::Verbose);
        tracing::subscriber::with_default(super::Handle(Arc::clone(&log)), || tracing::debug!("now it is"));
        #[expect(clippy::disallowed_methods, reason = "reads what the log wrote")]
        let text = String::from_utf8(std::fs::read(&path).expect("a log")).expect("text");
        let pid = std::process::id();
        let marks: Vec<&str> = text
            .lines()
            .map(|line| &line[line.len().min(format!("{pid}:M 21 Nov 2026 01:54:54.815 ").len())..])
            .collect();
        assert_eq!(marks, ["* Ready to accept connections", "# two lines code=7", "- now it is"]);
        assert!(text.starts_with(&format!("{pid}:M 2")), "{text}");
        assert!(text.contains(".815 * "), "{text}");
    }
}
