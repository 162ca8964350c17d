use super::*;
use quickcheck::quickcheck;
use std::collections::BTreeSet;

quickcheck! {
    fn behaves_like_a_sorted_set(ops: Vec<(bool, i64, u8)>, hold_at: usize) -> bool {
        let mut model = BTreeSet::new();
        let mut ours = Intset::new();
        let mut held = None;
        for (i, (add, number, shift)) in ops.into_iter().enumerate() {
            let number = number >> (shift % 64);
            if i == hold_at % 32 {
                held = Some((ours.clone(), model.clone()));
            }
            let same = if add {
                ours.add(number) == model.insert(number)
            } else {
                let number = model.iter().copied().nth(number as u8 as usize % 8).unwrap_or(number);
                ours.remove(number) == model.remove(&number)
            };
            let reread = Intset::from_bytes(ours.as_bytes()).expect("what was built here is whole");
            if !same || !ours.iter().eq(model.iter().copied()) || !reread.iter().eq(ours.iter())
                || ours.len() != model.len() || !model.iter().all(|&n| ours.contains(n)) || ours.contains(number) != model.contains(&number)
                || ours.get(model.len()).is_some() || !model.iter().enumerate().all(|(i, &n)| ours.get(i) == Some(n)) {
                return false;
            }
        }
        held.is_none_or(|(ours, model)| ours.iter().eq(model))
    }

    fn damaged_bytes_are_refused_or_whole(bytes: Vec<u8>, width: u8, count: u8) -> bool {
        let mut whole = vec![1u8 << (width % 4), 0, 0, 0, count % 8, 0, 0, 0];
        whole.extend(bytes);
        match Intset::from_bytes(&whole) {
            Ok(set) => set.iter().zip(set.iter().skip(1)).all(|(a, b)| a < b),
            Err(_) => true,
        }
    }
}

#[test]
fn the_width_follows_the_widest() {
    let mut set = Intset::new();
    set.add(5);
    assert_eq!(set.as_bytes(), [2, 0, 0, 0, 1, 0, 0, 0, 5, 0]);
    set.add(-32769);
    assert_eq!(set.as_bytes(), [4, 0, 0, 0, 2, 0, 0, 0, 0xff, 0x7f, 0xff, 0xff, 5, 0, 0, 0]);
    set.add(1 << 31);
    assert_eq!(set.as_bytes()[..8], [8, 0, 0, 0, 3, 0, 0, 0]);
    assert!(set.iter().eq([-32769, 5, 1 << 31]));
}

#[test]
fn each_kind_of_damage_is_named() {
    let check = |bytes: &[u8], expected| assert_eq!(Intset::from_bytes(bytes).unwrap_err(), expected);
    check(&[2, 0, 0, 0], IntsetDamage::TooShort);
    check(&[3, 0, 0, 0, 0, 0, 0, 0], IntsetDamage::BadWidth { width: 3 });
    check(&[2, 0, 0, 0, 2, 0, 0, 0, 1, 0], IntsetDamage::WrongLength { count: 2, width: 2, actual: 10 });
    check(&[2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 1, 0], IntsetDamage::NotAscending { index: 1 });
    check(&[8, 0, 0, 0, 255, 255, 255, 255, 1, 0], IntsetDamage::WrongLength { count: u32::MAX, width: 8, actual: 10 });
}
