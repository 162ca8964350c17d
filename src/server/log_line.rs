//! The server's log, one line per event, in a format of stock servers: `pid:role dd Mon yyyy hh:mm:ss.mmm * text`, or pairs as
//! of Valkey 8.1 (`log-format logfmt`), with its forms of the time (`log-timestamp-format`).
//!
//! Lines go to standard output or to a file, their texts to the system's log too where that is wanted. The file is opened for
//! each line, so that rotating it by renaming needs no signal; nothing is buffered.

use std::ffi::CString;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use nix::syslog::{Facility, LogFlags, Priority, Severity};
use parking_lot::{Mutex, RwLock};
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Level, Metadata, Subscriber};

use super::config::{LogForm, LogLevel, Stamps, Syslog};
use crate::env::Clock;

/// The letter behind the pid: what the process is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Reading its configuration.
    Starting = b'C',
    Primary = b'M',
}

impl Role {
    /// As a pair of logfmt names it; what writes its lines before there is a server has the name of stock's children.
    fn name(role: u8) -> &'static str {
        if role == Self::Primary as u8 { "primary" } else { "RDB/AOF" }
    }
}

/// Prints events as log lines.
pub struct LogLines {
    clock: Arc<dyn Clock>,
    target: Mutex<Target>,
    level: AtomicU8,
    role: AtomicU8,
    form: RwLock<LogForm>,
    /// Where in the system's log the texts go too.
    facility: OnceLock<Facility>,
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
            form: RwLock::new(LogForm { logfmt: false, stamps: Stamps::Legacy }),
            facility: OnceLock::new(),
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

    pub fn set_form(&self, form: LogForm) {
        *self.form.write() = form;
    }

    /// Sends the texts to the system's log too. Once: the C library keeps the name.
    pub fn add_syslog(&self, syslog: &Syslog) {
        const LOCAL: [Facility; 8] = [
            Facility::LOG_LOCAL0,
            Facility::LOG_LOCAL1,
            Facility::LOG_LOCAL2,
            Facility::LOG_LOCAL3,
            Facility::LOG_LOCAL4,
            Facility::LOG_LOCAL5,
            Facility::LOG_LOCAL6,
            Facility::LOG_LOCAL7,
        ];
        let local = syslog.facility.strip_prefix("local").and_then(|number| number.parse::<usize>().ok());
        let facility = local.and_then(|number| LOCAL.get(number).copied()).unwrap_or(Facility::LOG_USER);
        let ident = CString::new(syslog.ident.clone()).unwrap_or_default();
        let flags = LogFlags::LOG_PID | LogFlags::LOG_NDELAY;
        if nix::syslog::openlog(Some(Box::leak(ident.into_boxed_c_str())), flags, facility).is_ok() {
            // A second call changes nothing.
            let _ = self.facility.set(facility);
        }
    }

