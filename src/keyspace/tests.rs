use std::collections::BTreeMap;

use quickcheck::{Arbitrary, Gen, quickcheck};

use super::{AccessPolicy, Database, DatabaseView, Entry, INLINE_MAX, Keyspace, Portion, Relocation, Ttl};
use crate::env::{SeededEntropy, UnixMillis};
use crate::value::{End, Hash, Item, Limits, List, Set, Str, StrRef, Type, Value, ValueRef, Zset};

const BEFORE_ALL: UnixMillis = UnixMillis(i64::MIN);

/// What a model keeps of a key: its deadline, and its value as text or as members.
#[derive(Clone, Debug, PartialEq)]
enum Plain {
    Text(Vec<u8>),
    Members(Vec<u16>),
}

type Model = BTreeMap<Vec<u8>, (Plain, Option<i64>)>;

fn key(n: u8) -> Vec<u8> {
    vec![b'k'; usize::from(n % 7)].into_iter().chain(n.to_string().into_bytes()).collect()
}

fn text(n: u16) -> Vec<u8> {
    match n % 4 {
        0 => n.to_string().into_bytes(),
        1 => vec![n as u8; usize::from(n) % 45],
        2 => vec![n as u8; 45 + usize::from(n) % (INLINE_MAX - 44)],
        _ => vec![n as u8; INLINE_MAX + 1 + usize::from(n) % 100],
    }
}

fn set(members: u16, limits: &Limits) -> Set {
    let mut set = Set::new();
    for member in 0..members {
        set.add(member.to_string().as_bytes(), limits);
    }
    set
}

/// A collection of another type for every fourth key.
fn collection(key: u8, members: u16, limits: &Limits) -> Value {
    let mut value: Value = match key % 4 {
        0 => return set(members, limits).into(),
        1 => List::new().into(),
        2 => Hash::new().into(),
        _ => Zset::new().into(),
    };
    (0..members).for_each(|member| add(&mut value, member, limits));
    value
}

fn add(value: &mut Value, member: u16, limits: &Limits) {
    let text = member.to_string().into_bytes();
    match value {
        Value::Set(set) => assert!(set.add(&text, limits)),
        Value::List(list) => list.push(if member.is_multiple_of(2) { End::Front } else { End::Back }, &text, limits),
        Value::Hash(hash) => assert!(hash.set(&text, &text, limits)),
        Value::Zset(zset) => assert_eq!(zset.set(&text, f64::from(member) / 2.0, limits), None),
        Value::Str(_) | Value::Stream(_) => panic!("no collection of members"),
    }
}

fn remove(value: &mut Value, member: u16, limits: &Limits) {
    let text = member.to_string().into_bytes();
    match value {
        Value::Set(set) => assert!(set.remove(&text)),
        Value::List(list) => assert_eq!(list.remove_equal(&text, End::Back, 2, limits), 1),
        Value::Hash(hash) => assert!(hash.remove(&text)),
        Value::Zset(zset) => assert_eq!(zset.remove(&text), Some(f64::from(member) / 2.0)),
        Value::Str(_) | Value::Stream(_) => panic!("no collection of members"),
    }
}

fn members<'a>(items: impl Iterator<Item = Item<'a>>) -> Plain {
    let mut members: Vec<_> = items.map(|item| item.as_int().unwrap() as u16).collect();
    members.sort_unstable();
    Plain::Members(members)
}

fn plain(entry: &Entry) -> (Plain, Option<i64>) {
    let value = match entry.value() {
        ValueRef::Str(string) => Plain::Text(string.to_vec()),
        ValueRef::Set(set) => members(set.iter()),
        ValueRef::List(list) => members(list.iter()),
        ValueRef::Hash(hash) => members(hash.iter().map(|(field, value)| {
            assert_eq!(field.to_vec(), value.to_vec());
            field
        })),
        ValueRef::Zset(zset) => members(zset.iter().map(|(member, score)| {
            assert_eq!(member.as_int(), Some((score * 2.0) as i64));
            member
        })),
        ValueRef::Stream(_) => panic!("never stored here"),
    };
    (value, entry.expiry().map(|deadline| deadline.0))
}

