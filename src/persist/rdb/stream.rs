//! An RDB file of keys that come one by one, in whatever order, from a data set that nobody holds whole.
//!
//! Invariant: the file has its name when it is whole and durable; before it is a draft.

use super::checksum::CRC;
use super::writer::{RdbForm, RdbOptions};
use crate::env::disk::parent;
use crate::env::{Disk, OpenMode};
use crate::keyspace::Entry;
use crate::persist::draft::{Form, Out};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// See the module's header.
pub struct StreamWriter {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    draft: PathBuf,
    out: Out,
    form: RdbForm,
    keys: u64,
}

impl StreamWriter {
    /// Begins the file; libraries are those of the options.
    ///
    /// # Errors
    /// The draft cannot be written.
    pub fn begin(disk: Arc<dyn Disk>, options: RdbOptions) -> io::Result<Self> {
        let path = options.path.clone();
        let draft = path.with_added_extension("tmp");
        let mut out =
            Out::new(disk.open(&draft, OpenMode::Truncate)?, options.checksum.then_some(CRC), options.sync_every);
        let mut form = RdbForm::new(options);
        form.begin(&mut out)?;
        Ok(Self { disk, path, draft, out, form, keys: 0 })
    }

    /// # Errors
    /// The draft cannot be written.
    pub fn add(&mut self, db: u32, entry: &Entry) -> io::Result<()> {
        self.form.select(db, &mut self.out)?;
        self.keys += 1;
        self.form.entry(entry, &mut self.out)
    }

    /// Ends the file and gives it its name, durably; how many keys.
    ///
    /// # Errors
    /// It cannot be written: only a draft is there.
    pub fn finish(mut self) -> io::Result<u64> {
        self.form.database_ends(&mut self.out)?;
        self.form.end(&mut self.out)?;
        self.out.finish()?;
        self.disk.rename(&self.draft, &self.path)?;
        self.disk.sync_dir(parent(&self.path))?;
        Ok(self.keys)
    }
}
