//! Listening sockets: TCP on every `bind` address, and the unix socket.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use thiserror::Error;

use super::config::Settings;

/// Sockets that accept connections.
#[derive(Debug, Default)]
pub struct Listeners {
    pub tcp: Vec<std::net::TcpListener>,
    pub unix: Option<std::os::unix::net::UnixListener>,
}

/// No socket could be opened where one was asked for.
#[derive(Debug, Error)]
pub enum ListenError {
    #[error("Failed listening on port {port} (TCP), aborting.")]
    Port { port: u16 },
    #[error("Failed opening Unix socket: {path}: {error}")]
    Unix { path: String, error: io::Error },
    #[error("Configured to not listen anywhere, exiting.")]
    Nowhere,
}

impl Listeners {
    /// Opens all sockets.
    ///
    /// # Errors
    /// One of them cannot be opened; why stands in the log.
    pub fn open(settings: &Settings) -> Result<Self, ListenError> {
        let tcp = open_tcp(settings)?;
        let unix = match &settings.unixsocket {
            Some(path) => Some(
                open_unix(path, settings)
                    .map_err(|error| ListenError::Unix { path: path.display().to_string(), error })?,
            ),
            None => None,
        };
        Ok(Self { tcp, unix })
    }

    pub fn is_empty(&self) -> bool {
        self.tcp.is_empty() && self.unix.is_none()
    }
}

/// One listener per address; port 0 opens none.
///
/// # Errors
/// An address that is not optional cannot be used.
pub fn open_tcp(settings: &Settings) -> Result<Vec<std::net::TcpListener>, ListenError> {
    let mut listeners = Vec::new();
    let (bind, port) = (&settings.bind, settings.port);
    if port == 0 {
        return Ok(listeners);
    }
    for address in bind {
        match open_address(&address.host, settings) {
            Ok(listener) => listeners.push(listener),
            Err(error) if address.optional && is_absence(&error) => {}
            Err(error) => {
                tracing::warn!(
                    "Warning: Could not create server TCP listening socket {}:{port}: {}",
                    address.host,
                    os_text(&error)
                );
                return Err(ListenError::Port { port });
            }
        }
    }
    if listeners.is_empty() && !bind.is_empty() {
        return Err(ListenError::Port { port });
    }
    Ok(listeners)
}

fn open_address(host: &str, settings: &Settings) -> io::Result<std::net::TcpListener> {
    let port = settings.port;
    let address: SocketAddr = match host {
        "*" => ([0, 0, 0, 0], port).into(),
        "::*" => ([0u16; 8], port).into(),
        host => (host, port).to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?,
    };
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // What is accepted here inherits it.
    if settings.socket_mark > 0
        && let Err(error) = socket.set_mark(settings.socket_mark)
    {
        tracing::warn!("Packets cannot be marked (socket-mark-id): {}", os_text(&error));
    }
    socket.bind(&SockAddr::from(address))?;
    socket.listen(settings.tcp_backlog)?;
    Ok(socket.into())
}

/// Whether the system lacks the address or its whole family.
fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EADDRNOTAVAIL
                | libc::EAFNOSUPPORT
                | libc::EPFNOSUPPORT
                | libc::EPROTONOSUPPORT
                | libc::ESOCKTNOSUPPORT
                | libc::ENOPROTOOPT
        )
    )
}

#[expect(clippy::disallowed_methods, reason = "a socket file is the operator's, outside of the data directory")]
fn open_unix(path: &Path, settings: &Settings) -> io::Result<std::os::unix::net::UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(settings.tcp_backlog)?;
    if let Some(mode) = settings.unixsocket_mode {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    if !settings.unixsocket_group.is_empty() {
        let group = nix::unistd::Group::from_name(&settings.unixsocket_group)?;
        let group =
            group.ok_or_else(|| io::Error::other(format!("no group is called {}", settings.unixsocket_group)))?;
        nix::unistd::chown(path, None, Some(group.gid))?;
    }
    Ok(socket.into())
}

/// The system's text for an error, without Rust's `(os error n)`.
pub fn os_text(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().to_owned(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{ListenError, Listeners, open_tcp};
    use crate::server::config::{BindAddress, Config, Profile, Settings};
    use std::path::Path;

    fn bind(words: &[&str]) -> Vec<BindAddress> {
        let address = |word: &&str| match word.strip_prefix('-') {
            Some(host) => BindAddress { host: host.into(), optional: true },
            None => BindAddress { host: (*word).into(), optional: false },
        };
        words.iter().map(address).collect()
    }

    fn free_port() -> u16 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    }

    #[test]
    fn optional_addresses_may_be_missing_others_not() {
        let mut settings = Settings::resolve(&Config::new(Profile::Own), Path::new("/"));
        settings.port = free_port();
        let mut open = |words: &[&str]| {
            settings.bind = bind(words);
            open_tcp(&settings)
        };
        let opened = open(&["127.0.0.1", "-192.0.2.1"]).expect("loopback is there");
        assert_eq!(opened.len(), 1);
        assert!(matches!(open(&["192.0.2.1"]), Err(ListenError::Port { .. })));
        assert!(matches!(open(&["127.0.0.1"]), Err(ListenError::Port { .. })));
        settings.port = 0;
        assert!(open_tcp(&settings).expect("port 0 opens nothing").is_empty());
    }

    #[test]
    fn a_unix_socket_replaces_what_a_dead_server_left_and_gets_its_mode() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut settings = Settings::resolve(&Config::new(Profile::Own), Path::new("/"));
        settings.port = 0;
        assert!(Listeners::open(&settings).expect("nothing to open").is_empty());
        let path = dir.path().join("s");
        settings.unixsocket = Some(path.clone());
        settings.unixsocket_mode = Some(0o700);
        drop(Listeners::open(&settings).expect("first"));
        let listeners = Listeners::open(&settings).expect("again");
        assert!(listeners.unix.is_some());
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o700);
    }
}
