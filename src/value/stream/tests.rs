use std::collections::BTreeMap;

use quickcheck::{Arbitrary, Gen, QuickCheck, quickcheck};

use super::*;

impl Stream {
    /// Everything it holds, for comparisons.
    pub fn to_text(&self) -> String {
        use std::fmt::Write;
        let (last, deleted, added) = (self.last_id(), self.max_deleted_id(), self.entries_added());
        let mut text = format!("last {last} deleted {deleted} added {added}");
        for entry in self.range(StreamId::MIN, StreamId::MAX) {
            let _ = write!(text, "; {} {:?}", entry.id, entry.fields.collect::<Vec<_>>());
        }
        for group in self.groups() {
            let name = group.name().escape_ascii();
            let _ = write!(text, "; group {name} last {} read {:?}", group.last_id, group.entries_read);
            for pending in group.pending_from(StreamId::MIN) {
                let (id, consumer) = (pending.id, pending.consumer().escape_ascii());
                let _ = write!(text, ", {id} {consumer} {} {}", pending.delivered_at, pending.deliveries);
            }
            for consumer in group.consumers() {
                let (name, seen, active) = (consumer.name().escape_ascii(), consumer.seen_at, consumer.active_at);
                let pending: Vec<_> = consumer.pending_from(StreamId::MIN).map(|id| id.to_string()).collect();
                let _ = write!(text, ", consumer {name} seen {seen} active {active:?} {}", pending.join(" "));
            }
        }
        text
    }
}

fn small() -> Limits {
    Limits { stream_node_max_entries: 5, stream_node_max_bytes: 200, ..Limits::default() }
}

