//! Reads an RDB file from front to end and hands its content to a sink, key by key.
//!
//! Invariants
//! - Nothing here panics on foreign bytes; memory is bounded by the largest value in the file.
//! - Whatever is not understood stops the reading by its name: data is never skipped silently, but for empty
//!   collections, which old servers could leave behind and which are counted. Data that a module keeps beside the keys is
//!   passed over, and said; a key of a module's type stops the reading.
//! - The checksum is compared before success is reported; the sink has then seen all keys already.

use super::active;
use super::checksum::{between, joined, sum};
use super::format::{
    HEADER_LEN, VERSION_MAX, VERSION_VALKEY, VERSION_WITH_CHECKSUM, is_known, module, module_type_name, opcode, version,
};
use super::index::{BLOCK_FIELD_BYTES, BlockField};
use crate::env::UnixMillis;
use crate::keyspace::{AccessClock, AccessPolicy, Entry};
use crate::value::payload::{DecodeError, Input, SliceSource, Source, decode_object, object};
use crate::value::{Limits, Value};

/// One key of a file.
#[derive(Debug)]
pub struct RdbEntry<'a> {
    pub db: u32,
    pub key: &'a [u8],
    pub value: Value,
    /// When the key expires; it may be in the past.
    pub expiry: Option<UnixMillis>,
    /// Seconds since the key was last used, when the file says so.
    pub idle_seconds: Option<u64>,
    /// The logarithmic use counter, when the file says so.
    pub frequency: Option<u8>,
    /// Offset of the key's record in the file.
    pub offset: u64,
}

impl RdbEntry<'_> {
    /// As the keyspace holds it. Its access clock is what the file says, where the policy has a use for that.
    pub fn into_entry(self, clock: AccessClock) -> Entry {
        let access = match clock.policy() {
            AccessPolicy::Lru => self.idle_seconds.map(|idle| clock.with_idle_seconds(idle)),
            AccessPolicy::Lfu { .. } => self.frequency.map(|counter| clock.with_frequency(counter)),
        };
        Entry::new(self.key, self.value, self.expiry, access.unwrap_or_else(|| clock.fresh()))
    }
}

/// Why a sink does not take what it is given.
pub type Refusal = Box<dyn std::error::Error + Send + Sync>;

