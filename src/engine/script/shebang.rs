//! The first line of a script (`#!lua flags=...`) and of a library (`#!lua name=...`).

use crate::command::{CommandError, quoted};
use crate::resp::split_args;

/// What a script may do, as it says itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScriptFlags(u8);

impl ScriptFlags {
    pub const NONE: Self = Self(0);
    pub const NO_WRITES: Self = Self(1);
    pub const ALLOW_OOM: Self = Self(1 << 1);
    pub const ALLOW_STALE: Self = Self(1 << 2);
    pub const NO_CLUSTER: Self = Self(1 << 3);
    pub const ALLOW_CROSS_SLOT_KEYS: Self = Self(1 << 4);

    const NAMED: [(Self, &str); 5] = [
        (Self::NO_WRITES, "no-writes"),
        (Self::ALLOW_OOM, "allow-oom"),
        (Self::ALLOW_STALE, "allow-stale"),
        (Self::NO_CLUSTER, "no-cluster"),
        (Self::ALLOW_CROSS_SLOT_KEYS, "allow-cross-slot-keys"),
    ];

    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn of_name(name: &[u8]) -> Option<Self> {
        Self::NAMED.into_iter().find(|(_, known)| known.as_bytes() == name).map(|(flag, _)| flag)
    }

    /// Names of the flags that are set, in the order in which FUNCTION LIST shows them.
    pub fn names(self) -> impl ExactSizeIterator<Item = &'static str> {
        let set: Vec<_> = Self::NAMED.into_iter().filter(|(flag, _)| self.has(*flag)).map(|(_, name)| name).collect();
        set.into_iter()
    }
}

/// A script's body and its flags, if it declares any: one without a first line of that kind is judged command by
/// command. The line itself stays as an empty one, so that line numbers hold.
pub fn of_script(text: &[u8]) -> Result<(&[u8], Option<ScriptFlags>), CommandError> {
    if !text.starts_with(b"#!") {
        return Ok((text, None));
    }
    let Some(end) = text.iter().position(|byte| *byte == b'\n') else {
        return Err(CommandError::fixed("ERR Invalid script shebang"));
    };
    let words = split_args(&text[..end]).filter(|words| !words.is_empty());
    let words = words.ok_or(CommandError::fixed("ERR Invalid engine in script shebang"))?;
    if words[0] != b"#!lua" {
        return Err(about("Unexpected engine in script shebang: ", &words[0]));
    }
    let mut flags = ScriptFlags::NONE;
    for word in &words[1..] {
        let Some(list) = word.strip_prefix(b"flags=") else {
            return Err(about("Unknown lua shebang option: ", word));
        };
        if list.is_empty() {
            continue;
        }
        for name in list.split(|byte| *byte == b',') {
            let flag = ScriptFlags::of_name(name);
            flags = flags.and(flag.ok_or_else(|| about("Unexpected flag in script shebang: ", name))?);
        }
    }
    Ok((&text[end..], Some(flags)))
}

/// The name of a library and its body, the first line left as an empty one.
pub fn of_library(text: &[u8]) -> Result<(String, &[u8]), CommandError> {
    if !text.starts_with(b"#!") {
        return Err(CommandError::fixed("ERR Missing library metadata"));
    }
    let invalid = CommandError::fixed("ERR Invalid library metadata");
    // As stock, which reads up to the first NUL.
    let line = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let end = line.iter().position(|byte| *byte == b'\n').ok_or_else(|| invalid.clone())?;
    let words = split_args(&text[..end]).filter(|words| !words.is_empty()).ok_or(invalid)?;
    let mut name = None;
    for word in &words[1..] {
        match word.split_at_checked(5) {
            Some((option, value)) if option.eq_ignore_ascii_case(b"name=") => {
                if name.replace(value).is_some() {
                    let text = "ERR Invalid metadata value, name argument was given multiple times";
                    return Err(CommandError::fixed(text));
                }
            }
            _ => return Err(about("Invalid metadata value given: ", word)),
        }
    }
    let name = name.ok_or(CommandError::fixed("ERR Library name was not given"))?;
    let name = valid_name(name).ok_or(CommandError::fixed(BAD_NAME))?;
    let engine = &words[0][2..];
    if !engine.eq_ignore_ascii_case(b"lua") {
        return Err(CommandError::new(format!("ERR Engine '{}' not found", quoted(engine))));
    }
    Ok((name, &text[end..]))
}

pub const BAD_NAME: &str = "ERR Library names can only contain letters, numbers, or underscores(_) and must be at least \
                            one character long";

/// A name of a library or function, if it may be one.
pub fn valid_name(name: &[u8]) -> Option<String> {
    let fits = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    fits.then(|| String::from_utf8_lossy(name).into_owned())
}

fn about(text: &str, word: &[u8]) -> CommandError {
    CommandError::new(format!("ERR {text}{}", quoted(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_scripts() {
        let of = |text: &str| of_script(text.as_bytes()).map(|(body, flags)| (body.to_vec(), flags));
        assert_eq!(of("return 1"), Ok((b"return 1".to_vec(), None)));
        assert_eq!(of("#!lua\nx"), Ok((b"\nx".to_vec(), Some(ScriptFlags::NONE))));
        assert_eq!(
            of("#!lua flags=no-writes,allow-oom flags=\nx"),
            Ok((b"\nx".to_vec(), Some(ScriptFlags::NO_WRITES.and(ScriptFlags::ALLOW_OOM))))
        );
        for (text, error) in [
            ("#!lua", "ERR Invalid script shebang"),
            ("#!js\n", "ERR Unexpected engine in script shebang: #!js"),
            ("#!lua name=x\n", "ERR Unknown lua shebang option: name=x"),
            ("#!lua flags=no-writes,\n", "ERR Unexpected flag in script shebang: "),
        ] {
            assert_eq!(of(text).map_err(|error| error.text().to_owned()), Err(error.to_owned()), "{text}");
        }
    }

    #[test]
    fn names_of_libraries() {
        assert_eq!(of_library(b"#!LUA  name=\"ab\"\nx").ok(), Some(("ab".into(), &b"\nx"[..])));
        for (text, error) in [
            ("", "ERR Missing library metadata"),
            ("#!lua name=a", "ERR Invalid library metadata"),
            ("#!lua\nx", "ERR Library name was not given"),
            ("#!lua name=a name=b\n", "ERR Invalid metadata value, name argument was given multiple times"),
            ("#!lua x=1 name=a\n", "ERR Invalid metadata value given: x=1"),
            ("#!lua name=a-b\n", BAD_NAME),
            ("#!js name=a\n", "ERR Engine 'js' not found"),
        ] {
            assert_eq!(of_library(text.as_bytes()).map_err(|e| e.text().to_owned()), Err(error.to_owned()), "{text}");
        }
    }
}
