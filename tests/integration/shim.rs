//! The fault shim does to a plain program what its rules say, and nothing else.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::support::shim::{Fault, Op, Rule, Shim};

/// Runs Python statements under the shim; `f` is an open file `<dir>/data.aof`, `attempt(call)` prints its result or errno.
fn python(shim: &Shim, dir: &Path, statements: &str) -> Command {
    let prelude = "import os, sys, time\n\
        def attempt(call, *args):\n\
        \x20   try: print(call(*args), flush=True)\n\
        \x20   except OSError as e: print('errno', e.errno, flush=True)\n\
        f = os.open('data.aof', os.O_CREAT | os.O_RDWR)\n";
    let mut command = Command::new("python3");
    command.args(["-c", &format!("{prelude}{statements}")]).current_dir(dir).stdout(Stdio::piped());
    shim.preload(&mut command);
    command
}

fn output(rules: &[Rule], statements: &str) -> Output {
    let (shim, dir) = (Shim::new(), tempfile::tempdir().unwrap());
    shim.set(rules);
    let output = python(&shim, dir.path(), statements).output().unwrap();
    assert!(shim.loaded() >= 1, "none has loaded it");
    output
}

#[track_caller]
fn check(rules: &[Rule], statements: &str, printed: &str) {
    let output = output(rules, statements);
    let lines = String::from_utf8_lossy(&output.stdout).lines().collect::<Vec<_>>().join(", ");
    assert_eq!(lines, printed);
    assert!(output.status.success());
}

#[test]
fn without_rules_every_call_passes() {
    check(
        &[],
        "attempt(os.write, f, b'abc'); attempt(os.pwrite, f, b'x', 1); attempt(os.writev, f, [b'd', b'ef'])\n\
         attempt(os.pwritev, f, [b'y', b'z'], 4); attempt(os.fsync, f); attempt(os.fdatasync, f)\n\
         attempt(os.ftruncate, f, 7); attempt(os.pread, f, 9, 0)\n\
         attempt(os.rename, 'data.aof', 'b'); attempt(os.unlink, 'b')",
        "3, 1, 3, 2, None, None, None, b'axcdyz\\x00', None, None",
    );
}

#[test]
fn each_kind_of_call_fails_as_told() {
    let attempts = [
        (Op::Write, "attempt(os.write, f, b'abc')"),
        (Op::Write, "attempt(os.pwrite, f, b'abc', 0)"),
        (Op::Write, "attempt(os.writev, f, [b'abc'])"),
        (Op::Write, "attempt(os.pwritev, f, [b'abc'], 0)"),
        (Op::Sync, "attempt(os.fsync, f)"),
        (Op::Sync, "attempt(os.fdatasync, f)"),
        (Op::Truncate, "attempt(os.ftruncate, f, 5)"),
        (Op::Rename, "attempt(os.rename, 'data.aof', 'new.aof')"),
        (Op::Unlink, "attempt(os.unlink, 'data.aof')"),
        (Op::Open, "attempt(os.open, './data.aof', os.O_RDONLY)"),
    ];
    for (fault, number) in [(Fault::Eio, libc::EIO), (Fault::Enospc, libc::ENOSPC), (Fault::Errno(24), 24)] {
        let statements: Vec<_> = attempts.iter().map(|(_, statement)| *statement).collect();
        // The first open is the one of the prelude.
        let rules = attempts.map(|(op, _)| match op {
            Op::Open => Rule::new(op, fault).on(".aof").starting_at(1),
            _ => Rule::new(op, fault).on(".aof"),
        });
        check(&rules, &statements.join("\n"), &vec![format!("errno {number}"); attempts.len()].join(", "));
    }
}

#[test]
fn rules_keep_to_their_path_and_their_turn() {
    check(
        &[Rule::new(Op::Write, Fault::Eio).on("data").nth(1), Rule::new(Op::Sync, Fault::Eio).on("other")],
        "for _ in range(3): attempt(os.write, f, b'x')\nattempt(os.fsync, f)",
        "1, errno 5, 1, None",
    );
    check(
        &[Rule::new(Op::Write, Fault::Enospc).on("data").starting_at(2)],
        "for _ in range(4): attempt(os.write, f, b'x')",
        "1, 1, errno 28, errno 28",
    );
}

#[test]
fn standard_output_is_left_alone_by_rules_for_any_file() {
    check(&[Rule::new(Op::Write, Fault::Eio)], "attempt(os.write, f, b'x')", "errno 5");
}

#[test]
fn short_writes_report_what_they_wrote() {
    check(
        &[Rule::new(Op::Write, Fault::Short(4)).on("data")],
        "attempt(os.write, f, b'abcdef'); attempt(os.writev, f, [b'gh', b'ijk', b'l'])\n\
         attempt(os.pread, f, 99, 0)",
        "4, 4, b'abcdghij'",
    );
}

#[test]
fn a_slow_disk_is_slow() {
    let timed = "t = time.monotonic(); attempt(os.fdatasync, f); print(time.monotonic() - t >= 0.2)";
    check(&[Rule::new(Op::Sync, Fault::DelayMillis(200)).on("data")], timed, "None, True");
}

