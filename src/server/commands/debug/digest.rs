//! DEBUG DIGEST: one number for a whole data set, the same as the stock server's for the same data.
//!
//! What has an order is mixed in (hash, then hash of the sum); what has none is added (hash, exclusive or). Scores go in
//! with 17 digits, as in stock up to 7.0.

use sha1::{Digest as _, Sha1};

use crate::keyspace::{Database, Entry, Keyspace};
use crate::value::{Item, StreamId, ValueRef};

const LEN: usize = 20;

/// A sum of SHA-1 hashes.
#[derive(Clone, Copy, Default)]
struct Sum([u8; LEN]);

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        for (own, other) in self.0.iter_mut().zip(Sha1::digest(bytes)) {
            *own ^= other;
        }
    }

    fn mix(&mut self, bytes: &[u8]) {
        self.add(bytes);
        self.0 = Sha1::digest(self.0).into();
    }

    fn mix_item(&mut self, item: Item<'_>) {
        self.mix(item.as_bytes(&mut itoa::Buffer::new()));
    }

    fn hex(self) -> String {
        crate::engine::hexadecimal(&self.0)
    }
}

/// The digest of all databases.
pub(super) fn of_all(store: &Keyspace) -> String {
    let mut all = Sum::default();
    for (index, database) in (0_u32..).zip(store.databases()) {
        if !database.is_empty() {
            all.mix(&index.to_be_bytes());
            database.iter().for_each(|entry| {
                let mut own = Sum::default();
                own.mix(entry.key());
                add_value(&mut own, entry);
                all.add(&own.0);
            });
        }
    }
    all.hex()
}

/// The digest of one key's value and deadline, due or not; that of nothing is all zeros.
pub(super) fn of_value(database: &Database, key: &[u8]) -> String {
    let before_all_deadlines = crate::env::UnixMillis(i64::MIN);
    let mut sum = Sum::default();
    if let Some(entry) = database.get(key, before_all_deadlines) {
        add_value(&mut sum, entry);
    }
    sum.hex()
}

fn add_value(sum: &mut Sum, entry: &Entry) {
    let kind: u32 = match entry.value() {
        ValueRef::Str(_) => 0,
        ValueRef::List(_) => 1,
        ValueRef::Set(_) => 2,
        ValueRef::Zset(_) => 3,
        ValueRef::Hash(_) => 4,
        ValueRef::Stream(_) => 6,
    };
    sum.mix(&kind.to_be_bytes());
    match entry.value() {
        ValueRef::Str(text) => sum.mix(&text.as_bytes(&mut itoa::Buffer::new())),
        ValueRef::List(list) => list.iter().for_each(|item| sum.mix_item(item)),
        ValueRef::Set(set) => set.iter().for_each(|item| sum.add(item.as_bytes(&mut itoa::Buffer::new()))),
        ValueRef::Zset(zset) => zset.iter().for_each(|(member, score)| {
            let mut own = Sum::default();
            own.mix_item(member);
            own.mix(seventeen_digits(score).as_bytes());
            sum.add(&own.0);
        }),
        ValueRef::Hash(hash) => hash.iter().for_each(|(field, value)| {
            let mut own = Sum::default();
            own.mix_item(field);
            own.mix_item(value);
            sum.add(&own.0);
        }),
        ValueRef::Stream(stream) => stream.range(StreamId::MIN, StreamId::MAX).for_each(|entry| {
            sum.mix(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
            entry.fields.for_each(|(field, value)| {
                sum.mix_item(field);
                sum.mix_item(value);
            });
        }),
    }
    if entry.expiry().is_some() {
        sum.add(b"!!expire!!");
    }
}

/// As C's `%.17g` prints it.
fn seventeen_digits(score: f64) -> String {
    const DIGITS: i32 = 17;
    if !score.is_finite() {
        return if score > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let scientific = format!("{score:.16e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| {
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
    };
    if !(-4..DIGITS).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    trim(&format!("{score:.*}", (DIGITS - 1 - exponent) as usize))
}

#[cfg(test)]
mod tests {
    use super::seventeen_digits;

    #[test]
    fn scores_are_printed_as_c_prints_them() {
        for (score, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (-2.5, "-2.5"),
            (3.1, "3.1000000000000001"),
            (0.1, "0.10000000000000001"),
            (1e-5, "1.0000000000000001e-05"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (123456789.125, "123456789.125"),
            (1.5e300, "1.5000000000000001e+300"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(seventeen_digits(score), text);
        }
    }
}
