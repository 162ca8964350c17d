//! Data as JSON: one line for a key, with everything that the data model knows of it, so that the line makes the key again.
//!
//! Texts that are UTF-8 are strings; others are `{"hex": "..."}`. Scores are numbers, those without an end `"inf"`, `"-inf"`.

use crate::env::UnixMillis;
use crate::value::{End, Group, Hash, Item, Limits, List, Set, Str, Stream, StreamId, Type, Value, ValueRef, Zset};
use serde_json::{Map, Number, Value as Json, json};

/// Bytes as text, or in hexadecimal digits where they are none.
pub fn text(bytes: &[u8]) -> Json {
    match std::str::from_utf8(bytes) {
        Ok(text) => Json::from(text),
        Err(_) => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}

fn item(item: Item<'_>) -> Json {
    text(item.as_bytes(&mut itoa::Buffer::new()))
}

fn score(score: f64) -> Json {
    match Number::from_f64(score) {
        Some(number) => Json::Number(number),
        None => Json::from(if score > 0.0 { "inf" } else { "-inf" }),
    }
}

/// A value, whole.
pub fn value(value: ValueRef<'_>) -> Json {
    match value {
        ValueRef::Str(string) => text(&string.as_bytes(&mut itoa::Buffer::new())),
        ValueRef::List(list) => list.iter().map(item).collect(),
        ValueRef::Set(set) => set.iter().map(item).collect(),
        ValueRef::Hash(hash) => hash.iter().map(|(field, value)| json!([item(field), item(value)])).collect(),
        ValueRef::Zset(zset) => zset.iter().map(|(member, at)| json!([item(member), score(at)])).collect(),
        ValueRef::Stream(stream) => self::stream(stream),
    }
}

fn stream(stream: &Stream) -> Json {
    let entries = stream.range(StreamId::MIN, StreamId::MAX).map(|entry| {
        let fields: Json = entry.fields.map(|(field, value)| json!([item(field), item(value)])).collect();
        json!([entry.id.to_string(), fields])
    });
    let groups = stream.groups().map(|group| {
        let consumers: Json = group
            .consumers()
            .map(|consumer| json!({ "name": text(consumer.name()), "seen_at_ms": consumer.seen_at, "active_at_ms": consumer.active_at }))
            .collect();
        let pending: Json = group
            .pending_from(StreamId::MIN)
            .map(|pending| {
                json!({ "id": pending.id.to_string(), "consumer": text(pending.consumer()),
                        "delivered_at_ms": pending.delivered_at, "deliveries": pending.deliveries })
            })
            .collect();
        json!({ "name": text(group.name()), "last_id": group.last_id.to_string(), "entries_read": group.entries_read,
                "consumers": consumers, "pending": pending })
    });
    json!({
        "entries": entries.collect::<Json>(),
        "last_id": stream.last_id().to_string(),
        "max_deleted_id": stream.max_deleted_id().to_string(),
        "entries_added": stream.entries_added(),
        "groups": groups.collect::<Json>(),
    })
}

/// A key with everything that belongs to it.
pub fn key(db: u32, key: &[u8], value: ValueRef<'_>, expiry: Option<UnixMillis>) -> Map<String, Json> {
    let mut line = Map::new();
    line.insert("db".into(), db.into());
    line.insert("key".into(), text(key));
    line.insert("type".into(), value.kind().name().into());
    line.insert("encoding".into(), value.encoding().into());
    if let Some(expiry) = expiry {
        line.insert("expires_at_ms".into(), expiry.0.into());
    }
    line.insert("value".into(), self::value(value));
    line
}

/// What a line says.
pub enum Line {
    Library(Vec<u8>),
    Key { db: u32, key: Vec<u8>, value: Value, expiry: Option<UnixMillis> },
}

/// Reads what [`key`] writes.
///
/// # Errors
/// What is wrong with it.
pub fn read(line: &Json, limits: &Limits) -> Result<Line, String> {
    if let Some(text) = line.get("library") {
        return Ok(Line::Library(bytes(text)?));
    }
    let db = number(line.get("db").unwrap_or(&Json::from(0)), "db")?;
    let db = u32::try_from(db).map_err(|_| "\"db\" is no number of a database".to_owned())?;
    let key = bytes(field(line, "key")?)?;
    let expiry = line.get("expires_at_ms").filter(|at| !at.is_null());
    let expiry = expiry.map(|at| at.as_i64().ok_or("\"expires_at_ms\" is no number")).transpose()?.map(UnixMillis);
    let kind = field(line, "type")?.as_str().unwrap_or_default();
    let content = field(line, "value")?;
    let kind = Type::from_name(kind.as_bytes()).ok_or_else(|| format!("there is no type \"{kind}\""))?;
    let value = match kind {
        Type::String => Value::Str(Str::encode(&bytes(content)?)),
        Type::List => {
            let mut list = List::new();
            for element in elements(content)? {
                list.push(End::Back, &bytes(element)?, limits);
            }
            list.into()
        }
        Type::Set => {
            let members = elements(content)?.iter().map(bytes).collect::<Result<Vec<_>, _>>()?;
            let first = members.first().map(Vec::as_slice).unwrap_or_default();
            let mut set = Set::for_members(first, members.len(), limits);
            for member in &members {
                set.add(member, limits);
            }
            set.into()
        }
        Type::Hash => {
            let mut hash = Hash::new();
            for (name, content) in pairs(content)? {
                hash.set(&bytes(name)?, &bytes(content)?, limits);
            }
            hash.into()
        }
        Type::Zset => {
            let mut zset = Zset::new();
            for (member, score) in pairs(content)? {
                let score = match (score.as_f64(), score.as_str()) {
                    (Some(score), _) => score,
                    (_, Some("inf")) => f64::INFINITY,
                    (_, Some("-inf")) => f64::NEG_INFINITY,
                    _ => return Err(format!("{score} is no score")),
                };
                zset.set(&bytes(member)?, score, limits);
            }
            zset.into()
        }
        Type::Stream => read_stream(content, limits)?.into(),
    };
    if value.as_ref().is_empty() && kind != Type::String {
        return Err("a collection holds one element at least".into());
    }
    Ok(Line::Key { db, key, value, expiry })
}

fn field<'j>(line: &'j Json, name: &str) -> Result<&'j Json, String> {
    line.get(name).ok_or_else(|| format!("it has no \"{name}\""))
}

