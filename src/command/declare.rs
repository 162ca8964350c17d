//! What a command declares about itself: name, arity, flags, key positions, documentation.
//!
//! `COMMAND`, arity checks, ACL categories, OOM and MULTI rules and key extraction are all derived from here.

use super::{Args, CommandError, Cx};
use smallvec::SmallVec;

/// A handler: reads its arguments, answers into `cx.reply`.
pub type Run = fn(&mut Cx<'_>, &mut Args<'_>) -> Result<(), CommandError>;

/// A command or subcommand.
pub struct Command {
    /// Lower case, without the container's name for a subcommand.
    pub name: &'static str,
    /// As in COMMAND: `n` exactly, `-n` at least, names included.
    pub arity: i32,
    pub flags: Flags,
    pub keys: &'static [KeySpec],
    pub run: Run,
    pub subcommands: &'static [Command],
    pub group: Group,
    pub since: &'static str,
    pub complexity: &'static str,
    pub summary: &'static str,
    /// One line of argument grammar (see `syntax.rs`); COMMAND DOCS is parsed from it.
    pub syntax: &'static str,
    /// What a cluster client or a comparison of replies should know, in the words of COMMAND INFO.
    pub tips: &'static [&'static str],
    pub deprecated: Option<Deprecated>,
    /// ACL categories beyond those that flags and group give; a generic command that names some is in no other.
    pub also_in: &'static [&'static str],
    /// Keys and flags of a call, where the key specs do not tell them exactly.
    pub find_keys: Option<FindKeys>,
    /// Positions of arguments that the slow log and MONITOR must not show.
    pub secrets: Option<Secrets>,
}

/// Since when a command is only there for old clients, and what has taken its place.
#[derive(Clone, Copy, Debug)]
pub struct Deprecated {
    pub since: &'static str,
    pub replaced_by: &'static str,
}

/// Positions of the secret arguments of a call; some may lie behind its end.
pub type Secrets = fn(&[&[u8]]) -> Vec<usize>;

/// Positions of the keys of a call, and what happens to each.
pub type CallKeys = SmallVec<[(usize, KeyFlags); 3]>;

/// `None` when the arguments name no keys.
pub type FindKeys = fn(&[&[u8]]) -> Option<CallKeys>;

impl Command {
    pub const DEFAULT: Self = Self {
        name: "",
        arity: 0,
        flags: Flags(0),
        keys: &[],
        run: container,
        subcommands: &[],
        group: Group::Generic,
        since: "1.0.0",
        complexity: "",
        summary: "",
        syntax: "",
        tips: &[],
        deprecated: None,
        also_in: &[],
        find_keys: None,
        secrets: None,
    };

    pub fn arity_fits(&self, argc: usize) -> bool {
        match self.arity {
            exact if exact >= 0 => argc == exact as usize,
            least => argc >= least.unsigned_abs() as usize,
        }
    }

    /// The key arguments of a call with what the command does to each, in order of the key specs; `None` when a count
    /// does not fit the arguments.
    pub fn keys_of_call(&self, argv: &[&[u8]]) -> Option<CallKeys> {
        if let Some(find_keys) = self.find_keys {
            return find_keys(argv);
        }
        let mut found = CallKeys::new();
        for spec in self.keys {
            let before = found.len();
            spec.find_in(argv, &mut found)?;
            // A command with a destination is not called without sources, so there is no destination either.
            if found.len() == before && before > 0 && matches!(spec.find, Find::Count { .. }) {
                return None;
            }
        }
        Some(found)
    }

    /// Where the first key stands, if that is the same in every call.
    pub fn first_key(&self) -> Option<usize> {
        match self.keys.first()?.begin {
            Begin::Index(at) => Some(at),
            Begin::Keyword { .. } | Begin::Unknown => None,
        }
    }

    /// Whether any argument can be the name of a key.
    pub fn has_keys(&self) -> bool {
        self.keys.iter().any(|spec| !spec.flags.has(KeyFlags::NOT_KEY))
    }