fn contents<'a>(entries: impl Iterator<Item = &'a Entry>) -> Model {
    entries.map(|entry| (entry.key().to_vec(), plain(entry))).collect()
}

#[derive(Clone, Debug)]
enum Op {
    SetText(u8, u16, Option<Option<u8>>),
    SetMembers(u8, u16),
    Edit(u8, u16),
    EditText(u8, u16),
    Expire(u8, Option<u8>),
    Remove(u8),
    Take(u8),
    Rename(u8, u8),
    Pass(u8),
    Expel,
    Flush,
    Freeze,
    Use(u8),
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Self {
        let n = u8::arbitrary(g);
        match u8::arbitrary(g) % 24 {
            0..6 => Self::SetText(n, u16::arbitrary(g), Arbitrary::arbitrary(g)),
            6..8 => Self::SetMembers(n, u16::arbitrary(g) % 700),
            8..10 => Self::Edit(n, u16::arbitrary(g) % 700),
            10..12 => Self::EditText(n, u16::arbitrary(g)),
            12..15 => Self::Expire(n, Arbitrary::arbitrary(g)),
            15 => Self::Remove(n),
            16 => Self::Take(n),
            17 => Self::Rename(n, u8::arbitrary(g)),
            18 => Self::Pass(n % 20),
            19 => Self::Expel,
            20 => {
                if n < 20 {
                    Self::Flush
                } else {
                    Self::Use(n)
                }
            }
            21..23 => Self::Freeze,
            _ => Self::Use(n),
        }
    }
}

fn agrees(db: &Database, model: &Model, now: UnixMillis) {
    let expiring = model.values().filter_map(|(_, deadline)| *deadline);
    assert_eq!(db.expires_len(), expiring.clone().count());
    assert_eq!(db.next_deadline().map(|at| at.0), expiring.clone().min().map(|at| at + 1));
    assert_eq!(db.due(now, usize::MAX).len(), expiring.filter(|&at| at < now.0).count());
    assert_eq!(db.len(), model.len());
}

