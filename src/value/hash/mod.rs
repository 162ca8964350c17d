//! Hashes: fields with values, packed while small, on the persistent table when large.
//!
//! Invariants
//! - Packed: field and value alternate in one listpack; at most `hash_max_listpack_entries` fields when the last one
//!   was added, none of field and value longer than `hash_max_listpack_value`.
//! - On the table a field and its value are one allocation, shared by all versions that hold them.

#[cfg(test)]
mod tests;

use triomphe::{Arc, ThinArc};

use super::payload::Problem;
use super::{Limits, Stretch, sample};
use crate::ds::{Entry, Item, Listpack, ListpackSlice, Mover, Pos, Relocate, Table, TableIter, leave, own, relocated};
use crate::env::Entropy;

/// A hash. Clone is O(1).
#[derive(Clone, Debug)]
pub struct Hash {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Packed(Listpack),
    Table(Arc<Table<Pair>>),
}

/// A hash as it is read, wherever its packed form lies.
#[derive(Clone, Copy, Debug)]
pub struct HashRef<'a> {
    form: FormRef<'a>,
}

#[derive(Clone, Copy, Debug)]
enum FormRef<'a> {
    Packed(&'a ListpackSlice),
    Table(&'a Arc<Table<Pair>>),
}

/// Field and value, one behind the other in one allocation; the length of the field stands beside it, in the bucket,
/// where it costs half.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    both: ThinArc<(), u8>,
    field_len: u32,
}

impl Pair {
    /// # Panics
    /// When the field is longer than 4 GiB; requests are far shorter.
    fn new(field: &[u8], value: &[u8]) -> Self {
        let len = field.len() + value.len();
        let mut small = [0; 128];
        let mut large = Vec::new();
        let both = match small.get_mut(..len) {
            Some(small) => small,
            None => {
                large.resize(len, 0);
                &mut large
            }
        };
        both[..field.len()].copy_from_slice(field);
        both[field.len()..].copy_from_slice(value);
        let field_len = u32::try_from(field.len()).expect("fields are shorter than 4 GiB");
        Self { both: ThinArc::from_header_and_slice((), both), field_len }
    }

    fn value(&self) -> &[u8] {
        &self.both.slice[self.field_len as usize..]
    }

    /// Notes, when it was taken out of a table, that somebody else still holds it.
    fn leave(&self) {
        if ThinArc::strong_count(&self.both) > 1 {
            leave(self.both.slice.len() + 2 * size_of::<usize>());
        }
    }

    fn items(&self) -> (Item<'_>, Item<'_>) {
        (Item::Bytes(self.key()), Item::Bytes(self.value()))
    }
}

impl Entry for Pair {
    fn key(&self) -> &[u8] {
        &self.both.slice[..self.field_len as usize]
    }
}

impl Hash {
    pub(super) fn relocate(&mut self, Stretch { from, count }: Stretch, mover: &mut Mover<'_>) -> Option<usize> {
        match &mut self.form {
            Form::Packed(listpack) => {
                listpack.relocate(mover);
                None
            }
            Form::Table(table) => {
                let table = relocated(table, mover)?;
                let at = table.relocate_from(from, count, mover, |pair, mover| pair.both.relocate(mover));
                Stretch::next(at, table.buckets())
            }
        }
    }

    /// An empty hash, packed.
    pub fn new() -> Self {
        Self { form: Form::Packed(Listpack::new()) }
    }

    /// A hash from a listpack of fields and values in turn; too many of them go to a table.
    ///
    /// # Errors
    /// When a field has no value or occurs twice.
    pub(super) fn from_listpack(listpack: Listpack, limits: &Limits) -> Result<Self, Problem> {
        let count = listpack.len();
        if !count.is_multiple_of(2) {
            return Err(Problem::Odd);
        }
        if !sample::all_different(listpack.iter().step_by(2)) {
            return Err(Problem::Duplicate);
        }
        let mut hash = Self { form: Form::Packed(listpack) };
        hash.expect(count / 2, limits);
        Ok(hash)
    }

