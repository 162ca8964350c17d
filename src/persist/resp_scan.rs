//! Commands in log bytes: RESP arrays of bulk strings, exactly as stock's loader takes them.

use smallvec::SmallVec;
use std::ops::Range;

/// Where the words of a command are: of most commands without an allocation.
pub type Words = SmallVec<[Range<usize>; 6]>;

/// What stands at the front of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Scanned {
    /// A command: where its words are, and where it ends.
    Command { words: Words, end: usize },
    /// A comment line and where it ends.
    Comment { end: usize },
    /// The bytes end inside it.
    Incomplete,
    /// Neither.
    Garbage,
}

/// Longest comment line that stock's loader takes, CRLF included.
const LINE_MAX: usize = 1024;
/// More words than this are no command.
const WORDS_MAX: u64 = 1 << 30;

/// Looks at the command or comment that begins at `at`.
pub fn scan(bytes: &[u8], at: usize) -> Scanned {
    match bytes.get(at) {
        None => Scanned::Incomplete,
        Some(b'#') => match memchr::memchr(b'\n', &bytes[at..]) {
            Some(end) if end < LINE_MAX => Scanned::Comment { end: at + end + 1 },
            None if bytes.len() - at < LINE_MAX => Scanned::Incomplete,
            _ => Scanned::Garbage,
        },
        Some(b'*') => command(bytes, at),
        Some(_) => Scanned::Garbage,
    }
}

fn command(bytes: &[u8], at: usize) -> Scanned {
    let (count, mut at) = match number(bytes, at + 1) {
        Ok(read) => read,
        Err(outcome) => return outcome,
    };
    if count == 0 || count > WORDS_MAX {
        return Scanned::Garbage;
    }
    let mut words = Words::with_capacity((count as usize).min(64));
    for _ in 0..count {
        match bytes.get(at) {
            None => return Scanned::Incomplete,
            Some(b'$') => {}
            Some(_) => return Scanned::Garbage,
        }
        let (len, start) = match number(bytes, at + 1) {
            Ok(read) => read,
            Err(outcome) => return outcome,
        };
        if len > bytes.len() as u64 {
            return Scanned::Incomplete;
        }
        let end = start + len as usize;
        match bytes.get(end..end + 2) {
            None => return Scanned::Incomplete,
            Some(b"\r\n") => {}
            Some(_) => return Scanned::Garbage,
        }
        words.push(start..end);
        at = end + 2;
    }
    Scanned::Command { words, end: at }
}

/// How many commands some bytes are, told without looking at their words; where they stop being commands, if they do.
pub fn count(bytes: &[u8]) -> Result<u64, usize> {
    let (mut at, mut commands) = (0, 0);
    while at < bytes.len() {
        at = match bytes[at] {
            b'*' => {
                commands += 1;
                skip(bytes, at).ok_or(at)?
            }
            _ => match scan(bytes, at) {
                Scanned::Comment { end } => end,
                _ => return Err(at),
            },
        };
    }
    Ok(commands)
}

/// Where the command that begins at `at` ends, as [`scan`] has it.
fn skip(bytes: &[u8], at: usize) -> Option<usize> {
    let (count, mut at) = number(bytes, at + 1).ok()?;
    if count == 0 || count > WORDS_MAX {
        return None;
    }
    for _ in 0..count {
        if *bytes.get(at)? != b'$' {
            return None;
        }
        let (len, start) = number(bytes, at + 1).ok()?;
        let end = usize::try_from(len).ok().and_then(|len| start.checked_add(len))?;
        if bytes.get(end..end.checked_add(2)?)? != b"\r\n" {
            return None;
        }
        at = end + 2;
    }
    Some(at)
}

/// Digits up to CRLF: the number, and where the next thing begins.
fn number(bytes: &[u8], at: usize) -> Result<(u64, usize), Scanned> {
    let mut value: u64 = 0;
    for (read, byte) in bytes[at.min(bytes.len())..].iter().enumerate() {
        match byte {
            b'0'..=b'9' if read < 19 => value = value * 10 + u64::from(byte - b'0'),
            b'\r' if read > 0 => {
                return match bytes.get(at + read + 1) {
                    None => Err(Scanned::Incomplete),
                    Some(b'\n') => Ok((value, at + read + 2)),
                    Some(_) => Err(Scanned::Garbage),
                };
            }
            _ => return Err(Scanned::Garbage),
        }
    }
    Err(Scanned::Incomplete)
}

#[cfg(test)]
mod tests {
    use super::*;
    use smallvec::smallvec;

    #[test]
    fn commands_are_counted_as_they_are_scanned() {
        let one = b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n";
        assert_eq!(count(&[&one[..], b"#TS:1\r\n", one].concat()), Ok(2));
        for cut in 1..one.len() {
            assert_eq!(count(&[&one[..], &one[..cut]].concat()), Err(one.len()), "{cut}");
        }
        for rubbish in [&b"\0\0"[..], b"*0\r\n", b"*1\r\n:1\r\n", b"*1\r\n$1\r\nab\r\n", b"*1\r\n$99\r\na\r\n"] {
            assert_eq!(count(rubbish), Err(0), "{rubbish:?}");
        }
    }

    #[test]
    fn commands_comments_and_rubbish_are_told_apart() {
        let bytes = b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n";
        assert_eq!(scan(bytes, 0), Scanned::Command { words: smallvec![8..11, 17..17], end: bytes.len() });
        for cut in 1..bytes.len() {
            assert_eq!(scan(&bytes[..cut], 0), Scanned::Incomplete, "{cut}");
        }
        assert_eq!(scan(b"#TS:1\r\n*", 0), Scanned::Comment { end: 7 });
        for rubbish in [&b"\0\0"[..], b"*0\r\n", b"*x\r\n", b"*1\r\n:1\r\n", b"*1\r\n$1\r\nab\r\n", b"+OK\r\n"] {
            assert_eq!(scan(rubbish, 0), Scanned::Garbage, "{rubbish:?}");
        }
    }
}