quickcheck! {
    /// A database and all its snapshots equal a std map; every change is stamped where a reader would look.
    fn behaves_as_a_map(ops: Vec<Op>) -> bool {
        let mut space = Keyspace::new(2, Limits::default());
        space.set_access_policy(AccessPolicy::Lfu { log_factor: 10, decay_minutes: 1 }, UnixMillis(0));
        let limits = space.limits;
        let (mut model, mut now, mut frozen) = (Model::new(), UnixMillis(0), Vec::<(DatabaseView, Model)>::new());
        for (op, stamp) in ops.into_iter().zip(10..) {
            let at = now.0;
            let live = move |model: &Model, k: &[u8]| {
                model.get(k).filter(|(_, deadline)| deadline.is_none_or(|deadline| at <= deadline)).cloned()
            };
            let db = space.db_mut(1);
            let mut changed = None;
            match op {
                Op::SetText(k, n, ttl) => {
                    let (k, content) = (key(k), text(n));
                    let kept = model.get(&k).and_then(|(_, deadline)| *deadline);
                    let (ttl, deadline) = match ttl {
                        None => (Ttl::Keep, kept),
                        Some(None) => (Ttl::Clear, None),
                        Some(Some(at)) => (Ttl::At(UnixMillis(i64::from(at))), Some(i64::from(at))),
                    };
                    let replaced = if n % 2 == 0 {
                        db.set(&k, StrRef::encode(&content), ttl, stamp)
                    } else {
                        db.set(&k, Str::encode(&content), ttl, stamp)
                    };
                    assert_eq!(replaced, model.insert(k.clone(), (Plain::Text(content), deadline)).is_some());
                    changed = Some(k);
                }
                Op::SetMembers(k, members) => {
                    db.set(&key(k), collection(k, members, &limits), Ttl::Clear, stamp);
                    model.insert(key(k), (Plain::Members((0..members).collect()), None));
                    changed = Some(key(k));
                }
                Op::Edit(k, n) => {
                    let there = live(&model, &key(k)).is_some();
                    let mut plain = model.get_mut(&key(k)).map(|(plain, _)| plain);
                    let edited = db.edit(&key(k), now, stamp, |value| match (value, plain.as_mut().unwrap()) {
                        (Value::Str(string), Plain::Text(text)) => {
                            string.append(&[n as u8]);
                            text.push(n as u8);
                        }
                        (value, Plain::Members(members)) => match members.binary_search(&n) {
                            Ok(at) => {
                                remove(value, n, &limits);
                                members.remove(at);
                            }
                            Err(at) => {
                                add(value, n, &limits);
                                members.insert(at, n);
                            }
                        },
                        _ => panic!("types differ"),
                    });
                    assert_eq!(edited.is_some(), there);
                    changed = edited.map(|()| key(k));
                }
                Op::EditText(k, n) => {
                    let expected = match live(&model, &key(k)) {
                        Some((Plain::Text(text), _)) => Some([text, vec![b'0'; usize::from(n % 50)]].concat()),
                        _ => None,
                    };
                    let appended = vec![b'0'; usize::from(n % 50)];
                    let len = db.edit_string(&key(k), now, stamp, |string| string.append(&appended));
                    assert_eq!(len, expected.as_ref().map(Vec::len));
                    if let Some(text) = expected {
                        model.entry(key(k)).and_modify(|(plain, _)| *plain = Plain::Text(text));
                        changed = Some(key(k));
                    }
                }
                Op::Expire(k, at) => {
                    let deadline = at.map(|at| UnixMillis(i64::from(at)));
                    let done = db.set_expiry(&key(k), deadline, now, stamp);
                    assert_eq!(done, live(&model, &key(k)).is_some());
                    if done {
                        model.entry(key(k)).and_modify(|(_, before)| *before = deadline.map(|at| at.0));
                        changed = Some(key(k));
                    }
                }
                Op::Remove(k) => {
                    let removed = db.remove(&key(k), stamp);
                    assert_eq!(removed, model.remove(&key(k)).is_some());
                    changed = removed.then(|| key(k));
                }
                Op::Take(k) => {
                    let taken = db.take(&key(k), stamp);
                    let expected = model.remove(&key(k));
                    assert_eq!(taken.map(|(_, deadline)| deadline.map(|at| at.0)), expected.map(|(_, at)| at));
                }
                Op::Rename(from, to) => {
                    let expected = live(&model, &key(from));
                    assert_eq!(db.rename(&key(from), &key(to), now, stamp), expected.is_some());
                    if let Some(moved) = expected {
                        model.remove(&key(from));
                        model.insert(key(to), moved);
                        changed = Some(key(to));
                    }
                }
                Op::Pass(by) => now.0 += i64::from(by),
                Op::Expel => for key in db.due(now, usize::MAX) {
                    assert!(db.remove(&key, stamp) && model.remove(&key).is_some());
                },
                Op::Flush => {
                    db.flush(stamp);
                    model.clear();
                    changed = Some(key(0));
                }
                Op::Freeze => frozen.push((db.snapshot(), model.clone())),
                Op::Use(k) => if let Some(entry) = db.get(&key(k), now) { db.touch(entry) },
            }
            if stamp % 3 == 0 {
                let mut pass = Relocation::default();
                while pass.step(&mut space, 20, &mut |_| true) {}
            }
            let db = space.db_mut(1);
            if let Some(key) = changed {
                let (entry, at) = db.get_stamped(&key, now);
                assert_eq!(at, stamp);
                assert_eq!(entry.map(plain), live(&model, &key));
            }
            agrees(db, &model, now);
        }
        assert_eq!(contents(space.db(1).iter()), model);
        frozen.into_iter().all(|(view, model)| {
            view.expires_len() == model.values().filter(|(_, at)| at.is_some()).count()
                && contents(view.iter()) == model
                && {
                    let mut portions: Vec<_> = view.into_portions().collect();
                    let firsts: Vec<_> = portions.iter_mut().map(|portion| portion.split(3)).collect();
                    contents(firsts.iter().chain(&portions).flat_map(Portion::iter)) == model
                }
        })
    }
}