    /// ACL categories without their `@`, in the order in which stock lists them.
    pub fn categories(&self) -> Vec<&'static str> {
        let flags = self.flags;
        // A container is in no group's category: only its subcommands can be called.
        let group = self.group.category().filter(|_| self.subcommands.is_empty());
        let is = |category: &str| group == Some(category) || self.also_in.contains(&category);
        let generic = is("@keyspace") && self.also_in.is_empty() && !flags.has(Flags::CONNECTION);
        [
            ("keyspace", flags.has(Flags::KEYSPACE) || generic),
            ("read", flags.has(Flags::READONLY) && !is("@scripting")),
            ("write", flags.has(Flags::WRITE)),
            ("set", is("@set")),
            ("sortedset", is("@sortedset")),
            ("list", is("@list")),
            ("hash", is("@hash")),
            ("string", is("@string")),
            ("bitmap", is("@bitmap")),
            ("hyperloglog", is("@hyperloglog")),
            ("geo", is("@geo")),
            ("stream", is("@stream")),
            ("pubsub", flags.has(Flags::PUBSUB)),
            ("admin", flags.has(Flags::ADMIN) || is("@admin")),
            ("fast", flags.has(Flags::FAST)),
            ("slow", !flags.has(Flags::FAST)),
            ("blocking", flags.has(Flags::BLOCKING)),
            ("dangerous", flags.has(Flags::ADMIN) || flags.has(Flags::DANGEROUS)),
            ("connection", flags.has(Flags::CONNECTION)),
            ("transaction", is("@transaction")),
            ("scripting", is("@scripting")),
        ]
        .into_iter()
        .filter_map(|(name, belongs)| belongs.then_some(name))
        .collect()
    }
}

/// A container has no action of its own: the table answers for missing or unknown subcommands.
fn container(_: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    Err(CommandError::SYNTAX)
}

/// Command flags, named as COMMAND prints them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    pub const NONE: Self = Self(0);
    pub const WRITE: Self = Self(1);
    pub const READONLY: Self = Self(1 << 1);
    pub const DENYOOM: Self = Self(1 << 2);
    pub const ADMIN: Self = Self(1 << 3);
    pub const PUBSUB: Self = Self(1 << 4);
    pub const NOSCRIPT: Self = Self(1 << 5);
    pub const BLOCKING: Self = Self(1 << 6);
    pub const LOADING: Self = Self(1 << 7);
    pub const STALE: Self = Self(1 << 8);
    pub const SKIP_MONITOR: Self = Self(1 << 9);
    pub const SKIP_SLOWLOG: Self = Self(1 << 10);
    pub const ASKING: Self = Self(1 << 11);
    pub const FAST: Self = Self(1 << 12);
    pub const NO_AUTH: Self = Self(1 << 13);
    pub const MAY_REPLICATE: Self = Self(1 << 14);
    pub const NO_MULTI: Self = Self(1 << 15);
    pub const MOVABLEKEYS: Self = Self(1 << 16);
    pub const ALLOW_BUSY: Self = Self(1 << 17);
    pub const NO_MANDATORY_KEYS: Self = Self(1 << 18);
    pub const NO_ASYNC_LOADING: Self = Self(1 << 19);
    pub const DANGEROUS: Self = Self(1 << 20);
    pub const CONNECTION: Self = Self(1 << 21);
    pub const KEYSPACE: Self = Self(1 << 22);
    /// The reply follows from the keys reached through `cx` alone, which may be none, so it need not wait for other writes.
    pub const KEY_READ: Self = Self(1 << 23);
    /// Runs a script: the server moves it to the thread that may be busy for long.
    pub const SCRIPT: Self = Self(1 << 24);
    /// Acts on a transaction instead of being queued by it.
    pub const TRANSACTION: Self = Self(1 << 25);
    /// Sent by servers and by their tests, not by applications.
    pub const SYSTEM: Self = Self(1 << 26);

    /// The operator's, who sees no more of the data than has to be known: waits for the writes before it while the log is
    /// well, and for none when it is not, since then it is needed most.
    pub const OPERATOR: Self = Self(1 << 27);

    /// A pure read of the keys it names.
    pub const READ: Self = Self::READONLY.and(Self::KEY_READ);

    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Names as the COMMAND reply lists them, in its order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        const NAMED: [(Flags, &str); 19] = [
            (Flags::WRITE, "write"),
            (Flags::READONLY, "readonly"),
            (Flags::DENYOOM, "denyoom"),
            (Flags::ADMIN, "admin"),
            (Flags::PUBSUB, "pubsub"),
            (Flags::NOSCRIPT, "noscript"),
            (Flags::BLOCKING, "blocking"),
            (Flags::LOADING, "loading"),
            (Flags::STALE, "stale"),
            (Flags::SKIP_MONITOR, "skip_monitor"),
            (Flags::SKIP_SLOWLOG, "skip_slowlog"),
            (Flags::ASKING, "asking"),
            (Flags::FAST, "fast"),
            (Flags::NO_AUTH, "no_auth"),
            (Flags::NO_MANDATORY_KEYS, "no_mandatory_keys"),
            (Flags::NO_ASYNC_LOADING, "no_async_loading"),
            (Flags::NO_MULTI, "no_multi"),
            (Flags::MOVABLEKEYS, "movablekeys"),
            (Flags::ALLOW_BUSY, "allow_busy"),
        ];
        NAMED.into_iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| name)
    }
}