/// What receives the content of a file. A refusal stops the reading.
pub trait RdbSink {
    /// # Errors
    /// When the key is not taken, say because it occurred before.
    fn entry(&mut self, entry: RdbEntry<'_>) -> Result<(), Refusal>;

    /// A library of functions, by its source text.
    ///
    /// # Errors
    /// When it is not taken.
    fn library(&mut self, text: &[u8]) -> Result<(), Refusal>;

    /// A named text that says something about the file or, between keys, about its blocks.
    ///
    /// # Errors
    /// When what it says stops the reading.
    fn aux(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        let _ = (name, value);
        Ok(())
    }

    /// What follows is of this database.
    fn database(&mut self, db: u32) {
        let _ = db;
    }

    /// Something was passed over that no key depends on: what, for the operator.
    fn left_out(&mut self, what: &str) {
        let _ = what;
    }

    /// How many keys, and keys with expiry, are about to come in a database: a hint, not to be believed.
    fn sizes(&mut self, db: u32, keys: u64, expiries: u64) {
        let _ = (db, keys, expiries);
    }
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub version: u32,
    pub keys: u64,
    /// Keys of the file that held an empty collection and were left out.
    pub empty_keys: u64,
    /// Offset behind the end of the RDB part: where commands begin in an append-only file.
    pub end: u64,
    /// The checksum, when the file has one.
    pub checksum: Option<u64>,
}

/// Why a file was not read to its end.
#[derive(Debug, thiserror::Error)]
#[error("RDB at offset {offset}, reading {reading}: {problem}")]
pub struct RdbError {
    /// Offset of what was being read, or behind it when its content is wrong.
    pub offset: u64,
    /// What was being read, with the key it belongs to.
    pub reading: String,
    #[source]
    pub problem: RdbProblem,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum RdbProblem {
    #[error("{0}")]
    Value(#[from] crate::value::payload::Problem),
    #[error("not an RDB file")]
    NoMagic,
    #[error("version {0} is not supported, 1 to {VERSION_MAX} and Valkey's {VERSION_VALKEY} are")]
    Version(u32),
    #[error("{0} not supported yet")]
    Unsupported(String),
    #[error("unknown operation {0}")]
    UnknownOpcode(u8),
    #[error("database number {0} is beyond what a server can have")]
    Database(u64),
    #[error("checksum is {actual:016x}, the file says {declared:016x}")]
    Checksum { declared: u64, actual: u64 },
    #[error("block {number} of {len} bytes, which held {keys} keys, is not what was written")]
    Block { number: u32, len: u64, keys: u64 },
    #[error("they are not those of its consumers")]
    ActiveTimes,
    #[error("{0}")]
    Refused(Refusal),
}

/// Reads an RDB file, or the one in front of an append-only file, from where `source` stands to behind its checksum.
///
/// # Errors
/// What is wrong, and where; what came before it has reached the sink.
pub fn read(source: &mut dyn Source, limits: &Limits, sink: &mut dyn RdbSink) -> Result<Loaded, RdbError> {
    let version = header(&mut Input::new(source))?;
    let (keys, empty_keys) = Body::new(Input::new(source), limits, sink).read(Until::EndMark)?;
    let actual = source.checksum();
    let checksum = check_sum(&mut Input::new(source), version, actual)?;
    Ok(Loaded { version, keys, empty_keys, end: source.offset(), checksum })
}

/// Compares the sum of all bytes up to here with the one that stands here, which is returned where the file has one.
pub(super) fn check_sum(input: &mut Input<'_>, version: u32, actual: u64) -> Result<Option<u64>, RdbError> {
    if version < VERSION_WITH_CHECKSUM {
        return Ok(None);
    }
    let at = input.offset();
    let declared = u64::from_le_bytes(input.array("checksum").map_err(|e| from_decode(e, None))?);
    if declared != 0 && declared != actual {
        return Err(fail(at, "checksum", RdbProblem::Checksum { declared, actual }));
    }
    Ok((declared != 0).then_some(declared))
}

/// Reads an RDB file that lies in memory.
///
/// # Errors
/// As [`read`].
pub fn read_bytes(bytes: &[u8], limits: &Limits, sink: &mut dyn RdbSink) -> Result<Loaded, RdbError> {
    read(&mut SliceSource::new(bytes), limits, sink)
}

/// Reads the version that a file begins with.
pub(super) fn header(input: &mut Input<'_>) -> Result<u32, RdbError> {
    let at = input.offset();
    let header: [u8; HEADER_LEN] = input.array("header").map_err(|e| from_decode(e, None))?;
    match version(&header) {
        None => Err(fail(at, "header", RdbProblem::NoMagic)),
        Some(version) if is_known(&header, version) => Ok(version),
        Some(version) => Err(fail(at, "header", RdbProblem::Version(version))),
    }
}

/// What ends a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    EndMark,
    /// The end of the input: what was read is a block, or another part.
    EndOfInput,
}

/// What stands between the header and the end mark, or a part of it.
pub(super) struct Body<'a, 's> {
    input: Input<'s>,
    limits: &'a Limits,
    sink: &'a mut dyn RdbSink,
    context: Context,
    /// The block under way.
    block: Block,
    keys: u64,
    empty_keys: u64,
    /// Holds the key being read.
    key: Vec<u8>,
}

/// Where a block began.
#[derive(Clone, Copy, Default)]
struct Block {
    number: u32,
    offset: u64,
    /// The checksum of all bytes before it, and how many keys those held.
    sum_before: u64,
    keys_before: u64,
}

/// What the operations before a key said about it.
#[derive(Default)]
struct Context {
    db: u32,
    expiry: Option<UnixMillis>,
    idle_seconds: Option<u64>,
    frequency: Option<u8>,
    /// Times of a stream's consumers.
    active: Option<Vec<u8>>,
    /// Where the first of them stood.
    offset: Option<u64>,
}

impl<'a, 's> Body<'a, 's> {
    pub(super) fn new(input: Input<'s>, limits: &'a Limits, sink: &'a mut dyn RdbSink) -> Self {
        let (context, block) = (Context::default(), Block::default());
        Self { input, limits, sink, context, block, keys: 0, empty_keys: 0, key: Vec::new() }
    }

    /// For a part that begins where this database is selected, and this block begins.
    pub(super) fn beginning(mut self, db: u32, block: u32) -> Self {
        self.context.db = db;
        self.block = Block { number: block, offset: self.input.offset(), ..Block::default() };
        self
    }