/// The size that the memory figures rest on.
#[test]
fn a_small_entry_fills_its_size_class() {
    let entry = Entry::new(&[b'k'; 16], StrRef::encode(&[b'v'; 32]), None, 0);
    assert_eq!(entry.own_bytes(), 64);
    let entry = Entry::new(&[b'k'; 16], StrRef::encode(&[b'v'; 32]), Some(UnixMillis(1)), 0);
    assert_eq!(entry.own_bytes(), 72);
    let entry = Entry::new(&[b'k'; 16], StrRef::encode(b"12345"), None, 0);
    assert_eq!(entry.own_bytes(), 40);
}

/// As above, for small collections: what lies in the entry has no other allocation.
#[test]
fn small_collections_lie_in_their_entry() {
    let limits = Limits::default();
    let (mut hash, mut zset, mut list) = (Hash::new(), Zset::new(), List::new());
    for n in 1..=10 {
        hash.set(format!("field{n}").as_bytes(), b"8 bytes.", &limits);
    }
    for n in 0..20_u32 {
        zset.set(format!("member:{n:04}").as_bytes(), f64::from(200_000 + n), &limits);
    }
    for n in 0..50 {
        list.push(End::Back, (1_000_000 + n).to_string().as_bytes(), &limits);
    }
    for (value, bytes) in [(Value::from(hash), 224), (zset.into(), 384), (list.into(), 320)] {
        let entry = Entry::new(&[b'k'; 14], value, None, 0);
        assert_eq!((entry.own_bytes(), entry.memory_bytes() - bytes < 16), (bytes, true));
    }
}

/// A packed collection is changed where it lies as long as its size class stays, but never under a snapshot's eyes.
#[test]
fn packed_collections_are_changed_in_place() {
    let mut space = Keyspace::new(1, Limits::default());
    let limits = space.limits;
    let db = space.db_mut(0);
    let place = |db: &Database| db.get(b"k", BEFORE_ALL).map(|entry| entry.key().as_ptr());
    db.set(b"k", collection(2, 10, &limits), Ttl::Clear, 1);
    let before = place(db);
    db.edit(b"k", BEFORE_ALL, 2, |value| remove(value, 9, &limits));
    db.edit(b"k", BEFORE_ALL, 3, |value| add(value, 9, &limits));
    assert_eq!(place(db), before);
    let frozen = db.snapshot();
    db.edit(b"k", BEFORE_ALL, 4, |value| remove(value, 3, &limits));
    assert_ne!(place(db), before);
    let seen: Vec<_> = frozen.iter().map(plain).collect();
    assert_eq!(seen, [(Plain::Members((0..10).collect()), None)]);
    db.edit(b"k", BEFORE_ALL, 5, |value| (10..400).for_each(|member| add(value, member, &limits)));
    db.edit(b"k", BEFORE_ALL, 6, |value| (5..400).for_each(|member| remove(value, member, &limits)));
    let left = db.get(b"k", BEFORE_ALL).map(|entry| plain(entry).0);
    assert_eq!(left, Some(Plain::Members(vec![0, 1, 2, 4])));
}

/// Counters and values of fixed size are overwritten where they lie, but never under a snapshot's eyes.
#[test]
fn overwriting_in_place_spares_snapshots() {
    let mut space = Keyspace::new(1, Limits::default());
    let db = space.db_mut(0);
    let place = |db: &Database, key: &[u8]| db.get(key, BEFORE_ALL).map(|entry| entry.key().as_ptr());
    for (key, first, second) in [(b"n", "1", "2"), (b"s", "abc", "xyz"), (b"l", &"a".repeat(60), &"b".repeat(60))] {
        db.set(key, StrRef::encode(first.as_bytes()), Ttl::At(UnixMillis(10)), 1);
        let before = place(db, key);
        db.set(key, StrRef::encode(second.as_bytes()), Ttl::At(UnixMillis(20)), 2);
        assert_eq!(place(db, key), before, "{first}");
        let frozen = db.snapshot();
        db.set(key, StrRef::encode(first.as_bytes()), Ttl::At(UnixMillis(30)), 3);
        let second = (Plain::Text(second.as_bytes().to_vec()), Some(20));
        assert_eq!(frozen.get(key).map(plain), Some(second));
        let first = (Plain::Text(first.as_bytes().to_vec()), Some(30));
        assert_eq!(db.get(key, BEFORE_ALL).map(plain), Some(first));
    }
    assert_eq!((db.expires_len(), db.next_deadline()), (3, Some(UnixMillis(31))));
}

