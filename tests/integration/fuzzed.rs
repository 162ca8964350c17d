//! What the fuzz targets do with their input, and what must hold whatever it is. Shared by `fuzz/` and the ordinary
//! tests, which replay the corpora.
#![allow(dead_code, reason = "each fuzz target uses one function of this file")]

use graven::env::disk::sim::SimDisk;
use graven::env::{Clock, Disk, DiskFile, ManualClock, OpenMode, SeededEntropy, UnixMillis};
use graven::persist::archive::{Contents, Unpacked};
use graven::persist::log::format::{FRAME_HEADER_BYTES, FrameHeader};
use graven::persist::log::{Item, OpenedSegment, SegmentReader};
use graven::persist::rdb::{self, RdbEntry, RdbSink, Refusal};
use graven::persist::{Manifest, OpenOptions, Piece, Replay, Step, World, open};
use graven::resp::{Limits as RequestLimits, Request, RequestReader};
use graven::value::{Limits, Value, payload};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Requests: any split of the input gives the same requests, and what is read survives being sent again.
pub fn request(data: &[u8]) {
    let (split, input) = match data {
        [split, input @ ..] => (usize::from(*split) + 1, input),
        [] => return,
    };
    let whole = requests(input, input.len().max(1));
    assert_eq!(whole, requests(input, split));
    for words in &whole.0 {
        let again = requests(Request::from_args(words).resp_bytes().expect("in one piece"), 7);
        assert_eq!(again.0, std::slice::from_ref(words));
    }
}

/// The requests in some input, given in pieces of this size; and the protocol error that ended them.
fn requests(input: &[u8], piece: usize) -> (Vec<Vec<Vec<u8>>>, Option<String>) {
    let limits = RequestLimits { bulk_bytes_max: 1 << 20, unauthenticated: false };
    let (mut reader, mut request, mut read) = (RequestReader::new(), Request::new(), Vec::new());
    for chunk in input.chunks(piece) {
        reader.feed(chunk);
        loop {
            match reader.next(&limits, &mut request) {
                Ok(true) => read.push(request.args().map(<[u8]>::to_vec).collect()),
                Ok(false) => break,
                Err(error) => return (read, Some(error.to_string())),
            }
        }
    }
    (read, None)
}

/// Frame headers: one that verifies says the same when it is written again.
pub fn frame(data: &[u8]) {
    let Some((place, line)) = data.split_at_checked(16) else { return };
    let salt = u64::from_le_bytes(place[..8].try_into().unwrap_or_default());
    let offset = u64::from_le_bytes(place[8..].try_into().unwrap_or_default());
    if let Some((header, chain)) = FrameHeader::decode(line, salt, offset) {
        let mut again = [0; FRAME_HEADER_BYTES];
        assert_eq!(header.encode(salt, offset, &mut again), chain);
        assert_eq!(again, line[..FRAME_HEADER_BYTES]);
    }
}

/// A small directory as a server leaves it, and the commands in it.
struct Sample {
    disk: SimDisk,
    files: Vec<std::path::PathBuf>,
    commands: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Collected(Vec<Vec<u8>>);

impl Replay for Collected {
    fn piece(&mut self, piece: Piece) -> Result<(), String> {
        if let Piece::Commands(block) = piece {
            let words = block.commands().map(|argv| argv.join(&b' '));
            self.0.extend(words.filter(|words| !words.starts_with(b"select") && !words.starts_with(b"SELECT")));
        }
        Ok(())
    }
}

fn options() -> OpenOptions {
    OpenOptions {
        directory: "/data".into(),
        segment_bytes_max: 700,
        unsynced_bytes_max: 1 << 20,
        ..OpenOptions::default()
    }
}

fn world(disk: &SimDisk) -> World {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000)));
    World { disk: Arc::new(disk.clone()), clock, entropy: Box::new(SeededEntropy::new(1)) }
}

/// Two samples: closed in order, and left open.
fn sample(closed: bool) -> &'static Sample {
    static SAMPLES: [OnceLock<Sample>; 2] = [OnceLock::new(), OnceLock::new()];
    SAMPLES[usize::from(closed)].get_or_init(|| {
        let disk = SimDisk::new();
        let opened = open(world(&disk), &options(), &mut Collected::default()).expect("a fresh directory");
        let mut log = opened.log.expect("append only");
        let mut commands = Vec::new();
        for number in 0..12 {
            let words = format!("SET key:{number} value");
            let argv: Vec<&str> = words.split(' ').collect();
            log.buffer.append(
                number % 2,
                Request::from_args(&argv).resp_bytes().expect("in one piece").into(),
                1_700_000_000_000,
            );
            commands.push(words.into_bytes());
            if number == 11 && closed {
                log.buffer.close();
            }
            loop {
                match log.writer.step() {
                    Step::Sync(job) => log.writer.finish_sync(job.run()),
                    Step::Worked => {}
                    Step::Idle(_) | Step::Closed => break,
                }
            }
        }
        drop(opened.lock);
        let disk = disk.fork();
        let files = disk.contents().into_keys().filter(|path| !path.ends_with("graven.lock")).collect();
        Sample { disk, files, commands }
    })
}

