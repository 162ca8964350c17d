//! The constants of the format.

/// What a file begins with; four decimal digits of version follow.
pub(super) const MAGIC: &[u8] = b"REDIS";

/// What a file of Valkey 9 and later begins with; three digits follow.
const MAGIC_VALKEY: &[u8] = b"VALKEY";

/// Length of magic and version.
pub(super) const HEADER_LEN: usize = 9;

/// The newest version that is understood: 11 is that of Redis 7.2 and Valkey 8; 12 and 13, of Redis 7.4 and 8, add forms
/// that are refused by name and nothing else.
pub const VERSION_MAX: u32 = 13;

/// The version of Valkey 9, which went on from 11 and began a count of its own.
pub const VERSION_VALKEY: u32 = 80;

/// From this version on a checksum follows the end mark.
pub(super) const VERSION_WITH_CHECKSUM: u32 = 5;

/// What stands where a value's form byte could stand.
pub(super) mod opcode {
    /// Valkey 9: a slot whose import was under way; Redis 8: data of a module about the key that follows.
    pub(crate) const SLOT_IMPORT: u8 = 243;
    /// Redis 7.4: number of a slot, how many keys and keys with expiry it holds.
    pub(crate) const SLOT_INFO: u8 = 244;
    /// Functions; the one before it was written by release candidates only.
    pub(crate) const FUNCTION_2: u8 = crate::value::payload::LIBRARY;
    pub(crate) const FUNCTION_PRE_GA: u8 = crate::value::payload::LIBRARY_PRE_GA;
    pub(crate) const MODULE_AUX: u8 = 247;
    /// Seconds since the key was last used.
    pub(crate) const IDLE: u8 = 248;
    /// How often the key is used: the logarithmic counter, one byte.
    pub(crate) const FREQ: u8 = 249;
    /// A named text; unknown names are no error.
    pub(crate) const AUX: u8 = 250;
    /// How many keys, and keys with expiry, the database holds.
    pub(crate) const RESIZE_DB: u8 = 251;
    /// Deadline of the key, milliseconds since 1970, i64.
    pub(crate) const EXPIRE_TIME_MS: u8 = 252;
    /// Deadline of the key, seconds since 1970, i32.
    pub(crate) const EXPIRE_TIME: u8 = 253;
    pub(crate) const SELECT_DB: u8 = 254;
    pub(crate) const EOF: u8 = 255;
}

/// The kinds of a module's values.
pub(super) mod module {
    pub(crate) const END: u64 = 0;
    pub(crate) const SIGNED: u64 = 1;
    pub(crate) const UNSIGNED: u64 = 2;
    pub(crate) const FLOAT: u64 = 3;
    pub(crate) const DOUBLE: u64 = 4;
    pub(crate) const STRING: u64 = 5;
}

/// Whether a file that begins with these bytes is an RDB file (or has one in front, as an append-only file may).
pub fn is_rdb(beginning: &[u8]) -> bool {
    beginning.starts_with(MAGIC) || beginning.starts_with(MAGIC_VALKEY)
}

/// The version that a header names; `None` when it is none.
pub(super) fn version(header: &[u8; HEADER_LEN]) -> Option<u32> {
    let digits = header.strip_prefix(MAGIC).or_else(|| header.strip_prefix(MAGIC_VALKEY))?;
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse().ok();
    digits.iter().all(u8::is_ascii_digit).then(|| number(digits)).flatten()
}

/// Whether files of this version can be read, as far as they hold nothing that is refused by name.
pub(super) fn is_known(header: &[u8; HEADER_LEN], version: u32) -> bool {
    if header.starts_with(MAGIC_VALKEY) { version == VERSION_VALKEY } else { (1..=VERSION_MAX).contains(&version) }
}

/// The name of a module's type, which the file holds as nine characters of six bits above ten of version.
pub(super) fn module_type_name(id: u64) -> String {
    const CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9).map(|at| char::from(CHARACTERS[(id >> (10 + 6 * (8 - at)) & 0x3f) as usize])).collect()
}
