//! Sets: integers packed as intset, small mixed ones as listpack, large ones on the persistent table.
//!
//! Invariants
//! - Intset: integers only, at most `set_max_intset_entries` when the last one was added.
//! - Listpack: at most `set_max_listpack_entries` members when the last one was added, none longer than
//!   `set_max_listpack_value`, all different.
//! - Conversions go from intset to listpack or table, from listpack to table, and only back where a whole result is
//!   known to be integers ([`Set::prefer_intset`]).

mod member;
#[cfg(test)]
mod tests;

use triomphe::Arc;

use super::{Limits, Stretch, sample};
use crate::ds::{
    Entry, Intset, Item, Listpack, Mover, Relocate, Table, TableIter, own, parse_canonical_i64, relocated,
};
use crate::env::Entropy;
use member::Member;

/// A set. Clone is O(1).
#[derive(Clone, Debug)]
pub struct Set {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Intset(Intset),
    Listpack(Listpack),
    Table(Arc<Table<Member>>),
}

impl Set {
    pub(super) fn relocate(&mut self, Stretch { from, count }: Stretch, mover: &mut Mover<'_>) -> Option<usize> {
        match &mut self.form {
            Form::Intset(intset) => {
                intset.relocate(mover);
                None
            }
            Form::Listpack(listpack) => {
                listpack.relocate(mover);
                None
            }
            Form::Table(table) => {
                let table = relocated(table, mover)?;
                let at = table.relocate_from(from, count, mover, Member::relocate);
                Stretch::next(at, table.buckets())
            }
        }
    }

    /// An empty set, an intset: what results are collected in.
    pub fn new() -> Self {
        Self { form: Form::Intset(Intset::new()) }
    }

    /// An empty set in the form that suits its first member and the number of members about to be added.
    pub fn for_members(first: &[u8], count: usize, limits: &Limits) -> Self {
        let form = if parse_canonical_i64(first).is_some() && count <= limits.set_max_intset_entries {
            Form::Intset(Intset::new())
        } else if count <= limits.set_max_listpack_entries {
            Form::Listpack(Listpack::new())
        } else {
            Form::Table(Arc::new(Table::with_seed(limits.hash_seed)))
        };
        Self { form }
    }

    /// A set from packed integers; too many of them go to a table.
    pub(super) fn from_intset(intset: Intset, limits: &Limits) -> Self {
        let count = intset.len();
        let mut set = Self { form: Form::Intset(intset) };
        set.expect(count, limits);
        set
    }

    /// A set from packed members, `None` when one occurs twice; too many of them go to a table.
    pub(super) fn from_listpack(listpack: Listpack, limits: &Limits) -> Option<Self> {
        let count = listpack.len();
        let different = sample::all_different(listpack.iter());
        let mut set = Self { form: Form::Listpack(listpack) };
        set.expect(count, limits);
        different.then_some(set)
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Intset(intset) => intset.len(),
            Form::Listpack(listpack) => listpack.len(),
            Form::Table(table) => table.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        match &self.form {
            Form::Intset(intset) => intset.is_empty(),
            Form::Listpack(listpack) => listpack.is_empty(),
            Form::Table(table) => table.is_empty(),
        }
    }

