//! Rules read, written and matched.

use super::*;
use crate::command::CommandTable;
use crate::env::UnixMillis;
use crate::resp::split_args;
use quickcheck::{Arbitrary, Gen, QuickCheck};
use std::sync::LazyLock;

static TABLE: LazyLock<CommandTable> = LazyLock::new(|| {
    let mut families = crate::engine::families();
    families.extend(crate::server::families());
    CommandTable::new(&families)
});

fn terms() -> Terms<'static> {
    Terms { table: &TABLE, all_channels: false }
}

/// A new user with these rules, or why not.
fn user(rules: &str) -> Result<User, String> {
    User::new(b"u", false).with(&split_args(rules.as_bytes()).expect("balanced quotes"), terms())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn rules_are_described_in_one_form() {
    for (rules, described) in [
        ("", "off sanitize-payload resetchannels -@all"),
        ("on nopass ~* &* +@all", "on nopass sanitize-payload ~* &* +@all"),
        ("allkeys allchannels allcommands", "off sanitize-payload ~* &* +@all"),
        ("+@ALL resetkeys nocommands", "off sanitize-payload resetchannels -@all"),
        ("skip-sanitize-payload", "off skip-sanitize-payload resetchannels -@all"),
        ("~a %R~b %w~c %RW~d %rw~e", "off sanitize-payload ~a %R~b %W~c ~d ~e resetchannels -@all"),
        ("%R~a %W~a", "off sanitize-payload ~a resetchannels -@all"),
        ("%R", "off sanitize-payload %R~ resetchannels -@all"),
        ("&a &b &a", "off sanitize-payload resetchannels &a &b -@all"),
        // Later rules outdo earlier ones, and stand where they were given last.
        ("+get +set -get", "off sanitize-payload resetchannels -@all +set -get"),
        ("+@all -@hash -@slow +hget -@hash", "off sanitize-payload resetchannels +@all -@slow +hget -@hash"),
        ("+script|load +script|exists +script", "off sanitize-payload resetchannels -@all +script"),
        ("+script -script|load", "off sanitize-payload resetchannels -@all +script -script|load"),
        ("+GET +@Read", "off sanitize-payload resetchannels -@all +get +@read"),
        ("+select|0 +select|1", "off sanitize-payload resetchannels -@all +select|0 +select|1"),
        (
            "(~a +get) (&b)",
            "off sanitize-payload resetchannels -@all (~a resetchannels -@all +get) (resetchannels &b -@all)",
        ),
        ("(~a) clearselectors (~b)", "off sanitize-payload resetchannels -@all (~b resetchannels -@all)"),
        ("on >p ~a &b +get (~c) reset", "off sanitize-payload resetchannels -@all"),
        (">p nopass", "off nopass sanitize-payload resetchannels -@all"),
        (">p <p", "off sanitize-payload resetchannels -@all"),
    ] {
        assert_eq!(user(rules).map(|user| text(&user.describe())), Ok(described.to_owned()), "{rules}");
    }
}

#[test]
fn a_wrong_rule_is_told_and_changes_nothing() {
    let modifier = |rule: &str, why: RuleError| format!("Error in ACL SETUSER modifier '{rule}': {}", why.text());
    for (rules, error) in [
        ("foo", modifier("foo", RuleError::Syntax)),
        ("+nosuch", modifier("+nosuch", RuleError::UnknownCommand)),
        ("+@nosuch", modifier("+@nosuch", RuleError::UnknownCommand)),
        ("-select|0", modifier("-select|0", RuleError::UnknownCommand)),
        ("+script|nosuch", modifier("+script|nosuch", RuleError::UnknownCommand)),
        ("+script|load|x", modifier("+script|load|x", RuleError::FirstArgumentOfSubcommand)),
        ("+get|", modifier("+get|", RuleError::Syntax)),
        ("~* ~a", modifier("~a", RuleError::PatternAfterAllKeys)),
        ("&* &a", modifier("&a", RuleError::PatternAfterAllChannels)),
        ("%~a", modifier("%~a", RuleError::Syntax)),
        ("%RR~a", modifier("%RR~a", RuleError::Syntax)),
        ("\"~a b\"", modifier("~a b", RuleError::Syntax)),
        ("<x", modifier("<x", RuleError::NoSuchPassword)),
        ("#ABC", modifier("#ABC", RuleError::BadPasswordHash)),
        ("(+get", "Unmatched parenthesis in acl selector starting at '(+get'.".to_owned()),
        ("(+get +nosuch)", modifier("(+get +nosuch)", RuleError::UnknownCommand)),
        ("(on)", modifier("(on)", RuleError::Syntax)),
    ] {
        assert_eq!(user(rules).map(|user| text(&user.describe())), Err(error), "{rules}");
    }
    let before = user("on +get ~a").expect("sound rules");
    assert!(before.with(&[b"off".as_slice(), b"+nosuch"], terms()).is_err());
    assert_eq!(text(&before.describe()), "on sanitize-payload ~a resetchannels -@all +get");
}

#[test]
fn passwords_are_kept_as_hashes() {
    let digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    let user = user("on >secret >other").expect("sound rules");
    assert_eq!(user.passwords().next().as_deref(), Some(digest));
    assert!(user.accepts(b"secret") && user.accepts(b"other") && !user.accepts(b"else") && !user.accepts(b""));
    let named = user.with(&[format!("!{digest}")], terms()).expect("a password it has");
    assert!(!named.accepts(b"secret") && named.accepts(b"other"));
    let off = user.with(&["off"], terms()).expect("sound rules");
    assert!(!off.accepts(b"secret") && !off.is_open());
    let any = user.with(&["nopass"], terms()).expect("sound rules");
    assert!(any.accepts(b"whatever") && any.is_open() && !any.wants_password());
}

/// `+`: allowed; otherwise what DRYRUN says.
fn verdict(user: &User, call: &str) -> String {
    let words = split_args(call.as_bytes()).expect("balanced quotes");
    let argv: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    let resolved = TABLE.resolve(&argv).expect("a call that can be made");
    match user.check(resolved, &argv) {
        Ok(()) => "+".to_owned(),
        Err(denied) => denied.text(user, resolved, &argv, true).replace("User u has no permissions to ", ""),
    }
}

#[test]
fn calls_are_allowed_or_not() {
    for (rules, calls) in [
        ("+@all ~* &*", &[("get a", "+"), ("publish c m", "+"), ("script load x", "+")][..]),
        ("+@all ~a* &*", &[("get a1", "+"), ("get b", "access the 'b' key"), ("mget a b c", "access the 'b' key")]),
        ("+@all &*", &[("ping x", "+"), ("get b", "access the 'b' key")]),
        (
            "+get ~*",
            &[("get a", "+"), ("set a b", "run the 'set' command"), ("script load x", "run the 'script|load' command")],
        ),
        ("+@all -@write ~*", &[("get a", "+"), ("set a b", "run the 'set' command")]),
        (
            "-@all +@read -get ~*",
            &[("strlen a", "+"), ("get a", "run the 'get' command"), ("set a 1", "run the 'set' command")],
        ),
        ("+script|load", &[("script load x", "+"), ("script flush", "run the 'script|flush' command")]),
        ("+script -script|load", &[("script flush", "+"), ("script load x", "run the 'script|load' command")]),
        ("+object|freq ~*", &[("object freq a", "+"), ("object encoding a", "run the 'object|encoding' command")]),
        (
            "+zrange|a ~*",
            &[("zrange a 0 -1", "+"), ("zrange A 0 -1", "+"), ("zrange b 0 -1", "run the 'zrange' command")],
        ),
        // Reading and writing are told apart by what the command does with each key.
        (
            "+@all %R~r* %W~w*",
            &[
                ("get r", "+"),
                ("get w", "access the 'w' key"),
                ("set w 1", "+"),
                ("set r 1", "access the 'r' key"),
                ("set w 1 GET", "access the 'w' key"),
                ("copy r w", "+"),
                ("copy w r", "access the 'w' key"),
                ("incr w", "access the 'w' key"),
                ("getdel r", "access the 'r' key"),
                ("sinterstore w r r2", "+"),
                ("sinterstore r w r2", "access the 'r' key"),
                ("exists w", "+"),
                ("del w", "+"),
                ("del r", "access the 'r' key"),
                ("eval x 1 r", "access the 'r' key"),
                ("eval x 0 r", "+"),
                ("eval_ro x 1 r", "+"),
                ("eval x 99 r", "+"),
            ],
        ),
        ("+@all ~*", &[("publish c m", "access the 'c' channel"), ("unsubscribe c", "+")]),
        (
            "+@all ~* &news:*",
            &[
                ("publish news:a m", "+"),
                ("subscribe news:a x", "access the 'x' channel"),
                ("psubscribe news:*", "+"),
                ("psubscribe news:a*", "access the 'news:a*' channel"),
                ("spublish news:a m", "+"),
                ("ssubscribe x", "access the 'x' channel"),
            ],
        ),
        // One selector must allow all of a call; what is told is the last thing that stood in the way.
        (
            "+get ~a (+set ~b) (+@all ~c)",
            &[
                ("get a", "+"),
                ("set b 1", "+"),
                ("set a 1", "access the 'a' key"),
                ("get c", "+"),
                ("mget a c", "access the 'a' key"),
                ("hget a f", "access the 'a' key"),
            ],
        ),
    ] {
        let user = user(rules).expect(rules);
        for (call, expected) in calls {
            assert_eq!(verdict(&user, call), *expected, "{rules}: {call}");
        }
    }
}

#[test]
fn keys_that_no_call_names_need_all_of_them() {
    let argv: [&[u8]; 2] = [b"get", b"a"];
    let get = TABLE.resolve(&argv).expect("a call");
    for (rules, may) in [
        ("+@all ~*", true),
        ("+@all %R~*", true),
        ("+@all %W~*", false),
        ("+@all ~a*", false),
        ("~* (+@all ~a)", false),
        ("(+@all %R~*)", true),
    ] {
        assert_eq!(user(rules).expect(rules).may_read_every_key(get, &argv), may, "{rules}");
    }
}

/// Rules that make sense, in any order and number.
#[derive(Clone, Debug)]
struct Rules(Vec<String>);

impl Arbitrary for Rules {
    fn arbitrary(g: &mut Gen) -> Self {
        const WORDS: [&str; 34] = [
            "on",
            "off",
            "nopass",
            "resetpass",
            ">a",
            ">b",
            "allkeys",
            "resetkeys",
            "~a*",
            "%R~b",
            "%W~b",
            "~c",
            "allchannels",
            "resetchannels",
            "&x",
            "&y*",
            "+@all",
            "-@all",
            "+get",
            "-get",
            "+@read",
            "-@write",
            "+@fast",
            "-@slow",
            "+script",
            "-script|load",
            "+script|flush",
            "+zadd|k",
            "clearselectors",
            "(+get ~q)",
            "(%R~* &* +@hash -hget)",
            "skip-sanitize-payload",
            "sanitize-payload",
            "reset",
        ];
        let count = usize::arbitrary(g) % 16;
        Self((0..count).map(|_| (*g.choose(&WORDS).expect("words")).to_owned()).collect())
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        Box::new(self.0.shrink().map(Self))
    }
}

/// What ACL LIST says of a user makes an equal user: ACL files and CONFIG REWRITE depend on it.
#[test]
fn a_description_makes_the_same_user() {
    fn holds(Rules(rules): Rules) -> bool {
        let mut user = User::new(b"u", false);
        for rule in rules {
            // A pattern behind `allkeys` is refused; what is described is what was taken.
            let _ = user.apply(rule.as_bytes(), terms());
        }
        let words = split_args(&user.describe()).expect("no quotes");
        User::new(b"u", false).with(&words, terms()) == Ok(user)
    }
    QuickCheck::new().tests(2000).quickcheck(holds as fn(Rules) -> bool);
}

#[test]
fn a_file_is_taken_as_a_whole_or_not_at_all() {
    let sound = b"user default on nopass ~* &* +@all\n\n  user b off (+get ~a) \r\nuser a on >x +@all\n";
    let users = Users::parse_file(sound, "users.acl", terms()).expect("a sound file");
    assert_eq!(users.iter().map(|user| text(user.name())).collect::<Vec<_>>(), ["default", "b", "a"]);
    assert_eq!(text(&users[1].line()), "user b off sanitize-payload resetchannels -@all (~a resetchannels -@all +get)");
    let lines = "usr a on\nuser\nuser a +nosuch +bad foo bar\nuser a on\nuser b (+get\nuser c on";
    let tail = "WARNING: ACL errors detected, no change to the previously active ACL rules was performed";
    let expected = [
        "f:1 should start with user keyword followed by the username. ",
        "f:2 should start with user keyword followed by the username. ",
        "f:3: Error in applying operation '+nosuch': Unknown command or category name in ACL. ",
        "f:3: Error in applying operation '+bad': Unknown command or category name in ACL. ",
        "f:3: Syntax error. ",
        "WARNING: Duplicate user 'a' found on line 4. ",
        "f:5: Unmatched parenthesis in selector definition.",
        tail,
    ];
    assert_eq!(Users::parse_file(lines.as_bytes(), "f", terms()), Err(expected.concat()));
}

#[test]
fn the_default_user_is_always_there() {
    let users = Users::new(&TABLE);
    assert!(!users.must_authenticate() && !users.remove(DEFAULT_USER));
    users.set_default_password(b"p", &TABLE);
    assert!(users.must_authenticate() && users.default_user().accepts(b"p"));
    users.replace_all([User::new(b"x", false)], &TABLE);
    assert!(users.default_user().is_unrestricted() && !users.must_authenticate());
    assert_eq!(users.add_configured(b"x", &["on"], terms()), Err((b"x".to_vec(), RuleError::DuplicateUser)));
    assert_eq!(users.add_configured(b"default", &["on", "+ping"], terms()), Ok(()));
    assert!(users.must_authenticate(), "its rules replace those it had");
    assert!(users.remove(b"x") && !users.remove(b"x"));
}

#[test]
fn refusals_that_follow_closely_are_one_entry() {
    let mut log = AuditLog::default();
    let refusal = |object: &str, at: i64| {
        Entry::new(Reason::Key, Context::Toplevel, object.as_bytes(), b"u", format!("at {at}"), UnixMillis(at))
    };
    log.note(refusal("a", 1000), 3);
    log.note(refusal("b", 2000), 3);
    log.note(refusal("a", 61_000), 3);
    let seen = |log: &AuditLog| {
        log.iter().map(|e| (text(&e.object), e.id, e.count, e.created.0, e.updated.0)).collect::<Vec<_>>()
    };
    assert_eq!(seen(&log), [("a".to_owned(), 0, 2, 1000, 61_000), ("b".to_owned(), 1, 1, 2000, 2000)]);
    assert_eq!(log.iter().next().map(|entry| entry.client.as_str()), Some("at 61000"));
    log.note(refusal("a", 121_001), 3);
    log.note(refusal("c", 121_002), 3);
    assert_eq!(seen(&log).iter().map(|entry| entry.1).collect::<Vec<_>>(), [3, 2, 0], "cut to three");
    log.note(refusal("d", 121_003), 0);
    assert!(log.is_empty());
}
