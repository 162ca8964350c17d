//! What a client says about itself and its connection: PING, ECHO, AUTH, HELLO, SELECT, QUIT, RESET.

use crate::command::{Args, ClientId, Command, CommandError, Cx, Flags, Group, parse_i64, quoted, target_database};
use crate::engine::{DEFAULT_USER, Parts, ReplyMode, Users};
use crate::resp::{Protocol, Reply};
use crate::server::REDIS_VERSION;

const FAST: Flags = Flags::LOADING.and(Flags::STALE).and(Flags::FAST);
const SESSION: Flags = FAST.and(Flags::NOSCRIPT).and(Flags::NO_AUTH).and(Flags::ALLOW_BUSY).and(Flags::KEY_READ);

pub static COMMANDS: &[Command] = &[
    Command {
        name: "ping",
        arity: -1,
        flags: Flags::FAST.and(Flags::CONNECTION).and(Flags::KEY_READ),
        run: ping,
        group: Group::Connection,
        complexity: "O(1)",
        summary: "Returns the server's liveliness response.",
        syntax: "[message]",
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        ..Command::DEFAULT
    },
    Command {
        name: "echo",
        arity: 2,
        flags: FAST.and(Flags::CONNECTION).and(Flags::KEY_READ),
        run: echo,
        group: Group::Connection,
        complexity: "O(1)",
        summary: "Returns the given string.",
        syntax: "message",
        ..Command::DEFAULT
    },
    Command {
        name: "auth",
        arity: -2,
        flags: SESSION.and(Flags::CONNECTION),
        run: auth,
        secrets: Some(|argv| (1..argv.len()).collect()),
        group: Group::Connection,
        complexity: "O(N) where N is the number of passwords defined for the user",
        summary: "Authenticates the connection.",
        syntax: "[username {6.0.0}] password",
        ..Command::DEFAULT
    },
    Command {
        name: "hello",
        arity: -1,
        flags: SESSION.and(Flags::CONNECTION),
        run: hello,
        secrets: Some(|argv| {
            let auth = (2..argv.len()).filter(|at| argv[*at].eq_ignore_ascii_case(b"auth"));
            auth.flat_map(|at| [at + 1, at + 2]).collect()
        }),
        group: Group::Connection,
        since: "6.0.0",
        complexity: "O(1)",
        summary: "Handshakes with the Redis server.",
        syntax: "[arguments:(protover:integer [AUTH username_password:(username password)] [SETNAME clientname])]",
        ..Command::DEFAULT
    },
    Command {
        name: "select",
        arity: 2,
        flags: FAST.and(Flags::CONNECTION).and(Flags::KEY_READ),
        run: select,
        group: Group::Connection,
        complexity: "O(1)",
        summary: "Changes the selected database.",
        syntax: "index:integer",
        ..Command::DEFAULT
    },
    Command {
        name: "quit",
        arity: -1,
        flags: SESSION.and(Flags::CONNECTION),
        run: quit,
        group: Group::Connection,
        complexity: "O(1)",
        summary: "Closes the connection.",
        ..Command::DEFAULT
    },
    Command {
        name: "reset",
        arity: 1,
        flags: SESSION.and(Flags::CONNECTION),
        run: reset,
        group: Group::Connection,
        since: "6.2.0",
        complexity: "O(1)",
        summary: "Resets the connection.",
        ..Command::DEFAULT
    },
];

fn ping(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    if args.remaining() > 1 {
        return Err(CommandError::wrong_arity("ping"));
    }
    let message = args.next();
    let id = cx.client;
    if !cx.reply.is_resp3() && Parts::of(cx).client_mut(id).is_subscriber() {
        cx.reply.array(2);
        cx.reply.bulk("pong");
        cx.reply.bulk(message.unwrap_or_default());
        return Ok(());
    }
    match message {
        Some(message) => cx.reply.bulk(message),
        None => cx.reply.simple("PONG"),
    }
    Ok(())
}

fn echo(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    cx.reply.bulk(args.bytes());
    Ok(())
}

fn auth(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (user, password) = credentials(args.rest(), &Parts::of(cx).access.users)?;
    authenticate(cx, user, password, args.argv()[0])?;
    cx.reply.ok();
    Ok(())
}

/// User and password of AUTH.
pub fn credentials<'a>(words: &[&'a [u8]], users: &Users) -> Result<(&'a [u8], &'a [u8]), CommandError> {
    match words {
        [_] if !users.default_user().wants_password() => Err(CommandError::fixed(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?",
        )),
        [password] => Ok((DEFAULT_USER, *password)),
        [user, password] => Ok((*user, *password)),
        _ => Err(CommandError::SYNTAX),
    }
}

