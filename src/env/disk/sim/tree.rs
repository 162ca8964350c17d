//! The directory tree: inodes, names, and which names are durable.
//!
//! Invariants
//! - A directory's `names` are its `durable` names with all pending changes applied in order.
//! - Every inode that a name, a durable name, a pending change or an open file refers to exists.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use super::file::File;

/// Inode number.
pub(super) type Inode = u64;
pub(super) const ROOT: Inode = 0;

#[derive(Clone, Debug)]
pub(super) enum Node {
    File(Arc<File>),
    Directory(Directory),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    pub(super) names: BTreeMap<Arc<str>, Inode>,
    pub(super) durable: BTreeMap<Arc<str>, Inode>,
}

/// A name within a directory.
pub(super) type Place = (Inode, Arc<str>);

/// An unsynced change of names; `from` or `to` is there, or both.
#[derive(Clone, Debug)]
pub(super) struct NameChange {
    /// The name that goes away.
    pub(super) from: Option<Place>,
    /// The name that comes, and what it then names.
    pub(super) to: Option<(Place, Inode)>,
}

impl NameChange {
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.from.iter().chain(self.to.iter().map(|(place, _)| place))
    }

    pub(super) fn created_directory(&self, tree: &Tree) -> Option<Inode> {
        let (_, inode) = self.to.as_ref().filter(|_| self.from.is_none())?;
        tree.directory(*inode).is_ok().then_some(*inode)
    }

    /// The directory whose sync makes this durable.
    fn synced_by(&self) -> Option<Inode> {
        self.to.as_ref().map(|(place, _)| place).or(self.from.as_ref()).map(|place| place.0)
    }
}

#[derive(Clone, Debug)]
struct Entry {
    node: Node,
    /// As last named.
    path: Arc<str>,
    open: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Tree {
    entries: BTreeMap<Inode, Entry>,
    pub(super) pending: Vec<NameChange>,
    next: Inode,
}

pub(super) fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

/// The path as one absolute string: no dots, one slash between names.
pub(super) fn plain(path: &Path) -> io::Result<Arc<str>> {
    let mut plain = String::new();
    for component in path.components() {
        match component {
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
            Component::ParentDir => plain.truncate(plain.rfind('/').unwrap_or(0)),
            Component::Normal(name) => {
                plain.push('/');
                plain.push_str(name.to_str().ok_or_else(|| errno(libc::EILSEQ))?);
            }
        }
    }
    Ok(if plain.is_empty() { "/".into() } else { plain.into() })
}

impl Tree {
    pub(super) fn new() -> Self {
        let root = Entry { node: Node::Directory(Directory::default()), path: "/".into(), open: 0 };
        Self { entries: BTreeMap::from([(ROOT, root)]), pending: Vec::new(), next: ROOT + 1 }
    }

    pub(super) fn directory(&self, inode: Inode) -> io::Result<&Directory> {
        match self.entries.get(&inode).map(|entry| &entry.node) {
            Some(Node::Directory(directory)) => Ok(directory),
            Some(Node::File(_)) => Err(errno(libc::ENOTDIR)),
            None => Err(errno(libc::ENOENT)),
        }
    }

