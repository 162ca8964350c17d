//! Lists: one listpack while small, a counted tree of listpacks when large.
//!
//! Invariants
//! - Small: the listpack was within `list_max_listpack_size` when the last element came.
//! - Large: every node holds at least one element. Nodes are filled as `list_max_listpack_size` says, and are written
//!   and counted as the stock server's; an element larger than a node has one of its own.
//! - A large list whose elements are taken away becomes small again when one node is left, half full or less.

mod chunk;
mod iter;
mod parts;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

use super::{Limits, Stretch};
use crate::ds::{CowBytes, Item, Listpack, ListpackSlice, Mover, Relocate};

use chunk::{Chunk, Chunks, Fill};
pub use iter::Elements;

/// A list. Clone is O(1).
#[derive(Clone, Debug)]
pub struct List {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Packed(Listpack),
    Chunks(Chunks),
}

/// A list as it is read, wherever its packed form lies.
#[derive(Clone, Copy, Debug)]
pub struct ListRef<'a> {
    form: FormRef<'a>,
}

#[derive(Clone, Copy, Debug)]
enum FormRef<'a> {
    Packed(&'a ListpackSlice),
    Chunks(&'a Chunks),
}

/// One end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Front,
    Back,
}

/// So many elements are removed from the end of a large list one by one; more by dividing its tree.
const ONE_BY_ONE_MAX: usize = 32;

impl List {
    pub(super) fn relocate(&mut self, Stretch { from, count }: Stretch, mover: &mut Mover<'_>) -> Option<usize> {
        match &mut self.form {
            Form::Packed(listpack) => {
                listpack.relocate(mover);
                None
            }
            Form::Chunks(tree) => {
                let at = tree.relocate_from(from, count, mover, Chunk::relocate);
                Stretch::next(at, tree.len())
            }
        }
    }

    /// An empty list, packed.
    pub fn new() -> Self {
        Self { form: Form::Packed(Listpack::new()) }
    }

