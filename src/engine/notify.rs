//! Which keyspace notifications are wanted (`notify-keyspace-events`).

use crate::command::Event;

/// A set of event classes, and whether they go to keyspace or keyevent channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventFlags(u16);

const KEYSPACE: u16 = 1;
const KEYEVENT: u16 = 1 << 1;

/// Letters of the directive in the order CONFIG GET prints them, with the bit of each.
const LETTERS: [(char, u16); 12] = [
    ('g', 1 << 2),
    ('$', 1 << 3),
    ('l', 1 << 4),
    ('s', 1 << 5),
    ('h', 1 << 6),
    ('z', 1 << 7),
    ('x', 1 << 8),
    ('e', 1 << 9),
    ('t', 1 << 10),
    ('d', 1 << 11),
    ('m', 1 << 12),
    ('n', 1 << 13),
];

/// `A`: every class but `m` and `n`.
const ALL: u16 = 0x0ffc;

impl EventFlags {
    pub const NONE: Self = Self(0);

    /// The directive's letters; `None` for an unknown one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bits = 0;
        for letter in text.chars() {
            bits |= match letter {
                'A' => ALL,
                'K' => KEYSPACE,
                'E' => KEYEVENT,
                other => LETTERS.iter().find(|(known, _)| *known == other)?.1,
            };
        }
        Some(Self(bits))
    }

    pub fn keyspace(self) -> bool {
        self.0 & KEYSPACE != 0
    }

    pub fn keyevent(self) -> bool {
        self.0 & KEYEVENT != 0
    }

    pub fn wants(self, class: Event) -> bool {
        self.0 & (KEYSPACE | KEYEVENT) != 0 && self.names(class)
    }

    fn names(self, class: Event) -> bool {
        let letter = match class {
            Event::Generic => 'g',
            Event::String => '$',
            Event::List => 'l',
            Event::Set => 's',
            Event::Hash => 'h',
            Event::Zset => 'z',
            Event::Expired => 'x',
            Event::Evicted => 'e',
            Event::Stream => 't',
            Event::KeyMiss => 'm',
            Event::New => 'n',
        };
        LETTERS.iter().any(|(known, bit)| *known == letter && self.0 & bit != 0)
    }
}

impl std::fmt::Display for EventFlags {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        if self.0 & ALL == ALL {
            text.push('A');
        }
        for (letter, bit) in LETTERS {
            let in_all = bit & ALL != 0 && self.0 & ALL == ALL;
            if self.0 & bit != 0 && !in_all {
                text.push(letter);
            }
        }
        if self.keyspace() {
            text.push('K');
        }
        if self.keyevent() {
            text.push('E');
        }
        out.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_read_and_print_as_in_stock() {
        for (given, printed) in [("", ""), ("KEA", "AKE"), ("Ex", "xE"), ("Kg$lshzxetd", "AK"), ("AKEm", "AmKE")] {
            let flags = EventFlags::parse(given).expect(given);
            assert_eq!(flags.to_string(), printed, "{given}");
        }
        assert_eq!(EventFlags::parse("q"), None);
    }

    #[test]
    fn a_class_needs_a_channel_kind() {
        assert!(!EventFlags::parse("x").expect("x").wants(Event::Expired));
        assert!(EventFlags::parse("Ex").expect("Ex").wants(Event::Expired));
        assert!(!EventFlags::parse("EA").expect("EA").wants(Event::KeyMiss));
    }
}
