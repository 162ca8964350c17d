//! A key with its value, deadline and access clock in one allocation.
//!
//! Invariants
//! - An entry is a counted pointer: `clone` shares it, and what is shared is never changed but for its access clock,
//!   which is a hint and not part of the data.
//! - Short strings, integers and small packed collections lie in the entry itself; everything else is a [`Value`] in
//!   it, whose own clone is O(1).
//! - The key never changes.
//!
//! Memory: a header of 16 bytes; then, where present, the deadline (8) and a number or a `Value`; then the key's bytes;
//! then those of a short string or a packed collection. A key of 16 bytes with a string of 32 fills an allocation of 64
//! bytes exactly. A packed collection is changed as an owned [`Value`] and put back, where it lies if the allocator's
//! size class stays.
#![expect(
    unsafe_code,
    reason = "measured: one allocation of 64 bytes for a 16-byte key with a 32-byte string, where counted pointers to \
              a struct of key and value take three and more than twice the memory; a hash of ten small fields, 240 bytes \
              instead of 300"
)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::mem::size_of;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use crate::ds::{Mover, allocation_size, leave, table};
use crate::env::UnixMillis;
use crate::value::{Packed, PackedKind, Str, StrRef, Stretch, Value, ValueRef};

/// Longest string that lies in the entry.
pub const INLINE_MAX: usize = 128;

/// Most bytes of a packed collection that lies in the entry, which every change of it copies twice.
const PACKED_MAX: usize = 1024;
/// A collection that has an allocation of its own comes back only when it is down to this.
const PACKED_AGAIN: usize = PACKED_MAX / 2;

/// Counts beyond this are a leak that would wrap around; the process ends instead.
const REFS_MAX: u32 = i32::MAX as u32;
/// Measured share of a key in the table's buckets and directory.
pub(super) const TABLE_SHARE: usize = 13;
const CLOCK_BITS: u32 = 24;
const CLOCK_MASK: u32 = (1 << CLOCK_BITS) - 1;
const EXPIRES: u32 = 1 << 31;
const FORM_MASK: u32 = 0b111 << CLOCK_BITS;

const _: () = assert!(size_of::<Header>() == 16 && align_of::<Value>() <= 8);

/// What lies in the entry, in the header's form bits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Int = 0,
    Embedded = 1,
    Raw = 2,
    Value = 3,
    List = 4,
    Hash = 5,
    Zset = 6,
}

impl From<PackedKind> for Form {
    fn from(kind: PackedKind) -> Self {
        match kind {
            PackedKind::List => Self::List,
            PackedKind::Hash => Self::Hash,
            PackedKind::Zset => Self::Zset,
        }
    }
}

#[repr(C, align(8))]
struct Header {
    refs: AtomicU32,
    /// 24 bits of access clock, written by readers; above them form and presence of a deadline, which stay.
    access: AtomicU32,
    key_len: u32,
    /// Length of a string or a packed collection that lies here.
    inline_len: u32,
}

/// A key, its value, its deadline, its access clock. Clone shares.
pub struct Entry {
    head: NonNull<Header>,
}

// SAFETY: a counted pointer to data that is read from several threads (`Value` is `Sync`), and dropped by the last
// owner, wherever that is (`Value` is `Send`); count and clock are atomic. The bounds are asserted below.
unsafe impl Send for Entry {}
// SAFETY: as above.
unsafe impl Sync for Entry {}

const _: fn() = || {
    fn shareable<T: Send + Sync>() {}
    shareable::<Value>();
};

/// A value to be stored.
pub enum Content<'a> {
    Str(StrRef<'a>),
    Value(Value),
}

impl<'a> From<StrRef<'a>> for Content<'a> {
    fn from(string: StrRef<'a>) -> Self {
        Self::Str(string)
    }
}

impl From<Value> for Content<'_> {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

impl From<Str> for Content<'_> {
    fn from(string: Str) -> Self {
        Self::Value(Value::Str(string))
    }
}

/// Where things lie in an allocation of this shape.
#[derive(Clone, Copy)]
struct Shape {
    form: Form,
    expires: bool,
    key_len: usize,
    inline_len: usize,
}

impl Shape {
    const fn payload_at(self) -> usize {
        size_of::<Header>() + if self.expires { size_of::<i64>() } else { 0 }
    }

    const fn key_at(self) -> usize {
        self.payload_at()
            + match self.form {
                Form::Int => size_of::<i64>(),
                Form::Embedded | Form::Raw | Form::List | Form::Hash | Form::Zset => 0,
                Form::Value => size_of::<Value>(),
            }
    }