fn number(json: &Json, what: &str) -> Result<u64, String> {
    json.as_u64().ok_or_else(|| format!("\"{what}\" is no number"))
}

fn bytes(json: &Json) -> Result<Vec<u8>, String> {
    if let Some(text) = json.as_str() {
        return Ok(text.as_bytes().to_vec());
    }
    let digits =
        json.get("hex").and_then(Json::as_str).filter(|digits| digits.len().is_multiple_of(2) && digits.is_ascii());
    let digits = digits.ok_or_else(|| format!("{json} is neither a string nor {{\"hex\": ...}}"))?;
    let byte =
        |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| format!("{digits} is not hexadecimal"));
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn elements(json: &Json) -> Result<&Vec<Json>, String> {
    json.as_array().ok_or_else(|| "\"value\" is no array".to_owned())
}

fn pairs(json: &Json) -> Result<Vec<(&Json, &Json)>, String> {
    let pair = |pair: &'_ Json| pair.as_array().is_some_and(|pair| pair.len() == 2);
    let all = elements(json)?;
    match all.iter().all(pair) {
        true => Ok(all.iter().map(|pair| (&pair[0], &pair[1])).collect()),
        false => Err("what should be a pair is none".into()),
    }
}

fn id(json: &Json) -> Result<StreamId, String> {
    let wrong = || format!("{json} is no ID of an entry");
    let (ms, seq) = json.as_str().and_then(|text| text.split_once('-')).ok_or_else(wrong)?;
    Ok(StreamId::new(ms.parse().map_err(|_| wrong())?, seq.parse().map_err(|_| wrong())?))
}

fn read_stream(json: &Json, limits: &Limits) -> Result<Stream, String> {
    let mut stream = Stream::new();
    let mut last = None;
    for (at, content) in pairs(field(json, "entries")?)? {
        let at = id(at)?;
        if last.is_some_and(|last| at <= last) || at == StreamId::MIN {
            return Err(format!("entry {at} does not come behind the one before it"));
        }
        last = Some(at);
        let mut words = Vec::new();
        for (name, content) in pairs(content)? {
            words.extend([bytes(name)?, bytes(content)?]);
        }
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        stream.add(at, &words, limits);
    }
    let last_id = id(field(json, "last_id")?)?;
    if last.is_some_and(|last| last_id < last) {
        return Err("\"last_id\" lies before the last entry".into());
    }
    let added = number(field(json, "entries_added")?, "entries_added")?;
    stream.set_id(last_id, Some(added), Some(id(field(json, "max_deleted_id")?)?));
    for group in field(json, "groups")?.as_array().ok_or("\"groups\" is no array")? {
        let read = field(group, "entries_read")?.as_u64();
        let mut made = Group::new(&bytes(field(group, "name")?)?, id(field(group, "last_id")?)?, read);
        for consumer in field(group, "consumers")?.as_array().ok_or("\"consumers\" is no array")? {
            let name = bytes(field(consumer, "name")?)?;
            made.add_consumer(&name, field(consumer, "seen_at_ms")?.as_i64().unwrap_or(0));
            let active = field(consumer, "active_at_ms")?.as_i64();
            made.edit_consumer(&name, |consumer| consumer.active_at = active);
        }
        for pending in field(group, "pending")?.as_array().ok_or("\"pending\" is no array")? {
            let name = bytes(field(pending, "consumer")?)?;
            if made.consumer(&name).is_none() {
                return Err("a pending entry is of a consumer that is not there".into());
            }
            let delivered = field(pending, "delivered_at_ms")?.as_i64().unwrap_or(0);
            let deliveries = number(field(pending, "deliveries")?, "deliveries")?;
            made.assign(&name, [(id(field(pending, "id")?)?, delivered, deliveries)]);
        }
        if !stream.add_group(made) {
            return Err("two groups have one name".into());
        }
    }
    Ok(stream)
}