    pub fn as_ref(&self) -> ListRef<'_> {
        ListRef {
            form: match &self.form {
                Form::Packed(listpack) => FormRef::Packed(listpack),
                Form::Chunks(tree) => FormRef::Chunks(tree),
            },
        }
    }

    /// Number of elements.
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

    pub fn get(&self, index: usize) -> Option<Item<'_>> {
        self.as_ref().get(index)
    }

    pub fn iter(&self) -> Elements<'_> {
        self.as_ref().iter()
    }

    /// See [`ListRef::iter_range`].
    pub fn iter_range(&self, range: Range<usize>) -> Elements<'_> {
        self.as_ref().iter_range(range)
    }

    /// See [`ListRef::iter_range_back`].
    pub fn iter_range_back(&self, range: Range<usize>) -> Elements<'_> {
        self.as_ref().iter_range_back(range)
    }

    /// See [`ListRef::positions`].
    pub fn positions<'a>(
        &'a self,
        element: &'a [u8],
        backward: bool,
        compare_max: usize,
    ) -> impl Iterator<Item = usize> + 'a {
        self.as_ref().positions(element, backward, compare_max)
    }

    /// Adds one element at an end.
    pub fn push(&mut self, end: End, element: &[u8], limits: &Limits) {
        self.extend(end, std::iter::once(element), limits);
    }

    /// Adds elements at an end, one after the other: the last one stands outermost.
    pub fn extend<'a>(&mut self, end: End, elements: impl Iterator<Item = &'a [u8]> + Clone, limits: &Limits) {
        let (count, bytes) = elements.clone().fold((0, 0), |(count, bytes), e| (count + 1, bytes + e.len()));
        self.prepare(count, bytes, limits);
        for element in elements {
            match (&mut self.form, end) {
                (Form::Packed(listpack), End::Front) => listpack.push_front(element),
                (Form::Packed(listpack), End::Back) => listpack.push_back(element),
                (Form::Chunks(tree), _) => push(tree, end, element, Fill::new(limits)),
            }
        }
    }

    /// Takes an element from an end.
    pub fn pop(&mut self, end: End, limits: &Limits) -> Option<Vec<u8>> {
        let index = match end {
            End::Front => 0,
            End::Back => self.len().checked_sub(1)?,
        };
        let element = self.get(index)?.to_vec();
        self.remove(index, limits);
        Some(element)
    }

    /// Replaces an element; `false` when there is none at `index`.
    pub fn set(&mut self, index: usize, element: &[u8], limits: &Limits) -> bool {
        if index >= self.len() {
            return false;
        }
        self.prepare(1, element.len(), limits);
        match &mut self.form {
            Form::Packed(listpack) => {
                if let Some(at) = listpack.seek(index) {
                    listpack.replace(at, element);
                }
            }
            Form::Chunks(tree) => {
                let fill = Fill::new(limits);
                let found = tree.get(index);
                if found.is_some_and(|(chunk, offset)| chunk.admits_instead(offset, element.len(), fill)) {
                    tree.update(index, |chunk, offset| chunk.replace(offset, element));
                } else {
                    tree.update(index, Chunk::remove);
                    insert(tree, index, element, fill);
                }
            }
        }
        self.shrink(2, limits);
        true
    }

    /// Inserts before the element at `index`; at the end when there is none.
    pub fn insert(&mut self, index: usize, element: &[u8], limits: &Limits) {
        self.prepare(1, element.len(), limits);
        match &mut self.form {
            Form::Packed(listpack) => match listpack.seek(index) {
                Some(at) => listpack.insert_before(at, element),
                None => listpack.push_back(element),
            },
            Form::Chunks(tree) => insert(tree, index.min(tree.len()), element, Fill::new(limits)),
        }
    }

    /// Removes the element at `index`, if there is one.
    pub fn remove(&mut self, index: usize, limits: &Limits) {
        match &mut self.form {
            Form::Packed(listpack) => {
                if let Some(at) = listpack.seek(index) {
                    listpack.remove(at);
                }
            }
            Form::Chunks(tree) => {
                tree.update(index, Chunk::remove);
                self.shrink(2, limits);
            }
        }
    }

    /// Removes up to `max` elements equal to `element`, beginning at an end; how many there were.
    pub fn remove_equal(&mut self, element: &[u8], from: End, max: usize, limits: &Limits) -> usize {
        let mut indexes: Vec<usize> = self.positions(element, from == End::Back, usize::MAX).take(max).collect();
        indexes.sort_unstable();
        let removed = indexes.len();
        match &mut self.form {
            _ if removed == 0 => {}
            Form::Packed(listpack) => {
                *listpack = parts::without(listpack, &indexes);
            }
            Form::Chunks(tree) => {
                // From the back, one node at a time, so that the indexes in front stay what they are.
                while let Some(&last) = indexes.last() {
                    let start = last - tree.get(last).map_or(0, |(_, offset)| offset);
                    let mut here = indexes.split_off(indexes.partition_point(|index| *index < start));
                    here.iter_mut().for_each(|index| *index -= start);
                    tree.update(last, |chunk, _| chunk.remove_all(&here));
                }
                self.shrink(2, limits);
            }
        }
        removed
    }

    /// Keeps the elements at the indexes of `range` and removes all others.
    pub fn trim(&mut self, range: Range<usize>, limits: &Limits) {
        let range = range.start..range.end.min(self.len());
        if range.is_empty() {
            *self = Self::new();
            return;
        }
        match &mut self.form {
            Form::Packed(listpack) => {
                listpack.split_off(range.end);
                if let Some(first) = listpack.first() {
                    listpack.remove_run(first, range.start);
                }
            }
            Form::Chunks(tree) => {
                trim(tree, range);
                self.shrink(2, limits);
            }
        }
    }

    /// Removes up to `count` elements from an end.
    pub fn remove_from(&mut self, end: End, count: usize, limits: &Limits) {
        let len = self.len();
        if matches!(self.form, Form::Chunks(_)) && count <= ONE_BY_ONE_MAX && count < len {
            for left in (len - count..len).rev() {
                self.remove(if end == End::Front { 0 } else { left }, limits);
            }
            return;
        }
        match end {
            End::Front => self.trim(count.min(len)..len, limits),
            End::Back => self.trim(0..len.saturating_sub(count), limits),
        }
    }

    /// Bytes allocated; exact for the packed form, estimated from a few nodes for a large list.
    pub fn heap_bytes(&self) -> usize {
        const SAMPLES: usize = 16;
        match &self.form {
            Form::Packed(listpack) => listpack.heap_bytes(),
            Form::Chunks(tree) => {
                let sampled = tree.iter().take(SAMPLES).fold((0, 0), |(elements, bytes), chunk| {
                    let per_node = size_of::<Chunk>() + size_of::<usize>();
                    (elements + chunk.iter().count(), bytes + chunk.heap_bytes() + per_node)
                });
                if sampled.0 == 0 { 0 } else { (sampled.1 as u128 * tree.len() as u128 / sampled.0 as u128) as usize }
            }
        }
    }

    /// Makes a small list large when so many more elements and bytes are too much for it.
    fn prepare(&mut self, elements: usize, bytes: usize, limits: &Limits) {
        if let Form::Packed(listpack) = &mut self.form {
            let fill = Fill::new(limits);
            if fill.exceeded(listpack.byte_len() + bytes, listpack.len() + elements) {
                let listpack = std::mem::take(listpack);
                let chunks = (!listpack.is_empty()).then(|| Chunk::packed(listpack, fill));
                self.form = Form::Chunks(chunks.into_iter().collect());
            }
        }
    }

    /// Makes a large list small when it is down to one node that is at most `1 / part` full.
    fn shrink(&mut self, part: usize, limits: &Limits) {
        let Form::Chunks(tree) = &mut self.form else { return };
        let small = match tree.first() {
            None => Some(Listpack::new()),
            Some(Chunk::Packed(parts)) if parts.len() == tree.len() => {
                Fill::new(limits).small(parts, part).then(|| parts.to_listpack().into_owned())
            }
            Some(_) => None,
        };
        if let Some(listpack) = small {
            self.form = Form::Packed(listpack);
        }
    }
}