/// Documentation group of COMMAND DOCS; most groups are ACL categories too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Generic,
    String,
    List,
    Set,
    SortedSet,
    Hash,
    Pubsub,
    Transactions,
    Connection,
    Server,
    Cluster,
    Scripting,
    Hyperloglog,
    Geo,
    Stream,
    Bitmap,
}

impl Group {
    pub fn name(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::SortedSet => "sorted-set",
            Self::Hash => "hash",
            Self::Pubsub => "pubsub",
            Self::Transactions => "transactions",
            Self::Connection => "connection",
            Self::Server => "server",
            Self::Cluster => "cluster",
            Self::Scripting => "scripting",
            Self::Hyperloglog => "hyperloglog",
            Self::Geo => "geo",
            Self::Stream => "stream",
            Self::Bitmap => "bitmap",
        }
    }

    /// The ACL category that the group itself gives.
    pub fn category(self) -> Option<&'static str> {
        match self {
            Self::Generic => Some("@keyspace"),
            Self::SortedSet => Some("@sortedset"),
            Self::String => Some("@string"),
            Self::List => Some("@list"),
            Self::Set => Some("@set"),
            Self::Hash => Some("@hash"),
            Self::Pubsub => Some("@pubsub"),
            Self::Transactions => Some("@transaction"),
            Self::Connection => Some("@connection"),
            Self::Scripting => Some("@scripting"),
            Self::Hyperloglog => Some("@hyperloglog"),
            Self::Geo => Some("@geo"),
            Self::Stream => Some("@stream"),
            Self::Bitmap => Some("@bitmap"),
            Self::Server | Self::Cluster => None,
        }
    }
}

/// What a command does with the keys of one spec, named as COMMAND INFO prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFlags(pub u16);

impl KeyFlags {
    pub const RO: Self = Self(1);
    pub const RW: Self = Self(1 << 1);
    pub const OW: Self = Self(1 << 2);
    pub const RM: Self = Self(1 << 3);
    pub const ACCESS: Self = Self(1 << 4);
    pub const UPDATE: Self = Self(1 << 5);
    pub const INSERT: Self = Self(1 << 6);
    pub const DELETE: Self = Self(1 << 7);
    pub const NOT_KEY: Self = Self(1 << 8);
    pub const INCOMPLETE: Self = Self(1 << 9);
    pub const VARIABLE_FLAGS: Self = Self(1 << 10);

    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn has_any(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    pub fn names(self) -> impl Iterator<Item = &'static str> {
        const NAMED: [(KeyFlags, &str); 11] = [
            (KeyFlags::RO, "RO"),
            (KeyFlags::RW, "RW"),
            (KeyFlags::OW, "OW"),
            (KeyFlags::RM, "RM"),
            (KeyFlags::ACCESS, "access"),
            (KeyFlags::UPDATE, "update"),
            (KeyFlags::INSERT, "insert"),
            (KeyFlags::DELETE, "delete"),
            (KeyFlags::NOT_KEY, "not_key"),
            (KeyFlags::INCOMPLETE, "incomplete"),
            (KeyFlags::VARIABLE_FLAGS, "variable_flags"),
        ];
        NAMED.into_iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| name)
    }
}

