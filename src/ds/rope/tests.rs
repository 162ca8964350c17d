use super::*;
use quickcheck::quickcheck;

fn same(rope: &Rope, model: &[u8]) -> bool {
    let mut read = vec![1; model.len()];
    rope.read(0, &mut read);
    rope.len() == model.len() && rope.to_vec() == model && read == model && *rope == Rope::new(model)
}

quickcheck! {
    /// Extending, appending, overwriting and reading, with clones held meanwhile; contents are stretched so that they
    /// cross chunks, and extensions so that the tree grows.
    fn behaves_like_a_vector_and_leaves_clones_alone(base: Vec<u8>, steps: Vec<(u8, u32, Vec<u8>, u16, bool)>) -> bool {
        let mut model: Vec<u8> = base.repeat(1000);
        let mut rope = Rope::from_block(Block::new(model.clone()));
        let mut held: Vec<(Rope, Vec<u8>)> = Vec::new();
        for (op, at, content, repeat, hold) in steps {
            let content = content.repeat(usize::from(repeat % 200));
            if hold {
                held.push((rope.clone(), model.clone()));
            }
            match op % 4 {
                0 if model.len() < 300_000 => {
                    let len = model.len() + at as usize % (70 * CHUNK);
                    model.resize(len, 0);
                    rope.extend_to(len);
                }
                1 => {
                    model.extend_from_slice(&content);
                    rope.push(&content);
                }
                2 => {
                    let at = at as usize % (model.len() + 1);
                    let part = &content[..content.len().min(model.len() - at)];
                    model[at..at + part.len()].copy_from_slice(part);
                    rope.write(at, part);
                }
                _ => {
                    let at = at as usize % (model.len() + 10);
                    let mut buffer = vec![9; content.len() + 3];
                    rope.read(at, &mut buffer);
                    let expected = |index: usize| model.get(at + index).copied().unwrap_or(0);
                    if buffer.iter().enumerate().any(|(index, byte)| *byte != expected(index)) {
                        return false;
                    }
                }
            }
            if rope.len() != model.len() {
                return false;
            }
        }
        same(&rope, &model) && held.iter().all(|(rope, model)| same(rope, model))
    }

    fn ranges_are_those_of_a_vector(content: Vec<u8>, hole: u16, start: usize, end: usize) -> bool {
        let mut model = content.repeat(200);
        let mut rope = Rope::new(&model);
        let behind = model.len() + usize::from(hole);
        model.resize(behind, 0);
        rope.extend_to(behind);
        model.extend_from_slice(&content);
        rope.push(&content);
        let (start, end) = (start % (model.len() + 1), end % (model.len() + 1));
        let range = start.min(end)..start.max(end);
        let pieces = rope.pieces(range.clone());
        pieces.len() == range.len() && pieces.slices().flatten().eq(&model[range])
    }
}

#[test]
fn a_write_copies_one_chunk_where_a_clone_is_held() {
    let mut rope = Rope::new(&vec![7; 300 * CHUNK]);
    let held = rope.clone();
    rope.write(150 * CHUNK + 5, b"x");
    let moved = (0..300).filter(|index| {
        let (ours, theirs) = (rope.chunk(*index).map(<[u8]>::as_ptr), held.chunk(*index).map(<[u8]>::as_ptr));
        ours != theirs
    });
    assert_eq!(moved.collect::<Vec<_>>(), [150]);
    assert_eq!(held.to_vec(), vec![7; 300 * CHUNK]);
}

/// A base is not copied, not even where it is read; it goes when a third of it was written to, wherever that was.
#[test]
fn a_base_is_kept_by_reference_and_let_go() {
    let block = Block::new((0..300 * CHUNK).map(|n| (n / 1000) as u8).collect());
    let mut model = block.to_vec();
    let mut rope = Rope::from_block(Block::clone(&block));
    let whole: Vec<Piece<'_>> = rope.pieces(0..rope.len()).collect();
    assert_eq!(whole, [Piece::Bytes(&block)]);
    assert_eq!(rope.chunk(7).map(<[u8]>::as_ptr), Some(block[7 * CHUNK..].as_ptr()));
    let mut writes = 0;
    while Block::strong_count(&block) > 1 {
        let at = (299 - writes) * CHUNK + 5;
        rope.write(at, b"x");
        model[at] = b'x';
        writes += 1;
        assert!(rope.heap_bytes() < 2 * model.len() * 102 / 100);
    }
    assert_eq!(writes, 100);
    assert!(same(&rope, &model) && rope.heap_bytes() < model.len() * 102 / 100);
}

#[test]
fn holes_take_no_memory_and_are_passed_in_one_step() {
    let mut rope = Rope::default();
    rope.extend_to(512 << 20);
    assert!(rope.heap_bytes() < 100);
    rope.write((512 << 20) - 1, &[1]);
    assert!(rope.heap_bytes() < 2 * CHUNK, "{}", rope.heap_bytes());
    assert!(rope.pieces(0..rope.len()).count() < 10);
    let mut last = [0; 2];
    rope.read((512 << 20) - 2, &mut last);
    assert_eq!(last, [0, 1]);
}

#[test]
fn the_memory_of_a_run_is_little_more_than_its_bytes() {
    let rope = Rope::new(&vec![1; 100 << 20]);
    assert!(rope.heap_bytes() < (100 << 20) * 102 / 100, "{}", rope.heap_bytes());
    let mut appended = Rope::default();
    for _ in 0..100_000 {
        appended.push(b"0123456789");
    }
    assert!(appended.heap_bytes() < 1_000_000 * 102 / 100 + CHUNK, "{}", appended.heap_bytes());
}
