//! Where the copies of a backup go: a directory, a directory of compressed files, or an archive.

use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use crate::env::disk::{FromFront, parent};
use crate::env::{Disk, DiskFile, OpenMode};

/// Bytes copied at once.
const CHUNK_BYTES: usize = 1 << 20;
/// What is behind the name of a compressed file.
const COMPRESSED: &str = "zst";

/// Takes copies.
pub(super) trait Target {
    /// Takes `len` bytes as the file of this name.
    fn put(&mut self, name: &Path, len: u64, content: &mut dyn Read) -> io::Result<()>;

    /// Everything of a directory is there: its names last from now on.
    fn close(&mut self, directories: &[&Path]) -> io::Result<()>;
}

/// Files in a directory.
pub(super) struct Directory<'d> {
    pub(super) disk: &'d dyn Disk,
    pub(super) target: &'d Path,
    /// zstd's level, where the files are compressed.
    pub(super) zstd: Option<i32>,
}

impl Directory<'_> {
    /// Where a file of this name goes.
    fn path(&self, name: &Path) -> PathBuf {
        let path = self.target.join(name);
        if self.zstd.is_some() { path.with_added_extension(COMPRESSED) } else { path }
    }

    /// What was put under a name.
    pub(super) fn read_back(&self, name: &Path) -> io::Result<Box<dyn Read>> {
        let file = self.disk.open(&self.path(name), OpenMode::Read)?;
        let end = file.len()?;
        let reading = Reading { file, at: 0, end };
        Ok(if self.zstd.is_some() { Box::new(zstd::Decoder::new(reading)?) } else { Box::new(reading) })
    }
}

impl Target for Directory<'_> {
    fn put(&mut self, name: &Path, len: u64, content: &mut dyn Read) -> io::Result<()> {
        if let Some(inner) = name.parent().filter(|inner| inner.components().any(|c| c != Component::CurDir)) {
            match self.disk.create_dir(&self.target.join(inner)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        let file = self.disk.open(&self.path(name), OpenMode::CreateNew)?;
        let mut out = FromFront::new(&*file);
        match self.zstd {
            None => pass(content, len, &mut out)?,
            Some(level) => {
                let mut packed = zstd::Encoder::new(&mut out, level)?;
                // The decompressor notices damage by itself then.
                packed.include_checksum(true)?;
                packed.set_pledged_src_size(Some(len))?;
                pass(content, len, &mut packed)?;
                packed.finish()?;
            }
        }
        file.sync_all()
    }

    fn close(&mut self, directories: &[&Path]) -> io::Result<()> {
        for directory in directories {
            let inner = self.target.join(directory);
            self.disk.sync_dir(if directory.as_os_str().is_empty() { self.target } else { &inner })?;
        }
        self.disk.sync_dir(parent(self.target))
    }
}

/// Exactly so many bytes from here to there.
fn pass(content: &mut dyn Read, mut left: u64, out: &mut dyn Write) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    while left > 0 {
        let want = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = content.read(&mut chunk[..want])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out.write_all(&chunk[..read])?;
        left -= read as u64;
    }
    Ok(())
}

/// Files in a tar archive.
pub(super) struct Archive<W: Write>(pub(super) tar::Builder<W>);

impl<W: Write> Target for Archive<W> {
    fn put(&mut self, name: &Path, len: u64, content: &mut dyn Read) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(len);
        header.set_mode(0o644);
        self.0.append_data(&mut header, name, content.take(len))
    }

    fn close(&mut self, _: &[&Path]) -> io::Result<()> {
        Ok(())
    }
}

/// Takes what is only to be summed.
pub(super) struct Nowhere;

impl Target for Nowhere {
    fn put(&mut self, _: &Path, len: u64, content: &mut dyn Read) -> io::Result<()> {
        pass(content, len, &mut io::sink())
    }

    fn close(&mut self, _: &[&Path]) -> io::Result<()> {
        Ok(())
    }
}

/// A file from its beginning to where it is whole.
pub(super) struct Reading<F> {
    pub(super) file: F,
    pub(super) at: u64,
    pub(super) end: u64,
}

impl<F: AsRef<dyn DiskFile>> Read for Reading<F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        let read = self.file.as_ref().read_at(&mut buf[..want], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
