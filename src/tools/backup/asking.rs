//! Asks a running server, graven's or stock's, where its data lies; one that keeps no log is told to save first.
//!
//! The answer is about the server's own file system, so what is found under that path here is compared with what the
//! server says of itself before it is believed.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::persist::{Held, OpenOptions};
use crate::resp::ReplyValue;

/// For how long a server may take to answer: it may be in the middle of a long script.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a server that saves is asked whether it has ended: no command waits for that without stopping stock's.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const READ_BYTES: usize = 16 << 10;

/// Who asks.
#[derive(Clone, Debug, Default)]
pub struct Login {
    /// The default user where there is none.
    pub user: Option<String>,
    pub password: Option<String>,
}

/// What a server has said of its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The timeline that it writes on, where it is graven and keeps a log.
    timeline: Option<String>,
    /// The dump is not older, in seconds since 1970, where there is no log.
    saved_from: Option<i64>,
}

impl Asked {
    /// Whether that server's data is what is held here.
    pub(super) fn runs_on(&self, held: &Held) -> io::Result<Result<(), &'static str>> {
        if let Some(timeline) = &self.timeline
            && held.timeline()?.is_none_or(|held| held.as_str() != timeline)
        {
            return Ok(Err("its log is on another timeline"));
        }
        if let Some(from) = self.saved_from
            && held.saved_at()?.is_none_or(|at| at < from)
        {
            return Ok(Err("the dump is older than the save it was asked for"));
        }
        Ok(Ok(()))
    }
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum AskError {
    #[error("{address}: {source}")]
    Io { address: String, source: io::Error },
    #[error("{address}: {command}: {answer}")]
    Refused { address: String, command: String, answer: String },
    #[error("{address}: the server could not save: {status}")]
    NotSaved { address: String, status: String },
}

/// Where a server has its data, and what it says of it; without a log, after a save that was begun now. `address`:
/// `host:port`, or the path of a Unix socket.
///
/// # Errors
/// See [`AskError`].
pub fn ask(address: &str, login: &Login) -> Result<(OpenOptions, Asked), AskError> {
    let mut server = Server::connect(address)?;
    if let Some(password) = &login.password {
        let words: Vec<&str> = login.user.as_deref().into_iter().chain([password.as_str()]).collect();
        server.call(&[&["AUTH"], &words[..]].concat())?;
    }
    let names = OpenOptions::default();
    let mut source = OpenOptions {
        directory: PathBuf::from(server.directive("dir")?.unwrap_or_default()),
        append_only: server.directive("appendonly")?.as_deref() == Some("yes"),
        // Servers before 7 have their one file beside the dump.
        append_directory: server.directive("appenddirname")?.unwrap_or_else(|| names.append_directory.clone()),
        ..names
    };
    if let Some(name) = server.directive("appendfilename")? {
        source.append_file = name;
    }
    if let Some(name) = server.directive("dbfilename")? {
        source.dump_file = name;
    }
    let mut asked = Asked { timeline: None, saved_from: None };
    if !source.append_only {
        asked.saved_from = Some(server.save()?);
    } else if server.info("server", "graven_version")?.is_some() {
        asked.timeline = server.info("replication", "master_replid")?;
    }
    Ok((source, asked))
}

trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

struct Server {
    address: String,
    stream: Box<dyn Stream>,
    /// Bytes received and not yet understood.
    received: Vec<u8>,
}

impl Server {
    fn connect(address: &str) -> Result<Self, AskError> {
        let stream = open(address).map_err(|source| AskError::Io { address: address.to_owned(), source })?;
        Ok(Self { address: address.to_owned(), stream, received: Vec::new() })
    }

    /// What a command answers; an error is one here too.
    fn call(&mut self, words: &[&str]) -> Result<ReplyValue, AskError> {
        match self.exchange(words) {
            // A password is not to be said.
            Ok(ReplyValue::Error(text)) => Err(AskError::Refused {
                address: self.address.clone(),
                command: words[0].to_owned(),
                answer: String::from_utf8_lossy(&text).into_owned(),
            }),
            Ok(answer) => Ok(answer),
            Err(source) => Err(AskError::Io { address: self.address.clone(), source }),
        }
    }

    fn exchange(&mut self, words: &[&str]) -> io::Result<ReplyValue> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.write_all(request.as_bytes())?;
        loop {
            let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
            if let Some((answer, len)) = ReplyValue::decode(&self.received).map_err(invalid)? {
                self.received.drain(..len);
                return Ok(answer);
            }
            let mut more = [0; READ_BYTES];
            match self.stream.read(&mut more)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.received.extend_from_slice(&more[..read]),
            }
        }
    }

    /// A directive's value; `None` when the server has none of this name.
    fn directive(&mut self, name: &str) -> Result<Option<String>, AskError> {
        let answer = self.call(&["CONFIG", "GET", name])?;
        let ReplyValue::Array(pair) = answer else { return Ok(None) };
        Ok(match &pair[..] {
            [_, ReplyValue::Bulk(value)] => Some(String::from_utf8_lossy(value).into_owned()),
            _ => None,
        })
    }

    /// A field of a section of INFO.
    fn info(&mut self, section: &str, field: &str) -> Result<Option<String>, AskError> {
        let answer = self.call(&["INFO", section])?;
        let ReplyValue::Bulk(text) = answer else { return Ok(None) };
        let text = String::from_utf8_lossy(&text);
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(value.map(str::to_owned))
    }

    /// Has the server save what it holds now, and waits for that; the server's time before, in seconds since 1970.
    fn save(&mut self) -> Result<i64, AskError> {
        loop {
            // One that is under way holds what was there when it began.
            self.wait_for_save()?;
            let time = self.call(&["TIME"])?;
            let seconds = match time {
                ReplyValue::Array(parts) => match parts.first() {
                    Some(ReplyValue::Bulk(digits)) => String::from_utf8_lossy(digits).parse().unwrap_or(0),
                    _ => 0,
                },
                _ => 0,
            };
            match self.call(&["BGSAVE"]) {
                Ok(_) => {
                    self.wait_for_save()?;
                    let status = self.info("persistence", "rdb_last_bgsave_status")?.unwrap_or_default();
                    let address = self.address.clone();
                    return if status == "ok" { Ok(seconds) } else { Err(AskError::NotSaved { address, status }) };
                }
                // A save point, or somebody else, came first.
                Err(AskError::Refused { answer, .. }) if answer.contains("in progress") => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn wait_for_save(&mut self) -> Result<(), AskError> {
        while ["rdb_bgsave_in_progress", "aof_rewrite_in_progress"]
            .iter()
            .try_fold(false, |busy, field| Ok(busy || self.info("persistence", field)?.as_deref() == Some("1")))?
        {
            std::thread::park_timeout(LOOK_EVERY);
        }
        Ok(())
    }
}

fn open(address: &str) -> io::Result<Box<dyn Stream>> {
    if address.contains('/') {
        let stream = UnixStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        return Ok(Box::new(stream));
    }
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "no such host");
    for place in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&place, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                return Ok(Box::new(stream));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