/// Changes a file by five bytes of input: which file, where (two bytes), how, with what.
fn damage(disk: &SimDisk, files: &[std::path::PathBuf], change: &[u8]) {
    let path = &files[usize::from(change[0]) % files.len()];
    let len = disk.contents().get(path).map_or(0, Vec::len) as u64;
    let at = u64::from(u16::from_le_bytes([change[1], change[2]])) % (len + 1);
    let other = disk.contents().get(&files[usize::from(change[4]) % files.len()]).cloned().unwrap_or_default();
    // A damage that cannot be done (a byte behind the end) is none.
    let _ = match change[3] % 5 {
        0 => disk.flip(path, at, change[4] % 8),
        1 => disk.truncate(path, at),
        2 => disk.overwrite(path, at, &[change[4]; 16]),
        3 => disk.overwrite(path, at, &other[..other.len().min(64)]),
        _ => disk.truncate(path, 0).and_then(|()| disk.overwrite(path, 0, &other)),
    };
}

/// A damaged directory is refused, or loads as a prefix; never anything else, and never a prefix that is shorter than
/// what a clean close promised.
pub fn recovery(data: &[u8]) {
    let Some((first, changes)) = data.split_first() else { return };
    let closed = first % 2 == 0;
    let sample = sample(closed);
    let disk = sample.disk.fork();
    let mut collected = Collected::default();
    for change in changes.chunks_exact(5).take(6) {
        damage(&disk, &sample.files, change);
    }
    let manifest_is_ours = disk.contents() == sample.disk.contents()
        || sample
            .files
            .iter()
            .filter(|path| path.to_string_lossy().ends_with(".manifest"))
            .all(|path| disk.contents().get(path) == sample.disk.contents().get(path));
    if open(world(&disk), &options(), &mut collected).is_err() {
        return;
    }
    assert!(sample.commands.starts_with(&collected.0), "not a prefix: {:?}", collected.0);
    if closed && manifest_is_ours {
        assert_eq!(collected.0.len(), sample.commands.len(), "a clean close lost commands");
    }
}

/// A damaged segment gives its own frames up to the damage, and never a byte that it did not hold.
pub fn segment(data: &[u8]) {
    let sample = sample(true);
    let path = sample.files.iter().find(|path| path.to_string_lossy().ends_with(".1.incr.aof")).expect("a segment");
    let disk = sample.disk.fork();
    let payloads = |disk: &SimDisk| {
        let file = disk.open(path, OpenMode::Read).expect("there");
        let mut payloads: Vec<Vec<u8>> = Vec::new();
        if let OpenedSegment::Segment(mut reader) = SegmentReader::open(&*file).expect("readable") {
            while let Item::Frame { payload, .. } = reader.next().expect("readable") {
                payloads.push(payload.to_vec());
            }
            reader.later_mark().expect("readable");
        }
        payloads
    };
    let whole = payloads(&disk);
    for change in data.chunks_exact(5).take(6) {
        damage(&disk, std::slice::from_ref(path), change);
    }
    assert!(whole.starts_with(&payloads(&disk)));
}

/// Manifests: what is read says the same when it is written again.
pub fn manifest(data: &[u8]) {
    if let Ok(manifest) = Manifest::decode(data) {
        assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
    }
}

/// The archive: a manifest that is believed is written as it was read, and a file that is believed reads whole.
pub fn archive(data: &[u8]) {
    if let Ok(contents) = Contents::decode(data) {
        assert_eq!(contents.encode(), data);
    }
    let disk = SimDisk::new();
    let file = disk.open(Path::new("/1.x.zst"), OpenMode::CreateNew).expect("a file");
    file.write_all_at(data, 0).expect("written");
    if let Ok(unpacked) = Unpacked::open(file)
        && unpacked.verify().is_ok()
    {
        let mut content = vec![0; unpacked.packed.raw as usize];
        unpacked.read_exact_at(&mut content, 0).expect("what verifies reads");
    }
}

struct Ignored;

