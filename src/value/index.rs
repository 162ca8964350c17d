//! Indexes that count from either end.

use std::ops::Range;

/// The place that `index` means in a sequence of `len`, negative ones counted from its end.
pub fn place(len: usize, index: i64) -> Option<usize> {
    let at = if index < 0 { (len as i64).checked_add(index)? } else { index };
    usize::try_from(at).ok().filter(|at| *at < len)
}

/// The part of a collection of `len` from `start` to `end`, both included, negative ones counted from its end; `None`
/// when nothing lies there.
pub fn span(len: usize, start: i64, end: i64) -> Option<Range<usize>> {
    let len = len as i64;
    let counted = |at: i64| if at < 0 { len.saturating_add(at) } else { at };
    let (start, end) = (counted(start).max(0), counted(end).min(len - 1));
    (start <= end).then(|| start as usize..end as usize + 1)
}

/// The part of a string of `len` from `start` to `end`: as [`span`], but an end that lies before the first byte means
/// the first byte, which is how GETRANGE counts.
pub fn byte_span(len: usize, start: i64, end: i64) -> Option<Range<usize>> {
    if start < 0 && end < 0 && start > end {
        return None;
    }
    let end = if end < 0 { (len as i64).saturating_add(end).max(0) } else { end };
    span(len, start, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_cut_to_what_there_is() {
        for (len, start, end, expected) in [
            (5, 0, -1, Some(0..5)),
            (5, -3, -2, Some(2..4)),
            (5, 3, 1, None),
            (5, 5, 9, None),
            (5, -100, -100, None),
            (5, -100, 100, Some(0..5)),
            (0, 0, -1, None),
            (3, i64::MIN, i64::MAX, Some(0..3)),
            (3, i64::MAX, i64::MIN, None),
        ] {
            assert_eq!(span(len, start, end), expected, "{len} {start} {end}");
        }
        assert_eq!(byte_span(5, -100, -100), Some(0..1));
        assert_eq!(byte_span(5, 0, -100), Some(0..1));
        assert_eq!(byte_span(5, -1, -2), None);
        assert_eq!(byte_span(0, 0, -1), None);
    }

    #[test]
    fn places_count_from_either_end() {
        for (len, index, expected) in [(3, 0, Some(0)), (3, -1, Some(2)), (3, 3, None), (3, -4, None), (0, 0, None)] {
            assert_eq!(place(len, index), expected);
        }
        assert_eq!(place(3, i64::MIN), None);
    }
}