impl<'a> ListRef<'a> {
    /// A list in packed form: bytes that [`Self::packed`] gave.
    pub(super) fn from_packed(bytes: &'a [u8]) -> Self {
        Self { form: FormRef::Packed(ListpackSlice::from_own(bytes)) }
    }

    /// The packed form's bytes.
    pub(super) fn packed(self) -> Option<&'a ListpackSlice> {
        match self.form {
            FormRef::Packed(listpack) => Some(listpack),
            FormRef::Chunks(_) => None,
        }
    }

    /// An owned list; a packed one is copied.
    pub fn to_list(self) -> List {
        List {
            form: match self.form {
                FormRef::Packed(listpack) => Form::Packed(listpack.to_owned()),
                FormRef::Chunks(tree) => Form::Chunks(tree.clone()),
            },
        }
    }

    /// Number of elements.
    pub fn len(self) -> usize {
        match self.form {
            FormRef::Packed(listpack) => listpack.len(),
            FormRef::Chunks(tree) => tree.len(),
        }
    }

    pub fn is_empty(self) -> bool {
        match self.form {
            FormRef::Packed(listpack) => listpack.is_empty(),
            FormRef::Chunks(tree) => tree.is_empty(),
        }
    }

    /// As OBJECT ENCODING names it.
    pub fn encoding(self) -> &'static str {
        match self.form {
            FormRef::Packed(_) => "listpack",
            FormRef::Chunks(_) => "quicklist",
        }
    }

    /// Number of nodes.
    pub fn node_count(self) -> usize {
        match self.form {
            FormRef::Packed(_) => 1,
            FormRef::Chunks(tree) => tree.iter().count(),
        }
    }

    /// The nodes in order, put together from their parts: what a list is saved as.
    pub fn nodes(self) -> impl Iterator<Item = Node<'a>> {
        let (packed, chunks) = match self.form {
            FormRef::Packed(listpack) => (Some(Node::Packed(Cow::Borrowed(listpack))), None),
            FormRef::Chunks(tree) => (None, Some(tree.iter())),
        };
        packed.into_iter().chain(chunks.into_iter().flatten().map(|chunk| match chunk {
            Chunk::Packed(parts) => Node::Packed(parts.to_listpack()),
            Chunk::Plain(bytes) => Node::Plain(bytes),
        }))
    }

    pub fn get(self, index: usize) -> Option<Item<'a>> {
        match self.form {
            FormRef::Packed(listpack) => listpack.get(index),
            FormRef::Chunks(tree) => tree.get(index).and_then(|(chunk, offset)| chunk.get(offset)),
        }
    }
}

