//! Libraries of functions as FUNCTION DUMP answers them and FUNCTION RESTORE takes them: each a mark and its source text,
//! as in RDB files, then the footer of every payload.

use super::dump::{seal, unseal};
use super::encode::{Encoder, VERSION};
use super::{Input, SliceSource};

/// What stands in front of a library's text.
pub const LIBRARY: u8 = 245;
/// The same in files of release candidates of 7.0, in another form.
pub const LIBRARY_PRE_GA: u8 = 246;

/// Why libraries were not taken. The texts are the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LibrariesError {
    #[error("DUMP payload version or checksum are wrong")]
    Footer,
    #[error("Pre-GA function format not supported")]
    PreGa,
    #[error("given type is not a function")]
    NotALibrary,
    #[error("Failed loading library data")]
    Text,
}

/// The payload of libraries, by their texts.
pub fn dump_libraries<'t>(texts: impl IntoIterator<Item = &'t [u8]>, compression: bool) -> Vec<u8> {
    let mut encoder = Encoder::new(VERSION, compression);
    let mut payload = Vec::new();
    for text in texts {
        payload.push(LIBRARY);
        encoder.string(text, &mut payload).expect("memory takes what is written to it");
    }
    seal(payload)
}

/// The texts of a payload's libraries.
///
/// # Errors
/// When the footer does not fit, or something in it is no library.
pub fn restore_libraries(payload: &[u8], any_checksum: bool) -> Result<Vec<Vec<u8>>, LibrariesError> {
    let content = unseal(payload, any_checksum).ok_or(LibrariesError::Footer)?;
    let mut source = SliceSource::new(content);
    let mut input = Input::new(&mut source);
    let mut texts = Vec::new();
    while input.remaining() > 0 {
        match input.byte("library").map_err(|_| LibrariesError::NotALibrary)? {
            LIBRARY => {}
            LIBRARY_PRE_GA => return Err(LibrariesError::PreGa),
            _ => return Err(LibrariesError::NotALibrary),
        }
        texts.push(input.string("library").map_err(|_| LibrariesError::Text)?.to_vec());
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_come_back() {
        let texts = [&b"#!lua name=a\n-- one"[..], &[b'x'; 500]];
        let payload = dump_libraries(texts, true);
        assert_eq!(restore_libraries(&payload, false), Ok(texts.map(<[u8]>::to_vec).to_vec()));
        assert_eq!(restore_libraries(&dump_libraries([], true), false), Ok(Vec::new()));
    }

    #[test]
    fn what_holds_no_libraries_is_refused() {
        assert_eq!(restore_libraries(b"xx", false), Err(LibrariesError::Footer));
        assert_eq!(restore_libraries(&seal(vec![LIBRARY_PRE_GA]), false), Err(LibrariesError::PreGa));
        assert_eq!(restore_libraries(&seal(vec![0, 1, b'x']), false), Err(LibrariesError::NotALibrary));
        assert_eq!(restore_libraries(&seal(vec![LIBRARY, 9, b'x']), false), Err(LibrariesError::Text));
        let mut broken = dump_libraries([&b"x"[..]], false);
        broken[1] ^= 1;
        assert_eq!(restore_libraries(&broken, false), Err(LibrariesError::Footer));
        assert!(restore_libraries(&broken, true).is_err());
    }
}