/// Where the search for keys begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    Index(usize),
    /// After this word, searched from `from` (negative: from the end, backwards).
    Keyword {
        word: &'static str,
        from: i32,
    },
    Unknown,
}

/// How keys follow from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// Up to `last` (relative to the beginning; negative: from the end), each `step`-th; `limit` divides what remains.
    Range {
        last: i32,
        step: usize,
        limit: usize,
    },
    /// A count at `at`, the keys from `first`, both relative to the beginning.
    Count {
        at: usize,
        first: usize,
        step: usize,
    },
    Unknown,
}

/// One group of key arguments.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    pub flags: KeyFlags,
    pub begin: Begin,
    pub find: Find,
}

impl KeySpec {
    /// One key, the first argument.
    pub const fn first(flags: KeyFlags) -> Self {
        Self::at(1, flags)
    }

    /// One key at a position.
    pub const fn at(index: usize, flags: KeyFlags) -> Self {
        Self { flags, begin: Begin::Index(index), find: Find::Range { last: 0, step: 1, limit: 0 } }
    }

    /// Keys whose places the call's options tell, or that are named nowhere.
    pub const fn unknown(flags: KeyFlags) -> Self {
        Self { flags, begin: Begin::Unknown, find: Find::Unknown }
    }

    /// All arguments from the first on.
    pub const fn all(flags: KeyFlags) -> Self {
        Self::range(1, -1, 1, flags)
    }

    pub const fn range(index: usize, last: i32, step: usize, flags: KeyFlags) -> Self {
        Self { flags, begin: Begin::Index(index), find: Find::Range { last, step, limit: 0 } }
    }

    /// A count of keys at `index`, the keys behind it.
    pub const fn counted(index: usize, flags: KeyFlags) -> Self {
        Self { flags, begin: Begin::Index(index), find: Find::Count { at: 0, first: 1, step: 1 } }
    }

    /// Adds the keys of this group; `None` when a count does not fit the arguments.
    fn find_in(&self, argv: &[&[u8]], found: &mut CallKeys) -> Option<()> {
        let begin = match self.begin {
            Begin::Index(index) => index,
            Begin::Keyword { word, from } => {
                let is_word = |at: &usize| argv[*at].eq_ignore_ascii_case(word.as_bytes());
                let found = if from >= 0 {
                    (from as usize..argv.len()).find(is_word)
                } else {
                    (1..argv.len().saturating_sub(from.unsigned_abs() as usize - 1)).rev().find(is_word)
                };
                match found {
                    Some(at) => at + 1,
                    None => return Some(()),
                }
            }
            Begin::Unknown => return Some(()),
        };
        match self.find {
            Find::Range { last: 0, .. } => found.extend((begin < argv.len()).then_some((begin, self.flags))),
            Find::Range { last, step, limit } => {
                let last = if last >= 0 {
                    begin + last as usize
                } else if limit <= 1 {
                    argv.len().checked_sub(last.unsigned_abs() as usize)?
                } else {
                    begin + (argv.len().checked_sub(begin)? / limit).checked_sub(last.unsigned_abs() as usize)?
                };
                let places = (begin..=last).step_by(step).take_while(|at| *at < argv.len());
                found.extend(places.map(|at| (at, self.flags)));
            }
            Find::Count { at, first, step } => {
                let count = std::str::from_utf8(argv.get(begin + at)?).ok()?.parse::<usize>().ok()?;
                let start = begin + first;
                let needed = count.checked_mul(step)?;
                if needed > argv.len().checked_sub(start)? {
                    return None;
                }
                found.extend((start..start + needed).step_by(step).map(|at| (at, self.flags)));
            }
            Find::Unknown => {}
        }
        Some(())
    }
}
