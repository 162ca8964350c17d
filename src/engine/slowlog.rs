//! Calls that took long, the latest first: what SLOWLOG shows.
//!
//! An entry keeps what fits into a few KiB whatever the call was: long argument lists and long arguments are cut, and say
//! by how much.

use std::collections::VecDeque;
use std::time::Duration;

/// Arguments of a call that are kept; the last one says how many more there were.
const ARGUMENTS_MAX: usize = 32;
const ARGUMENT_BYTES_MAX: usize = 128;

/// See the module's header.
#[derive(Default)]
pub struct Slowlog {
    calls: VecDeque<SlowCall>,
    next_id: u64,
}

/// One call.
#[derive(Debug)]
pub struct SlowCall {
    pub id: u64,
    /// Seconds since the epoch, when it had ended.
    pub at: i64,
    pub time: Duration,
    pub argv: Vec<Vec<u8>>,
    pub address: String,
    pub name: Vec<u8>,
}

impl Slowlog {
    /// Keeps a call, and of the older ones so many that there are `most`.
    pub fn push(&mut self, at: i64, time: Duration, argv: &[&[u8]], address: String, name: Vec<u8>, most: usize) {
        let id = self.next_id;
        self.next_id += 1;
        self.calls.push_front(SlowCall { id, at, time, argv: shortened(argv), address, name });
        self.calls.truncate(most);
    }

    /// The latest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &SlowCall> {
        self.calls.iter()
    }

    pub fn clear(&mut self) {
        self.calls.clear();
    }
}

fn shortened(argv: &[&[u8]]) -> Vec<Vec<u8>> {
    let whole = if argv.len() > ARGUMENTS_MAX { ARGUMENTS_MAX - 1 } else { argv.len() };
    let mut kept: Vec<Vec<u8>> = argv[..whole].iter().map(|word| shortened_word(word)).collect();
    if whole < argv.len() {
        kept.push(format!("... ({} more arguments)", argv.len() - whole).into_bytes());
    }
    kept
}

fn shortened_word(word: &[u8]) -> Vec<u8> {
    match word.split_at_checked(ARGUMENT_BYTES_MAX) {
        Some((kept, [_, ..])) => {
            let more = word.len() - ARGUMENT_BYTES_MAX;
            [kept, format!("... ({more} more bytes)").as_bytes()].concat()
        }
        _ => word.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Slowlog, shortened};
    use std::time::Duration;

    #[test]
    fn long_calls_are_cut_as_in_stock() {
        let many: Vec<Vec<u8>> = (0..40).map(|n| format!("{n}").into_bytes()).collect();
        let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
        let kept = shortened(&many);
        assert_eq!((kept.len(), &kept[30][..], &kept[31][..]), (32, &b"30"[..], &b"... (9 more arguments)"[..]));
        assert_eq!(shortened(&many[..32]).last().map(Vec::as_slice), Some(&b"31"[..]));
        let [exact, long] = [128, 130].map(|len| shortened(&[vec![b'x'; len].as_slice()]).remove(0));
        assert_eq!(exact, vec![b'x'; 128]);
        assert_eq!(long, [&[b'x'; 128][..], b"... (2 more bytes)"].concat());
    }

    #[test]
    fn the_oldest_go_first_and_ids_go_on() {
        let mut log = Slowlog::default();
        for _ in 0..5 {
            log.push(1, Duration::ZERO, &[b"x"], String::new(), Vec::new(), 3);
        }
        assert_eq!(log.iter().map(|call| call.id).collect::<Vec<_>>(), [4, 3, 2]);
        log.clear();
        log.push(1, Duration::ZERO, &[b"x"], String::new(), Vec::new(), 3);
        assert_eq!(log.iter().map(|call| call.id).collect::<Vec<_>>(), [5]);
    }
}
