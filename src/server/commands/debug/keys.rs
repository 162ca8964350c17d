//! What DEBUG tells of keys and their values, and the keys that it makes.

use std::io::{self, Write};

use crate::command::{Args, CommandError, Cx, Event, Ttl};
use crate::keyspace::Entry;
use crate::server::Server;
use crate::value::payload::{Encoder, VERSION};
use crate::value::{Node, StrRef, ValueRef};

/// Counts what is written.
struct Counter(usize);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes of a value in an RDB file, without its form.
fn serialized_len(value: ValueRef<'_>, compression: bool) -> usize {
    let mut counter = Counter(0);
    let written = Encoder::new(VERSION, compression).value(value, &mut counter);
    written.map_or(0, |()| counter.0)
}

/// DEBUG OBJECT.
pub(super) fn object(cx: &mut Cx<'_>, key: &[u8]) -> Result<(), CommandError> {
    let settings = Server::of(cx)?.shared()?.settings();
    let (fill, compressed) = (settings.limits.list_max_listpack_size, settings.limits.list_compress_depth > 0);
    let clock = cx.database().access_clock();
    let compression = cx.host.payload_rules().compression;
    let entry = cx.peek(key).ok_or(CommandError::NO_SUCH_KEY)?;
    let value = entry.value();
    let mut text = format!(
        "Value at:{:p} refcount:1 encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{}",
        std::ptr::from_ref::<Entry>(entry),
        value.encoding(),
        serialized_len(value, compression),
        entry.clock(),
        clock.idle_seconds(entry.clock()),
    );
    if let (ValueRef::List(list), "quicklist") = (value, value.encoding()) {
        let nodes = list.node_count();
        let bytes: usize = list
            .nodes()
            .map(|node| match node {
                Node::Packed(listpack) => listpack.byte_len(),
                Node::Plain(bytes) => bytes.len(),
            })
            .sum();
        let average = list.len() as f64 / nodes as f64;
        let compressed = u8::from(compressed);
        text += &format!(
            " ql_nodes:{nodes} ql_avg_node:{average:.2} ql_listpack_max:{fill} ql_compressed:{compressed} \
             ql_uncompressed_size:{bytes}"
        );
    }
    cx.reply.simple(text);
    Ok(())
}

/// DEBUG POPULATE: logged as the strings that it makes.
pub(super) fn populate(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let count = args.int_within(0..=i64::MAX, CommandError::MUST_BE_POSITIVE);
    let prefix = args.next().unwrap_or(b"key");
    let size = if args.is_empty() { None } else { Some(args.int_within(0..=i64::MAX, CommandError::MUST_BE_POSITIVE)) };
    args.finish()?;
    let size = size.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    if size.is_some_and(|size| size > cx.host.string_bytes_max()) {
        return Err(CommandError::STRING_TOO_LONG);
    }
    cx.log_nothing();
    for number in 0..count {
        let key = [prefix, b":", itoa::Buffer::new().format(number).as_bytes()].concat();
        if cx.peek(&key).is_some() {
            continue;
        }
        let mut value = format!("value:{number}").into_bytes();
        if let Some(size) = size {
            value.resize(size, 0);
        }
        cx.put_string(&key, StrRef::plain(&value), Ttl::Clear);
        cx.log_as(&[b"SET", &key, &value]);
        cx.dirty(1);
        cx.notify(Event::String, "set", &key);
    }
    cx.reply.ok();
    Ok(())
}

/// DEBUG HTSTATS: the sizes of a database's tables.
pub(super) fn table_stats(cx: &mut Cx<'_>, db: i64) -> Result<(), CommandError> {
    let known = u32::try_from(db).ok().filter(|db| *db < cx.store.len());
    let database = cx.store.db(known.ok_or(CommandError::fixed("ERR Out of range database"))?);
    let (buckets, keys, expires) = (database.snapshot().portions(), database.len(), database.expires_len());
    let text = format!(
        "[Dictionary HT]\nHash table 0 stats (main hash table):\n table size: {buckets}\n number of elements: {keys}\n\
         [Expires HT]\n number of elements: {expires}\n"
    );
    cx.reply.verbatim(*b"txt", text);
    Ok(())
}

/// DEBUG STRINGMATCH-LEN: whether a pattern matches a text.
pub(super) fn string_match(cx: &mut Cx<'_>, pattern: &[u8], text: &[u8]) {
    cx.reply.int(i64::from(crate::command::glob_matches(pattern, text)));
}
