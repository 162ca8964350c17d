//! `graven check`: verifies a data directory or a file, and says for each file what holds.
//!
//! Two looks. [`examine`](crate::persist::examine) loads what a start would load, by the same code, and gives the verdict of
//! a start; the survey of each file says what verifies in it, before and behind damage.
//!
//! Invariant: nothing is changed, no lock is held. Beside a running server, bytes above the last mark are in flight.

mod files;
mod report;

pub use report::{Damaged, FileReport, Report, Role, Start, Verdict};

use self::files::Files;
use super::place::Place;
use crate::env::Disk;
use crate::env::disk::read_file;
use crate::persist::{Discard, Manifest, OpenOptions, Reading, archive, examine};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A running server may replace the manifest while it is read; so often it is read anew.
const TRIES: usize = 5;

/// Checks what stands in a place.
pub fn check(disk: &Arc<dyn Disk>, place: &Place) -> Report {
    match place {
        Place::File(path) => {
            let file = files::lone(&**disk, path);
            Report { path: path.clone(), verdict: file.verdict, in_use: false, start: None, files: vec![file] }
        }
        Place::Directory(options) => directory(disk, options),
    }
}

fn directory(disk: &Arc<dyn Disk>, options: &OpenOptions) -> Report {
    let in_use = is_in_use(&**disk, &options.directory);
    for left in (0..TRIES).rev() {
        let before = manifests(&**disk, options);
        let report = once(disk, options, in_use);
        if left == 0 || !in_use || before == manifests(&**disk, options) {
            return report;
        }
    }
    unreachable!("the last try returns")
}

fn once(disk: &Arc<dyn Disk>, options: &OpenOptions, in_use: bool) -> Report {
    let checked = OpenOptions { reading: Reading::to_check(), ..options.clone() };
    // Two looks at the same bytes, side by side: the second finds them in memory.
    let (files, loaded) = std::thread::scope(|scope| {
        let start = scope.spawn(|| examine(Arc::clone(disk), &checked, &mut Discard));
        let files = Files { disk: &**disk, options, in_use }.all();
        (files, start.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let start = Start::of(&loaded, in_use);
    let worst = files.iter().map(|file| file.verdict).max().unwrap_or(Verdict::Sound);
    let verdict = match &loaded {
        Err(_) if !(in_use && worst == Verdict::InFlight) => worst.max(Verdict::Damaged),
        _ => worst,
    };
    Report { path: options.directory.clone(), verdict, in_use, start: Some(start), files }
}

fn is_in_use(disk: &dyn Disk, directory: &Path) -> bool {
    disk.lock(&directory.join("graven.lock")).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

fn manifest_bytes(disk: &dyn Disk, options: &OpenOptions) -> Option<Vec<u8>> {
    read_file(disk, &manifest_path(options)).ok()
}

/// What a running server may replace, of the log and of its archive.
fn manifests(disk: &dyn Disk, options: &OpenOptions) -> [Option<Vec<u8>>; 2] {
    let archive = options.directory.join(archive::DIRECTORY).join(archive::MANIFEST_NAME);
    [manifest_bytes(disk, options), read_file(disk, &archive).ok()]
}

fn manifest_path(options: &OpenOptions) -> std::path::PathBuf {
    let name = format!("{}.manifest", options.append_file);
    options.directory.join(&options.append_directory).join(name)
}

fn manifest(disk: &dyn Disk, options: &OpenOptions) -> Option<Manifest> {
    Manifest::decode(&manifest_bytes(disk, options)?).ok()
}
