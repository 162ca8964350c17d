//! Long strings in replies: sent from the chunks in which they lie, as they are at this moment, without a copy.

use std::ops::Range;
use std::sync::Arc;

use crate::ds::Rope;
use crate::resp::{Reply, Run};
use crate::value::StrRef;

/// Writes a range of a string as a bulk reply.
pub(super) fn write(text: StrRef<'_>, range: Range<usize>, reply: &mut Reply) {
    if let StrRef::Chunked(rope) = text
        && reply.takes_run(range.len())
    {
        reply.bulk_run(Arc::new(Stretch { rope: rope.clone(), range }));
        return;
    }
    let mut buffer = itoa::Buffer::new();
    let pieces = text.pieces_of(range, &mut buffer);
    reply.bulk_parts(pieces.len(), pieces.slices());
}

/// A stretch of a string as it was. Later writes to the string copy the chunks that they touch.
struct Stretch {
    rope: Rope,
    range: Range<usize>,
}

impl Run for Stretch {
    fn bytes(&self) -> usize {
        self.range.len()
    }

    fn slices<'a>(&'a self, from: usize) -> Box<dyn Iterator<Item = &'a [u8]> + 'a> {
        Box::new(self.rope.pieces(self.range.start + from..self.range.end).slices())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Protocol, RUN_BYTES_MIN};
    use crate::value::Str;

    #[test]
    fn a_run_shows_the_string_as_it_was_from_any_byte_on() {
        let content: Vec<u8> = (0..3 * RUN_BYTES_MIN).map(|n| (n / 7) as u8).collect();
        let mut text = Str::encode(&content);
        text.grow(4 * RUN_BYTES_MIN);
        let expected = text.to_vec();
        let mut reply = Reply::taking_runs(Protocol::Resp2);
        write(text.as_ref(), 0..text.len(), &mut reply);
        write(text.as_ref(), 5000..5000 + RUN_BYTES_MIN, &mut reply);
        write(text.as_ref(), 7..7 + RUN_BYTES_MIN - 1, &mut reply);
        text.set_range(4000, &[0xff; 9000]);
        let written = reply.take();
        assert_eq!(written.runs.iter().count(), 2, "the third is too short for a run");
        let bulk = |bytes: &[u8]| [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        let parts =
            [bulk(&expected), bulk(&expected[5000..5000 + RUN_BYTES_MIN]), bulk(&expected[7..7 + RUN_BYTES_MIN - 1])];
        assert!(written.joined() == parts.concat());
        for from in [1, 4079, 4080, 4081, expected.len() - 1] {
            let (_, run) = written.runs.first().expect("a run");
            let rest: Vec<u8> = run.slices(from).flatten().copied().collect();
            assert!(rest == expected[from..], "{from}");
        }
    }

    #[test]
    fn who_takes_no_runs_gets_bytes() {
        let text = Str::encode(&vec![b'x'; 2 * RUN_BYTES_MIN]);
        let mut reply = Reply::new(Protocol::Resp2);
        write(text.as_ref(), 0..text.len(), &mut reply);
        assert!(!reply.has_runs() && reply.len() == text.len() + 10);
    }
}
