//! One file: its page cache, its platter, and the unsynced changes between the two.
//!
//! Invariants
//! - A page's cached content is its durable content with all its pending changes applied in order.
//! - `len` is `durable_len` with all of `sizes` applied in order; bytes of a page at or after `len` are zero.
//! - Sequence numbers grow within a file and order writes against changes of size.

use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const PAGE: usize = 4096;

/// Content of one page; `None` stands for zeros that take no space.
pub(super) type PageBytes = Option<Arc<[u8; PAGE]>>;

#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) sequence: u64,
    pub(super) effect: Effect,
}

impl Change {
    pub(super) fn frees(&self) -> bool {
        matches!(self.effect, Effect::Cut { at: 0 })
    }
}

#[derive(Clone, Debug)]
pub(super) enum Effect {
    Write {
        at: usize,
        bytes: Box<[u8]>,
    },
    /// `set_len` made the file end here; 0 frees the page.
    Cut {
        at: usize,
    },
}

impl Effect {
    pub(super) fn apply(&self, content: &mut PageBytes) {
        match self {
            Effect::Cut { at: 0 } => *content = None,
            Effect::Cut { at } => {
                if let Some(page) = content.as_mut().filter(|page| page[*at..].iter().any(|byte| *byte != 0)) {
                    Arc::make_mut(page)[*at..].fill(0);
                }
            }
            Effect::Write { at, bytes } => {
                let page = Arc::make_mut(content.get_or_insert_with(|| Arc::new([0; PAGE])));
                page[*at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Page {
    pub(super) durable: PageBytes,
    pub(super) cached: PageBytes,
    pub(super) pending: Vec<Change>,
    /// Whether the next sync writes this page back. False with pending changes after a failed sync.
    dirty: bool,
}

impl Page {
    fn change(&mut self, sequence: u64, effect: Effect) {
        effect.apply(&mut self.cached);
        self.pending.push(Change { sequence, effect });
        self.dirty = true;
    }

    fn written_back(&mut self, upto: u64) {
        let done = self.pending.partition_point(|change| change.sequence <= upto);
        if self.dirty {
            for change in self.pending.drain(..done) {
                change.effect.apply(&mut self.durable);
            }
        } else {
            let cuts = self.pending[..done].iter().filter(|change| matches!(change.effect, Effect::Cut { .. }));
            cuts.for_each(|cut| cut.effect.apply(&mut self.durable));
            if let Some(freed) = self.pending[..done].iter().rposition(Change::frees) {
                self.pending.drain(..=freed);
            }
        }
        self.dirty &= !self.pending.is_empty();
    }

    fn is_void(&self) -> bool {
        self.durable.is_none() && self.cached.is_none() && self.pending.is_empty()
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub(super) pages: BTreeMap<u64, Page>,
    pub(super) durable_len: u64,
    /// Unsynced changes of the size: sequence number and new length.
    pub(super) sizes: Vec<(u64, u64)>,
    len: u64,
    sequence: u64,
}

impl File {
    /// A file whose content is all durable.
    pub(super) fn settled(content: BTreeMap<u64, Arc<[u8; PAGE]>>, len: u64) -> Self {
        let pages = content
            .into_iter()
            .map(|(at, bytes)| {
                let page = Page { durable: Some(bytes.clone()), cached: Some(bytes), ..Page::default() };
                (at, page)
            })
            .collect();
        Self { pages, durable_len: len, len, ..Self::default() }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The number of the last change, for `synced` and `sync_failed`.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Pages that take space.
    pub(super) fn allocated(&self) -> u64 {
        self.pages.values().filter(|page| page.cached.is_some()).count() as u64
    }

    /// How many of `len` bytes at `offset` can be written when `free` more pages may be allocated.
    pub(super) fn room(&self, offset: u64, len: usize, mut free: u64) -> usize {
        let end = offset + len as u64;
        let mut at = offset;
        while at < end {
            let number = at / PAGE as u64;
            if self.pages.get(&number).is_none_or(|page| page.cached.is_none()) {
                if free == 0 {
                    break;
                }
                free -= 1;
            }
            at = (number + 1) * PAGE as u64;
        }
        (at.min(end) - offset) as usize
    }

    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let count = (buf.len() as u64).min(self.len.saturating_sub(offset)) as usize;
        for (number, at, range) in spans(offset, count) {
            let from = self.pages.get(&number).and_then(|page| page.cached.as_ref());
            let to = &mut buf[range];
            match from {
                Some(bytes) => to.copy_from_slice(&bytes[at..at + to.len()]),
                None => to.fill(0),
            }
        }
        count
    }

    pub(super) fn write(&mut self, buf: &[u8], offset: u64) {
        self.sequence += 1;
        for (number, at, range) in spans(offset, buf.len()) {
            let effect = Effect::Write { at, bytes: buf[range].into() };
            self.pages.entry(number).or_default().change(self.sequence, effect);
        }
        let end = offset + buf.len() as u64;
        if end > self.len && !buf.is_empty() {
            self.len = end;
            self.sizes.push((self.sequence, end));
        }
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len == self.len {
            return;
        }
        self.sequence += 1;
        if len < self.len {
            let last = len / PAGE as u64;
            for (number, page) in self.pages.range_mut(last..) {
                let at = if *number == last { (len % PAGE as u64) as usize } else { 0 };
                page.change(self.sequence, Effect::Cut { at });
            }
        }
        self.len = len;
        self.sizes.push((self.sequence, len));
    }

    /// Everything up to a sequence number has reached the platter, but for pages that a failed sync gave up.
    pub(super) fn synced(&mut self, upto: u64) {
        for page in self.pages.values_mut() {
            page.written_back(upto);
        }
        self.pages.retain(|_, page| !page.is_void());
        let done = self.sizes.partition_point(|(sequence, _)| *sequence <= upto);
        if let Some((_, len)) = self.sizes.drain(..done).next_back() {
            self.durable_len = len;
        }
    }

    /// The sync failed: the pages are clean now, and where they were.
    pub(super) fn sync_failed(&mut self, upto: u64) {
        for page in self.pages.values_mut() {
            page.dirty &= page.pending.last().is_some_and(|change| change.sequence > upto);
        }
    }

    /// Clean pages are read from the platter again.
    pub(super) fn drop_caches(&mut self) {
        for page in self.pages.values_mut().filter(|page| !page.dirty) {
            page.pending.clear();
            page.cached = page.durable.clone();
        }
        self.pages.retain(|_, page| !page.is_void());
        let within = (self.len % PAGE as u64) as usize;
        let last = self.len / PAGE as u64;
        for (number, page) in self.pages.range_mut(last..) {
            let from = if *number == last { within } else { 0 };
            if page.cached.as_ref().is_some_and(|bytes| bytes[from..].iter().any(|byte| *byte != 0)) {
                page.change(self.sequence, Effect::Cut { at: from });
            }
        }
    }

    /// Changes bytes on the platter and in the cache alike, as rot does. The pages touched are durable then.
    pub(super) fn damage(&mut self, offset: u64, bytes: &[u8]) {
        for (number, at, range) in spans(offset, bytes.len()) {
            let page = self.pages.entry(number).or_default();
            Effect::Write { at, bytes: bytes[range].into() }.apply(&mut page.cached);
            *page = Page { durable: page.cached.clone(), cached: page.cached.take(), ..Page::default() };
        }
        let end = offset + bytes.len() as u64;
        self.len = self.len.max(end);
        self.durable_len = self.durable_len.max(end);
    }

    pub(super) fn content(&self) -> Vec<u8> {
        let mut content = vec![0; self.len as usize];
        self.read(&mut content, 0);
        content
    }
}

/// Splits a byte range at page boundaries: page number, offset in the page, range of the buffer.
fn spans(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let position = offset + done as u64;
        let at = (position % PAGE as u64) as usize;
        let count = (PAGE - at).min(len - done);
        let range = done..done + count;
        done += count;
        Some((position / PAGE as u64, at, range))
    })
}
