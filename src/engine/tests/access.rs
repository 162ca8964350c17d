//! Users as connections meet them: refusals at each place where commands run, and changes under way.

use super::*;

impl World {
    /// Makes a user of these rules, or changes it by them.
    fn rules(&mut self, name: &str, rules: &str) {
        let parts = &mut self.engine.parts;
        let words = crate::resp::split_args(rules.as_bytes()).expect("balanced quotes");
        let before = parts.access.users.get(name.as_bytes());
        let before = before.map_or_else(|| User::new(name.as_bytes(), false), |user| (*user).clone());
        let changed = before.with(&words, parts.acl_terms()).expect("sound rules");
        parts.change_user(changed);
    }

    /// A session of a user.
    fn session_of(&mut self, name: &str) -> Session {
        let session = self.session();
        let now = self.clock.unix_millis();
        assert!(self.engine.parts.authenticate(session.id, name.as_bytes(), b"p", b"AUTH", now));
        session
    }

    fn is_over(&self, session: &Session) -> bool {
        session.outbox.wants_close()
    }

    /// Reason, context and object of the entries of ACL LOG, newest first, and how often.
    fn refusals(&self) -> Vec<String> {
        let line = |entry: &AuditEntry| {
            let object = String::from_utf8_lossy(&entry.object).into_owned();
            format!("{} {} {object} x{}", entry.reason.name(), entry.context.name(), entry.count)
        };
        self.engine.parts.access.log.iter().map(line).collect()
    }
}

#[test]
fn a_user_is_refused_what_it_may_not_do() {
    let mut world = World::new();
    world.rules("u", "on >p +get +mget +publish +multi +exec ~a* &c*");
    let session = world.session_of("u");
    for (line, expected) in [
        ("get a", "$-1|"),
        ("set a 1", "-NOPERM User u has no permissions to run the 'set' command|"),
        ("mget a b", "-NOPERM No permissions to access a key|"),
        ("publish c m", ":0|"),
        ("publish x m", "-NOPERM No permissions to access a channel|"),
        ("get", "-ERR wrong number of arguments for 'get' command|"),
        ("multi", "+OK|"),
        ("get b", "-NOPERM No permissions to access a key|"),
        ("exec", "-EXECABORT Transaction discarded because of previous errors.|"),
        ("get b", "-NOPERM No permissions to access a key|"),
    ] {
        assert_eq!(world.ask(&session, line), expected, "{line}");
    }
    assert_eq!(
        world.refusals(),
        ["key toplevel b x2", "key multi b x1", "channel toplevel x x1", "command toplevel set x1"]
    );
    let denied = world.engine.parts.stats.access_denied;
    assert_eq!((denied.command, denied.key, denied.channel, denied.auth), (1, 3, 1, 0));
    assert_eq!(world.engine.parts.stats.errors.get("NOPERM"), Some(&5));
}

#[test]
fn what_was_queued_is_looked_at_again() {
    let mut world = World::new();
    world.rules("u", "on >p +@all ~* &*");
    let session = world.session_of("u");
    for line in ["multi", "set a 1", "set b 2", "publish c m"] {
        world.ask(&session, line);
    }
    world.rules("u", "resetkeys ~a -publish");
    let changed = "-NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This \
                   command is no longer allowed for the following reason: ";
    let expected = format!(
        "*3|+OK|{changed}no permission to touch the specified keys|{changed}no permission to execute the command or \
         subcommand|"
    );
    assert_eq!(world.ask(&session, "exec"), expected);
    assert_eq!(world.refusals(), ["command multi publish x1", "key multi b x1"]);
    assert_eq!(world.units(), ["set a 1"]);
}

#[test]
fn a_script_may_do_what_its_caller_may() {
    let mut world = World::new();
    world.rules("u", "on >p +@all -incr ~a");
    let session = world.session_of("u");
    let asked = world.ask(&session, "eval \"return redis.call('set', 'a', 1)\" 0");
    assert_eq!(asked, "+OK|");
    for (call, why) in [
        ("'set', 'b', 1", "No permissions to access a key"),
        ("'incr', 'a'", "User u has no permissions to run the 'incr' command"),
        ("'publish', 'c', 1", "No permissions to access a channel"),
    ] {
        let reply = world.ask(&session, &format!("eval \"return redis.call({call})\" 0"));
        assert!(reply.starts_with(&format!("-NOPERM ACL failure in script: {why}")), "{reply}");
    }
    assert_eq!(world.refusals(), ["channel lua c x1", "command lua incr x1", "key lua b x1"]);
    for (call, may) in [("'get', 'a'", 1), ("'get', 'b'", 0), ("'incr', 'a'", 0), ("'publish', 'c', 1", 0)] {
        let script =
            format!("eval \"return {{redis.acl_check_cmd({call}) == true, redis.acl_check_cmd({call}) == false}}\" 0");
        let expected = if may == 1 { "*2|:1|$-1|" } else { "*2|$-1|:1|" };
        assert_eq!(world.ask(&session, &script), expected, "{call}");
    }
    assert_eq!(world.ask(&session, "eval x 1 b"), "-NOPERM No permissions to access a key|");
}

