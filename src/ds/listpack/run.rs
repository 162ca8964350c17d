//! Elements one behind the other without their back lengths: a listpack for what is only ever read forwards.
//!
//! A run is plain bytes, to be kept in whatever holds them. What is read with [`split_first`] must have been written by
//! the functions here.

use super::encoding::{Element, Item, Needle, body_size, decode_body};

/// Appends an element in the form that it has.
pub fn push(run: &mut Vec<u8>, item: Item<'_>) {
    let element = Element::from_item(item);
    let [head, content, _] = element.parts();
    run.extend_from_slice(head);
    run.extend_from_slice(content);
}

/// The first element and the rest; `None` at the end.
pub fn split_first(run: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let (item, size) = decode_body(run)?;
    Some((item, &run[size..]))
}

/// Whether the first element is the one, and what follows it; `None` at the end.
pub fn split_first_if<'r>(run: &'r [u8], needle: Needle<'_>) -> Option<(bool, &'r [u8])> {
    let (found, size) = needle.is_at(run)?;
    Some((found, run.get(size..)?))
}

/// What follows the first so many elements, which are not looked into; nothing where there are no more.
pub fn behind(mut run: &[u8], elements: usize) -> &[u8] {
    for _ in 0..elements {
        run = body_size(run).and_then(|size| run.get(size..)).unwrap_or_default();
    }
    run
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn what_was_pushed_is_read(elements: Vec<Vec<u8>>, numbers: Vec<i64>) -> bool {
            let mut run = Vec::new();
            elements.iter().for_each(|element| push(&mut run, Item::new(element)));
            numbers.iter().for_each(|number| push(&mut run, Item::Int(*number)));
            let mut rest = &run[..];
            let mut read = Vec::new();
            while let Some((item, behind)) = split_first(rest) {
                read.push(item.to_vec());
                let text = item.to_vec();
                let (found, other) = (Needle::new(&text), Needle::new(b"another"));
                if split_first_if(rest, found) != Some((true, behind))
                    || split_first_if(rest, other) != Some((text == b"another", behind))
                    || behind != super::behind(rest, 1) || behind != super::behind(&run, read.len()) {
                    return false;
                }
                rest = behind;
            }
            let texts = numbers.iter().map(|number| number.to_string().into_bytes());
            read == elements.into_iter().chain(texts).collect::<Vec<_>>()
        }
    }
}