    fn write(&self, level: LogLevel, text: &str) {
        let (role, pid, form) = (self.role.load(Ordering::Relaxed), std::process::id(), *self.form.read());
        let stamp = format_time(self.clock.unix_micros(), form.stamps);
        let line = if form.logfmt {
            let (role, level, text) = (Role::name(role), name_of(level), text.replace('"', "'"));
            format!("pid={pid} role={role} timestamp=\"{stamp}\" level={level} message=\"{text}\"\n")
        } else {
            format!("{pid}:{} {stamp} {} {text}\n", char::from(role), mark_of(level))
        };
        // A log that cannot be written must not take the server down.
        let _ = match &*self.target.lock() {
            Target::StandardOutput => std::io::stdout().lock().write_all(line.as_bytes()),
            Target::File(path) => open_for_append(path).and_then(|mut file| file.write_all(line.as_bytes())),
        };
        if let Some(facility) = self.facility.get() {
            let severity = match level {
                LogLevel::Debug => Severity::LOG_DEBUG,
                LogLevel::Verbose => Severity::LOG_INFO,
                LogLevel::Notice => Severity::LOG_NOTICE,
                LogLevel::Warning => Severity::LOG_WARNING,
            };
            let _ = nix::syslog::syslog(Priority::new(severity, *facility), text);
        }
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
        level_of(metadata.level()) as u8 >= self.0.level.load(Ordering::Relaxed)
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        self.0.write(level_of(event.metadata().level()), &text.line);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// Stock's level.
fn level_of(level: &Level) -> LogLevel {
    match *level {
        Level::TRACE => LogLevel::Debug,
        Level::DEBUG => LogLevel::Verbose,
        Level::INFO => LogLevel::Notice,
        Level::WARN | Level::ERROR => LogLevel::Warning,
    }
}

/// The mark in front of the text.
fn mark_of(level: LogLevel) -> char {
    match level {
        LogLevel::Debug => '.',
        LogLevel::Verbose => '-',
        LogLevel::Notice => '*',
        LogLevel::Warning => '#',
    }
}

/// The level in a pair of logfmt.
fn name_of(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Debug => "debug",
        LogLevel::Verbose => "info",
        LogLevel::Notice => "notice",
        LogLevel::Warning => "warning",
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

/// A moment in the local time zone.
fn format_time(unix_micros: i64, stamps: Stamps) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    if stamps == Stamps::Milliseconds {
        return unix_micros.div_euclid(1000).to_string();
    }
    let (seconds, millis) = (unix_micros.div_euclid(1_000_000), unix_micros.rem_euclid(1_000_000) / 1000);
    let time = super::local_time::local_time(seconds);
    let clock = format!("{:02}:{:02}:{:02}.{millis:03}", time.hour, time.minute, time.second);
    if stamps == Stamps::Iso8601 {
        let (sign, offset) = (if time.utc_offset < 0 { '-' } else { '+' }, time.utc_offset.abs() / 60);
        let zone = format!("{sign}{:02}:{:02}", offset / 60, offset % 60);
        return format!("{:04}-{:02}-{:02}T{clock}{zone}", time.year, time.month + 1, time.day);
    }
    let month = MONTHS.get(time.month).copied().unwrap_or("???");
    format!("{:02} {month} {:04} {clock}", time.day, time.year)
}

#[cfg(test)]
mod tests {
    use super::{LogLines, Role, format_time};
    use crate::env::{ManualClock, UnixMillis};
    use crate::server::config::{LogForm, LogLevel, Stamps};
    use std::sync::Arc;

    #[test]
    fn pairs_and_other_forms_of_the_time() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("log");
        let log = LogLines::new(Arc::new(ManualClock::at(UnixMillis(1_795_226_094_815))));
        log.set_file(Some(path.clone())).expect("a file");
        log.set_form(LogForm { logfmt: true, stamps: Stamps::Milliseconds });
        let write = || tracing::warn!("says \"it\"\nhere");
        tracing::subscriber::with_default(super::Handle(Arc::clone(&log)), write);
        log.set_role(Role::Primary);
        tracing::subscriber::with_default(super::Handle(Arc::clone(&log)), write);
        #[expect(clippy::disallowed_methods, reason = "reads what the log wrote")]
        let text = String::from_utf8(std::fs::read(&path).expect("a log")).expect("text");
        let line = |role: &str| {
            let pid = std::process::id();
            format!("pid={pid} role={role} timestamp=\"1795226094815\" level=warning message=\"says 'it' here\"\n")
        };
        assert_eq!(text, line("RDB/AOF") + &line("primary"));
        let stamp = format_time(1_795_226_094_815_999, Stamps::Iso8601);
        assert_eq!((&stamp[..9], &stamp[10..11], &stamp[16..23]), ("2026-11-2", "T", ":54.815"), "{stamp}");
        assert!(stamp.ends_with(":00") || stamp.ends_with(":30") || stamp.ends_with(":45"), "{stamp}");
    }

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