/// What may be done to the entries.
#[derive(Clone, Debug)]
enum Op {
    /// Milliseconds and sequence to go on by, and the fields.
    Add(u8, u8, Vec<(u8, u8)>),
    Delete(u8),
    TrimLen(u8, bool),
    TrimId(u8, bool),
    Hold,
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Self {
        let of = |g: &mut Gen| u8::arbitrary(g);
        match of(g) % 20 {
            0..=12 => {
                let count = of(g) % 3 + 1;
                let fields = (0..count).map(|n| (if of(g).is_multiple_of(4) { of(g) % 3 } else { n }, of(g))).collect();
                Self::Add(of(g) % 3, of(g) % 3, fields)
            }
            13..=15 => Self::Delete(of(g)),
            16 => Self::TrimLen(of(g), bool::arbitrary(g)),
            17 => Self::TrimId(of(g), bool::arbitrary(g)),
            _ => Self::Hold,
        }
    }
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;
type Model = BTreeMap<StreamId, Fields>;

/// Every other value looks like a number; now and then a long one.
fn word(n: u8) -> Vec<u8> {
    match n % 7 {
        0 => vec![b'x'; n as usize],
        1..=3 => (i64::from(n) * 1_000_003).to_string().into_bytes(),
        _ => format!("v{n}").into_bytes(),
    }
}

fn owned(entry: StreamEntry<'_>) -> (StreamId, Fields) {
    (entry.id, entry.fields.map(|(name, value)| (name.to_vec(), value.to_vec())).collect())
}

fn agrees(stream: &Stream, model: &Model) -> bool {
    let all: Vec<(StreamId, Fields)> = model.iter().map(|(id, fields)| (*id, fields.clone())).collect();
    let near = |at: usize| all.get(at).map_or(StreamId::MAX, |(id, _)| *id);
    let bounds = [StreamId::MIN, near(0), near(all.len() / 3), near(all.len() / 2).next().unwrap_or(StreamId::MAX)];
    let ranges = bounds.iter().all(|first| {
        bounds.iter().chain([&StreamId::MAX]).all(|last| {
            let within = |(id, _): &&(StreamId, Fields)| id >= first && id <= last;
            let mut expected: Vec<_> = all.iter().filter(within).cloned().collect();
            let forwards = stream.range(*first, *last).map(owned).collect::<Vec<_>>() == expected;
            let counted = stream.count(*first, *last) == expected.len();
            expected.reverse();
            forwards && counted && stream.range_back(*first, *last).map(owned).collect::<Vec<_>>() == expected
        })
    });
    ranges
        && stream.len() == all.len()
        && stream.first_entry_id() == all.first().map(|(id, _)| *id)
        && stream.last_entry_id() == all.last().map(|(id, _)| *id)
        && all.iter().all(|(id, fields)| stream.get(*id).map(owned) == Some((*id, fields.clone())))
        && all.iter().all(|(id, _)| id.next().is_none_or(|next| stream.contains(next) == model.contains_key(&next)))
        && stream.nodes().all(|node| node.live() > 0)
}

fn entries_as_a_map(ops: Vec<Op>) -> bool {
    let limits = small();
    let (mut stream, mut model) = (Stream::new(), Model::new());
    let mut held: Vec<(Stream, Model)> = Vec::new();
    let nth = |model: &Model, n: u8| {
        let at = if model.is_empty() { 0 } else { n as usize % (model.len() + 1) };
        model.keys().nth(at).copied().unwrap_or(StreamId::new(7, 7))
    };
    for op in ops {
        match op {
            Op::Add(ms, seq, fields) => {
                let last = stream.last_id();
                let id = StreamId::new(
                    last.ms + u64::from(ms),
                    if ms > 0 { seq.into() } else { last.seq + 1 + u64::from(seq) },
                );
                let fields: Fields = fields.into_iter().map(|(n, v)| (vec![b'f', n], word(v))).collect();
                let words: Vec<&[u8]> = fields.iter().flat_map(|(n, v)| [&n[..], &v[..]]).collect();
                stream.add(id, &words, &limits);
                model.insert(id, fields);
            }
            Op::Delete(n) => {
                let id = nth(&model, n);
                if stream.delete(id) != model.remove(&id).is_some() {
                    return false;
                }
            }
            Op::TrimLen(most, exact) => {
                let most = u64::from(most) % (model.len() as u64 + 2);
                let (before, surplus) = (stream.len(), model.len().saturating_sub(most as usize));
                let removed = stream
                    .trim(Trim::MaxLen(most), if exact { Exactness::Exact } else { Exactness::Nodes { limit: 0 } });
                if removed > surplus || (exact && removed != surplus) || before - stream.len() != removed {
                    return false;
                }
                (0..removed).for_each(|_| drop(model.pop_first()));
            }
            Op::TrimId(n, exact) => {
                let least = nth(&model, n);
                let removed = stream
                    .trim(Trim::MinId(least), if exact { Exactness::Exact } else { Exactness::Nodes { limit: 0 } });
                let surplus = model.range(..least).count();
                if removed > surplus || (exact && removed != surplus) {
                    return false;
                }
                (0..removed).for_each(|_| drop(model.pop_first()));
            }
            Op::Hold => held.push((stream.clone(), model.clone())),
        }
    }
    held.push((stream, model));
    held.iter().all(|(stream, model)| agrees(stream, model))
}

#[test]
fn entries_behave_as_a_map() {
    QuickCheck::new().tests(300).quickcheck(entries_as_a_map as fn(Vec<Op>) -> bool);
}

quickcheck! {
    /// A node survives the form of RDB files with its deleted entries, and knows its size in that form beforehand.
    fn nodes_survive_packing(ops: Vec<Op>) -> bool {
        let (mut stream, limits) = (Stream::new(), small());
        for op in ops {
            match op {
                Op::Add(ms, seq, fields) => {
                    let id = StreamId::new(stream.last_id().ms + u64::from(ms) + 1, seq.into());
                    let fields: Fields = fields.into_iter().map(|(n, v)| (vec![b'f', n], word(v))).collect();
                    let words: Vec<&[u8]> = fields.iter().flat_map(|(n, v)| [&n[..], &v[..]]).collect();
                    stream.add(id, &words, &limits);
                }
                Op::Delete(n) => {
                    let id = stream.range(StreamId::MIN, StreamId::MAX).nth(n.into()).map(|entry| entry.id);
                    id.map(|id| stream.delete(id));
                }
                _ => {}
            }
        }
        let packed: Vec<_> = stream.nodes().map(|node| (node.id(), node.to_listpack())).collect();
        let sizes = packed.iter().zip(stream.nodes()).all(|((_, packed), node)| packed.byte_len() == node.packed_bytes());
        let nodes: Result<Vec<_>, _> = packed.iter().map(|(id, packed)| StreamNode::from_listpack(*id, packed)).collect();
        let again = Stream::from_nodes(nodes.expect("sound nodes")).expect("in order");
        let repacked = again.nodes().map(|node| (node.id(), node.to_listpack().as_bytes().to_vec()));
        let entries = |stream: &Stream| stream.range(StreamId::MIN, StreamId::MAX).map(owned).collect::<Vec<_>>();
        sizes
            && repacked.eq(packed.iter().map(|(id, packed)| (*id, packed.as_bytes().to_vec())))
            && entries(&again) == entries(&stream)
    }

    /// A reverse range is the range reversed, from and to anywhere, with deleted entries and other field names between.
    fn ranges_back_are_ranges_reversed(added: Vec<(u8, Vec<(u8, i32)>)>, deleted: Vec<u8>, from: u16, to: u16) -> bool {
        let (mut stream, limits) = (Stream::new(), small());
        for (ms, fields) in &added {
            let fields: Vec<[Vec<u8>; 2]> = fields
                .iter()
                .map(|(name, value)| [vec![b'f', name % 3], value.to_string().repeat(1 + *name as usize % 9).into_bytes()])
                .chain([[b"last".to_vec(), b"one".to_vec()]])
                .collect();
            let words: Vec<&[u8]> = fields.iter().flatten().map(Vec::as_slice).collect();
            stream.add(StreamId::new(stream.last_id().ms + u64::from(*ms % 4) + 1, 0), &words, &limits);
        }
        for n in deleted {
            let id = stream.range(StreamId::MIN, StreamId::MAX).nth(n.into()).map(|entry| entry.id);
            id.map(|id| stream.delete(id));
        }
        let some = |n: u16| StreamId::new(u64::from(n) % (stream.last_id().ms + 2), 0);
        [(StreamId::MIN, StreamId::MAX), (some(from), some(to)), (some(from), StreamId::MAX)].iter().all(|(first, last)| {
            let mut forward: Vec<_> = stream.range(*first, *last).map(owned).collect();
            forward.reverse();
            forward == stream.range_back(*first, *last).map(owned).collect::<Vec<_>>()
        })
    }

    /// The figure of the radix tree against one that is built byte by byte.
    fn radix_tree_nodes_are_counted(ids: Vec<(u16, u16)>) -> bool {
        let mut ids: Vec<StreamId> = ids.into_iter().map(|(ms, seq)| StreamId::new(u64::from(ms) + 1, seq.into())).collect();
        ids.sort();
        ids.dedup();
        let mut stream = Stream::new();
        let limits = Limits { stream_node_max_entries: 1, ..Limits::default() };
        ids.iter().for_each(|id| stream.add(*id, &[b"f", b"v"], &limits));
        let keys: Vec<[u8; 16]> = ids.iter().map(|id| id.to_bytes()).collect();
        stream.radix_tree_nodes() == if keys.is_empty() { 1 } else { radix(&keys, 0) }
    }
}

/// Nodes of a radix tree over keys that are the same up to `depth`.
fn radix(keys: &[[u8; 16]], depth: usize) -> usize {
    let same = (depth..16).take_while(|at| keys.iter().all(|key| key[*at] == keys[0][*at])).count();
    let branch = depth + same;
    let chain = usize::from(same > 0);
    if branch == 16 {
        return chain + 1;
    }
    let parts = keys.chunk_by(|a, b| a[branch] == b[branch]);
    chain + 1 + parts.map(|part| radix(part, branch + 1)).sum::<usize>()
}

/// An entry of a million takes little more than its value: the figure that the benchmark holds the server to.
#[test]
fn entries_are_small() {
    let (mut stream, limits) = (Stream::new(), Limits::default());
    let value = [b'v'; 32];
    for n in 0..100_000 {
        stream.add(StreamId::new(1_577_836_800_000 + n / 300, n % 300), &[b"field", &value], &limits);
    }
    let bytes = stream.heap_bytes() as f64 / 100_000.0;
    assert!(bytes < 42.0, "{bytes} bytes an entry");
}

/// What may be done to a group.
#[derive(Clone, Debug)]
enum GroupOp {
    AddConsumer(u8),
    RemoveConsumer(u8),
    /// Entries for one consumer, delivered so often.
    Assign(u8, Vec<u8>, u8),
    Acknowledge(u8),
    Hold,
}

impl Arbitrary for GroupOp {
    fn arbitrary(g: &mut Gen) -> Self {
        let of = |g: &mut Gen| u8::arbitrary(g);
        match of(g) % 16 {
            0..=2 => Self::AddConsumer(of(g) % 6),
            3 => Self::RemoveConsumer(of(g) % 6),
            4..=10 => Self::Assign(of(g) % 6, (0..of(g) % 9).map(|_| of(g) % 100).collect(), of(g)),
            11..=14 => Self::Acknowledge(of(g) % 100),
            _ => Self::Hold,
        }
    }
}

/// Consumers, and pending entries with consumer and count.
type GroupModel = (std::collections::BTreeSet<u8>, BTreeMap<StreamId, (u8, u64)>);

fn group_agrees(stream: &Stream, (consumers, pending): &GroupModel) -> bool {
    let group = stream.group(b"g").expect("it stays");
    let all = group.pending_from(StreamId::MIN).map(|p| (p.id, (p.consumer()[0], p.deliveries)));
    let own = |name: &u8| pending.iter().filter(|(_, (owner, _))| owner == name).map(|(id, _)| *id).collect::<Vec<_>>();
    all.eq(pending.iter().map(|(id, entry)| (*id, *entry)))
        && group.pending_len() == pending.len()
        && group.pending_span() == pending.first_key_value().zip(pending.last_key_value()).map(|(a, b)| (*a.0, *b.0))
        && group.consumers().map(|consumer| consumer.name()[0]).eq(consumers.iter().copied())
        && consumers.iter().all(|name| {
            let consumer = group.consumer(&[*name]).expect("one of them");
            consumer.pending_len() == own(name).len()
                && consumer.pending_from(StreamId::new(50, 0)).eq(own(name).into_iter().filter(|id| id.ms >= 50))
        })
}

fn groups_as_maps(ops: Vec<GroupOp>) -> bool {
    let (mut stream, mut model) = (Stream::new(), GroupModel::default());
    assert!(
        stream.add_group(Group::new(b"g", StreamId::MIN, None))
            && !stream.add_group(Group::new(b"g", StreamId::MAX, None))
    );
    let mut held = Vec::new();
    for op in ops {
        let told = match op {
            GroupOp::AddConsumer(name) => {
                stream.edit_group(b"g", |group| group.add_consumer(&[name], 1)) == Some(model.0.insert(name))
            }
            GroupOp::RemoveConsumer(name) => {
                let before = model.1.len();
                model.1.retain(|_, (owner, _)| *owner != name);
                let gone = model.0.remove(&name).then(|| before - model.1.len());
                stream.edit_group(b"g", |group| group.remove_consumer(&[name])) == Some(gone)
            }
            GroupOp::Assign(name, ids, count) if model.0.contains(&name) => {
                let ids: Vec<StreamId> = ids.into_iter().map(|n| StreamId::new(n.into(), 0)).collect();
                stream.edit_group(b"g", |group| group.assign(&[name], ids.iter().map(|id| (*id, 5, count.into()))));
                model.1.extend(ids.iter().map(|id| (*id, (name, count.into()))));
                true
            }
            GroupOp::Assign(..) => true,
            GroupOp::Acknowledge(n) => {
                let id = StreamId::new(n.into(), 0);
                stream.edit_group(b"g", |group| group.acknowledge(id)) == Some(model.1.remove(&id).is_some())
            }
            GroupOp::Hold => {
                held.push((stream.clone(), model.clone()));
                true
            }
        };
        if !told {
            return false;
        }
    }
    held.push((stream, model));
    held.iter().all(|(stream, model)| group_agrees(stream, model))
}

#[test]
fn groups_behave_as_maps() {
    QuickCheck::new().tests(500).quickcheck(groups_as_maps as fn(Vec<GroupOp>) -> bool);
}

/// What a write to a stream beside its snapshot copies: a path of the tree, and the bytes of one node.
#[test]
fn a_write_beside_a_snapshot_copies_one_node() {
    let (mut stream, limits) = (Stream::new(), Limits::default());
    let id = |n: u64| StreamId::new(n / 10 + 1, n % 10);
    (0..200_000).for_each(|n| stream.add(id(n), &[b"field", b"thirty-two bytes of some reading"], &limits));
    assert!(stream.add_group(Group::new(b"g", StreamId::MIN, None)));
    stream.edit_group(b"g", |group| {
        group.add_consumer(b"c", 1);
        group.assign(b"c", (0..200_000).map(|n| (id(n), 1, 1)));
    });
    let frozen = stream.clone();
    assert!(stream.delete(id(100_000)));
    stream.add(id(200_000), &[b"field", b"value"], &limits);
    stream.edit_group(b"g", |group| assert!(group.acknowledge(id(50_000))));
    let (before, after): (Vec<_>, Vec<_>) = (frozen.nodes().collect(), stream.nodes().collect());
    assert_eq!(before.len(), after.len());
    let pairs = || before.iter().zip(&after);
    let bytes = pairs().filter(|(a, b)| a.bytes().as_ptr() != b.bytes().as_ptr()).count();
    let headers = pairs().filter(|(a, b)| !std::ptr::eq(**a, **b)).count();
    assert_eq!(bytes, 2, "the node of the deleted entry, and the last one");
    assert!(headers <= 2 * 62, "{headers} node headers, of two leaves of the tree");
    let pending = |stream: &Stream| -> Vec<*const Pending> {
        stream.group(b"g").expect("it is there").pending_from(id(60_000)).map(std::ptr::from_ref).collect()
    };
    let same = pending(&frozen).iter().zip(pending(&stream)).filter(|(a, b)| **a == *b).count();
    assert!(same > 140_000 - 62 * 62, "{same} pending entries are shared");
    assert_eq!((frozen.len(), stream.len()), (200_000, 200_000));
    assert_eq!(frozen.group(b"g").map(Group::pending_len), Some(200_000));
}
