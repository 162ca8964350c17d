//! What DEBUG tells of keys and their values, and the keys that it makes.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::command::{Args, CommandError, Cx, Event, Ttl};
use crate::ds::ListpackSlice;
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

/// DEBUG LISTPACK: what lies in it, on standard output.
pub(super) fn listpack(cx: &mut Cx<'_>, key: &[u8]) -> Result<(), CommandError> {
    let entry = cx.peek(key).ok_or(CommandError::NO_SUCH_KEY)?;
    let text = match entry.value() {
        ValueRef::List(list) if list.encoding() == "listpack" => {
            Some(list.nodes().map(|node| node_text(&node, true)).collect())
        }
        ValueRef::Hash(hash) => hash.packed().map(listpack_text),
        ValueRef::Set(set) => set.listpack().map(|listpack| listpack_text(listpack)),
        ValueRef::Zset(zset) => zset.to_listpack().map(|listpack| listpack_text(&listpack)),
        _ => None,
    };
    print(&text.ok_or(CommandError::fixed("ERR Not a listpack encoded object."))?);
    cx.reply.simple("Listpack structure printed on stdout");
    Ok(())
}

/// DEBUG QUICKLIST: its nodes, on standard output.
pub(super) fn quicklist(cx: &mut Cx<'_>, key: &[u8], with_elements: bool) -> Result<(), CommandError> {
    let entry = cx.peek(key).ok_or(CommandError::NO_SUCH_KEY)?;
    let (ValueRef::List(list), "quicklist") = (entry.value(), entry.value().encoding()) else {
        return Err(CommandError::fixed("ERR Not a quicklist encoded object."));
    };
    let mut text = format!("{{count: {}}}\n{{nodes: {}}}\n", list.len(), list.node_count());
    for (number, node) in list.nodes().enumerate() {
        text += &format!("{{node {number}}}\n{}", node_text(&node, with_elements));
    }
    print(&text);
    cx.reply.simple("Quicklist structure printed on stdout");
    Ok(())
}

/// On standard output; where that is closed, nobody wants to know.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn node_text(node: &Node<'_>, with_elements: bool) -> String {
    match node {
        Node::Packed(listpack) if with_elements => listpack_text(listpack),
        Node::Packed(listpack) => format!("{{listpack: {} bytes, {} entries}}\n", listpack.byte_len(), listpack.len()),
        Node::Plain(element) if with_elements => {
            format!("{{plain: {} bytes}}\n{}\n", element.len(), element.escape_ascii())
        }
        Node::Plain(element) => format!("{{plain: {} bytes}}\n", element.len()),
    }
}

fn listpack_text(listpack: &ListpackSlice) -> String {
    let mut text = format!("{{listpack: {} bytes, {} entries}}\n", listpack.byte_len(), listpack.len());
    let mut number = itoa::Buffer::new();
    for (index, item) in listpack.iter().enumerate() {
        text += &format!("{index}: {}\n", item.as_bytes(&mut number).escape_ascii());
    }
    text
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

/// DEBUG HTSTATS: the tables of a database. `full`: how full their buckets are.
pub(super) fn database_tables(cx: &mut Cx<'_>, db: i64, full: bool) -> Result<(), CommandError> {
    let known = u32::try_from(db).ok().filter(|db| *db < cx.store.len());
    let database = cx.store.db(known.ok_or(CommandError::fixed("ERR Out of range database"))?);
    let keys = table_text(&database.snapshot().bucket_lengths(), full);
    // Deadlines lie in a tree.
    let expires = match database.expires_len() {
        0 => EMPTY_TABLE.to_owned(),
        count => format!("{TABLE_TITLE} number of elements: {count}\n"),
    };
    cx.reply.verbatim(*b"txt", format!("[Dictionary HT]\n{keys}[Expires HT]\n{expires}"));
    Ok(())
}

/// DEBUG HTSTATS-KEY: the table of one value.
pub(super) fn value_table(cx: &mut Cx<'_>, key: &[u8], full: bool) -> Result<(), CommandError> {
    let entry = cx.peek(key).ok_or(CommandError::NO_SUCH_KEY)?;
    let lengths = entry.value().bucket_lengths().ok_or(CommandError::fixed(
        "ERR The value stored at the specified key is not represented using an hash table",
    ))?;
    cx.reply.verbatim(*b"txt", table_text(&lengths, full));
    Ok(())
}

const TABLE_TITLE: &str = "Hash table 0 stats (main hash table):\n";
const EMPTY_TABLE: &str = "Hash table 0 stats (main hash table):\nNo stats available for empty dictionaries\n";

/// A table by how many of its buckets hold how many elements.
fn table_text(lengths: &BTreeMap<usize, usize>, full: bool) -> String {
    let buckets: usize = lengths.values().sum();
    let elements: usize = lengths.iter().map(|(length, count)| length * count).sum();
    if elements == 0 {
        return EMPTY_TABLE.to_owned();
    }
    let mut text = format!("{TABLE_TITLE} table size: {buckets}\n number of elements: {elements}\n");
    if !full {
        return text;
    }
    let used = buckets - lengths.get(&0).copied().unwrap_or(0);
    let longest = lengths.keys().next_back().copied().unwrap_or(0);
    let average = elements as f64 / used as f64;
    text += &format!(
        " different slots: {used}\n max chain length: {longest}\n avg chain length (counted): {average:.2}\n avg chain \
         length (computed): {average:.2}\n Chain length distribution:\n"
    );
    for (length, count) in lengths {
        text += &format!("   {length}: {count} ({:.2}%)\n", *count as f64 * 100.0 / buckets as f64);
    }
    text
}

/// DEBUG STRINGMATCH-LEN: whether a pattern matches a text.
pub(super) fn string_match(cx: &mut Cx<'_>, pattern: &[u8], text: &[u8]) {
    cx.reply.int(i64::from(crate::command::glob_matches(pattern, text)));
}

#[cfg(test)]
mod tests {
    use super::table_text;
    use std::collections::BTreeMap;

    #[test]
    fn a_table_is_told_by_the_lengths_of_its_buckets() {
        let lengths = BTreeMap::from([(0, 1), (2, 2), (5, 1)]);
        let brief = "Hash table 0 stats (main hash table):\n table size: 4\n number of elements: 9\n";
        assert_eq!(table_text(&lengths, false), brief);
        assert_eq!(
            table_text(&lengths, true),
            format!(
                "{brief} different slots: 3\n max chain length: 5\n avg chain length (counted): 3.00\n avg chain length \
                 (computed): 3.00\n Chain length distribution:\n   0: 1 (25.00%)\n   2: 2 (50.00%)\n   5: 1 (25.00%)\n"
            )
        );
        assert!(table_text(&BTreeMap::from([(0, 3)]), true).contains("empty"));
    }
}
