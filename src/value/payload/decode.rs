//! From object bytes to a value, form by form.

use super::error::{DecodeError, Problem};
use super::input::Input;
use super::{object, stream, ziplist, zipmap};
use crate::ds::{Intset, Listpack};
use crate::value::zset::Scored;
use crate::value::{Hash, Limits, List, ListBuilder, Set, Str, Value, Zset};

/// Lengths of a score in [`object::ZSET`] that stand for a score without text.
const SCORE_NAN: u8 = 253;
const SCORE_INF: u8 = 254;
const SCORE_NEG_INF: u8 = 255;

/// The value of the form `form` that `input` stands before; `None` for an empty collection, which old servers could
/// leave behind and no key may hold. The input then stands behind the value.
///
/// # Errors
/// What is wrong, and where. The input stands anywhere then.
pub fn decode_object(input: &mut Input<'_>, form: u8, limits: &Limits) -> Result<Option<Value>, DecodeError> {
    let value = match form {
        object::STRING => return Ok(Some(Value::Str(Str::encode(input.string("string")?)))),
        object::LIST => Value::List(list(input, limits)?),
        object::LIST_ZIPLIST => Value::List(list_ziplist(input, limits)?),
        object::LIST_QUICKLIST => Value::List(list_quicklist(input, limits)?),
        object::LIST_QUICKLIST_2 => Value::List(list_quicklist_2(input, limits)?),
        object::SET => Value::Set(set(input, limits)?),
        object::SET_INTSET => Value::Set(set_intset(input, limits)?),
        object::SET_LISTPACK => Value::Set(set_listpack(input, limits)?),
        object::ZSET => Value::Zset(zset(input, text_score, limits)?),
        object::ZSET_2 => Value::Zset(zset(input, binary_score, limits)?),
        object::ZSET_ZIPLIST => Value::Zset(zset_packed(input, ziplist::to_listpack, limits)?),
        object::ZSET_LISTPACK => Value::Zset(zset_packed(input, listpack, limits)?),
        object::HASH => Value::Hash(hash(input, limits)?),
        object::HASH_ZIPMAP => Value::Hash(hash_zipmap(input, limits)?),
        object::HASH_ZIPLIST => Value::Hash(hash_packed(input, ziplist::to_listpack, limits)?),
        object::HASH_LISTPACK => Value::Hash(hash_packed(input, listpack, limits)?),
        object::STREAM_LISTPACKS | object::STREAM_LISTPACKS_2 | object::STREAM_LISTPACKS_3 => {
            Value::Stream(stream::decode(input, form)?)
        }
        object::MODULE_PRE_GA | object::MODULE_2 => {
            return Err(input.error("value", Problem::Unsupported("a value of a module's type")));
        }
        unknown => return Err(input.error("value", Problem::UnknownForm(unknown))),
    };
    Ok((!value.is_empty()).then_some(value))
}

/// Reads a string and makes something of it that may find it wrong.
fn parsed<T>(
    input: &mut Input<'_>,
    reading: &'static str,
    parse: impl FnOnce(&[u8]) -> Result<T, Problem>,
) -> Result<T, DecodeError> {
    let parsed = parse(input.string(reading)?);
    parsed.map_err(|problem| input.error(reading, problem))
}

fn listpack(bytes: &[u8]) -> Result<Listpack, Problem> {
    Ok(Listpack::from_bytes(bytes)?)
}

fn list(input: &mut Input<'_>, limits: &Limits) -> Result<List, DecodeError> {
    let count = input.count(1, "length of a list")?;
    let mut list = ListBuilder::new(limits);
    for _ in 0..count {
        list.push(input.string("element of a list")?);
    }
    Ok(list.finish(limits))
}

fn list_ziplist(input: &mut Input<'_>, limits: &Limits) -> Result<List, DecodeError> {
    let mut list = ListBuilder::new(limits);
    list.push_node(parsed(input, "list as ziplist", ziplist::to_listpack)?);
    Ok(list.finish(limits))
}

fn list_quicklist(input: &mut Input<'_>, limits: &Limits) -> Result<List, DecodeError> {
    let count = input.count(1, "number of nodes of a list")?;
    let mut list = ListBuilder::new(limits);
    for _ in 0..count {
        list.push_node(parsed(input, "node of a list as ziplist", ziplist::to_listpack)?);
    }
    Ok(list.finish(limits))
}