    pub fn as_ref(&self) -> HashRef<'_> {
        HashRef {
            form: match &self.form {
                Form::Packed(listpack) => FormRef::Packed(listpack),
                Form::Table(table) => FormRef::Table(table),
            },
        }
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.as_ref().len()
    }

    pub fn is_empty(&self) -> bool {
        self.as_ref().is_empty()
    }

    /// As OBJECT ENCODING names it.
    pub fn encoding(&self) -> &'static str {
        self.as_ref().encoding()
    }

    pub fn get(&self, field: &[u8]) -> Option<Item<'_>> {
        self.as_ref().get(field)
    }

    pub fn contains(&self, field: &[u8]) -> bool {
        self.as_ref().contains(field)
    }

    /// See [`HashRef::iter`].
    pub fn iter(&self) -> Fields<'_> {
        self.as_ref().iter()
    }

    /// See [`HashRef::scan`].
    pub fn scan(&self, cursor: u64, found: impl FnMut(Item<'_>, Item<'_>)) -> u64 {
        self.as_ref().scan(cursor, found)
    }

    /// See [`HashRef::random`].
    pub fn random(&self, entropy: &mut dyn Entropy) -> Option<(Item<'_>, Item<'_>)> {
        self.as_ref().random(entropy)
    }

    /// See [`HashRef::random_distinct`].
    pub fn random_distinct(&self, count: usize, entropy: &mut dyn Entropy) -> Vec<(Item<'_>, Item<'_>)> {
        self.as_ref().random_distinct(count, entropy)
    }

    /// Sets a field; whether it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        if let Form::Packed(listpack) = &mut self.form {
            let longest = field.len().max(value.len());
            if longest > limits.hash_max_listpack_value || !listpack.fits(field.len() + value.len() + 32) {
                self.convert(limits);
            } else if let Some(at) = find(listpack, field) {
                let at = listpack.next(at).expect("a field is followed by its value");
                listpack.replace(at, value);
                return false;
            } else {
                listpack.push_back(field);
                listpack.push_back(value);
                if listpack.len() / 2 > limits.hash_max_listpack_entries {
                    self.convert(limits);
                }
                return true;
            }
        }
        match &mut self.form {
            Form::Table(table) => {
                let old = own(table).insert(Pair::new(field, value));
                old.inspect(Pair::leave).is_none()
            }
            Form::Packed(_) => unreachable!("converted above"),
        }
    }

    /// Removes a field; whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match &mut self.form {
            Form::Packed(listpack) => {
                let found = find(listpack, field);
                if let Some(at) = found {
                    listpack.remove_run(at, 2);
                }
                found.is_some()
            }
            Form::Table(table) => table.contains(field) && own(table).remove(field).inspect(Pair::leave).is_some(),
        }
    }

    /// Announces that `count` fields are about to be set at once: too many for the packed form convert it first.
    pub fn expect(&mut self, count: usize, limits: &Limits) {
        if count > limits.hash_max_listpack_entries {
            self.convert(limits);
        }
    }

    /// Bytes allocated; exact for the packed form, estimated from a few fields for a table.
    pub fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Packed(listpack) => listpack.heap_bytes(),
            Form::Table(table) => {
                let pairs = table.iter().map(|pair| pair.both.slice.len() + 2 * size_of::<usize>());
                sample::table_bytes::<Pair>(table.len(), pairs)
            }
        }
    }

    fn convert(&mut self, limits: &Limits) {
        if let Form::Packed(_) = self.form {
            let mut table = Table::with_seed(limits.hash_seed);
            let (mut field_text, mut value_text) = (itoa::Buffer::new(), itoa::Buffer::new());
            for (field, value) in self.iter() {
                table.insert(Pair::new(field.as_bytes(&mut field_text), value.as_bytes(&mut value_text)));
            }
            self.form = Form::Table(Arc::new(table));
        }
    }
}

