//! Signals: SIGTERM and SIGINT ask for an orderly shutdown, a second SIGINT ends the process; SIGPIPE and SIGHUP do
//! nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use super::config::ShutdownFlags;

/// Listens for signals for as long as the runtime runs; `shutdown` gets the signal's name and what it asks for.
///
/// # Errors
/// A handler cannot be installed.
pub fn listen(shutdown: Arc<dyn Fn(Signal) + Send + Sync>) -> std::io::Result<()> {
    let asked = Arc::new(AtomicBool::new(false));
    for (kind, which) in [(SignalKind::terminate(), Signal::Terminate), (SignalKind::interrupt(), Signal::Interrupt)] {
        let mut stream = signal(kind)?;
        let (shutdown, asked) = (Arc::clone(&shutdown), Arc::clone(&asked));
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                if asked.swap(true, Ordering::AcqRel) && which == Signal::Interrupt {
                    tracing::warn!("You insist... exiting now.");
                    std::process::exit(1);
                }
                shutdown(which);
            }
        });
    }
    for kind in [SignalKind::hangup(), SignalKind::pipe()] {
        let mut stream = signal(kind)?;
        tokio::spawn(async move { while stream.recv().await.is_some() {} });
    }
    Ok(())
}

/// The signals that end a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Terminate,
    Interrupt,
}

impl Signal {
    /// What the log says when it arrives.
    pub fn log_text(self) -> &'static str {
        match self {
            Self::Terminate => "Received SIGTERM scheduling shutdown...",
            Self::Interrupt => "Received SIGINT scheduling shutdown...",
        }
    }

    /// Which of the two configured behaviours is meant.
    pub fn flags(self, settings: &super::config::Settings) -> ShutdownFlags {
        match self {
            Self::Terminate => settings.shutdown_on_sigterm,
            Self::Interrupt => settings.shutdown_on_sigint,
        }
    }
}