    /// Reads to behind the end; the numbers of keys and of empty keys.
    pub(super) fn read(mut self, until: Until) -> Result<(u64, u64), RdbError> {
        loop {
            let at = self.input.offset();
            if until == Until::EndOfInput && self.input.remaining() == 0 {
                return Ok((self.keys, self.empty_keys));
            }
            let operation = self.byte("operation")?;
            match operation {
                opcode::EOF if until == Until::EndMark => return Ok((self.keys, self.empty_keys)),
                opcode::SELECT_DB => {
                    let number = self.length("database number")?;
                    // Stock numbers databases with an int.
                    let db = i32::try_from(number).ok().and_then(|db| u32::try_from(db).ok());
                    let Some(db) = db else {
                        return Err(fail(at, "database number", RdbProblem::Database(number)));
                    };
                    self.context.db = db;
                    self.sink.database(db);
                }
                opcode::RESIZE_DB => {
                    let keys = self.length("number of keys")?;
                    let expiries = self.length("number of keys with expiry")?;
                    self.sink.sizes(self.context.db, keys, expiries);
                }
                opcode::SLOT_INFO => {
                    // Sizes of a slot's tables: a hint for a cluster, which this server is not part of.
                    for reading in
                        ["number of a slot", "number of a slot's keys", "number of a slot's keys with expiry"]
                    {
                        self.length(reading)?;
                    }
                }
                opcode::SLOT_IMPORT => {
                    let problem = RdbProblem::Unsupported("a slot's import or a module's data about a key is".into());
                    return Err(fail(at, "operation 243", problem));
                }
                opcode::AUX => self.aux(at)?,
                opcode::EXPIRE_TIME => {
                    let seconds = i32::from_le_bytes(self.array("expiry")?);
                    self.context.expiry = Some(UnixMillis(i64::from(seconds) * 1000));
                    self.context.offset.get_or_insert(at);
                }
                opcode::EXPIRE_TIME_MS => {
                    self.context.expiry = Some(UnixMillis(i64::from_le_bytes(self.array("expiry")?)));
                    self.context.offset.get_or_insert(at);
                }
                opcode::IDLE => {
                    self.context.idle_seconds = Some(self.length("idle time")?);
                    self.context.offset.get_or_insert(at);
                }
                opcode::FREQ => {
                    self.context.frequency = Some(self.byte("use counter")?);
                    self.context.offset.get_or_insert(at);
                }
                opcode::FUNCTION_2 => {
                    let text = self.string("library of functions")?;
                    let taken = self.sink.library(&text);
                    taken.map_err(|refusal| fail(at, "library of functions", RdbProblem::Refused(refusal)))?;
                }
                opcode::FUNCTION_PRE_GA => {
                    let problem =
                        RdbProblem::Unsupported("functions as release candidates of 7.0 wrote them are".into());
                    return Err(fail(at, "functions", problem));
                }
                opcode::MODULE_AUX => self.module_aux()?,
                form if form <= object::HASH_LISTPACK_EX => match self.key(form, at)? {
                    true => self.keys += 1,
                    false => self.empty_keys += 1,
                },
                unknown => return Err(fail(at, "operation", RdbProblem::UnknownOpcode(unknown))),
            }
        }
    }

    fn aux(&mut self, at: u64) -> Result<(), RdbError> {
        // Of all up to and with the operation's byte.
        let summed = self.input.checksum();
        let name = self.string("name of an AUX field")?;
        let value = self.string("value of an AUX field")?;
        if let Some(field) = BlockField::decode(&name, &value) {
            return self.end_of_block(&field, at, summed);
        }
        if name == active::NAME {
            self.context.active = Some(value);
            self.context.offset.get_or_insert(at);
            return Ok(());
        }
        let taken = self.sink.aux(&name, &value);
        taken.map_err(|refusal| {
            fail(at, &format!("AUX field \"{}\"", name.escape_ascii()), RdbProblem::Refused(refusal))
        })
    }

    /// Passes over what a module has stored beside the keys, which only the module itself could make use of: values, each
    /// behind its kind, up to an end mark.
    fn module_aux(&mut self) -> Result<(), RdbError> {
        const READING: &str = "data of a module";
        let name = module_type_name(self.length(READING)?);
        loop {
            let at = self.input.offset();
            match self.length(READING)? {
                module::END => break,
                module::SIGNED | module::UNSIGNED => {
                    self.length(READING)?;
                }
                module::FLOAT => {
                    self.array::<4>(READING)?;
                }
                module::DOUBLE => {
                    self.array::<8>(READING)?;
                }
                module::STRING => {
                    self.string(READING)?;
                }
                kind => {
                    let problem = RdbProblem::Unsupported(format!("data of a module ({name}) of kind {kind} is"));
                    return Err(fail(at, READING, problem));
                }
            }
        }
        self.sink.left_out(&format!("data of the module with the type {name}, which is not there"));
        Ok(())
    }

