//! Glob patterns of KEYS, SCAN, PSUBSCRIBE and CONFIG GET: `*`, `?`, `[a-z]`, `[^a]`, `\x`.
//!
//! Matching takes time O(pattern x text) whatever the pattern: only the last `*` is ever returned to.

/// Whether the whole text matches.
pub fn glob_matches(pattern: &[u8], text: &[u8]) -> bool {
    matches(pattern, text, false)
}

/// The same, letters compared without case.
pub fn glob_matches_nocase(pattern: &[u8], text: &[u8]) -> bool {
    matches(pattern, text, true)
}

fn matches(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    // As in stock, even a star does not match an empty text; who lets `*` stand for all does not ask.
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        let step = if p < pattern.len() && pattern[p] == b'*' {
            p += 1;
            if p == pattern.len() {
                return true;
            }
            star = Some((p, t));
            continue;
        } else if t == text.len() {
            None
        } else {
            one(&pattern[p..], text[t], nocase)
        };
        match step {
            Some(used) => {
                p += used;
                t += 1;
            }
            None if p == pattern.len() && t == text.len() => return true,
            None => match star {
                Some((after, from)) if from < text.len() => {
                    star = Some((after, from + 1));
                    p = after;
                    t = from + 1;
                }
                _ => return false,
            },
        }
    }
}

/// Length of the pattern element at the front when it matches this byte.
fn one(pattern: &[u8], byte: u8, nocase: bool) -> Option<usize> {
    let fold = |b: u8| if nocase { b.to_ascii_lowercase() } else { b };
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (fold(*escaped) == fold(byte)).then_some(2),
        [b'[', ..] => class(pattern, byte, nocase),
        [literal, ..] => (fold(*literal) == fold(byte)).then_some(1),
    }
}

/// A class; one without its closing bracket reaches to the end of the pattern.
fn class(pattern: &[u8], byte: u8, nocase: bool) -> Option<usize> {
    let fold = |b: u8| if nocase { b.to_ascii_lowercase() } else { b };
    let byte = fold(byte);
    let mut at = 1;
    let negated = pattern.get(at) == Some(&b'^');
    at += usize::from(negated);
    let mut found = false;
    let end = loop {
        match &pattern[at..] {
            [] => break at,
            [b'\\', escaped, ..] => {
                found |= fold(*escaped) == byte;
                at += 2;
            }
            [b']', ..] => break at + 1,
            [low, b'-', high, ..] => {
                let (low, high) = (fold(*low), fold(*high));
                found |= (low.min(high)..=low.max(high)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                found |= fold(*literal) == byte;
                at += 1;
            }
        }
    };
    (found != negated).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_stock() {
        for (pattern, text, expected) in [
            ("*", "", false),
            ("**", "", false),
            ("a*", "a", true),
            ("", "", true),
            ("", "a", false),
            ("h?llo", "hello", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("[abc", "c", true),
            ("[\\]]", "]", true),
            ("*a", "aaab", false),
            ("user:*:name", "user:1:2:name", true),
        ] {
            assert_eq!(glob_matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
        assert!(glob_matches_nocase(b"MaxMem*", b"maxmemory"));
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = b"a*".repeat(60);
        let text = vec![b'a'; 5000];
        assert!(!glob_matches(&[&pattern[..], b"b"].concat(), &text));
    }
}
