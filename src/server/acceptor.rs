//! Accepting connections: who is let in, socket options, and which io loop gets them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};

use super::config::Settings;
use super::connection::{Connection, Stream};
use super::io_thread::TOKEN_LISTENERS;
use super::listener::{ListenError, Listeners};
use super::shared::Shared;
use crate::engine::{ConnectionInfo, Outbox};

/// The listening sockets of a server, each with its epoll token.
pub struct Acceptor {
    sockets: Mutex<Vec<(u64, Listening)>>,
    unix_path: String,
    next_loop: AtomicUsize,
}

enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

impl Acceptor {
    pub fn new(listeners: Listeners, settings: &Settings) -> Self {
        let unix_path = settings.unixsocket.as_ref().map_or(String::new(), |path| path.display().to_string());
        let tcp = listeners.tcp.into_iter().map(Listening::Tcp);
        let all = listeners.unix.into_iter().map(Listening::Unix).chain(tcp);
        let sockets = (TOKEN_LISTENERS..).zip(all).collect();
        Self { sockets: Mutex::new(sockets), unix_path, next_loop: AtomicUsize::new(0) }
    }

    /// Has `epoll` tell of connections that wait.
    ///
    /// # Errors
    /// epoll refuses one.
    pub fn watch(&self, epoll: &Epoll) -> io::Result<()> {
        for (token, socket) in &*self.sockets.lock() {
            epoll.add(socket.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, *token))?;
        }
        Ok(())
    }

    /// Closes the TCP sockets.
    pub fn close_tcp(&self, epoll: &Epoll) {
        self.sockets.lock().retain(|(_, socket)| {
            let keep = matches!(socket, Listening::Unix(_));
            if !keep {
                // A socket that is about to be closed leaves epoll by itself.
                let _ = epoll.delete(socket.as_fd());
            }
            keep
        });
    }

    /// Opens the TCP sockets of `settings`.
    ///
    /// # Errors
    /// One of them cannot be opened; then none is.
    pub fn open_tcp(&self, epoll: &Epoll, settings: &Settings) -> Result<(), ListenError> {
        let opened = super::listener::open_tcp(settings)?;
        let mut sockets = self.sockets.lock();
        for (token, listener) in (TOKEN_LISTENERS + 1..).zip(opened) {
            epoll
                .add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, token))
                .map_err(|_| ListenError::Port { port: settings.port })?;
            sockets.push((token, Listening::Tcp(listener)));
        }
        Ok(())
    }

    /// Accepts what waits at one socket.
    pub fn accept(&self, token: u64, shared: &Arc<Shared>, settings: &Settings) {
        for _ in 0..settings.accepts_per_turn {
            let accepted = match self.sockets.lock().iter().find(|(at, _)| *at == token) {
                Some((_, Listening::Tcp(listener))) => {
                    listener.accept().and_then(|(socket, peer)| tcp(socket, peer, settings))
                }
                Some((_, Listening::Unix(listener))) => {
                    listener.accept().and_then(|(socket, _)| unix(socket, &self.unix_path))
                }
                None => return,
            };
            match accepted {
                Ok((stream, info, local)) => self.admit(stream, info, local, shared, settings),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    tracing::warn!("Accepting client connection: {}", super::listener::os_text(&error));
                    return;
                }
            }
        }
    }

    fn admit(&self, stream: Stream, info: ConnectionInfo, local: bool, shared: &Arc<Shared>, settings: &Settings) {
        let counters = &shared.counters;
        counters.accepted.fetch_add(1, Ordering::Relaxed);
        if counters.connected.load(Ordering::Relaxed) >= settings.maxclients {
            counters.rejected.fetch_add(1, Ordering::Relaxed);
            // The peer is sent away; whether it hears why is its own matter.
            let _ = stream.write(b"-ERR max number of clients reached\r\n");
            return;
        }
        if settings.protected_mode && !shared.users.default_user().wants_password() && !local {
            counters.rejected.fetch_add(1, Ordering::Relaxed);
            let _ = stream.write(PROTECTED.as_bytes());
            return;
        }
        counters.connected.fetch_add(1, Ordering::Relaxed);
        let loops = shared.loops();
        let io = &loops[self.next_loop.fetch_add(1, Ordering::Relaxed) % loops.len()];
        let now = shared.clock.monotonic();
        io.adopt(shared, |wake| Connection::new(stream, info, Arc::new(Outbox::new(wake)), now));
    }
}

/// Why a connection from elsewhere is refused while nothing protects the data.
const PROTECTED: &str = "-DENIED Redis is running in protected mode because protected mode is enabled and no password \
is set for the default user. In this mode only loopback and unix socket connections are accepted. To let others in, do \
one of these on the server itself: set a password ('requirepass'); bind it to the addresses it should serve and start \
it with '--protected-mode no'; or send 'CONFIG SET protected-mode no' from a local connection, which lasts until the \
next restart. Without a password, make sure that the port cannot be reached from the internet.\r\n";

fn tcp(
    socket: std::net::TcpStream,
    peer: SocketAddr,
    settings: &Settings,
) -> io::Result<(Stream, ConnectionInfo, bool)> {
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    if let Some(time) = settings.tcp_keepalive {
        let interval = (time / 3).max(Duration::from_secs(1));
        let keepalive = TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(3);
        SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
    }
    let local_address = socket.local_addr()?.to_string();
    let info = ConnectionInfo { address: peer.to_string(), local_address, ..ConnectionInfo::default() };
    let local = match peer.ip() {
        std::net::IpAddr::V4(ip) => ip.is_loopback(),
        std::net::IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    };
    Ok((Stream::Tcp(socket), info, local))
}

fn unix(socket: UnixStream, path: &str) -> io::Result<(Stream, ConnectionInfo, bool)> {
    socket.set_nonblocking(true)?;
    let address = format!("{path}:0");
    let info = ConnectionInfo {
        address: address.clone(),
        local_address: address,
        unix_socket: true,
        ..ConnectionInfo::default()
    };
    Ok((Stream::Unix(socket), info, true))
}

/// The peer went away between connecting and being accepted, or a signal came.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::NotConnected
    )
}