#[test]
fn a_wait_that_is_not_allowed_any_more_ends() {
    let mut world = World::new();
    world.rules("u", "on >p +@all ~*");
    let (waiting, other) = (world.session_of("u"), world.session());
    assert_eq!(world.send(&waiting, "blpop l 0"), Flow::Parked);
    world.rules("u", "resetkeys ~x");
    world.ask(&other, "rpush l 1");
    assert_eq!(world.received(&waiting), "-NOPERM No permissions to access a key|");
    assert_eq!(world.ask(&other, "llen l"), ":1|");
    assert_eq!(world.engine.parts.blocking.len(), 0);
}

#[test]
fn a_user_that_goes_takes_its_connections_along() {
    let mut world = World::new();
    world.rules("u", "on >p +@all ~*");
    let (of_user, of_default) = (world.session_of("u"), world.session());
    assert!(world.engine.parts.remove_user(b"u") && !world.engine.parts.remove_user(b"default"));
    assert!(world.is_over(&of_user) && !world.is_over(&of_default));
    assert_eq!(world.send(&of_user, "set a 1"), Flow::Close, "what it had sent already is not executed");
    assert_eq!(world.ask(&of_default, "exists a"), ":0|");
}

#[test]
fn listeners_who_may_not_hear_any_more_are_sent_away() {
    for (line, rules, over) in [
        ("subscribe a", "resetchannels &b", true),
        ("subscribe a", "resetchannels &a", false),
        ("subscribe a", "resetchannels &a*", false),
        ("psubscribe a*", "resetchannels &a*", false),
        ("psubscribe ab*", "resetchannels &a*", true),
        ("ssubscribe a", "resetchannels &b", true),
        ("subscribe a", "resetchannels (&a)", false),
        ("ping", "resetchannels &b", false),
        ("subscribe a", "-@all", false),
    ] {
        let mut world = World::new();
        world.rules("u", "on >p +@all ~* &*");
        let session = world.session_of("u");
        world.send(&session, line);
        world.rules("u", rules);
        assert_eq!(world.is_over(&session), over, "{line}, then {rules}");
    }
}

#[test]
fn other_users_in_the_place_of_all() {
    let mut world = World::new();
    for name in ["stays", "goes", "deaf"] {
        world.rules(name, "on >p +@all ~* &*");
    }
    let [stays, goes, deaf] = ["stays", "goes", "deaf"].map(|name| world.session_of(name));
    world.send(&deaf, "subscribe a");
    world.received(&deaf);
    let users =
        Users::parse_file(b"user stays on >p +get ~*\nuser deaf on >p +@all &b", "f", world.engine.parts.acl_terms());
    world.engine.parts.replace_users(users.expect("a sound file"));
    assert!(!world.is_over(&stays) && world.is_over(&goes) && world.is_over(&deaf));
    assert_eq!(world.ask(&stays, "get a"), "$-1|");
    assert_eq!(world.ask(&stays, "set a 1"), "-NOPERM User stays has no permissions to run the 'set' command|");
}

#[test]
fn authentication_is_asked_of_those_who_come_after_the_password() {
    let mut world = World::new();
    let before = world.session();
    world.engine.parts.set_default_password(b"p");
    let after = world.session();
    assert_eq!(world.ask(&before, "get a"), "$-1|");
    assert_eq!(world.ask(&after, "get a"), "-NOAUTH Authentication required.|");
    let now = world.clock.unix_millis();
    assert!(!world.engine.parts.authenticate(after.id, b"default", b"wrong", b"AUTH", now));
    assert!(!world.engine.parts.authenticate(after.id, b"nobody", b"p", b"AUTH", now));
    assert!(world.engine.parts.authenticate(after.id, b"default", b"p", b"AUTH", now));
    assert_eq!(world.ask(&after, "get a"), "$-1|");
    assert_eq!(world.refusals(), ["auth toplevel AUTH x1", "auth toplevel AUTH x1"]);
    world.engine.parts.sign_out(after.id);
    assert_eq!(world.ask(&after, "get a"), "-NOAUTH Authentication required.|");
}