    /// As OBJECT ENCODING names it.
    pub fn encoding(&self) -> &'static str {
        match self.form {
            Form::Intset(_) => "intset",
            Form::Listpack(_) => "listpack",
            Form::Table(_) => "hashtable",
        }
    }

    /// The packed integers, as RDB files carry them.
    pub fn intset(&self) -> Option<&Intset> {
        match &self.form {
            Form::Intset(intset) => Some(intset),
            _ => None,
        }
    }

    /// The packed members, as RDB files carry them.
    pub fn listpack(&self) -> Option<&Listpack> {
        match &self.form {
            Form::Listpack(listpack) => Some(listpack),
            _ => None,
        }
    }

    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.form {
            Form::Intset(intset) => parse_canonical_i64(member).is_some_and(|number| intset.contains(number)),
            Form::Listpack(listpack) => listpack.find(member, listpack.first(), 0).is_some(),
            Form::Table(table) => table.contains(member),
        }
    }

    /// The table that a large one is found by.
    pub(super) fn table(&self) -> Option<&Table<Member>> {
        match &self.form {
            Form::Table(table) => Some(table),
            Form::Intset(_) | Form::Listpack(_) => None,
        }
    }

    /// Whether the set has this element of another.
    pub fn contains_item(&self, item: Item<'_>) -> bool {
        match (&self.form, item) {
            (Form::Intset(intset), Item::Int(number)) => intset.contains(number),
            _ => self.contains(item.as_bytes(&mut itoa::Buffer::new())),
        }
    }

    /// Adds a member; whether it is new.
    pub fn add(&mut self, member: &[u8], limits: &Limits) -> bool {
        match &mut self.form {
            Form::Intset(intset) => match parse_canonical_i64(member) {
                Some(number) => {
                    let added = intset.add(number);
                    if added && intset.len() > limits.set_max_intset_entries {
                        self.convert_to_table(limits);
                    }
                    added
                }
                None => {
                    let longest = [intset.iter().next(), intset.iter().next_back()]
                        .into_iter()
                        .flatten()
                        .map(|number| Item::Int(number).text_len())
                        .fold(member.len(), usize::max);
                    if intset.len() < limits.set_max_listpack_entries && longest <= limits.set_max_listpack_value {
                        let mut listpack: Listpack = intset.iter().map(Item::Int).collect();
                        listpack.push_back(member);
                        self.form = Form::Listpack(listpack);
                    } else {
                        self.convert_to_table(limits);
                        self.add(member, limits);
                    }
                    true
                }
            },
            Form::Listpack(listpack) => {
                if listpack.find(member, listpack.first(), 0).is_some() {
                    return false;
                }
                if listpack.len() < limits.set_max_listpack_entries
                    && member.len() <= limits.set_max_listpack_value
                    && listpack.fits(member.len() + 16)
                {
                    listpack.push_back(member);
                } else {
                    self.convert_to_table(limits);
                    self.add(member, limits);
                }
                true
            }
            Form::Table(table) => !table.contains(member) && own(table).insert(Member::new(member)).is_none(),
        }
    }

    /// Adds an element of another collection; whether it is new.
    pub fn add_item(&mut self, item: Item<'_>, limits: &Limits) -> bool {
        self.add(item.as_bytes(&mut itoa::Buffer::new()), limits)
    }

    /// Removes a member; whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.form {
            Form::Intset(intset) => parse_canonical_i64(member).is_some_and(|number| intset.remove(number)),
            Form::Listpack(listpack) => {
                let found = listpack.find(member, listpack.first(), 0);
                if let Some(at) = found {
                    listpack.remove(at);
                }
                found.is_some()
            }
            Form::Table(table) => table.contains(member) && own(table).remove(member).is_some(),
        }
    }

    /// Announces that `count` members are about to be added at once: too many for a packed form convert it first.
    pub fn expect(&mut self, count: usize, limits: &Limits) {
        let packed_max = match self.form {
            Form::Intset(_) => limits.set_max_intset_entries,
            Form::Listpack(_) => limits.set_max_listpack_entries,
            Form::Table(_) => return,
        };
        if count > packed_max {
            self.convert_to_table(limits);
        }
    }

    /// Packs a result of nothing but integers as intset when it is small enough.
    pub fn prefer_intset(&mut self, limits: &Limits) {
        if matches!(self.form, Form::Intset(_)) || self.len() > limits.set_max_intset_entries {
            return;
        }
        let mut intset = Intset::new();
        for item in self.iter() {
            match item.as_int() {
                Some(number) => intset.add(number),
                None => return,
            };
        }
        self.form = Form::Intset(intset);
    }

    /// Members; ascending in an intset, in order of insertion in a listpack.
    pub fn iter(&self) -> Members<'_> {
        Members(match &self.form {
            Form::Intset(intset) => MembersForm::Intset { intset, next: 0 },
            Form::Listpack(listpack) => MembersForm::Listpack(listpack.iter()),
            Form::Table(table) => MembersForm::Table(table.iter()),
        })
    }

    /// Reports a part of the members and returns the cursor of the next part; 0 starts and ends. See [`Table::scan`];
    /// a packed set is reported whole.
    pub fn scan(&self, cursor: u64, mut found: impl FnMut(Item<'_>)) -> u64 {
        match &self.form {
            Form::Table(table) => table.scan(cursor, |member| found(Item::Bytes(member.key()))),
            _ => {
                self.iter().for_each(found);
                0
            }
        }
    }

    /// One member, each equally likely.
    pub fn random(&self, entropy: &mut dyn Entropy) -> Option<Item<'_>> {
        match &self.form {
            Form::Intset(intset) => intset.get(entropy.below(intset.len() as u64) as usize).map(Item::Int),
            Form::Listpack(listpack) => listpack.get(entropy.below(listpack.len() as u64) as usize),
            Form::Table(table) => table.random(entropy.next_u64()).map(|member| Item::Bytes(member.key())),
        }
    }

    /// `count` different members in random order; all of them when there are no more.
    pub fn random_distinct(&self, count: usize, entropy: &mut dyn Entropy) -> Vec<Item<'_>> {
        sample::distinct(self.len(), count, self.iter(), |entropy| self.random(entropy), entropy)
    }

    /// Takes a member out, each equally likely.
    pub fn pop(&mut self, entropy: &mut dyn Entropy) -> Option<Vec<u8>> {
        let member = self.random(entropy)?.to_vec();
        self.remove(&member);
        Some(member)
    }

    /// Bytes allocated; exact for packed forms, estimated from a few members for a table.
    pub fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Intset(intset) => intset.heap_bytes(),
            Form::Listpack(listpack) => listpack.heap_bytes(),
            Form::Table(table) => sample::table_bytes::<Member>(table.len(), table.iter().map(Member::heap_bytes)),
        }
    }

    fn convert_to_table(&mut self, limits: &Limits) {
        if !matches!(self.form, Form::Table(_)) {
            let mut table = Table::with_seed(limits.hash_seed);
            let mut text = itoa::Buffer::new();
            for item in self.iter() {
                table.insert(Member::new(item.as_bytes(&mut text)));
            }
            self.form = Form::Table(Arc::new(table));
        }
    }
}

impl Default for Set {
    fn default() -> Self {
        Self::new()
    }
}

/// Members of a set.
pub struct Members<'a>(MembersForm<'a>);

enum MembersForm<'a> {
    Intset { intset: &'a Intset, next: usize },
    Listpack(crate::ds::ListpackIter<'a>),
    Table(TableIter<'a, Member>),
}

impl<'a> Iterator for Members<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        match &mut self.0 {
            MembersForm::Intset { intset, next } => {
                let number = intset.get(*next)?;
                *next += 1;
                Some(Item::Int(number))
            }
            MembersForm::Listpack(items) => items.next(),
            MembersForm::Table(members) => members.next().map(|member| Item::Bytes(member.key())),
        }
    }
}
