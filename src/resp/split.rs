//! Splitting one line into arguments, with the quoting of inline commands and of redis.conf.
//!
//! Words are separated by white space. Inside `"..."` the escapes `\n \r \t \b \a \xHH` mean the byte, any other escaped
//! byte means itself; inside `'...'` only `\'` is an escape. A closing quote must end its word.

/// The words of `line`, or `None` when quotes are unbalanced or a word goes on behind its closing quote.
pub fn split_args(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        // The vertical tab counts as space here, as it does in C.
        if let [0x0b, tail @ ..] = rest {
            rest = tail;
            continue;
        }
        if rest.is_empty() {
            return Some(words);
        }
        let (word, tail) = split_word(rest)?;
        words.push(word);
        rest = tail;
    }
}

fn split_word(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    loop {
        match rest {
            [] | [b' ' | b'\t' | b'\n' | b'\r' | 0, ..] => return Some((word, rest.get(1..).unwrap_or(&[]))),
            [b'"', tail @ ..] => return double_quoted(word, tail),
            [b'\'', tail @ ..] => return single_quoted(word, tail),
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

fn double_quoted(mut word: Vec<u8>, mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    loop {
        match rest {
            [] => return None,
            [b'\\', b'x', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                word.push(hex_digit(*high) << 4 | hex_digit(*low));
                rest = tail;
            }
            [b'\\', escaped, tail @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                rest = tail;
            }
            [b'"', tail @ ..] => return behind_quote(word, tail),
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

fn single_quoted(mut word: Vec<u8>, mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    loop {
        match rest {
            [] => return None,
            [b'\\', b'\'', tail @ ..] => {
                word.push(b'\'');
                rest = tail;
            }
            [b'\'', tail @ ..] => return behind_quote(word, tail),
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

fn behind_quote(word: Vec<u8>, rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    match rest.first() {
        None => Some((word, rest)),
        Some(byte) if byte.is_ascii_whitespace() || *byte == 0x0b => Some((word, rest)),
        Some(_) => None,
    }
}

fn hex_digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => byte - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::split_args;

    #[test]
    fn words() {
        let check = |line: &str, expected: Option<&[&[u8]]>| {
            let words = split_args(line.as_bytes());
            let expected = expected.map(|words| words.iter().map(|word| word.to_vec()).collect::<Vec<_>>());
            assert_eq!(words, expected, "{line:?}");
        };
        check("", Some(&[]));
        check("  \t ", Some(&[]));
        check("a  b\tc\r", Some(&[b"a", b"b", b"c"]));
        check(r#"a"b""#, Some(&[b"ab"]));
        check(r#""" ''"#, Some(&[b"", b""]));
        check(r#""\x41\n\r\t\b\a\q\\" z"#, Some(&[b"A\n\r\t\x08\x07q\\", b"z"]));
        check(r#""\x4g""#, Some(&[b"x4g"]));
        check(r"'a\'b\n'", Some(&[br"a'b\n"]));
        check(r#""a"#, None);
        check(r#"'a"#, None);
        check(r#""a\"#, None);
        check(r#""a"b"#, None);
        check("'a'b", None);
    }
}
