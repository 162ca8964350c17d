use std::path::Path;

use super::file::parse_text;
use super::{Config, ConfigError, DIRECTIVES, Effect, Invocation, Profile, Settings, Sources, parse_argv};

fn load(text: &str) -> Result<Config, ConfigError> {
    let mut lines = Vec::new();
    parse_text(text.as_bytes(), "test", 0, 0, &mut lines)?;
    let mut config = Config::new(Profile::Stock);
    config.load(&lines)?;
    Ok(config)
}

fn get(config: &Config, name: &str) -> String {
    let found = config.get(&[name.as_bytes()]);
    found.iter().map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
}

/// What a file sets, and what CONFIG GET then shows.
fn check(text: &str, shown: &[(&str, &str)]) {
    let config = load(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    for (name, expected) in shown {
        assert_eq!(get(&config, name), *expected, "{name} after {text:?}");
    }
}

fn check_error(text: &str, line: usize, reason: &str) {
    match load(text) {
        Err(ConfigError::Line { line: at, reason: found }) => {
            assert_eq!((at.number, found.as_str()), (line, reason), "{text:?}");
        }
        other => panic!("{text:?}: {other:?}"),
    }
}

#[test]
fn files() {
    check("", &[("port", "6379"), ("bind", "* -::*"), ("save", "3600 1 300 100 60 10000"), ("maxmemory", "0")]);
    check("# c\n\n  PORT 7000 \r\n", &[("port", "7000")]);
    check("port 1\nport 2", &[("port", "2")]);
    check("bind 127.0.0.1 -::1", &[("bind", "127.0.0.1 -::1")]);
    check("save 900 1\nsave 300 10", &[("save", "900 1 300 10")]);
    check("save \"\"", &[("save", "")]);
    check("save 900 1\nsave ''\nsave 5 6", &[("save", "5 6")]);
    check("save 900 1 300 10", &[("save", "900 1 300 10")]);
    check("requirepass \"a b\\x41\"", &[("requirepass", "a bA")]);
    check("slave-read-only no", &[("replica-read-only", "no"), ("slave-read-only", "no")]);
    check("hash-max-ziplist-entries 7", &[("hash-max-listpack-entries", "7")]);
    check("lua-time-limit 9", &[("busy-reply-threshold", "9")]);
    check("primaryauth x", &[("masterauth", "x")]);
    check("appendfsync ALWAYS", &[("appendfsync", "always")]);
    check("proto-max-bulk-len 2MB", &[("proto-max-bulk-len", "2097152")]);
    check("repl-backlog-size 1", &[("repl-backlog-size", "16384")]);
    check("hz 9999", &[("hz", "500")]);
    check("unixsocketperm 700", &[("unixsocketperm", "700")]);
    check("notify-keyspace-events KEA", &[("notify-keyspace-events", "AKE")]);
    check("notify-keyspace-events Ex$", &[("notify-keyspace-events", "$xE")]);
    check("list-max-ziplist-value 64\nlua-replicate-commands yes", &[]);
    check("latency-tracking-info-percentiles 50 99.9", &[("latency-tracking-info-percentiles", "50 99.9")]);
    check(
        "client-output-buffer-limit pubsub 1mb 2 3\nclient-output-buffer-limit replica 4 5 6",
        &[("client-output-buffer-limit", "normal 0 0 0 slave 4 5 6 pubsub 1048576 2 3")],
    );
    check("shutdown-on-sigterm nosave force", &[("shutdown-on-sigterm", "nosave force")]);
    check("maxmemory 100mb\nmaxmemory 0", &[("maxmemory", "0")]);
}

#[test]
fn errors_of_files() {
    check_error("foo bar", 1, "Bad directive or wrong number of arguments");
    check_error("\n# c\nport abc\n", 3, "argument couldn't be parsed into an integer");
    check_error("port", 1, "wrong number of arguments");
    check_error("port 1 2", 1, "wrong number of arguments");
    check_error("port 99999", 1, "argument must be between 0 and 65535 inclusive");
    check_error("appendonly \"yes", 1, "Unbalanced quotes in configuration line");
    check_error("appendonly maybe", 1, "argument must be 'yes' or 'no'");
    check_error("databases 0", 1, "argument must be between 1 and 2147483647 inclusive");
    check_error("save 1", 1, "Invalid save parameters");
    check_error("dir /nosuch", 1, "No such file or directory");
    check_error("appendfilename a/b", 1, "appendfilename can't be a path, just a filename");
    check_error("unixsocketperm 999", 1, "argument couldn't be parsed as an octal number");
    check_error("maxmemory abc", 1, "argument must be a memory value");
    check_error("user", 1, "Bad directive or wrong number of arguments");
    check_error("appendfsync x", 1, "argument(s) must be one of the following: everysec, always, no");
}

#[test]
fn what_would_be_unsafe_to_ignore_stops_the_start_by_name() {
    for text in [
        "replicaof 1.2.3.4 6379",
        "slaveof 1.2.3.4 6379",
        "tls-port 6380",
        "cluster-enabled yes",
        "loadmodule /x.so",
        "min-replicas-to-write 1",
        "db 1 appendfsync no",
    ] {
        let name = text.split(' ').next().unwrap_or_default();
        match load(&format!("port 1\n{text}\n")) {
            Err(ConfigError::Line { line, reason }) => {
                assert_eq!(line.number, 2);
                assert!(reason.contains("is not supported"), "{reason}");
                assert!(String::from_utf8_lossy(&line.text).starts_with(name));
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    check("replicaof no one\ntls-port 0\ncluster-enabled no\n", &[]);
}

#[test]
fn the_error_names_file_line_and_text() {
    let error = load("\nport abc\n").expect_err("not a number").to_string();
    let expected = "\n*** FATAL CONFIG FILE ERROR (Redis 7.2.4) ***\nReading the configuration file, at line 2 (test)\n\
                    >>> 'port abc'\nargument couldn't be parsed into an integer";
    assert_eq!(error, expected);
}

#[test]
fn config_set() {
    let config = load("").unwrap_or_else(|error| panic!("{error}"));
    let set = |pairs: &[(&str, &str)]| {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        config.with(&pairs)
    };
    let (next, changed) = set(&[("hz", "20"), ("SLAVE-READ-ONLY", "no"), ("timeout", "0")]).expect("three good pairs");
    assert_eq!(changed, ["hz", "replica-read-only"]);
    assert_eq!((get(&next, "hz"), get(&config, "hz")), ("20".into(), "10".into()));
    let (next, _) = set(&[("client-output-buffer-limit", "pubsub 1 2 3 normal 4 5 6")]).expect("two classes");
    assert_eq!(get(&next, "client-output-buffer-limit"), "normal 4 5 6 slave 268435456 67108864 60 pubsub 1 2 3");
    let (next, _) = set(&[("save", "1 2")]).expect("save points are replaced");
    assert_eq!(get(&next, "save"), "1 2");
    let error = |name: &str, reason: &str| failed(name, reason);
    fn failed(name: &str, reason: &str) -> String {
        format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
    }
    for (pairs, expected) in [
        (&[("nosuch", "1")][..], "ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'".to_owned()),
        (&[("hz", "1"), ("databases", "5")], error("databases", "can't set immutable config")),
        (&[("dir", "/")], error("dir", "can't set protected config")),
        (&[("hz", "1"), ("hz", "2")], error("hz", "duplicate parameter")),
        (&[("timeout", "5"), ("hz", "abc")], error("hz", "argument couldn't be parsed into an integer")),
        (
            &[("maxmemory-clients", "500%")],
            error("maxmemory-clients", "percentage argument must be less or equal to 100"),
        ),
        (&[("save", "  ")], error("save", "Invalid save parameters")),
        (&[("oom-score-adj-values", "1 2")], error("oom-score-adj-values", "wrong number of arguments")),
        (
            &[("proc-title-template", "{foo}")],
            error("proc-title-template", "template format is invalid or contains unknown variables"),
        ),
        (
            &[("notify-keyspace-events", "KEQ")],
            error("notify-keyspace-events", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."),
        ),
        (
            &[("proto-max-bulk-len", "1")],
            error("proto-max-bulk-len", "argument must be between 1048576 and 9223372036854775807 inclusive"),
        ),
    ] {
        assert_eq!(set(pairs).err(), Some(expected));
    }
    assert!(set(&[("cluster-enabled", "yes")]).is_err());
}

#[test]
fn config_get() {
    let config = load("").unwrap_or_else(|error| panic!("{error}"));
    let names = |patterns: &[&str]| {
        let patterns: Vec<&[u8]> = patterns.iter().map(|pattern| pattern.as_bytes()).collect();
        let found = config.get(&patterns);
        found.into_iter().map(|(name, _)| String::from_utf8_lossy(&name).into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&["HZ", "hz", "nosuch"]), ["HZ"]);
    assert_eq!(names(&["slave-re*"]), ["slave-read-only"]);
    assert_eq!(names(&["[h]z", "*-hz"]), ["hz", "dynamic-hz"]);
}

#[test]
fn both_profiles_parse_and_differ_as_declared() {
    let own = Config::new(Profile::Own);
    assert_eq!((get(&own, "appendonly"), get(&own, "appendfsync")), ("yes".into(), "always".into()));
    assert_eq!((get(&own, "bind"), get(&own, "save")), ("127.0.0.1".into(), String::new()));
    let settings = Settings::resolve(&own, Path::new("/srv"));
    assert_eq!(settings.dir, Path::new("/srv/graven-data"));
    assert_eq!(Settings::resolve(&Config::new(Profile::Stock), Path::new("/srv")).append_dirname, "appendonlydir");
}

#[test]
fn names_are_declared_once() {
    let mut names: Vec<&str> = DIRECTIVES.iter().flat_map(|d| [Some(d.name), d.alias]).flatten().collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}

/// Every name and value that redis-server 7.0.15 shows (tests/fixtures/README.md says how it was asked).
#[test]
fn defaults_are_stocks() {
    const SHOWN: &str = include_str!("../../../tests/fixtures/stock-7.0/config-get.txt");
    let config = load("").unwrap_or_else(|error| panic!("{error}"));
    let ours: std::collections::BTreeMap<_, _> = config.get(&[b"*"]).into_iter().collect();
    for (name, value) in SHOWN.lines().filter_map(|line| line.split_once('=')) {
        let found = ours.get(name.as_bytes()).map(|value| String::from_utf8_lossy(value).into_owned());
        assert_eq!(found.as_deref(), Some(value), "{name}");
    }
}

#[test]
fn every_directive_of_stocks_own_file_loads() {
    const DIRECTIVE_LINES: &str = include_str!("../../../tests/fixtures/stock-7.0/redis-conf-directives.txt");
    for line in DIRECTIVE_LINES.lines() {
        let name = line.split(' ').next().unwrap_or_default();
        match load(line) {
            Ok(_) => {}
            Err(ConfigError::Line { reason, .. }) => {
                let stops = DIRECTIVES.iter().any(|d| d.effect == Effect::StopsStart && d.name == name);
                assert!(stops || ["loadmodule", "user"].contains(&name), "{line}: {reason}");
                assert!(reason.contains("not supported"), "{line}: {reason}");
            }
            Err(error) => panic!("{line}: {error}"),
        }
    }
    assert!(DIRECTIVE_LINES.lines().count() > 150);
}

#[test]
fn names_that_tools_write_are_known() {
    const NAMES: &str = include_str!("../../../tests/fixtures/config-names.txt");
    let config = Config::new(Profile::Stock);
    for name in NAMES.split_whitespace() {
        assert_eq!(config.get(&[name.as_bytes()]).len(), 1, "{name}");
    }
}

#[test]
fn command_lines() {
    let check = |argv: &[&str], file: Option<&str>, stdin: bool, options: &str, stock: bool| {
        let argv: Vec<Vec<u8>> = argv.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        let sources =
            Sources { file: file.map(Into::into), standard_input: stdin, options: options.as_bytes().to_vec() };
        assert_eq!(parse_argv(&argv, Path::new("/w")), Invocation::Serve { sources, stock }, "{argv:?}");
    };
    check(&["graven"], None, false, "", false);
    check(&["graven", "server"], None, false, "", false);
    check(&["/usr/bin/redis-server"], None, false, "", true);
    check(&["valkey-server", "server"], Some("/w/server"), false, "", true);
    check(&["graven", "server", "a.conf"], Some("/w/a.conf"), false, "", true);
    check(&["graven", "/a.conf", "--port", "1"], Some("/a.conf"), false, "port \"1\" ", true);
    check(&["graven", "-"], None, true, "", true);
    check(&["graven", "--port", "1", "-"], None, true, "port \"1\" ", true);
    check(&["graven", "--maxmemory 700mb", "--port", "1"], None, false, "maxmemory 700mb \nport \"1\" ", false);
    check(&["graven", "--save", "--port", "1"], None, false, "save \"\"\nport \"1\" ", false);
    check(&["graven", "--port", "1", "--save"], None, false, "port \"1\" \nsave \"\"", false);
    check(&["graven", "--save", "900", "1", "--hz", "5"], None, false, "save \"900\" \"1\" \nhz \"5\" ", false);
    check(&["graven", "--logfile", "--x"], None, false, "logfile \"--x\" ", false);
    check(&["graven", "--save", ""], None, false, "save \"\" ", false);
    check(&["graven", "--requirepass", "a\"b\n"], None, false, "requirepass \"a\\\"b\\x0a\" ", false);
    for version in ["-v", "--version"] {
        assert_eq!(parse_argv(&[b"graven".to_vec(), version.into()], Path::new("/")), Invocation::Version);
    }
}

#[test]
fn includes_keep_their_place_and_say_where_they_fail() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let write = |name: &str, text: &str| {
        #[expect(clippy::disallowed_methods, reason = "a configuration file for the test")]
        std::fs::write(dir.path().join(name), text).expect("write");
    };
    let at = |name: &str| dir.path().join(name).display().to_string();
    write(
        "main.conf",
        &format!("port 1\ninclude {}\nport 3\ninclude {}/frag*.conf\n", at("a.conf"), dir.path().display()),
    );
    write("a.conf", "port 2\nhz 7\n");
    write("frag1.conf", "timeout 5\n");
    write("frag2.conf", "timeout 6\n");
    let read = || {
        let lines = Sources { file: Some(dir.path().join("main.conf")), ..Sources::default() }.read()?;
        let mut config = Config::new(Profile::Stock);
        config.load(&lines).map(|()| config)
    };
    let config = read().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        (get(&config, "port"), get(&config, "hz"), get(&config, "timeout")),
        ("3".into(), "7".into(), "6".into())
    );
    write("a.conf", "\nbad\n");
    match read() {
        Err(ConfigError::Line { line, .. }) => assert_eq!((line.number, line.source), (2, at("a.conf"))),
        other => panic!("{other:?}"),
    }
    write("main.conf", "include /no/such/file\n");
    let error = read().err().map(|error| error.to_string());
    assert_eq!(
        error.as_deref(),
        Some("Fatal error, can't open config file '/no/such/file': No such file or directory")
    );
}
