//! The order of texts in the language of the environment (`locale-collate`), which only the C library knows.
//!
//! Scripts compare their strings by the same order, since Lua asks the C library too. Nothing that is logged depends on it.
#![expect(unsafe_code, reason = "setlocale and strcoll have no safe binding among our dependencies")]

use std::cmp::Ordering;
use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Whether texts are ordered otherwise than by their bytes.
static BY_LANGUAGE: AtomicBool = AtomicBool::new(false);

/// Orders by the language of a locale from now on; the empty name is that of the process's environment. False: the system
/// does not know it, and nothing has changed.
///
/// Nobody may compare meanwhile: the caller holds the engine, or is alone.
pub fn set(locale: &str) -> bool {
    let Ok(name) = CString::new(locale) else { return false };
    // SAFETY: the name ends with a zero; what compares texts by the locale does so under the engine's lock, as this call.
    let chosen = unsafe { libc::setlocale(libc::LC_COLLATE, name.as_ptr()) };
    if chosen.is_null() {
        return false;
    }
    // SAFETY: the C library gives a name that ends with a zero and lives until the next call.
    let chosen = unsafe { CStr::from_ptr(chosen) };
    // Of UTF-8 without a language the order is that of its bytes.
    BY_LANGUAGE.store(!matches!(chosen.to_bytes(), b"C" | b"POSIX" | b"C.utf8" | b"C.UTF-8"), Relaxed);
    true
}

/// Orders two texts; in a language up to their first zero byte, and by their bytes where it sees no difference.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    if !BY_LANGUAGE.load(Relaxed) {
        return a.cmp(b);
    }
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        let mut text = Vec::with_capacity(end + 1);
        text.extend_from_slice(&bytes[..end]);
        text.push(0);
        text
    };
    let (left, right) = (text(a), text(b));
    // SAFETY: both end with a zero byte.
    let order = unsafe { libc::strcoll(left.as_ptr().cast(), right.as_ptr().cast()) };
    order.cmp(&0).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::{compare, set};
    use std::cmp::Ordering;

    #[test]
    fn bytes_unless_a_language_is_chosen() {
        assert!(!set("no such place"));
        assert!(!set("a\0b"));
        assert!(set("C"));
        assert_eq!(compare(b"a", b"B"), Ordering::Greater);
        assert_eq!(compare(b"a\0a", b"a\0b"), Ordering::Less);
    }
}