impl RdbSink for Ignored {
    fn entry(&mut self, _: RdbEntry<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn library(&mut self, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }
}

/// RDB files: an error or a file, in bounded memory. One with an index holds the same keys block by block.
pub fn rdb(data: &[u8]) {
    let limits = Limits::default();
    let loaded = rdb::read_bytes(data, &limits, &mut Ignored);
    let disk = SimDisk::new();
    let file = disk.open(Path::new("/dump.rdb"), OpenMode::CreateNew).expect("a file");
    file.write_all_at(data, 0).expect("written");
    let Some(index) = rdb::Index::read(&*file).expect("readable") else { return };
    let damaged = rdb::damaged_blocks(&*file, &index).expect("readable");
    let head = rdb::read_head(&*file, &index, &limits, &mut Ignored);
    let blocks: Vec<_> =
        index.blocks.iter().map(|block| rdb::read_block(&*file, block, &limits, &mut Ignored)).collect();
    if let Ok(loaded) = loaded {
        let keys: u64 = blocks.iter().map(|read| read.as_ref().map_or(0, |(keys, _)| *keys)).sum();
        let whole = damaged.is_empty() && head.is_ok() && blocks.iter().all(Result::is_ok);
        assert!(!whole || keys == loaded.keys, "{keys} keys in blocks, {} in the file", loaded.keys);
    }
}

/// RDB objects: an error or a sound value.
pub fn payload(data: &[u8]) {
    if let Ok(value) = payload::decode(data, &Limits::default()) {
        assert!(matches!(value, Value::Str(_)) || !value.is_empty(), "an empty collection");
        // What was taken is written so that it is taken again.
        let again = payload::restore(&payload::dump(value.as_ref(), true), &Limits::default(), false).expect("our own");
        assert_eq!((again.kind(), again.len()), (value.kind(), value.len()));
    }
}

/// A packed form as the only string of values of these forms.
fn packed(forms: &[u8], before: &[u8], data: &[u8], behind: &[u8]) {
    for form in forms {
        let mut object = vec![*form];
        object.extend_from_slice(before);
        payload::write_length(data.len() as u64, &mut object).expect("memory");
        object.extend_from_slice(data);
        object.extend_from_slice(behind);
        payload(&object);
    }
}

/// Listpacks, as hash, sorted set, set and node of a list.
pub fn listpack(data: &[u8]) {
    use payload::object::{HASH_LISTPACK, LIST_QUICKLIST_2, SET_LISTPACK, ZSET_LISTPACK};
    packed(&[HASH_LISTPACK, ZSET_LISTPACK, SET_LISTPACK], &[], data, &[]);
    packed(&[LIST_QUICKLIST_2], &[1, 2], data, &[]);
}

/// Ziplists, as list, hash, sorted set and node of a list.
pub fn ziplist(data: &[u8]) {
    use payload::object::{HASH_ZIPLIST, LIST_QUICKLIST, LIST_ZIPLIST, ZSET_ZIPLIST};
    packed(&[LIST_ZIPLIST, HASH_ZIPLIST, ZSET_ZIPLIST], &[], data, &[]);
    packed(&[LIST_QUICKLIST], &[1], data, &[]);
}

/// Sets of integers.
pub fn intset(data: &[u8]) {
    packed(&[payload::object::SET_INTSET], &[], data, &[]);
}

/// The oldest packed hashes.
pub fn zipmap(data: &[u8]) {
    packed(&[payload::object::HASH_ZIPMAP], &[], data, &[]);
}

/// Nodes of streams: the first byte says how many entries the stream is said to have.
pub fn stream_node(data: &[u8]) {
    let Some((entries, node)) = data.split_first() else { return };
    let mut before = vec![1, 16];
    before.extend_from_slice(&[0; 16]);
    // Length, a last ID that nothing exceeds, no groups.
    let behind = [&[entries & 0x3f][..], &[0x81], &[0xff; 8], &[0x81], &[0xff; 8], &[0]].concat();
    packed(&[payload::object::STREAM_LISTPACKS], &before, node, &behind);
}

#[cfg(not(fuzzing))]
mod corpora {
    /// Replays every committed input of a target.
    #[expect(clippy::disallowed_methods, reason = "reads the corpus, not data")]
    fn replay(target: &str, run: fn(&[u8])) {
        let folder = super::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let inputs: Vec<_> = std::fs::read_dir(&folder).expect("a corpus").flatten().collect();
        assert!(!inputs.is_empty(), "no corpus for {target}");
        for input in inputs {
            run(&std::fs::read(input.path()).expect("an input"));
        }
    }

    #[test]
    fn requests() {
        replay("request", super::request);
    }

    #[test]
    fn frames() {
        replay("frame", super::frame);
    }

    #[test]
    fn segments() {
        replay("segment", super::segment);
    }

    #[test]
    fn manifests() {
        replay("manifest", super::manifest);
    }

    #[test]
    fn archives() {
        replay("archive", super::archive);
    }

    #[test]
    fn rdb_files() {
        replay("rdb", super::rdb);
    }

    #[test]
    fn payloads() {
        replay("payload", super::payload);
    }

    #[test]
    fn packed_forms() {
        replay("listpack", super::listpack);
        replay("ziplist", super::ziplist);
        replay("intset", super::intset);
        replay("zipmap", super::zipmap);
        replay("stream_node", super::stream_node);
    }

    #[test]
    fn recoveries() {
        replay("recovery", super::recovery);
    }
}