fn authenticate(cx: &mut Cx<'_>, user: &[u8], password: &[u8], command: &[u8]) -> Result<(), CommandError> {
    let (id, now) = (cx.client, cx.now());
    if Parts::of(cx).authenticate(id, user, password, command, now) { Ok(()) } else { Err(CommandError::WRONG_PASS) }
}

/// What HELLO asks for.
pub struct Greeting<'a> {
    pub protocol: Option<Protocol>,
    pub name: Option<Vec<u8>>,
    pub credentials: Option<(&'a [u8], &'a [u8])>,
}

impl<'a> Greeting<'a> {
    /// # Errors
    /// It is none.
    pub fn parse(args: &mut Args<'a>) -> Result<Self, CommandError> {
        let protocol = match args.next() {
            None => None,
            Some(word) => match parse_i64(word) {
                Some(2) => Some(Protocol::Resp2),
                Some(3) => Some(Protocol::Resp3),
                Some(_) => return Err(CommandError::fixed("NOPROTO unsupported protocol version")),
                None => return Err(CommandError::fixed("ERR Protocol version is not an integer or out of range")),
            },
        };
        let (mut name, mut credentials) = (None, None);
        while let Some(option) = args.next() {
            if option.eq_ignore_ascii_case(b"auth") && args.remaining() >= 2 {
                credentials = Some((args.bytes(), args.bytes()));
            } else if option.eq_ignore_ascii_case(b"setname") && args.remaining() >= 1 {
                name = Some(client_name(args.bytes())?);
            } else {
                return Err(CommandError::new(format!("ERR Syntax error in HELLO option '{}'", quoted(option))));
            }
        }
        Ok(Self { protocol, name, credentials })
    }
}

/// HELLO of somebody who has not shown who it is.
pub const NAMELESS: CommandError = CommandError::fixed(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> \
     option can be used to authenticate the client and select the RESP protocol version at the same time",
);

fn hello(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let id = cx.client;
    let greeting = Greeting::parse(args)?;
    if let Some((user, password)) = greeting.credentials {
        authenticate(cx, user, password, args.argv()[0])?;
    }
    let client = Parts::of(cx).client_mut(id);
    if !client.authenticated {
        return Err(NAMELESS);
    }
    if let Some(name) = greeting.name {
        client.name = name;
    }
    if let Some(protocol) = greeting.protocol {
        client.protocol = protocol;
    }
    let protocol = client.protocol;
    introduce(cx.reply, protocol, id);
    Ok(())
}

/// What the server says of itself.
pub fn introduce(reply: &mut Reply, protocol: Protocol, id: ClientId) {
    reply.set_protocol(protocol);
    reply.map(7);
    for (field, text) in [("server", "redis"), ("version", REDIS_VERSION)] {
        reply.bulk(field);
        reply.bulk(text);
    }
    reply.bulk("proto");
    reply.int(if protocol == Protocol::Resp3 { 3 } else { 2 });
    reply.bulk("id");
    reply.int(id.0 as i64);
    for (field, text) in [("mode", "standalone"), ("role", "master")] {
        reply.bulk(field);
        reply.bulk(text);
    }
    reply.bulk("modules");
    reply.array(0);
}

/// A client's name: printable, no spaces.
pub fn client_name(name: &[u8]) -> Result<Vec<u8>, CommandError> {
    if name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        Ok(name.to_vec())
    } else {
        Err(CommandError::fixed("ERR Client names cannot contain spaces, newlines or special characters."))
    }
}

fn select(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let index = args.bytes();
    args.finish()?;
    let db = target_database(cx, index)?;
    let id = cx.client;
    cx.db = db;
    Parts::of(cx).client_mut(id).db = db;
    cx.reply.ok();
    Ok(())
}

fn quit(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    let id = cx.client;
    Parts::of(cx).client_mut(id).closing = true;
    cx.reply.ok();
    Ok(())
}

fn reset(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    args.finish()?;
    let id = cx.client;
    let parts = Parts::of(cx);
    parts.discard_transaction(id);
    parts.forget_subscriptions(id);
    parts.stop_monitoring(id);
    parts.stop_tracking(id);
    parts.sign_out(id);
    let client = parts.client_mut(id);
    client.db = 0;
    client.protocol = Protocol::Resp2;
    client.name.clear();
    client.reply_mode = ReplyMode::On;
    client.no_evict = false;
    client.no_touch = false;
    client.redirects = false;
    cx.db = 0;
    cx.reply.set_protocol(Protocol::Resp2);
    cx.reply.simple("RESET");
    Ok(())
}