    pub(super) fn file(&self, inode: Inode) -> io::Result<&File> {
        match self.entries.get(&inode).map(|entry| &entry.node) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Directory(_)) => Err(errno(libc::EISDIR)),
            None => Err(errno(libc::ENOENT)),
        }
    }

    pub(super) fn file_mut(&mut self, inode: Inode) -> io::Result<&mut File> {
        match self.entries.get_mut(&inode).map(|entry| &mut entry.node) {
            Some(Node::File(file)) => Ok(Arc::make_mut(file)),
            Some(Node::Directory(_)) => Err(errno(libc::EISDIR)),
            None => Err(errno(libc::ENOENT)),
        }
    }

    pub(super) fn files_mut(&mut self) -> impl Iterator<Item = &mut File> {
        self.entries.values_mut().filter_map(|entry| match &mut entry.node {
            Node::File(file) => Some(Arc::make_mut(file)),
            Node::Directory(_) => None,
        })
    }

    pub(super) fn path(&self, inode: Inode) -> Arc<str> {
        self.entries.get(&inode).map_or_else(|| "".into(), |entry| entry.path.clone())
    }

    /// What a plain path names.
    pub(super) fn find(&self, path: &str) -> io::Result<Inode> {
        let mut at = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = *self.directory(at)?.names.get(name).ok_or_else(|| errno(libc::ENOENT))?;
        }
        Ok(at)
    }

    fn place(&self, path: &str) -> io::Result<Place> {
        let (parent, name) = path.rsplit_once('/').ok_or_else(|| errno(libc::EINVAL))?;
        if name.is_empty() {
            return Err(errno(libc::EEXIST));
        }
        let parent = self.find(parent)?;
        self.directory(parent)?;
        Ok((parent, name.into()))
    }

    fn rename_now(&mut self, change: NameChange) {
        if let Some((directory, name)) = &change.from
            && let Some(Entry { node: Node::Directory(directory), .. }) = self.entries.get_mut(directory)
        {
            directory.names.remove(name);
        }
        if let Some(((directory, name), inode)) = &change.to
            && let Some(Entry { node: Node::Directory(directory), .. }) = self.entries.get_mut(directory)
        {
            directory.names.insert(name.clone(), *inode);
        }
        self.pending.push(change);
    }

    fn create(&mut self, path: &Arc<str>, node: Node) -> io::Result<Inode> {
        let place = self.place(path)?;
        if self.directory(place.0)?.names.contains_key(&place.1) {
            return Err(errno(libc::EEXIST));
        }
        let inode = self.next;
        self.next += 1;
        self.entries.insert(inode, Entry { node, path: path.clone(), open: 0 });
        self.rename_now(NameChange { from: None, to: Some((place, inode)) });
        Ok(inode)
    }

    pub(super) fn create_file(&mut self, path: &Arc<str>) -> io::Result<Inode> {
        self.create(path, Node::File(Arc::default()))
    }

    pub(super) fn create_dir(&mut self, path: &Arc<str>) -> io::Result<()> {
        self.create(path, Node::Directory(Directory::default())).map(drop)
    }

    pub(super) fn rename(&mut self, from: &str, to: &Arc<str>) -> io::Result<()> {
        let (from, to_place) = (self.place(from)?, self.place(to)?);
        let inode = *self.directory(from.0)?.names.get(&from.1).ok_or_else(|| errno(libc::ENOENT))?;
        let replaced = self.directory(to_place.0)?.names.get(&to_place.1).copied();
        if replaced == Some(inode) {
            return Ok(());
        }
        match (replaced.map(|old| self.directory(old).is_ok()), self.directory(inode).is_ok()) {
            (Some(true), _) => return Err(errno(libc::EISDIR)),
            (Some(false), true) => return Err(errno(libc::ENOTDIR)),
            (None, true) if self.path(to_place.0).starts_with(&*self.path(inode)) => return Err(errno(libc::EINVAL)),
            _ => {}
        }
        self.rename_now(NameChange { from: Some(from), to: Some((to_place, inode)) });
        self.name_paths(inode, to);
        self.collect();
        Ok(())
    }

    fn name_paths(&mut self, inode: Inode, path: &Arc<str>) {
        let below: Vec<_> = match self.directory(inode) {
            Ok(directory) => directory.names.iter().map(|(name, inode)| (*inode, name.clone())).collect(),
            Err(_) => Vec::new(),
        };
        for (inode, name) in below {
            self.name_paths(inode, &format!("{path}/{name}").into());
        }
        if let Some(entry) = self.entries.get_mut(&inode) {
            entry.path = path.clone();
        }
    }

    pub(super) fn link(&mut self, from: &str, to: &Arc<str>) -> io::Result<()> {
        let (inode, place) = (self.find(from)?, self.place(to)?);
        self.file(inode)?;
        if self.directory(place.0)?.names.contains_key(&place.1) {
            return Err(errno(libc::EEXIST));
        }
        self.rename_now(NameChange { from: None, to: Some((place, inode)) });
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &str) -> io::Result<()> {
        let (place, inode) = self.named(path)?;
        self.file(inode)?;
        self.unname(place);
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, path: &str) -> io::Result<()> {
        let (place, inode) = self.named(path)?;
        if !self.directory(inode)?.names.is_empty() {
            return Err(errno(libc::ENOTEMPTY));
        }
        self.unname(place);
        Ok(())
    }

    fn named(&self, path: &str) -> io::Result<(Place, Inode)> {
        let place = self.place(path)?;
        let inode = *self.directory(place.0)?.names.get(&place.1).ok_or_else(|| errno(libc::ENOENT))?;
        Ok((place, inode))
    }

    fn unname(&mut self, place: Place) {
        self.rename_now(NameChange { from: Some(place), to: None });
        self.collect();
    }

    pub(super) fn opened(&mut self, inode: Inode) {
        if let Some(entry) = self.entries.get_mut(&inode) {
            entry.open += 1;
        }
    }

    pub(super) fn closed(&mut self, inode: Inode) {
        if let Some(entry) = self.entries.get_mut(&inode) {
            entry.open = entry.open.saturating_sub(1);
            self.collect();
        }
    }

    pub(super) fn close_all(&mut self) {
        for entry in self.entries.values_mut() {
            entry.open = 0;
        }
        self.collect();
    }

    /// Makes the names in one directory durable, and what they need.
    pub(super) fn synced_dir(&mut self, directory: Inode) {
        let mut needed: BTreeSet<Place> = BTreeSet::new();
        let mut durable: Vec<bool> = self
            .pending
            .iter()
            .rev()
            .map(|change| {
                let kept = change.synced_by() == Some(directory) || change.places().any(|place| needed.contains(place));
                if kept {
                    needed.extend(change.places().cloned());
                }
                kept
            })
            .collect();
        let mut rest = Vec::new();
        for change in std::mem::take(&mut self.pending) {
            if durable.pop() == Some(true) {
                self.name_durably(&change);
            } else {
                rest.push(change);
            }
        }
        self.pending = rest;
        self.collect();
    }

    /// Applies a change of names to the platter.
    pub(super) fn name_durably(&mut self, change: &NameChange) {
        if let Some((directory, name)) = &change.from
            && let Some(Entry { node: Node::Directory(directory), .. }) = self.entries.get_mut(directory)
        {
            directory.durable.remove(name);
        }
        if let Some(((directory, name), inode)) = &change.to
            && let Some(Entry { node: Node::Directory(directory), .. }) = self.entries.get_mut(directory)
        {
            directory.durable.insert(name.clone(), *inode);
        }
    }

    /// Files that have a name or are open, for the space they take.
    pub(super) fn allocated_pages(&self) -> u64 {
        let mut named: BTreeSet<Inode> = BTreeSet::new();
        for entry in self.entries.values() {
            if let Node::Directory(directory) = &entry.node {
                named.extend(directory.names.values());
            }
        }
        let counted = self.entries.iter().filter(|(inode, entry)| entry.open > 0 || named.contains(inode));
        counted.map(|(_, entry)| if let Node::File(file) = &entry.node { file.allocated() } else { 0 }).sum()
    }

    /// Forgets inodes that nothing refers to.
    fn collect(&mut self) {
        let mut alive: BTreeSet<Inode> = BTreeSet::from([ROOT]);
        for (inode, entry) in &self.entries {
            if entry.open > 0 {
                alive.insert(*inode);
            }
            if let Node::Directory(directory) = &entry.node {
                alive.extend(directory.names.values().chain(directory.durable.values()));
            }
        }
        alive.extend(self.pending.iter().filter_map(|change| change.to.as_ref().map(|(_, inode)| *inode)));
        self.entries.retain(|inode, _| alive.contains(inode));
    }

    /// Every file with its path, in order of paths.
    pub(super) fn files(&self) -> BTreeMap<Arc<str>, Inode> {
        let mut found = BTreeMap::new();
        let mut todo = vec![(String::new(), ROOT)];
        while let Some((path, inode)) = todo.pop() {
            match self.entries.get(&inode).map(|entry| &entry.node) {
                Some(Node::Directory(directory)) => {
                    todo.extend(directory.names.iter().map(|(name, inode)| (format!("{path}/{name}"), *inode)));
                }
                Some(Node::File(_)) => {
                    found.insert(path.into(), inode);
                }
                None => {}
            }
        }
        found
    }

    /// The tree with durable names only, in which `content` says what each file holds.
    pub(super) fn restarted(&self, mut content: impl FnMut(&File) -> File) -> Self {
        let mut entries = BTreeMap::new();
        let mut todo = vec![(String::new(), ROOT)];
        while let Some((path, inode)) = todo.pop() {
            let Some(entry) = self.entries.get(&inode) else { continue };
            let node = match &entry.node {
                Node::File(file) => Node::File(Arc::new(content(file))),
                Node::Directory(Directory { durable, .. }) => {
                    todo.extend(durable.iter().map(|(name, inode)| (format!("{path}/{name}"), *inode)));
                    Node::Directory(Directory { names: durable.clone(), durable: durable.clone() })
                }
            };
            let path = if path.is_empty() { "/".into() } else { path.into() };
            entries.insert(inode, Entry { node, path, open: 0 });
        }
        Self { entries, pending: Vec::new(), next: self.next }
    }
}