    const fn inline_at(self) -> usize {
        self.key_at() + self.key_len
    }

    /// Bytes of the allocation. One with a packed collection has what the allocator gives anyway, to change it there.
    fn bytes(self) -> usize {
        let bytes = self.inline_at() + self.inline_len;
        match self.form {
            Form::Int | Form::Embedded | Form::Raw | Form::Value => bytes,
            Form::List | Form::Hash | Form::Zset => allocation_size(bytes),
        }
    }

    fn layout(self) -> Layout {
        Layout::from_size_align(self.bytes(), align_of::<Header>()).expect("lengths of 32 bits fit an allocation")
    }
}

impl Entry {
    /// # Panics
    /// When the key is longer than 4 GiB; requests are far shorter.
    pub fn new<'a>(key: &[u8], content: impl Into<Content<'a>>, expiry: Option<UnixMillis>, clock: u32) -> Self {
        match content.into() {
            Content::Str(string) => Self::with_string(key, string, expiry, clock),
            Content::Value(Value::Str(string)) if is_inline(string.as_ref()) => {
                Self::with_string(key, string.as_ref(), expiry, clock)
            }
            Content::Value(value) => match value.packed() {
                Some(packed) if packed.bytes.len() <= PACKED_MAX => Self::with_packed(key, packed, expiry, clock),
                _ => Self::with_value(key, value, expiry, clock),
            },
        }
    }

    pub fn key(&self) -> &[u8] {
        let shape = self.shape();
        self.bytes(shape.key_at(), shape.key_len)
    }

    pub fn value(&self) -> ValueRef<'_> {
        self.boxed_value().map_or_else(|inline| inline, Value::as_ref)
    }

    /// Reads a little of everything that a reader of key and value will read; what it reads means nothing.
    pub(super) fn look(&self) -> usize {
        const LINE_BYTES: usize = 64;
        const LINES_MAX: usize = 4;
        match self.value() {
            ValueRef::Str(StrRef::Embedded(bytes) | StrRef::Raw(bytes)) => {
                bytes.iter().step_by(LINE_BYTES).take(LINES_MAX).map(|byte| usize::from(*byte)).sum()
            }
            _ => self.key().len(),
        }
    }

    /// An owned value: what has an allocation of its own is shared, what lies in the entry copied.
    pub fn to_value(&self) -> Value {
        self.boxed_value().map_or_else(ValueRef::to_value, Value::clone)
    }

    /// Changes the value, in place where it has an allocation of its own and nobody else holds the entry.
    pub(super) fn edit<R>(&mut self, change: impl FnOnce(&mut Value) -> R) -> R {
        let shape = self.shape();
        if shape.form != Form::Value || !self.is_unique() {
            let mut value = self.to_value();
            let result = change(&mut value);
            self.put_back(value);
            return result;
        }
        // SAFETY: form `Value`, a single owner, borrowed mutably; the reference ends before the entry is used again.
        let value = unsafe { &mut *self.at::<Value>(shape.payload_at()) };
        let result = change(value);
        let small = |packed: Packed<'_>| packed.bytes.len() <= PACKED_AGAIN;
        if value.packed().is_some_and(small) {
            *self = self.renewed(self.expiry());
        }
        result
    }

    /// As [`Self::edit`], for an entry known to hold a string.
    pub(super) fn edit_string<R>(&mut self, change: impl FnOnce(&mut Str) -> R) -> R {
        self.edit(|value| match value {
            Value::Str(string) => change(string),
            _ => panic!("the value is not a string"),
        })
    }

    /// Stores a changed copy of the value: over the old one, where both are packed and the allocation suits.
    fn put_back(&mut self, value: Value) {
        if let Some(packed) = value.packed() {
            let old = self.shape();
            let new = Shape { form: packed.kind.into(), inline_len: packed.bytes.len(), ..old };
            let suits = new.form == old.form && new.bytes() == old.bytes() && new.inline_len <= PACKED_MAX;
            if suits && self.is_unique() {
                // SAFETY: a single owner, borrowed mutably; the allocation has room for a collection of this length
                // behind the key, and keeps its layout.
                unsafe {
                    self.at::<u8>(new.inline_at()).copy_from_nonoverlapping(packed.bytes.as_ptr(), new.inline_len);
                    (&raw mut (*self.head.as_ptr()).inline_len).write(new.inline_len as u32);
                }
                return;
            }
        }
        self.replace(Self::new(self.key(), value, self.expiry(), self.clock()));
    }

    /// Replaces the value without a new allocation, where the new one is a string of the same form and length, the
    /// presence of a deadline is the same, and nobody shares the entry. Gives the content back otherwise.
    pub(super) fn overwrite<'a>(
        &mut self,
        content: Content<'a>,
        expiry: Option<UnixMillis>,
        clock: u32,
    ) -> Result<(), Content<'a>> {
        let shape = self.shape();
        let (form, inline): (_, &[u8]) = match &content {
            Content::Str(StrRef::Int(_)) => (Form::Int, &[]),
            Content::Str(StrRef::Embedded(bytes)) => (Form::Embedded, bytes),
            Content::Str(StrRef::Raw(bytes)) => (Form::Raw, bytes),
            Content::Str(StrRef::Chunked(_)) | Content::Value(_) => return Err(content),
        };
        let same = form == shape.form && inline.len() == shape.inline_len && expiry.is_some() == shape.expires;
        if !same || !self.is_unique() {
            return Err(content);
        }
        // SAFETY: a single owner, borrowed mutably; the shape stays, so number, string and deadline have their places.
        unsafe {
            if let Content::Str(StrRef::Int(number)) = content {
                self.at::<i64>(shape.payload_at()).write(number);
            }
            self.at::<u8>(shape.inline_at()).copy_from_nonoverlapping(inline.as_ptr(), inline.len());
        }
        self.set_expiry(expiry);
        self.set_clock(clock);
        Ok(())
    }

    /// Moves the entry, unless somebody else holds it, and a stretch of its value; the place where that goes on.
    pub(super) fn relocate(&mut self, stretch: Stretch, mover: &mut Mover<'_>) -> Option<usize> {
        if !self.is_unique() {
            return None;
        }
        if stretch.from == 0 && mover.moves(self.head.as_ptr()) {
            let layout = self.shape().layout();
            // SAFETY: the layout holds a header, so its size is not zero.
            let raw = unsafe { alloc(layout) };
            let Some(head) = NonNull::new(raw.cast::<Header>()) else { handle_alloc_error(layout) };
            // SAFETY: a single owner, borrowed mutably: header, payload and bytes go over as they are, both allocations
            // having this layout; the old one is given back without being dropped, and nobody refers to it any more.
            unsafe {
                self.at::<u8>(0).copy_to_nonoverlapping(raw, layout.size());
                dealloc(self.head.as_ptr().cast::<u8>(), layout);
            }
            self.head = head;
        }
        let shape = self.shape();
        if shape.form != Form::Value {
            return None;
        }
        // SAFETY: form `Value`, a single owner, borrowed mutably; the reference ends before the entry is used again.
        unsafe { &mut *self.at::<Value>(shape.payload_at()) }.relocate(stretch, mover)
    }

    /// The moment after which the key counts as absent.
    pub fn expiry(&self) -> Option<UnixMillis> {
        let shape = self.shape();
        // SAFETY: in this shape a deadline was written behind the header.
        shape.expires.then(|| UnixMillis(unsafe { self.at::<i64>(size_of::<Header>()).read() }))
    }

    pub fn set_expiry(&mut self, expiry: Option<UnixMillis>) {
        match expiry {
            Some(deadline) if self.shape().expires && self.is_unique() => {
                // SAFETY: the place exists in this shape; a single owner, borrowed mutably.
                unsafe { self.at::<i64>(size_of::<Header>()).write(deadline.0) }
            }
            None if !self.shape().expires => {}
            expiry => self.replace(self.renewed(expiry)),
        }
    }

    /// Whether the key counts as absent at `now`.
    pub fn is_expired(&self, now: UnixMillis) -> bool {
        self.expiry().is_some_and(|deadline| now > deadline)
    }

    /// The 24 bits of the access clock; see [`super::AccessClock`] for what they mean.
    pub fn clock(&self) -> u32 {
        self.header().access.load(Ordering::Relaxed) & CLOCK_MASK
    }

    /// Writes the access clock, in shared entries too.
    pub fn set_clock(&self, clock: u32) {
        let access = &self.header().access;
        let kept = access.load(Ordering::Relaxed) & !CLOCK_MASK;
        access.store(kept | (clock & CLOCK_MASK), Ordering::Relaxed);
    }

    /// Bytes of the entry's own allocation, without those of a collection.
    pub fn own_bytes(&self) -> usize {
        self.shape().bytes()
    }

    /// Bytes that key and value occupy, the key's share of the table included; see the value types for what is exact.
    pub fn memory_bytes(&self) -> usize {
        let beside = self.boxed_value().map_or(0, Value::heap_bytes);
        allocation_size(self.own_bytes()) + TABLE_SHARE + beside
    }

    fn with_string(key: &[u8], string: StrRef<'_>, expiry: Option<UnixMillis>, clock: u32) -> Self {
        let (form, inline): (_, &[u8]) = match string {
            StrRef::Int(_) => (Form::Int, &[]),
            StrRef::Embedded(bytes) => (Form::Embedded, bytes),
            StrRef::Raw(bytes) if bytes.len() <= INLINE_MAX => (Form::Raw, bytes),
            StrRef::Raw(_) | StrRef::Chunked(_) => {
                return Self::with_value(key, Value::Str(string.into()), expiry, clock);
            }
        };
        let shape = Shape { form, expires: expiry.is_some(), key_len: key.len(), inline_len: inline.len() };
        let entry = Self::allocate(shape, key, expiry, clock);
        if let StrRef::Int(number) = string {
            // SAFETY: fresh and unshared; the shape has room for a number there.
            unsafe { entry.at::<i64>(shape.payload_at()).write(number) };
        }
        // SAFETY: fresh and unshared; `inline.len()` bytes lie behind the key in this shape.
        unsafe { entry.at::<u8>(shape.inline_at()).copy_from_nonoverlapping(inline.as_ptr(), inline.len()) };
        entry
    }

    fn with_packed(key: &[u8], packed: Packed<'_>, expiry: Option<UnixMillis>, clock: u32) -> Self {
        let (form, inline_len) = (packed.kind.into(), packed.bytes.len());
        let shape = Shape { form, expires: expiry.is_some(), key_len: key.len(), inline_len };
        let entry = Self::allocate(shape, key, expiry, clock);
        // SAFETY: fresh and unshared; `inline_len` bytes lie behind the key in this shape.
        unsafe { entry.at::<u8>(shape.inline_at()).copy_from_nonoverlapping(packed.bytes.as_ptr(), inline_len) };
        entry
    }

    fn with_value(key: &[u8], value: Value, expiry: Option<UnixMillis>, clock: u32) -> Self {
        let shape = Shape { form: Form::Value, expires: expiry.is_some(), key_len: key.len(), inline_len: 0 };
        let entry = Self::allocate(shape, key, expiry, clock);
        // SAFETY: fresh and unshared; the shape has room for a value there, aligned because header and deadline are
        // multiples of eight.
        unsafe { entry.at::<Value>(shape.payload_at()).write(value) };
        entry
    }

    /// Takes the place of this one, which shares its value with it, and of which a snapshot may keep the rest.
    fn replace(&mut self, new: Self) {
        self.leave_shell();
        *self = new;
    }

    /// Notes, when it was taken out of the keyspace and its value goes on elsewhere, what a snapshot keeps of it.
    pub(super) fn leave_shell(&self) {
        if !self.is_unique() {
            leave(self.own_bytes());
        }
    }

    /// Notes, when it was taken out of the keyspace, what a snapshot keeps of it.
    pub(super) fn leave(&self) {
        if !self.is_unique() {
            leave(self.own_bytes() + self.boxed_value().map_or(0, Value::heap_bytes));
        }
    }

    /// The same entry in an allocation of its own, with another deadline.
    fn renewed(&self, expiry: Option<UnixMillis>) -> Self {
        match self.boxed_value() {
            Err(ValueRef::Str(string)) => Self::with_string(self.key(), string, expiry, self.clock()),
            value => Self::new(self.key(), value.map_or_else(ValueRef::to_value, Value::clone), expiry, self.clock()),
        }
    }

    /// The value as it is stored: in an allocation of its own, or in this one.
    fn boxed_value(&self) -> Result<&Value, ValueRef<'_>> {
        let shape = self.shape();
        let inline = || self.bytes(shape.inline_at(), shape.inline_len);
        let packed = |kind| Err(Packed { kind, bytes: inline() }.value());
        match shape.form {
            // SAFETY: in this form a number was written at the payload's place.
            Form::Int => Err(ValueRef::Str(StrRef::Int(unsafe { self.at::<i64>(shape.payload_at()).read() }))),
            Form::Embedded => Err(ValueRef::Str(StrRef::Embedded(inline()))),
            Form::Raw => Err(ValueRef::Str(StrRef::Raw(inline()))),
            Form::List => packed(PackedKind::List),
            Form::Hash => packed(PackedKind::Hash),
            Form::Zset => packed(PackedKind::Zset),
            // SAFETY: in this form a value was written at the payload's place; it lives as long as the entry, and is
            // changed only through `edit`, which borrows the only owner mutably.
            Form::Value => Ok(unsafe { &*self.at::<Value>(shape.payload_at()) }),
        }
    }

    /// Everything but the payload, which the caller writes before anybody else sees the entry.
    fn allocate(shape: Shape, key: &[u8], expiry: Option<UnixMillis>, clock: u32) -> Self {
        let key_len = u32::try_from(key.len()).expect("keys are shorter than 4 GiB");
        let layout = shape.layout();
        // SAFETY: the layout holds a header, so its size is not zero.
        let raw = unsafe { alloc(layout) };
        let Some(head) = NonNull::new(raw.cast::<Header>()) else { handle_alloc_error(layout) };
        let flags = (shape.form as u32) << CLOCK_BITS | if shape.expires { EXPIRES } else { 0 };
        let entry = Self { head };
        // SAFETY: fresh memory of this shape: header, deadline and key lie within it, apart from each other.
        unsafe {
            head.as_ptr().write(Header {
                refs: AtomicU32::new(1),
                access: AtomicU32::new(flags | (clock & CLOCK_MASK)),
                key_len,
                inline_len: shape.inline_len as u32,
            });
            if let Some(deadline) = expiry {
                entry.at::<i64>(size_of::<Header>()).write(deadline.0);
            }
            entry.at::<u8>(shape.key_at()).copy_from_nonoverlapping(key.as_ptr(), key.len());
        }
        entry
    }

    fn shape(&self) -> Shape {
        let header = self.header();
        let access = header.access.load(Ordering::Relaxed);
        let form = match (access & FORM_MASK) >> CLOCK_BITS {
            0 => Form::Int,
            1 => Form::Embedded,
            2 => Form::Raw,
            3 => Form::Value,
            4 => Form::List,
            5 => Form::Hash,
            _ => Form::Zset,
        };
        Shape {
            form,
            expires: access & EXPIRES != 0,
            key_len: header.key_len as usize,
            inline_len: header.inline_len as usize,
        }
    }

    fn is_unique(&self) -> bool {
        // Acquire: what other owners did before they let go happened before our writes.
        self.header().refs.load(Ordering::Acquire) == 1
    }

    fn header(&self) -> &Header {
        // SAFETY: initialised, and valid for as long as any owner lives; only its atomics change.
        unsafe { self.head.as_ref() }
    }

    /// A place in the allocation. Using it is up to the caller's own argument.
    fn at<T>(&self, offset: usize) -> *mut T {
        // `wrapping_byte_add` keeps the pointer's provenance, so it stays usable wherever the offset is in bounds.
        self.head.as_ptr().wrapping_byte_add(offset).cast::<T>()
    }

    fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        // SAFETY: callers pass the places of key and string of this entry's shape, initialised at allocation and not
        // changed since.
        unsafe { std::slice::from_raw_parts(self.at::<u8>(offset), len) }
    }
}

/// Strings that are stored in the entry.
fn is_inline(string: StrRef<'_>) -> bool {
    match string {
        StrRef::Int(_) => true,
        StrRef::Embedded(bytes) | StrRef::Raw(bytes) => bytes.len() <= INLINE_MAX,
        StrRef::Chunked(_) => false,
    }
}

impl table::Entry for Entry {
    fn key(&self) -> &[u8] {
        Self::key(self)
    }
}

impl Clone for Entry {
    fn clone(&self) -> Self {
        if self.header().refs.fetch_add(1, Ordering::Relaxed) > REFS_MAX {
            std::process::abort();
        }
        Self { head: self.head }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.header().refs.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        let shape = self.shape();
        // SAFETY: the last owner: a value is dropped once where the form has one, then the memory goes back with the
        // layout that it came with, which the header's fields determine.
        unsafe {
            if shape.form == Form::Value {
                self.at::<Value>(shape.payload_at()).drop_in_place();
            }
            dealloc(self.head.as_ptr().cast::<u8>(), shape.layout());
        }
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("key", &self.key().escape_ascii().to_string()).finish_non_exhaustive()
    }
}
