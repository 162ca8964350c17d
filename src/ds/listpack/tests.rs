use super::*;
use quickcheck::{Arbitrary, Gen, QuickCheck, quickcheck};

/// Content that meets every encoding and its boundaries.
#[derive(Clone, Debug)]
struct Content(Vec<u8>);

impl Arbitrary for Content {
    fn arbitrary(g: &mut Gen) -> Self {
        let edges =
            [0i64, 127, 128, 4095, 4096, -4096, -4097, 32767, 32768, -32769, 8_388_607, 8_388_608, 1 << 31, i64::MAX];
        let lengths = [0usize, 1, 62, 63, 64, 125, 126, 127, 128, 4094, 4095, 4096, 16_378, 16_383];
        Self(match u8::arbitrary(g) % 5 {
            0 => i64::arbitrary(g).to_string().into_bytes(),
            1 => (*g.choose(&edges).unwrap()).to_string().into_bytes(),
            2 if bool::arbitrary(g) => vec![b'x'; *g.choose(&lengths).unwrap()],
            _ => Vec::arbitrary(g),
        })
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        Box::new(self.0.shrink().map(Self))
    }
}

#[derive(Clone, Debug)]
enum Op {
    PushBack(Content),
    PushFront(Content),
    InsertBefore(usize, Content),
    InsertAfter(usize, Content),
    Replace(usize, Content),
    RemoveRun(usize, u8),
    SplitAndRejoin(usize),
    Hold,
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Self {
        match u8::arbitrary(g) % 8 {
            0 => Op::PushBack(Content::arbitrary(g)),
            1 => Op::PushFront(Content::arbitrary(g)),
            2 => Op::InsertBefore(usize::arbitrary(g), Content::arbitrary(g)),
            3 => Op::InsertAfter(usize::arbitrary(g), Content::arbitrary(g)),
            4 => Op::Replace(usize::arbitrary(g), Content::arbitrary(g)),
            5 => Op::RemoveRun(usize::arbitrary(g), u8::arbitrary(g) % 4),
            6 => Op::SplitAndRejoin(usize::arbitrary(g)),
            _ => Op::Hold,
        }
    }
}

fn contents(listpack: &Listpack) -> Vec<Vec<u8>> {
    listpack.iter().map(|item| item.to_vec()).collect()
}

fn agrees(listpack: &Listpack, model: &[Vec<u8>]) -> bool {
    let backwards: Vec<_> = listpack.iter().rev().map(|item| item.to_vec()).collect();
    let reread = Listpack::from_bytes(listpack.as_bytes()).expect("what was built here is whole");
    contents(listpack) == model
        && backwards.iter().rev().eq(model)
        && listpack.len() == model.len()
        && contents(&reread) == model
        && (0..model.len()).all(|i| listpack.get(i).is_some_and(|item| item.eq_bytes(&model[i])))
        && listpack.get(model.len()).is_none()
        && model.iter().all(|m| {
            let index = model.iter().position(|other| other == m);
            listpack.find(m, listpack.first(), 0) == index.and_then(|i| listpack.seek(i))
        })
        && listpack.byte_len() == 7 + model.iter().map(|m| element_bytes(m)).sum::<usize>()
        && listpack.iter().zip(model).all(|(item, m)| item.text_len() == m.len())
}

fn behaves_like_a_vector(ops: Vec<Op>) -> bool {
    let mut model: Vec<Vec<u8>> = Vec::new();
    let mut ours = Listpack::new();
    let mut held = Vec::new();
    for op in ops {
        match op {
            Op::PushBack(c) => {
                ours.push_back(&c.0);
                model.push(c.0);
            }
            Op::PushFront(c) => {
                ours.push_front(&c.0);
                model.insert(0, c.0);
            }
            Op::InsertBefore(i, c) if !model.is_empty() => {
                let i = i % model.len();
                ours.insert_before(ours.seek(i).unwrap(), &c.0);
                model.insert(i, c.0);
            }
            Op::InsertAfter(i, c) if !model.is_empty() => {
                let i = i % model.len();
                ours.insert_after(ours.seek(i).unwrap(), &c.0);
                model.insert(i + 1, c.0);
            }
            Op::Replace(i, c) if !model.is_empty() => {
                let i = i % model.len();
                ours.replace(ours.seek(i).unwrap(), &c.0);
                model[i] = c.0;
            }
            Op::RemoveRun(i, n) if !model.is_empty() => {
                let i = i % model.len();
                let n = usize::from(n).min(model.len() - i);
                let next = ours.remove_run(ours.seek(i).unwrap(), n);
                model.drain(i..i + n);
                if next != ours.seek(i) {
                    return false;
                }
            }
            Op::SplitAndRejoin(i) => {
                let i = i % (model.len() + 1);
                let tail = ours.split_off(i);
                if !agrees(&ours, &model[..i]) || !agrees(&tail, &model[i..]) {
                    return false;
                }
                ours.append(&tail);
            }
            Op::Hold => held.push((ours.clone(), model.clone())),
            _ => {}
        }
        if !agrees(&ours, &model) {
            return false;
        }
    }
    held.iter().all(|(ours, model)| agrees(ours, model))
}

