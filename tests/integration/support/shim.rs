//! Runs a real process on a disk that fails: builds the shim in `tests/shim/faults.rs` and steers it.
//!
//! ```ignore
//! let shim = Shim::new();
//! let server = shim.preload(&mut Command::new(..)).spawn()?;
//! shim.set(&[Rule::new(Op::Sync, Fault::Eio).on(".incr.aof").nth(3)]);
//! shim.set(&[]);
//! ```
#![expect(clippy::disallowed_methods, reason = "prepares files for a real process")]

use std::fmt;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const SOURCE: &str = include_str!("../../shim/faults.rs");
const CONTROL_BYTES: u64 = 4096;
const LOADED_AT: u64 = 8;
const RULES_AT: u64 = 16;
const COUNTS_AT: u64 = 2048;

/// A kind of call.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    Write,
    Sync,
    Truncate,
    Rename,
    Unlink,
    Open,
}

/// What a call meets.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Eio,
    Enospc,
    Errno(i32),
    /// A write transfers at most so many bytes.
    Short(usize),
    /// Before the call.
    DelayMillis(u64),
    /// The call waits until other rules are set.
    Hold,
    /// SIGKILL to itself instead of the call; a write after its first bytes.
    Kill {
        after_bytes: usize,
    },
}

/// Which calls meet which fault.
#[derive(Clone, Debug)]
pub struct Rule {
    op: Op,
    fault: Fault,
    first: u64,
    times: u64,
    path: String,
}

impl Rule {
    /// Every call of this kind, on any file.
    pub fn new(op: Op, fault: Fault) -> Self {
        Self { op, fault, first: 0, times: 0, path: String::new() }
    }

    /// Only on paths that contain this.
    pub fn on(self, path: &str) -> Self {
        assert!(!path.contains('\n'));
        Self { path: path.to_owned(), ..self }
    }

    /// Only the matching call with this number, from 0.
    pub fn nth(self, n: u64) -> Self {
        Self { first: n, times: 1, ..self }
    }

    /// The matching call with this number and all after it.
    pub fn starting_at(self, n: u64) -> Self {
        Self { first: n, times: 0, ..self }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            Op::Write => "write",
            Op::Sync => "sync",
            Op::Truncate => "truncate",
            Op::Rename => "rename",
            Op::Unlink => "unlink",
            Op::Open => "open",
        };
        let fault = match self.fault {
            Fault::Eio => "eio".to_owned(),
            Fault::Enospc => "enospc".to_owned(),
            Fault::Errno(number) => number.to_string(),
            Fault::Short(bytes) => format!("short:{bytes}"),
            Fault::DelayMillis(millis) => format!("delay:{millis}"),
            Fault::Hold => "hold".to_owned(),
            Fault::Kill { after_bytes } => format!("kill:{after_bytes}"),
        };
        writeln!(f, "{op} {fault} {} {} {}", self.first, self.times, self.path)
    }
}

/// One control file; any number of processes can run under it.
pub struct Shim {
    control: File,
    path: tempfile::TempPath,
}

impl Shim {
    pub fn new() -> Self {
        let (control, path) = tempfile::NamedTempFile::new().unwrap().into_parts();
        control.set_len(CONTROL_BYTES).unwrap();
        Self { control, path }
    }

    /// Lets a command, and what it starts, run under the shim.
    pub fn preload<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("LD_PRELOAD", library()).env("GRAVEN_SHIM_CONTROL", &self.path)
    }

    /// Sets the rules from now on, in place of those before; their counts start at 0.
    pub fn set(&self, rules: &[Rule]) {
        let mut text: String = rules.iter().map(Rule::to_string).collect();
        text.push('\0');
        assert!(text.len() as u64 <= COUNTS_AT - RULES_AT, "too many rules");
        let generation = self.word(0) & !1;
        self.write(0, &(generation + 1).to_ne_bytes());
        self.write(RULES_AT, text.as_bytes());
        self.write(COUNTS_AT, &[0; (CONTROL_BYTES - COUNTS_AT) as usize]);
        self.write(0, &(generation + 2).to_ne_bytes());
    }

    /// Processes that have loaded the shim.
    pub fn loaded(&self) -> u64 {
        self.word(LOADED_AT)
    }

    /// Calls that the rule at this index struck.
    pub fn struck(&self, rule: usize) -> u64 {
        self.word(COUNTS_AT + 16 * rule as u64 + 8)
    }

    fn word(&self, offset: u64) -> u64 {
        let mut bytes = [0; 8];
        self.control.read_exact_at(&mut bytes, offset).unwrap();
        u64::from_ne_bytes(bytes)
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        self.control.write_all_at(bytes, offset).unwrap();
    }
}

/// The shim, built once for each state of its source.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let mut hasher = DefaultHasher::new();
        SOURCE.hash(&mut hasher);
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let library = directory.join(format!("libfaults-{:016x}.so", hasher.finish()));
        if !library.exists() {
            let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shim/faults.rs");
            let building = directory.join(format!("libfaults-{}.building", std::process::id()));
            let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
            let built = Command::new(rustc)
                .args(["--edition", "2024", "--crate-type", "cdylib", "--crate-name", "faults", "-O", "-o"])
                .args([building.as_os_str(), source.as_ref()])
                .output()
                .unwrap();
            assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
            std::fs::rename(&building, &library).unwrap();
        }
        library
    })
}
