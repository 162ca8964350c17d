//! What the process arranges with the system that it runs on: its chances when memory runs out, huge pages, and whoever
//! supervises it.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::OnceLock;

use super::config::{OomScore, Settings};

const OOM_SCORE: &str = "/proc/self/oom_score_adj";
const OOM_SCORE_RANGE: (i64, i64) = (-1000, 1000);

/// What the score was when the process began.
static OOM_SCORE_BEFORE: OnceLock<i64> = OnceLock::new();

/// Arranges what holds from the start.
pub fn arrange(settings: &Settings) {
    if settings.disable_huge_pages
        && let Err(errno) = nix::sys::prctl::set_thp_disable(true)
    {
        tracing::warn!("Transparent huge pages cannot be disabled for this process: {}", errno.desc());
    }
    if let Err(error) = apply_oom_score(None, settings.oom_score) {
        tracing::warn!("Unable to write oom_score_adj: {}", super::listener::os_text(&error));
    }
}

/// Sets the score by which the system chooses what to end when memory runs out. What was never changed here is left alone.
///
/// # Errors
/// The system refuses: only the privileged may lower it.
pub fn apply_oom_score(before: Option<OomScore>, wanted: OomScore) -> io::Result<()> {
    if wanted == OomScore::Unchanged && before.is_none_or(|before| before == OomScore::Unchanged) {
        return Ok(());
    }
    #[expect(clippy::disallowed_methods, reason = "a file of the system's, outside of the data directory")]
    let read = || std::fs::read(OOM_SCORE);
    let found = || String::from_utf8_lossy(&read().unwrap_or_default()).trim().parse().unwrap_or(0);
    let base = *OOM_SCORE_BEFORE.get_or_init(found);
    let score = match wanted {
        OomScore::Unchanged => base,
        OomScore::Relative(score) => base + score,
        OomScore::Absolute(score) => score,
    };
    let text = score.clamp(OOM_SCORE_RANGE.0, OOM_SCORE_RANGE.1).to_string();
    #[expect(clippy::disallowed_methods, reason = "a file of the system's, outside of the data directory")]
    std::fs::write(OOM_SCORE, text)
}

/// Who supervises the process, by `supervised`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supervisor {
    None,
    Systemd,
    Upstart,
}

impl Supervisor {
    /// What the setting comes to in the environment that the process was started in.
    pub fn of(setting: &str) -> Self {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        match setting {
            "systemd" | "auto" if is_set("NOTIFY_SOCKET") => Self::Systemd,
            "upstart" | "auto" if is_set("UPSTART_JOB") => Self::Upstart,
            _ => Self::None,
        }
    }

    /// As INFO names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "no",
            Self::Systemd => "systemd",
            Self::Upstart => "upstart",
        }
    }

    /// Tells it that requests are served. Under upstart the process stops until it is told to go on.
    pub fn ready(self) {
        match self {
            Self::None => {}
            Self::Systemd => notify("STATUS=Ready to accept connections\nREADY=1\n"),
            Self::Upstart => {
                tracing::info!("supervised by upstart, will stop to signal readiness");
                // Whoever waits for the stop goes on waiting, and says so.
                let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
            }
        }
    }

    /// Tells it that the end has begun.
    pub fn stopping(self) {
        if self == Self::Systemd {
            notify("STOPPING=1\n");
        }
    }
}

/// Sends a line of systemd's notification protocol.
fn notify(message: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let path = path.into_encoded_bytes();
    let address = match path.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(std::path::Path::new(&*String::from_utf8_lossy(&path))),
    };
    let sent = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address));
    if let Err(error) = sent {
        tracing::warn!("systemd cannot be told: {}", super::listener::os_text(&error));
    }
}

/// The picture of `always-show-logo`.
pub fn show_logo(settings: &Settings) {
    for line in [
        "       _____".to_owned(),
        "     /  ___  \\      ".to_owned()
            + &format!("graven {} (Redis {})", super::GRAVEN_VERSION, super::REDIS_VERSION),
        "    |  /   \\__|     Running in standalone mode".to_owned(),
        format!("    | |   ____      Port: {}", settings.port),
        format!("    |  \\__|   |     PID: {}", std::process::id()),
        "     \\_______/".to_owned(),
        "   ___|_______|___".to_owned(),
    ] {
        tracing::info!("{line}");
    }
}
