//! SHUTDOWN's options.

use super::config::ShutdownFlags;
use super::shared::Shared;
use crate::command::CommandError;

/// What SHUTDOWN asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    End(ShutdownFlags),
    Abort,
}

/// Reads the words behind SHUTDOWN.
pub fn parse(words: &[&[u8]]) -> Result<Request, CommandError> {
    let mut flags = ShutdownFlags::default();
    let mut abort = false;
    for word in words {
        match word.to_ascii_lowercase().as_slice() {
            b"save" => flags.save = true,
            b"nosave" => flags.nosave = true,
            b"now" => flags.now = true,
            b"force" => flags.force = true,
            b"abort" => abort = true,
            _ => return Err(CommandError::SYNTAX),
        }
    }
    match (abort, flags) {
        (true, flags) if flags == ShutdownFlags::default() => Ok(Request::Abort),
        (true, _) => Err(CommandError::SYNTAX),
        (false, ShutdownFlags { save: true, nosave: true, .. }) => Err(CommandError::SYNTAX),
        (false, flags) => Ok(Request::End(flags)),
    }
}

/// SHUTDOWN NOSAVE while a script runs past its time: the script ends, and so does the server.
pub fn without_saving(shared: &Shared, argv: &[&[u8]]) {
    if let Ok(Request::End(flags)) = parse(&argv[1..]) {
        // Nobody must see, or build on, what the script leaves half done.
        shared.drain();
        shared.script.abandon();
        shared.request_shutdown(flags);
    }
}

#[cfg(test)]
mod tests {
    use super::{Request, parse};

    #[test]
    fn options() {
        let ended = |text: &str| {
            let words: Vec<&[u8]> = text.split_whitespace().map(str::as_bytes).collect();
            match parse(&words) {
                Ok(Request::End(flags)) => format!(
                    "{}{}{}{}",
                    u8::from(flags.save),
                    u8::from(flags.nosave),
                    u8::from(flags.now),
                    u8::from(flags.force)
                ),
                Ok(Request::Abort) => "abort".into(),
                Err(error) => error.text().into(),
            }
        };
        for (text, expected) in [
            ("", "0000"),
            ("SAVE", "1000"),
            ("nosave now FORCE", "0111"),
            ("abort", "abort"),
            ("abort now", "ERR syntax error"),
            ("save nosave", "ERR syntax error"),
            ("foo", "ERR syntax error"),
        ] {
            assert_eq!(ended(text), expected, "{text}");
        }
    }
}
