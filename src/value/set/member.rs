//! A member of a large set, as the table holds it.

use triomphe::ThinArc;

use crate::ds::{Entry, Mover, Relocate};

/// Longest member that needs no allocation of its own.
const SHORT_MAX: usize = 22;

/// Short members lie in the bucket itself: at 16 bytes that takes half of what a pointer and an allocation do, and a
/// bucket that is copied beside a snapshot touches nothing else.
#[derive(Clone, Debug)]
pub(in crate::value) enum Member {
    Short { len: u8, bytes: [u8; SHORT_MAX] },
    Long(ThinArc<(), u8>),
}

const _: () = assert!(size_of::<Member>() == 24);

impl Member {
    pub(super) fn new(member: &[u8]) -> Self {
        let mut bytes = [0; SHORT_MAX];
        match bytes.get_mut(..member.len()) {
            Some(place) => {
                place.copy_from_slice(member);
                Self::Short { len: member.len() as u8, bytes }
            }
            None => Self::Long(ThinArc::from_header_and_slice((), member)),
        }
    }

    /// Bytes of its own allocation, if it has one.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Short { .. } => 0,
            Self::Long(bytes) => bytes.slice.len() + 2 * size_of::<usize>(),
        }
    }
}

impl Relocate for Member {
    fn relocate(&mut self, mover: &mut Mover<'_>) {
        match self {
            Self::Short { .. } => {}
            Self::Long(bytes) => bytes.relocate(mover),
        }
    }
}

impl Entry for Member {
    fn key(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => &bytes[..usize::from(*len)],
            Self::Long(bytes) => &bytes.slice,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_every_length_are_what_they_were() {
        for len in 0..100 {
            let text: Vec<u8> = (0..len).collect();
            let member = Member::new(&text);
            assert_eq!(member.key(), text);
            assert_eq!(member.heap_bytes() > 0, text.len() > SHORT_MAX);
        }
    }
}