/// Stock expires a key after its deadline, not at it.
#[test]
fn a_key_lives_through_its_deadline() {
    let mut space = Keyspace::new(1, Limits::default());
    space.db_mut(0).set(b"k", StrRef::encode(b"v"), Ttl::At(UnixMillis(100)), 1);
    let db = space.db(0);
    assert!(db.contains(b"k", UnixMillis(100)) && !db.contains(b"k", UnixMillis(101)));
    assert!(!db.is_due(b"k", UnixMillis(100)) && db.is_due(b"k", UnixMillis(101)));
    assert_eq!(space.next_deadline(), Some(UnixMillis(101)));
    assert_eq!(space.due(UnixMillis(101), 10), [(0, b"k".to_vec())]);
    assert!(db.contains(b"k", BEFORE_ALL) && space.holds(0, b"k", Type::String));
    assert_eq!(db.random_key(UnixMillis(101), &mut SeededEntropy::new(1)).map(Entry::key), None);
    assert_eq!((db.average_ttl(UnixMillis(40)), db.average_ttl(UnixMillis(200))), (60, 0));
}

/// Databases keep the floors of what they held: a reader of either after a swap depends on it.
#[test]
fn swapping_and_flushing_raise_floors() {
    let mut space = Keyspace::new(3, Limits::default());
    space.db_mut(0).set(b"a", StrRef::encode(b"0"), Ttl::Clear, 5);
    space.db_mut(1).flush(7);
    space.swap(0, 1, 9);
    assert_eq!((space.db(0).floor(), space.db(1).floor(), space.db(2).floor()), (9, 9, 0));
    assert_eq!(space.db(1).get_stamped(b"a", BEFORE_ALL).1, 9);
    assert!(space.db(0).is_empty() && space.db(1).contains(b"a", BEFORE_ALL));
    assert!(space.move_key(1, 2, b"a", BEFORE_ALL, 11));
    assert!(!space.move_key(1, 2, b"a", BEFORE_ALL, 12));
    assert_eq!((space.key_count(), space.db(2).get_stamped(b"a", BEFORE_ALL).1), (1, 11));
    space.flush_all(13);
    assert_eq!((space.key_count(), space.db(2).get_stamped(b"a", BEFORE_ALL).1), (0, 13));
    let mut garbage = space.take_garbage();
    assert_eq!(garbage.len(), 1);
    garbage.append(space.take_garbage());
    assert_eq!(garbage.len(), 1);
}

/// Small values are freed at once, big ones handed on.
#[test]
fn only_big_values_are_garbage() {
    let mut space = Keyspace::new(1, Limits::default());
    let big = set(1000, &space.limits);
    let db = space.db_mut(0);
    db.set(b"small", StrRef::encode(b"v"), Ttl::Clear, 1);
    db.set(b"big", Value::Set(big), Ttl::Clear, 1);
    assert!(db.remove(b"small", 2) && db.take_garbage().is_empty());
    assert!(db.set(b"big", StrRef::encode(b"v"), Ttl::Clear, 3));
    assert_eq!(db.take_garbage().len(), 1);
}

/// Where a walk over a snapshot has let go, writes leave nothing behind for it any more.
#[test]
fn a_walk_lets_go_of_what_lies_behind_it() {
    const KEYS: u64 = 20_000;
    let mut space = Keyspace::new(1, Limits::default());
    let overwrite = |space: &mut Keyspace, stamp| {
        let before = space.left();
        for n in 0..KEYS {
            space.db_mut(0).set(&n.to_le_bytes(), StrRef::encode(b"some value"), Ttl::Clear, stamp);
        }
        space.count_left();
        space.left() - before
    };
    overwrite(&mut space, 1);
    let portions_behind = |space: &Keyspace, part: usize| {
        let view = space.snapshot().into_databases().remove(0);
        let mut portions = view.into_portions();
        let walked = portions.len() / part;
        portions.by_ref().take(walked).for_each(drop);
        portions
    };
    let rest = portions_behind(&space, usize::MAX);
    let all = overwrite(&mut space, 2);
    drop(rest);
    let rest = portions_behind(&space, 2);
    let half = overwrite(&mut space, 3);
    drop(rest);
    let rest = portions_behind(&space, 1);
    let none = overwrite(&mut space, 4);
    assert_eq!((rest.len(), none), (0, 0));
    assert!(half * 5 > all * 2 && half * 5 < all * 3, "{half} of {all}");
}