impl Default for List {
    fn default() -> Self {
        Self::new()
    }
}

/// A part of a list as it is saved.
#[derive(Clone, Debug)]
pub enum Node<'a> {
    Packed(Cow<'a, ListpackSlice>),
    /// One large element.
    Plain(&'a [u8]),
}

/// Puts a list together from the parts that a file holds.
#[derive(Debug)]
pub struct ListBuilder {
    tree: Chunks,
    fill: Fill,
}

impl ListBuilder {
    pub fn new(limits: &Limits) -> Self {
        Self { tree: Chunks::new(), fill: Fill::new(limits) }
    }

    pub fn push(&mut self, element: &[u8]) {
        push(&mut self.tree, End::Back, element, self.fill);
    }

    /// Adds a node of the file: as it is when it is no larger than a node may be here, else element by element.
    pub fn push_node(&mut self, listpack: Listpack) {
        if listpack.is_empty() {
            return;
        }
        if self.fill.exceeded(listpack.byte_len(), listpack.len()) {
            let mut text = itoa::Buffer::new();
            listpack.iter().for_each(|item| self.push(item.as_bytes(&mut text)));
        } else {
            self.tree.push_back(Chunk::packed(listpack, self.fill));
        }
    }

    pub fn push_plain(&mut self, element: &[u8]) {
        if self.fill.large(element.len()) {
            self.tree.push_back(Chunk::Plain(CowBytes::new(element)));
        } else {
            self.push(element);
        }
    }

    pub fn finish(self, limits: &Limits) -> List {
        let mut list = List { form: Form::Chunks(self.tree) };
        list.shrink(1, limits);
        list
    }
}

fn push(tree: &mut Chunks, end: End, element: &[u8], fill: Fill) {
    let len = tree.len();
    let (outermost, at) = match end {
        End::Front => (tree.first(), 0),
        End::Back => (tree.last(), len.saturating_sub(1)),
    };
    if outermost.is_some_and(|chunk| chunk.admits(element.len(), fill)) {
        tree.update(at, |chunk, _| {
            chunk.insert(if end == End::Front { 0 } else { usize::MAX }, element, fill);
        });
    } else {
        tree.insert_at(if end == End::Front { 0 } else { len }, Chunk::new(element, fill));
    }
}

/// Inserts before the element at `index`, which is at most the length.
fn insert(tree: &mut Chunks, index: usize, element: &[u8], fill: Fill) {
    let Some((chunk, offset)) = tree.get(index) else {
        return push(tree, End::Back, element, fill);
    };
    if chunk.admits(element.len(), fill) {
        tree.update(index, |chunk, offset| chunk.insert(offset, element, fill));
        return;
    }
    if offset > 0
        && let Some(tail) = tree.update(index, Chunk::split_off)
    {
        tree.insert_at(index, tail);
    }
    // The index is now where a node begins; the one before it may have room.
    let before = index.checked_sub(1);
    match before {
        Some(before) if tree.get(before).is_some_and(|(chunk, _)| chunk.admits(element.len(), fill)) => {
            tree.update(before, |chunk, offset| chunk.insert(offset + 1, element, fill));
        }
        _ => tree.insert_at(index, Chunk::new(element, fill)),
    }
}

fn trim(tree: &mut Chunks, range: Range<usize>) {
    // Splitting leaves the node at the seam whole: what hangs over is cut from it.
    drop(tree.split_off(range.end));
    if tree.len() > range.end {
        tree.update(range.end, |chunk, offset| drop(chunk.split_off(offset)));
    }
    if range.start > 0 {
        let mut kept = tree.split_off(range.start);
        if tree.len() > range.start
            && let Some(seam) = tree.update(range.start, Chunk::split_off)
        {
            kept.push_front(seam);
        }
        *tree = kept;
    }
}