    /// Compares the block that ends at `at` with what its field says; a field that belongs elsewhere (it was moved here by
    /// somebody's tool) says nothing.
    fn end_of_block(&mut self, field: &BlockField, at: u64, summed: u64) -> Result<(), RdbError> {
        let Block { number, offset, sum_before, keys_before } = self.block;
        let (len, keys) = (at - offset, self.keys + self.empty_keys - keys_before);
        if (field.number, field.len, field.keys) == (number, len, keys) && self.input.offset() == at + BLOCK_FIELD_BYTES
        {
            let declared = joined(field.crc, sum(&[opcode::AUX]), 1);
            if field.crc != 0 && between(sum_before, summed, len + 1) != declared {
                return Err(fail(offset, "a block", RdbProblem::Block { number, len, keys }));
            }
        }
        self.block = Block {
            number: number + 1,
            offset: self.input.offset(),
            sum_before: self.input.checksum(),
            keys_before: self.keys + self.empty_keys,
        };
        Ok(())
    }

    /// Reads a key and its value; whether it has one.
    fn key(&mut self, form: u8, at: u64) -> Result<bool, RdbError> {
        let context = std::mem::take(&mut self.context);
        self.context.db = context.db;
        let offset = context.offset.unwrap_or(at);
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        key.extend_from_slice(self.input.string("key").map_err(|e| from_decode(e, None))?);
        let named = || format!("key \"{}\" of database {}", printable(&key), context.db);
        if let Some(kind) = unsupported(form, &mut self.input)? {
            return Err(fail(at, &named(), RdbProblem::Unsupported(format!("key of type {kind} is"))));
        }
        let value = decode_object(&mut self.input, form, self.limits).map_err(|e| from_decode(e, Some(&named())))?;
        let Some(mut value) = value else {
            self.key = key;
            return Ok(false);
        };
        if let (Some(times), Value::Stream(stream)) = (&context.active, &mut value)
            && !active::apply(times, stream)
        {
            return Err(fail(offset, &format!("times of {}", named()), RdbProblem::ActiveTimes));
        }
        let entry = RdbEntry {
            db: context.db,
            key: &key,
            value,
            expiry: context.expiry,
            idle_seconds: context.idle_seconds,
            frequency: context.frequency,
            offset,
        };
        self.sink.entry(entry).map_err(|refusal| fail(offset, &named(), RdbProblem::Refused(refusal)))?;
        self.key = key;
        Ok(true)
    }

    fn byte(&mut self, reading: &'static str) -> Result<u8, RdbError> {
        self.input.byte(reading).map_err(|e| from_decode(e, None))
    }

    fn array<const N: usize>(&mut self, reading: &'static str) -> Result<[u8; N], RdbError> {
        self.input.array(reading).map_err(|e| from_decode(e, None))
    }

    fn length(&mut self, reading: &'static str) -> Result<u64, RdbError> {
        self.input.length(reading).map_err(|e| from_decode(e, None))
    }

    fn string(&mut self, reading: &'static str) -> Result<Vec<u8>, RdbError> {
        self.input.string(reading).map(<[u8]>::to_vec).map_err(|e| from_decode(e, None))
    }
}

/// The name of a type that is known but cannot be read.
fn unsupported(form: u8, input: &mut Input<'_>) -> Result<Option<String>, RdbError> {
    Ok(match form {
        object::MODULE_PRE_GA | object::MODULE_2 => {
            let id = input.length("module type").map_err(|e| from_decode(e, None))?;
            Some(format!("{} (of a module)", module_type_name(id)))
        }
        object::HASH_METADATA_PRE_GA..=object::HASH_LISTPACK_EX => Some("hash whose fields expire".into()),
        _ => None,
    })
}

/// A key as an error shows it: at most so many bytes.
fn printable(key: &[u8]) -> String {
    const SHOWN: usize = 100;
    let shown = key[..key.len().min(SHOWN)].escape_ascii();
    if key.len() > SHOWN { format!("{shown}...") } else { shown.to_string() }
}

pub(super) fn from_decode(error: DecodeError, within: Option<&str>) -> RdbError {
    let reading = match within {
        Some(within) => format!("{} of {within}", error.reading),
        None => error.reading.to_owned(),
    };
    RdbError { offset: error.offset, reading, problem: error.problem.into() }
}

pub(super) fn fail(offset: u64, reading: &str, problem: RdbProblem) -> RdbError {
    RdbError { offset, reading: reading.to_owned(), problem }
}