/// Everything moves that only the keyspace holds, and nothing that a snapshot holds too.
#[test]
fn a_pass_moves_what_nobody_else_holds() {
    let mut space = Keyspace::new(2, Limits::default());
    let limits = space.limits;
    let db = space.db_mut(1);
    for n in 0..200_u8 {
        db.set(&[n], collection(n, 300, &limits), Ttl::At(UnixMillis(n.into())), 1);
        db.set(&[n, n], Str::from(StrRef::plain(&[n; 500])), Ttl::Clear, 1);
    }
    let places = |space: &Keyspace| {
        space.db(1).iter().map(|entry| (entry.key().to_vec(), entry.key().as_ptr())).collect::<BTreeMap<_, _>>()
    };
    let (before, data) = (places(&space), contents(space.db(1).iter()));
    let pass = |space: &mut Keyspace, moves: bool| {
        let mut pass = Relocation::default();
        while pass.step(space, 50, &mut |_| moves) {}
        pass.figures
    };
    let moved = pass(&mut space, true);
    let after = places(&space);
    assert!(before.iter().all(|(key, place)| after[key] != *place));
    assert_eq!((moved.key_hits, moved.key_misses, moved.misses), (400, 0, 0));
    // Elements of sets and sorted sets that lie in their buckets have no place of their own; pairs have one each.
    assert!(moved.hits > 400 + 50 * 300 * 2, "{moved:?}");
    let looked_at = pass(&mut space, false);
    assert_eq!((looked_at.misses, looked_at.hits, looked_at.key_misses), (moved.hits, 0, 400));
    let view = space.snapshot();
    let beside = pass(&mut space, true);
    assert_eq!((beside.key_hits, places(&space)), (0, after));
    assert_eq!((contents(space.db(1).iter()), contents(view.databases()[1].iter())), (data.clone(), data));
}

/// A use must reach an entry that a snapshot shares without making the live one a copy.
#[test]
fn access_clocks_are_written_in_place() {
    let mut space = Keyspace::new(1, Limits::default());
    space.set_access_time(UnixMillis(5000));
    space.db_mut(0).set(b"k", StrRef::encode(b"v"), Ttl::Clear, 1);
    let frozen = space.snapshot();
    space.set_access_time(UnixMillis(65_000));
    let db = space.db(0);
    let entry = db.get(b"k", BEFORE_ALL).expect("stored above");
    assert_eq!(db.access_clock().idle_seconds(entry.clock()), 60);
    db.touch(entry);
    assert_eq!(db.access_clock().idle_seconds(entry.clock()), 0);
    let shared = frozen.databases()[0].get(b"k").expect("stored before the freeze");
    assert!(std::ptr::eq(shared.key(), entry.key()));
    assert_eq!(shared.clock(), entry.clock());
    assert_eq!(plain(shared), (Plain::Text(b"v".to_vec()), None));
}

/// SCAN over a database reports every key once while nothing changes, and leaves out what is expired.
#[test]
fn scans_leave_out_expired_keys() {
    let mut space = Keyspace::new(1, Limits::default());
    let db = space.db_mut(0);
    for n in 0..1000_i64 {
        let ttl = if n % 2 == 0 { Ttl::At(UnixMillis(n)) } else { Ttl::Clear };
        db.set(n.to_string().as_bytes(), StrRef::Int(n), ttl, 1);
    }
    let (mut seen, mut cursor) = (Vec::new(), 0);
    loop {
        cursor = db.scan(cursor, 10, UnixMillis(500), |entry| seen.push(entry.key().to_vec()));
        if cursor == 0 {
            break;
        }
    }
    seen.sort();
    assert_eq!(seen.len(), 750);
    seen.dedup();
    assert_eq!(seen.len(), 750);
}
