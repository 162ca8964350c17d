use super::*;
use quickcheck::quickcheck;
use std::collections::HashMap;

fn registers_of(bytes: &[u8]) -> Registers {
    let header = bytes[..HEADER_BYTES].try_into().expect("a header");
    let header = Header::read(header, bytes.len()).expect("a HyperLogLog");
    let mut registers = [0; REGISTERS];
    merge_into(&mut registers, header.encoding, bytes).expect("undamaged");
    registers
}

quickcheck! {
    /// Registers raised at random, in sparse form under several limits and in dense form, against a map.
    fn both_forms_hold_what_was_put_there(steps: Vec<(u16, u8, bool)>, limit: u16) -> bool {
        let mut model: HashMap<usize, u8> = HashMap::new();
        let (mut bytes, mut twin) = (empty(), sparse::to_dense(&empty()).expect("undamaged"));
        let mut is_dense = false;
        for (index, rank, near) in steps {
            // Near each other runs are split and merged; far apart they are only split.
            let index = usize::from(index) % if near { 12 } else { REGISTERS };
            let rank = 1 + rank % if near { 4 } else { RANK_MAX };
            let raised = *model.get(&index).unwrap_or(&0) < rank;
            model.entry(index).and_modify(|old| *old = rank.max(*old)).or_insert(rank);
            let outcome = if is_dense {
                dense::raise(&mut bytes, index, rank)
            } else {
                let outcome = sparse::raise(&mut bytes, index, rank, usize::from(limit % 200)).expect("undamaged");
                is_dense = outcome == sparse::Raised::Dense || bytes.len() == dense::BYTES;
                outcome != sparse::Raised::Not
            };
            if outcome != raised || dense::raise(&mut twin, index, rank) != raised {
                return false;
            }
        }
        let expected: Registers = std::array::from_fn(|index| model.get(&index).copied().unwrap_or(0));
        registers_of(&bytes) == expected
            && registers_of(&twin) == expected
            && cardinality_of(&expected) == cardinality(Encoding::Dense, &twin).expect("undamaged")
    }

    /// Any bytes behind a header are read without a panic, and damage is found by every reader alike.
    fn runs_that_do_not_add_up_are_damage(tail: Vec<u8>) -> bool {
        let mut bytes = empty();
        bytes.truncate(HEADER_BYTES);
        bytes.extend(&tail);
        let all: usize = sparse::runs(&bytes).map(|run| run.len).sum();
        let whole = all == REGISTERS;
        let _ = sparse::raise(&mut bytes.clone(), 77, 3, 3000);
        let _ = sparse::raise(&mut bytes.clone(), 77, 40, 3000);
        cardinality(Encoding::Sparse, &bytes).is_ok() == whole && sparse::to_dense(&bytes).is_ok() == whole
    }
}

#[test]
fn elements_hash_as_in_the_stock_server() {
    for (element, index, rank) in [
        ("a", 12_711, 2),
        ("b", 15_780, 1),
        ("hello", 9216, 1),
        ("", 5938, 2),
        ("0123456789abcdefghij", 2027, 1),
        ("12345678", 10_579, 3),
    ] {
        let found = locate(element.as_bytes());
        assert!(found.0 < REGISTERS && (1..=RANK_MAX).contains(&found.1));
        assert_eq!(found, (index, rank), "{element}");
    }
}

#[test]
fn estimates_are_within_their_error() {
    let mut registers = [0; REGISTERS];
    for number in 1..=200_000_u32 {
        let (index, rank) = locate(&number.to_le_bytes());
        registers[index] = rank.max(registers[index]);
        if number.is_power_of_two() || number % 50_000 == 0 {
            let (found, expected) = (cardinality_of(&registers) as f64, f64::from(number));
            // Four standard errors of 1.04 / sqrt(16384).
            assert!((found - expected).abs() <= (expected * 0.0325).max(1.0), "{found} of {expected}");
        }
    }
    assert_eq!(cardinality_of(&[0; REGISTERS]), 0);
}

#[test]
fn headers_are_checked() {
    let header = |encoding: u8, last: u8| {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..5].copy_from_slice(&[b'H', b'Y', b'L', b'L', encoding]);
        (bytes[8], bytes[15]) = (7, last);
        bytes
    };
    let of = |encoding, cached| Some(Header { encoding, cached });
    assert_eq!(Header::read(&header(1, 0), 18), of(Encoding::Sparse, Some(7)));
    assert_eq!(Header::read(&header(1, 0x80), 18), of(Encoding::Sparse, None));
    assert_eq!(Header::read(&header(0, 0), dense::BYTES), of(Encoding::Dense, Some(7)));
    assert_eq!(Header::read(&header(0, 0), dense::BYTES + 1), None);
    assert_eq!(Header::read(&header(2, 0), 18), None);
    assert_eq!(Header::read(b"HYLK\x01\0\0\0\0\0\0\0\0\0\0\0", 18), None);
}