fn list_quicklist_2(input: &mut Input<'_>, limits: &Limits) -> Result<List, DecodeError> {
    let count = input.count(2, "number of nodes of a list")?;
    let mut list = ListBuilder::new(limits);
    for _ in 0..count {
        match input.length("kind of a list node")? {
            object::NODE_PLAIN => list.push_plain(input.string("large element of a list")?),
            object::NODE_PACKED => list.push_node(parsed(input, "node of a list as listpack", listpack)?),
            kind => return Err(input.error("kind of a list node", Problem::NodeKind(kind))),
        }
    }
    Ok(list.finish(limits))
}

fn set(input: &mut Input<'_>, limits: &Limits) -> Result<Set, DecodeError> {
    let count = input.count(1, "length of a set")?;
    let mut set = Set::new();
    set.expect(count, limits);
    for _ in 0..count {
        if !set.add(input.string("member of a set")?, limits) {
            return Err(input.error("member of a set", Problem::Duplicate));
        }
    }
    Ok(set)
}

fn set_intset(input: &mut Input<'_>, limits: &Limits) -> Result<Set, DecodeError> {
    let intset = parsed(input, "set as intset", |bytes| Ok(Intset::from_bytes(bytes)?))?;
    Ok(Set::from_intset(intset, limits))
}

fn set_listpack(input: &mut Input<'_>, limits: &Limits) -> Result<Set, DecodeError> {
    let listpack = parsed(input, "set as listpack", listpack)?;
    Set::from_listpack(listpack, limits).ok_or_else(|| input.error("set as listpack", Problem::Duplicate))
}

fn zset(
    input: &mut Input<'_>,
    score: fn(&mut Input<'_>) -> Result<f64, DecodeError>,
    limits: &Limits,
) -> Result<Zset, DecodeError> {
    const MEMBER: &str = "member of a sorted set";
    let count = input.count(2, "length of a sorted set")?;
    let mut members = Vec::new();
    for _ in 0..count {
        let mut scored = Scored::new(input.string(MEMBER)?, 0.0);
        scored.score = score(input)?;
        members.push(scored);
    }
    Zset::from_members(members, limits).ok_or_else(|| input.error(MEMBER, Problem::Duplicate))
}

fn binary_score(input: &mut Input<'_>) -> Result<f64, DecodeError> {
    let score = f64::from_le_bytes(input.array("score")?);
    if score.is_nan() { Err(input.error("score", Problem::Score)) } else { Ok(score) }
}

fn text_score(input: &mut Input<'_>) -> Result<f64, DecodeError> {
    let score = match input.byte("score")? {
        SCORE_INF => Some(f64::INFINITY),
        SCORE_NEG_INF => Some(f64::NEG_INFINITY),
        SCORE_NAN => None,
        len => {
            let text = std::str::from_utf8(input.bytes(len.into(), "score")?);
            text.ok().and_then(|text| text.trim_ascii_start().parse::<f64>().ok())
        }
    };
    score.filter(|score| !score.is_nan()).ok_or_else(|| input.error("score", Problem::Score))
}

fn zset_packed(
    input: &mut Input<'_>,
    listpack: fn(&[u8]) -> Result<Listpack, Problem>,
    limits: &Limits,
) -> Result<Zset, DecodeError> {
    parsed(input, "packed sorted set", |bytes| Zset::from_listpack(&listpack(bytes)?, limits))
}

fn hash(input: &mut Input<'_>, limits: &Limits) -> Result<Hash, DecodeError> {
    let count = input.count(2, "length of a hash")?;
    let mut hash = Hash::new();
    hash.expect(count, limits);
    let mut field = Vec::new();
    for _ in 0..count {
        field.clear();
        field.extend_from_slice(input.string("field of a hash")?);
        if !hash.set(&field, input.string("value in a hash")?, limits) {
            return Err(input.error("field of a hash", Problem::Duplicate));
        }
    }
    Ok(hash)
}

fn hash_zipmap(input: &mut Input<'_>, limits: &Limits) -> Result<Hash, DecodeError> {
    parsed(input, "hash as zipmap", |bytes| {
        let mut hash = Hash::new();
        zipmap::read(
            bytes,
            |field, value| {
                if hash.set(field, value, limits) { Ok(()) } else { Err(Problem::Duplicate) }
            },
        )?;
        Ok(hash)
    })
}

fn hash_packed(
    input: &mut Input<'_>,
    listpack: fn(&[u8]) -> Result<Listpack, Problem>,
    limits: &Limits,
) -> Result<Hash, DecodeError> {
    parsed(input, "packed hash", |bytes| Hash::from_listpack(listpack(bytes)?, limits))
}