#[test]
fn a_listpack_behaves_like_a_vector() {
    QuickCheck::new().tests(200).quickcheck(behaves_like_a_vector as fn(Vec<Op>) -> bool);
}

quickcheck! {
    /// Flipping bytes of a whole listpack gives damage or another whole one, never a panic.
    fn damaged_bytes_are_refused_or_whole(content: Vec<Content>, flips: Vec<(usize, u8)>, cut: Option<usize>) -> bool {
        let mut listpack = Listpack::new();
        content.iter().for_each(|c| listpack.push_back(&c.0));
        let mut bytes = listpack.as_bytes().to_vec();
        for (at, mask) in flips {
            let at = at % bytes.len();
            bytes[at] ^= mask;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut % (bytes.len() + 1));
        }
        match Listpack::from_bytes(&bytes) {
            Ok(whole) => whole.iter().count() == whole.iter().rev().count(),
            Err(_) => true,
        }
    }
}

/// The layout's own arithmetic, spelled out byte by byte.
#[test]
fn elements_have_the_bytes_of_the_layout() {
    fn check(content: &[u8], expected: &[u8]) {
        let mut listpack = Listpack::new();
        listpack.push_back(content);
        assert_eq!(&listpack.as_bytes()[6..listpack.byte_len() - 1], expected, "{}", content.escape_ascii());
    }
    check(b"0", &[0x00, 1]);
    check(b"127", &[0x7f, 1]);
    check(b"128", &[0xc0, 0x80, 2]);
    check(b"-1", &[0xdf, 0xff, 2]);
    check(b"4095", &[0xcf, 0xff, 2]);
    check(b"-4096", &[0xd0, 0x00, 2]);
    check(b"4096", &[0xf1, 0x00, 0x10, 3]);
    check(b"-32768", &[0xf1, 0x00, 0x80, 3]);
    check(b"32768", &[0xf2, 0x00, 0x80, 0x00, 4]);
    check(b"-8388608", &[0xf2, 0x00, 0x00, 0x80, 4]);
    check(b"8388608", &[0xf3, 0x00, 0x00, 0x80, 0x00, 5]);
    check(b"2147483648", &[0xf4, 0x00, 0x00, 0x00, 0x80, 0, 0, 0, 0, 9]);
    check(b"", &[0x80, 1]);
    check(b"ab", &[0x82, b'a', b'b', 3]);
    check(b"007", &[0x83, b'0', b'0', b'7', 4]);
    let long = [b'x'; 64];
    let mut expected = vec![0xe0, 64];
    expected.extend_from_slice(&long);
    expected.push(66);
    check(&long, &expected);
    let long = [b'x'; 126];
    let mut expected = vec![0xe0, 126];
    expected.extend_from_slice(&long);
    expected.extend_from_slice(&[1, 0x80]);
    check(&long, &expected);
    let long = [b'x'; 4096];
    let mut expected = vec![0xf0, 0, 0x10, 0, 0];
    expected.extend_from_slice(&long);
    expected.extend_from_slice(&[32, 0x80 | 5]);
    check(&long, &expected);
}

/// Past 65534 elements the header's count is "not known" and the elements are counted.
#[test]
fn counts_beyond_the_header_are_counted() {
    let mut listpack = Listpack::new();
    for i in 0..65_540 {
        listpack.push_int(i % 100);
    }
    assert_eq!(listpack.len(), 65_540);
    assert_eq!(listpack.as_bytes()[4..6], [0xff, 0xff]);
    listpack.remove_run(listpack.first().unwrap(), 10);
    assert_eq!(listpack.len(), 65_530);
    assert_eq!(Listpack::from_bytes(listpack.as_bytes()).unwrap().len(), 65_530);
    listpack.remove_run(listpack.first().unwrap(), 65_530);
    assert_eq!((listpack.len(), &listpack.as_bytes()[4..6]), (0, &[0u8, 0][..]));
}

#[test]
fn each_kind_of_damage_is_named() {
    let mut listpack = Listpack::new();
    listpack.push_back(b"hello");
    let good = listpack.as_bytes().to_vec();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Listpack::from_bytes(&bytes).map(|_| ()).unwrap_err()
    };
    let actual = good.len();
    assert_eq!(Listpack::from_bytes(&good[..5]).unwrap_err(), ListpackDamage::TooShort);
    assert_eq!(with(0, 99), ListpackDamage::WrongLength { declared: 99, actual });
    assert_eq!(with(actual - 1, 0), ListpackDamage::NoEnd);
    assert_eq!(with(4, 2), ListpackDamage::WrongCount { declared: 2, actual: 1 });
    assert_eq!(with(6, 0x86), ListpackDamage::BadElement { at: 6 });
    assert_eq!(with(6, 0xf5), ListpackDamage::BadElement { at: 6 });
    assert_eq!(with(actual - 2, 7), ListpackDamage::BadElement { at: 6 });
}