impl<'a> HashRef<'a> {
    /// The table that a large one is found by.
    pub(super) fn table(self) -> Option<&'a Table<Pair>> {
        match self.form {
            FormRef::Table(table) => Some(table),
            FormRef::Packed(_) => None,
        }
    }

    /// A hash in packed form: bytes that [`Self::packed`] gave.
    pub(super) fn from_packed(bytes: &'a [u8]) -> Self {
        Self { form: FormRef::Packed(ListpackSlice::from_own(bytes)) }
    }

    /// An owned hash; a packed one is copied.
    pub fn to_hash(self) -> Hash {
        Hash {
            form: match self.form {
                FormRef::Packed(listpack) => Form::Packed(listpack.to_owned()),
                FormRef::Table(table) => Form::Table(table.clone()),
            },
        }
    }

    /// Number of fields.
    pub fn len(self) -> usize {
        match self.form {
            FormRef::Packed(listpack) => listpack.len() / 2,
            FormRef::Table(table) => table.len(),
        }
    }

    pub fn is_empty(self) -> bool {
        match self.form {
            FormRef::Packed(listpack) => listpack.is_empty(),
            FormRef::Table(table) => table.is_empty(),
        }
    }

    /// As OBJECT ENCODING names it.
    pub fn encoding(self) -> &'static str {
        match self.form {
            FormRef::Packed(_) => "listpack",
            FormRef::Table(_) => "hashtable",
        }
    }

    /// The packed form's bytes, as RDB files carry them.
    pub fn packed(self) -> Option<&'a ListpackSlice> {
        match self.form {
            FormRef::Packed(listpack) => Some(listpack),
            FormRef::Table(_) => None,
        }
    }

    pub fn get(self, field: &[u8]) -> Option<Item<'a>> {
        match self.form {
            FormRef::Packed(listpack) => {
                let value = listpack.next(find(listpack, field)?)?;
                Some(listpack.item(value))
            }
            FormRef::Table(table) => table.get(field).map(|pair| Item::Bytes(pair.value())),
        }
    }

    pub fn contains(self, field: &[u8]) -> bool {
        match self.form {
            FormRef::Packed(listpack) => find(listpack, field).is_some(),
            FormRef::Table(table) => table.contains(field),
        }
    }

    /// Fields with their values; in order of insertion while packed.
    pub fn iter(self) -> Fields<'a> {
        Fields(match self.form {
            FormRef::Packed(listpack) => FieldsForm::Packed(listpack.iter()),
            FormRef::Table(table) => FieldsForm::Table(table.iter()),
        })
    }

    /// Reports a part of the fields and returns the cursor of the next part; 0 starts and ends. See [`Table::scan`];
    /// a packed hash is reported whole.
    pub fn scan(self, cursor: u64, mut found: impl FnMut(Item<'_>, Item<'_>)) -> u64 {
        match self.form {
            FormRef::Packed(_) => {
                self.iter().for_each(|(field, value)| found(field, value));
                0
            }
            FormRef::Table(table) => {
                table.scan(cursor, |pair| found(Item::Bytes(pair.key()), Item::Bytes(pair.value())))
            }
        }
    }

    /// One field with its value, each equally likely.
    pub fn random(self, entropy: &mut dyn Entropy) -> Option<(Item<'a>, Item<'a>)> {
        match self.form {
            FormRef::Packed(_) => self.iter().nth(entropy.below(self.len() as u64) as usize),
            FormRef::Table(table) => table.random(entropy.next_u64()).map(Pair::items),
        }
    }

    /// `count` different fields with their values in random order; all of them when there are no more.
    pub fn random_distinct(self, count: usize, entropy: &mut dyn Entropy) -> Vec<(Item<'a>, Item<'a>)> {
        sample::distinct(self.len(), count, self.iter(), |entropy| self.random(entropy), entropy)
    }
}

impl Default for Hash {
    fn default() -> Self {
        Self::new()
    }
}

fn find(listpack: &ListpackSlice, field: &[u8]) -> Option<Pos> {
    listpack.find(field, listpack.first(), 1)
}

/// Fields with their values.
pub struct Fields<'a>(FieldsForm<'a>);

enum FieldsForm<'a> {
    Packed(crate::ds::ListpackIter<'a>),
    Table(TableIter<'a, Pair>),
}

impl<'a> Iterator for Fields<'a> {
    type Item = (Item<'a>, Item<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            FieldsForm::Packed(items) => Some((items.next()?, items.next()?)),
            FieldsForm::Table(pairs) => pairs.next().map(Pair::items),
        }
    }
}