#[test]
fn tests_in_python_steer_it_too() {
    let statements = "import os, subprocess, sys\n\
        from control import Shim\n\
        shim = Shim(sys.argv[1])\n\
        shim.set('write eio 9 0 none', 'sync 28 1 1 data.aof')\n\
        program = 'import os; f = os.open(\"data.aof\", os.O_CREAT | os.O_RDWR); os.fsync(f); os.fsync(f)'\n\
        command = [sys.executable, '-c', program]\n\
        done = subprocess.run(command, cwd=sys.argv[1], env=os.environ | shim.environment(), stderr=subprocess.PIPE)\n\
        print(b'Errno 28' in done.stderr, shim.loaded() > 0, shim.matched(1), shim.struck(1), shim.struck(0))";
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("python3");
    command.args(["-c", statements, dir.path().to_str().unwrap()]);
    command.env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shim")).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap());
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "True True 2 1 0\n", "{errors}");
}

#[test]
fn a_process_dies_at_the_very_call() {
    let (shim, dir) = (Shim::new(), tempfile::tempdir().unwrap());
    shim.set(&[Rule::new(Op::Write, Fault::Kill { after_bytes: 2 }).on("data").nth(1)]);
    let status = python(&shim, dir.path(), "os.write(f, b'one'); os.write(f, b'two'); os.write(f, b'three')").status();
    assert_eq!(status.unwrap().signal(), Some(9));
    assert_eq!(
        graven::env::disk::read_file(&graven::env::disk::OsDisk, &dir.path().join("data.aof")).unwrap(),
        b"onetw"
    );
}

/// Waits until a rule has struck; the process that should do it must be alive.
fn await_struck(shim: &Shim, rule: usize, process: &mut Child) {
    while shim.struck(rule) == 0 {
        assert!(process.try_wait().unwrap().is_none(), "ended before the call");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
fn a_held_call_goes_on_with_the_next_rules() {
    for (next, printed) in [(vec![], "None\n"), (vec![Rule::new(Op::Sync, Fault::Eio).on("data")], "errno 5\n")] {
        let (shim, dir) = (Shim::new(), tempfile::tempdir().unwrap());
        shim.set(&[Rule::new(Op::Sync, Fault::Hold).on("data")]);
        let mut process = python(&shim, dir.path(), "attempt(os.fsync, f)").spawn().unwrap();
        await_struck(&shim, 0, &mut process);
        shim.set(&next);
        assert_eq!(String::from_utf8_lossy(&process.wait_with_output().unwrap().stdout), printed);
    }
}

#[test]
fn rules_change_under_a_running_process() {
    let (shim, dir) = (Shim::new(), tempfile::tempdir().unwrap());
    let statements = "while True:\n try: os.write(f, b'x')\n except OSError: break\n\
                      while True:\n try: os.write(f, b'y'); break\n except OSError: pass\n\
                      print('resumed')";
    let mut process = python(&shim, dir.path(), statements).spawn().unwrap();
    shim.set(&[Rule::new(Op::Write, Fault::Enospc).on("data")]);
    await_struck(&shim, 0, &mut process);
    shim.set(&[]);
    assert_eq!(String::from_utf8_lossy(&process.wait_with_output().unwrap().stdout), "resumed\n");
}

#[test]
fn the_real_disk_is_seen_by_the_shim() {
    // The library's own calls must go through libc; this very test binary is the process under the shim.
    const UNDER_SHIM: &str = "GRAVEN_TEST_UNDER_SHIM";
    if let Some(dir) = std::env::var_os(UNDER_SHIM) {
        use graven::env::{Disk, OpenMode, disk::OsDisk};
        let path = &Path::new(&dir).join("segment.aof");
        let file = OsDisk.open(path, OpenMode::CreateNew).unwrap();
        assert_eq!(file.write_at(b"abcdef", 0).unwrap(), 2, "short");
        let failed = [file.sync_data().err(), file.sync_all().err(), file.set_len(0).err()];
        let more = [OsDisk.rename(path, &path.with_extension("new.aof")).err(), OsDisk.remove(path).err()];
        let last = [OsDisk.open(path, OpenMode::Read).err(), OsDisk.sync_dir(Path::new(&dir)).err()];
        for error in failed.into_iter().chain(more).chain(last) {
            assert_eq!(error.and_then(|e| e.raw_os_error()), Some(libc::EIO));
        }
        return;
    }
    let (shim, dir) = (Shim::new(), tempfile::tempdir().unwrap());
    let name = dir.path().to_str().unwrap();
    shim.set(&[
        Rule::new(Op::Write, Fault::Short(2)).on("segment.aof"),
        Rule::new(Op::Sync, Fault::Eio).on(name),
        Rule::new(Op::Truncate, Fault::Eio).on("segment.aof"),
        Rule::new(Op::Rename, Fault::Eio).on("segment.new.aof"),
        Rule::new(Op::Unlink, Fault::Eio).on("segment.aof"),
        Rule::new(Op::Open, Fault::Eio).on("segment.aof").starting_at(1),
    ]);
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "shim::the_real_disk_is_seen_by_the_shim"]).env(UNDER_SHIM, dir.path());
    let output = shim.preload(&mut again).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let struck: Vec<_> = (0..6).map(|rule| shim.struck(rule)).collect();
    assert_eq!(struck, [1, 3, 1, 1, 1, 1]);
}
