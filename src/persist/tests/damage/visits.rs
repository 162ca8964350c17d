//! Visits by stock servers: what they appended, wherever we had ended.

use super::*;

const SEAM: &[&str] = &["SELECT", "0"];

fn by_stock() -> Vec<u8> {
    resp(&[SEAM, &["SET", "stock", "1"], &["MULTI"], &["INCR", "n"], &["EXEC"]])
}

fn with_stock(mut state: State) -> State {
    state.insert((0, "stock".into()), "1".into());
    let n = state.get(&(0, "n".to_owned())).map_or(0, |n| n.parse::<i64>().expect("a number"));
    state.insert((0, "n".into()), (n + 1).to_string());
    state
}

#[test]
fn what_stock_appended_is_loaded_however_we_ended() {
    for end in [End::Closed, End::KilledIdle, End::KilledBusy] {
        for head in [&b""[..], b"#TS:1700000000\r\n"] {
            let (disk, states) = written(18, end);
            append(&disk, &last_segment(&disk), &[head, &by_stock()].concat());
            let (_, report) = load(&disk.fork()).expect("opens");
            assert!(report.visited.is_some() && !report.clean);
            lives_on(&disk, &with_stock(states.last().expect("some").clone()));
        }
    }
}

#[test]
fn what_stock_appended_behind_a_frame_that_it_cut_is_loaded() {
    // Two commands of one frame; stock keeps the first and drops what a kill left of the second.
    let disk = SimDisk::new();
    let mut db = open_db(&disk, &config(), 1).expect("opens");
    let mut history = History::from(db.store.state.clone());
    db.submit(0, &[word_list(&["SET", "a", "1"])], &mut history);
    db.submit(0, &[word_list(&["SET", "b", "2"])], &mut history);
    db.pump_for(&mut history, Duration::ZERO);
    drop(db);
    let disk = disk.crash(CrashMode::Kill, 0);
    let path = segment(1);
    assert_eq!(frames(&disk, &path).len(), 1, "one frame for both");
    let second = resp(&[&["SET", "b", "2"]]).len() as u64;
    disk.truncate(&path, len(&disk, &path) - second).expect("truncates");
    append(&disk, &path, &by_stock());
    lives_on(&disk, &with_stock(history.states[1].1.clone()));
}

/// A process killed inside the write of a transaction; stock cuts inside it, and swallows what it writes behind at its
/// own next start. Here it counts, and afterwards stock can load the file again.
#[test]
fn what_stock_appended_behind_half_a_transaction_is_loaded_and_mended() {
    let (disk, states) = written(18, End::KilledBusy);
    let path = last_segment(&disk);
    let last = *frames(&disk, &path).last().expect("has frames");
    let content = read_file(&disk, &path).expect("is there");
    let exec = content.len() as u64 - resp(&[&["INCR", "n"], &["exec"]]).len() as u64;
    disk.truncate(&path, exec).expect("truncates");
    append(&disk, &path, &by_stock());
    let whole = len(&disk, &path);
    lives_on(&disk, &with_stock(states[states.len() - 2].clone()));
    let mended = read_file(&disk, &path).expect("is there");
    assert!(memchr::memmem::find(&mended[last as usize..], b"multi").is_none(), "the open MULTI is gone");
    assert!((mended.len() as u64) < whole);
    assert!(disk.list(Path::new("/data/appendonlydir")).expect("lists").iter().any(|name| name.ends_with(".torn")));
}

#[test]
fn a_crash_while_a_visited_segment_is_mended_loses_nothing() {
    let (disk, states) = written(18, End::KilledBusy);
    let path = last_segment(&disk);
    let last = *frames(&disk, &path).last().expect("has frames");
    disk.truncate(&path, last + 40).expect("truncates");
    append(&disk, &path, &by_stock());
    let expected = with_stock(states[states.len() - 2].clone());
    let modes = [(CrashMode::Kill, 0), (CrashMode::ALL_UNSYNCED_LOST, 0), (CrashMode::ANY_POWER_CUT, 5)];
    disk.for_each_crash(
        &modes,
        |disk| drop(load(disk)),
        |(), crashed, point| {
            let state = load(&crashed).unwrap_or_else(|error| panic!("{point}: {error}")).0;
            assert_eq!(state, expected, "{point}");
        },
    );
}

#[test]
fn what_stock_appended_behind_a_half_header_is_loaded() {
    for bytes in [1, 30, FRAME_HEADER_BYTES as u64 - 1] {
        let (disk, states) = written(18, End::KilledBusy);
        let path = last_segment(&disk);
        let last = *frames(&disk, &path).last().expect("has frames");
        disk.truncate(&path, last + bytes).expect("truncates");
        append(&disk, &path, &by_stock());
        lives_on(&disk, &with_stock(states[states.len() - 2].clone()));
    }
}

#[test]
fn the_torn_end_of_stocks_own_writes_is_dropped_by_its_rules() {
    let (disk, states) = written(18, End::Closed);
    let path = last_segment(&disk);
    append(&disk, &path, &by_stock());
    let whole = len(&disk, &path);
    append(&disk, &path, &resp(&[&["MULTI"], &["SET", "half", "1"]]));
    append(&disk, &path, b"*3\r\n$3\r\nSE");
    let expected = with_stock(states.last().expect("some").clone());
    lives_on(&disk, &expected);
    assert_eq!(len(&disk, &path), whole);
}

#[test]
fn damage_that_only_looks_like_a_visit_is_refused() {
    // A client's value holds what stock would write; the frame around it is broken below a mark.
    let disk = SimDisk::new();
    let mut db = open_db(&disk, &config(), 1).expect("opens");
    let mut history = History::from(db.store.state.clone());
    let text = String::from_utf8(by_stock()).expect("is text");
    db.submit(0, &[word_list(&["SET", "a", &text])], &mut history);
    db.pump_for(&mut history, IDLE);
    drop(db);
    let disk = disk.crash(CrashMode::Kill, 0);
    let frame = frames(&disk, &segment(1))[0];
    disk.flip(&segment(1), frame + FRAME_HEADER_BYTES as u64 + 30, 0).expect("flips");
    assert_eq!(refused(&disk).0, DamageKind::BadPayload);
}
