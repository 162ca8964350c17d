//! Data as JSON: one line for a key, with everything that the data model knows of it, so that the line makes the key again.
//!
//! Texts that are UTF-8 are strings; others are `{"hex": "..."}`. Scores are numbers, those without an end `"inf"`, `"-inf"`.

use crate::env::UnixMillis;
use crate::value::{Item, Stream, StreamId, ValueRef};
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
