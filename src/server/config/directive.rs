//! What a configuration directive is: its name, what it accepts, its defaults, and what it does.

/// One directive. The declaration feeds the file parser, the command line, CONFIG GET and CONFIG SET.
#[derive(Debug)]
pub struct Directive {
    pub name: &'static str,
    /// The older or newer name of the same setting.
    pub alias: Option<&'static str>,
    pub kind: Kind,
    /// The value of a stock server, written as in a configuration line.
    pub default: &'static str,
    /// The value under our own profile, where it differs.
    pub own_default: Option<&'static str>,
    pub change: Change,
    pub effect: Effect,
}

/// Whether a directive of this name holds a password or the like.
pub fn is_secret(name: &[u8]) -> bool {
    const SECRETS: [&str; 7] = [
        "requirepass",
        "masterauth",
        "primaryauth",
        "masteruser",
        "primaryuser",
        "tls-key-file-pass",
        "tls-client-key-file-pass",
    ];
    SECRETS.iter().any(|secret| name.eq_ignore_ascii_case(secret.as_bytes()))
}

/// What a directive accepts.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `yes` or `no`.
    Bool,
    Int {
        min: i64,
        max: i64,
    },
    /// Digits of base 8, at most `max`.
    Octal {
        max: u32,
    },
    /// Bytes, with an optional unit (`k kb m mb g gb`).
    Memory {
        min: u64,
        max: u64,
    },
    /// Bytes, or `n%`.
    MemoryOrPercent,
    /// One of these words; case does not matter.
    Choice(&'static [&'static str]),
    /// Any number of these words.
    Flags(&'static [&'static str]),
    Text,
    /// A file name without a path.
    FileName,
    Hostname,
    /// A directory that exists.
    Directory,
    /// The process title: text with known `{variables}`.
    Title,
    /// Any number of words.
    Words,
    /// Pairs of seconds and changes.
    Save,
    /// Groups of class, hard limit, soft limit, soft seconds.
    BufferLimits,
    /// Three scores.
    OomScores,
    /// Numbers from 0 to 100.
    Percentiles,
    /// Classes of keyspace events.
    Events,
    /// A host and a port, or `no one`.
    Endpoint,
}

impl Kind {
    /// Whether several words belong to one value.
    pub fn takes_many(self) -> bool {
        matches!(
            self,
            Self::Flags(_)
                | Self::Words
                | Self::Save
                | Self::BufferLimits
                | Self::OomScores
                | Self::Percentiles
                | Self::Endpoint
        )
    }
}

/// When CONFIG SET may change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Anytime,
    /// Only under `enable-protected-configs`.
    Protected,
    Never,
}

/// What setting it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Works,
    /// Tunes something that this server does not have or always does; setting it changes nothing worth a word.
    Moot,
    /// Accepted; named once in the start log.
    NoEffectYet,
    /// Leaving it out would change safety: any value but the default stops the start, and CONFIG SET refuses it.
    StopsStart,
}

impl Directive {
    pub(super) const fn new(name: &'static str, kind: Kind, default: &'static str) -> Self {
        Self { name, alias: None, kind, default, own_default: None, change: Change::Anytime, effect: Effect::Works }
    }

    pub(super) const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    /// Gives our own profile another default.
    pub(super) const fn own(mut self, default: &'static str) -> Self {
        self.own_default = Some(default);
        self
    }

    pub(super) const fn fixed(mut self) -> Self {
        self.change = Change::Never;
        self
    }

    pub(super) const fn protected(mut self) -> Self {
        self.change = Change::Protected;
        self
    }

    pub(super) const fn moot(mut self) -> Self {
        self.effect = Effect::Moot;
        self
    }

    pub(super) const fn later(mut self) -> Self {
        self.effect = Effect::NoEffectYet;
        self
    }

    pub(super) const fn stops(mut self) -> Self {
        self.effect = Effect::StopsStart;
        self
    }
}
