"""Users and what they may do: the same rules and calls on graven and on stock, ACL files, users of a configuration, connections under way."""

from __future__ import annotations

import re
import shlex

import pytest

from differential.compare import in_older_words
from support.resp import Closed
from support.server import Server, stock_under_test, wait_until

def error(connection, *words) -> str:
    """The text of the error that a command must give."""
    reply = connection.ask(*words)
    assert reply.is_error, reply.render()
    return reply.render().removeprefix("-")


def as_stock_says_it(text: str) -> str:
    # Stock 7.0 shows the flag once somebody has set it, 7.2 always.
    text = text.replace(' $"sanitize-payload"', "")
    return text if stock_under_test() else in_older_words(text)


def reset_users(server: Server) -> None:
    """As after a start. One connection stays from the beginning, which no password keeps out."""
    if not hasattr(server, "admin"):
        server.admin = server.connect()
    others = [name for name in server.admin.call("ACL", "USERS") if name != b"default"]
    if others:
        server.admin.call("ACL", "DELUSER", *others)
    server.admin.call("CONFIG", "SET", "requirepass", "", "acl-pubsub-default", "resetchannels")
    server.admin.call("ACL", "SETUSER", "default", "reset", "on", "nopass", "allkeys", "allchannels", "+@all")
    server.admin.call("ACL", "LOG", "RESET")
    server.admin.call("FLUSHALL")


def rendered(server: Server, lines: list[str], protocol: int) -> list[str]:
    """`name> command`: on a connection of that name, which `name= user password` signs in."""
    reset_users(server)
    connections, replies = {}, []
    try:
        for line in lines:
            name, sign, command = re.match(r"(\w+)([>=]) (.*)", line).groups()
            if name not in connections:
                connections[name] = server.connect(protocol=protocol)
            words = shlex.split(command)
            if sign == "=":
                words = ["AUTH", *words]
            try:
                connections[name].send(*words)
                reply = connections[name].read_reply().render()
            except (Closed, OSError):
                reply = "closed"
            replies.append(f"{line}\n        {reply}")
    finally:
        for connection in connections.values():
            connection.close()
    return replies


SCRIPTS = {
    "rules": """
        a> ACL SETUSER u
        a> ACL GETUSER u
        a> ACL SETUSER u on >p1 >p2 >p1 ~a* %R~r* %W~w* &c:* +get
        a> ACL GETUSER u
        a> ACL SETUSER u <p1 nopass
        a> ACL GETUSER u
        a> ACL SETUSER u resetpass #9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
        a> ACL SETUSER u !9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
        a> ACL SETUSER u !9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
        a> ACL SETUSER u allkeys ~x
        a> ACL SETUSER u allchannels &x
        a> ACL SETUSER u resetkeys ~x resetchannels &x
        a> ACL GETUSER u
        a> ACL SETUSER u (~k +get) (%R~l &m +@all) "( +set" "~n )"
        a> ACL GETUSER u
        a> ACL SETUSER u clearselectors
        a> ACL GETUSER u
        a> ACL SETUSER u reset
        a> ACL GETUSER u
        a> ACL SETUSER u +@all
        a> ACL GETUSER u
        a> ACL SETUSER u -@string
        a> ACL GETUSER u
        a> ACL SETUSER u nocommands +@string
        a> ACL GETUSER u
        a> ACL SETUSER u reset +select|0
        a> ACL GETUSER u
        a> ACL SETUSER u skip-sanitize-payload
        a> ACL GETUSER u
        a> ACL GETUSER nobody
        a> ACL USERS
        a> ACL WHOAMI
        a> ACL DELUSER u nobody
        a> ACL DELUSER default
        a> ACL USERS
    """,
    "wrong rules": """
        a> ACL SETUSER "a b"
        a> ACL SETUSER u nonsense
        a> ACL SETUSER u +nosuch
        a> ACL SETUSER u +@nosuch
        a> ACL SETUSER u -select|0
        a> ACL SETUSER u +client|nosuch
        a> ACL SETUSER u +client|id|x
        a> ACL SETUSER u +get|
        a> ACL SETUSER u %X~a
        a> ACL SETUSER u %~a
        a> ACL SETUSER u "~a b"
        a> ACL SETUSER u "&a b"
        a> ACL SETUSER u <x
        a> ACL SETUSER u #x
        a> ACL SETUSER u !x
        a> ACL SETUSER u (
        a> ACL SETUSER u (+get
        a> ACL SETUSER u (+nosuch)
        a> ACL SETUSER u (on)
        a> ACL SETUSER u on +get ~a +nosuch
        a> ACL GETUSER u
        a> ACL SETUSER
        a> ACL CAT nosuch
        a> ACL CAT a b
        a> ACL GENPASS 0
        a> ACL GENPASS x
        a> ACL GENPASS 4097
        a> ACL GENPASS 1 2
        a> ACL NOSUCH
        a> ACL
        a> ACL LOG x
        a> ACL LOG -1
        a> ACL SAVE
        a> ACL LOAD
        a> ACL HELP
    """,
    "dry runs": """
        a> ACL SETUSER u +@all -@dangerous ~a* %R~r* %W~w* &c*
        a> ACL DRYRUN nobody get a
        a> ACL DRYRUN u nosuch a
        a> ACL DRYRUN u get
        a> ACL DRYRUN u get a
        a> ACL DRYRUN u get r
        a> ACL DRYRUN u get w
        a> ACL DRYRUN u set w 1
        a> ACL DRYRUN u set w 1 GET
        a> ACL DRYRUN u set r 1
        a> ACL DRYRUN u mset a 1 b 2 c 3
        a> ACL DRYRUN u copy r w
        a> ACL DRYRUN u copy w r
        a> ACL DRYRUN u zunionstore w 2 r r2
        a> ACL DRYRUN u zunionstore r 2 r w
        a> ACL DRYRUN u lmpop 2 a b left
        a> ACL DRYRUN u blmpop 0 2 a b left
        a> ACL DRYRUN u eval x 2 a b
        a> ACL DRYRUN u eval x 7 a b
        a> ACL DRYRUN u eval_ro x 1 r
        a> ACL DRYRUN u exists w r a b
        a> ACL DRYRUN u object encoding w
        a> ACL DRYRUN u touch b
        a> ACL DRYRUN u flushall
        a> ACL DRYRUN u config get x
        a> ACL DRYRUN u client id
        a> ACL DRYRUN u client kill x
        a> ACL DRYRUN u client nosuch
        a> ACL DRYRUN u publish c m
        a> ACL DRYRUN u publish x m
        a> ACL DRYRUN u subscribe c1 x c2
        a> ACL DRYRUN u psubscribe c*
        a> ACL DRYRUN u psubscribe c1
        a> ACL DRYRUN u ssubscribe x
        a> ACL DRYRUN u spublish x m
        a> ACL DRYRUN u watch a b
    """,
    "refusals": """
        a> ACL SETUSER u on >p ~a* &c* +@all -flushall -config +config|get
        u= u p
        u> ACL WHOAMI
        u> GET a
        u> GET b
        u> FLUSHALL
        u> CONFIG SET maxclients 10
        u> CONFIG GET nosuch
        u> PUBLISH x m
        u> PUBLISH c m
        u> SUBSCRIBE x
        u> MGET a b c
        u> NOSUCH
        u> GET
        u> EVAL "return redis.call('SET', 'a', 1)" 0
        u> EVAL "return redis.pcall('SET', 'b', 1)" 0
        u> EVAL "return redis.pcall('FLUSHALL')" 0
        u> EVAL "return redis.pcall('PUBLISH', 'x', 1)" 0
        u> EVAL "return 1" 1 b
        u> MULTI
        u> GET b
        u> EXEC
        u> MULTI
        u> SET a 1
        u> SET ab 1
        a> ACL SETUSER u resetkeys ~ab -@write
        u> EXEC
        a> ACL SETUSER u ~* -multi
        u> MULTI
        u> DISCARD
        a> ACL SETUSER u off
        u> GET a
        v= u p
        a> ACL SETUSER u on nopass
        v= u whatever
        v> ACL WHOAMI
        v> RESET
        v> ACL WHOAMI
    """,
    "selectors": """
        a> ACL SETUSER u on nopass +get ~a (+set ~b) (+@all ~c &x)
        u= u p
        u> GET a
        u> SET b 1
        u> GET b
        u> SET a 1
        u> SET c 1
        u> PUBLISH x 1
        u> PUBLISH y 1
        u> MGET a c
    """,
    "the default user": """
        a> ACL SETUSER default >pw
        a> GET k
        b> GET k
        b> PING
        b> AUTH wrong
        b> AUTH default wrong
        b> AUTH nobody pw
        b> AUTH pw
        b> GET k
        c> HELLO 2
        c> HELLO 2 AUTH default wrong
        c> HELLO 2 SETNAME x AUTH default pw SETNAME "a b"
        c> HELLO 2 AUTH default
        c> RESET
        c> GET k
        c> QUIT
        a> ACL SETUSER default off
        a> GET k
        d> GET k
        d= pw
        a> ACL SETUSER default on nopass
        d> GET k
        d> AUTH pw
        a> CONFIG SET requirepass again
        a> ACL GETUSER default
        e> GET k
        e= again
        a> CONFIG SET requirepass ""
        a> ACL GETUSER default
        a> CONFIG SET acl-pubsub-default allchannels
        a> ACL SETUSER w
        a> ACL GETUSER w
        a> ACL SETUSER w reset (+get)
        a> ACL GETUSER w
    """,
    "connections": """
        a> ACL SETUSER u on nopass ~* &* +@all
        u= u p
        u> GET k
        a> CLIENT KILL USER nobody
        a> CLIENT KILL USER u
        u> GET k
        v= u p
        a> ACL DELUSER u
        v> GET k
        a> ACL SETUSER u on nopass ~* &* +@all
        w= u p
        w> SUBSCRIBE here
        a> ACL SETUSER u resetchannels &there
        w> PING
        x= u p
        x> ACL DELUSER u
        x> PING
    """,
}


# Who has no password yet cannot say HELLO 3.
CASES = [(name, protocol) for name in SCRIPTS for protocol in (2, 3) if (name, protocol) != ("the default user", 3)]


@pytest.mark.parametrize(("name", "protocol"), CASES)
def test_as_stock(pair, name, protocol):
    lines = [line.strip() for line in SCRIPTS[name].strip().splitlines()]
    ours, stock = (rendered(server, lines, protocol) for server in pair)
    different = [f"{got}\n  stock {expected}" for got, expected in zip(ours, stock) if as_stock_says_it(got) != expected.replace(' $"sanitize-payload"', "")]
    assert not different, "\n".join(different)


def test_categories(pair):
    """Every category has the commands that it has in stock, as far as both know them."""
    tables = []
    for server in pair:
        with server.connect() as connection:
            names = connection.call("ACL", "CAT")
            known = set().union(*(connection.call("ACL", "CAT", name) for name in names))
            tables.append((names, known, {name: set(connection.call("ACL", "CAT", name)) for name in names}))
    (ours, ours_known, ours_table), (stock, stock_known, stock_table) = tables
    assert ours == stock
    both = ours_known & stock_known
    wrong = {name: (ours_table[name] ^ stock_table[name]) & both for name in ours}
    assert not any(wrong.values()), {name: commands for name, commands in wrong.items() if commands}


@pytest.mark.parametrize("protocol", [2, 3])
def test_log(pair, protocol):
    """Entries of ACL LOG as in stock, with the fields that 7.2 has more."""
    lines = [
        "a> ACL SETUSER u on >p ~a +@all -debug", "u= u wrong", "u= u p", "u> GET b", "u> GET b", "u> DEBUG SLEEP 0", "u> MULTI", "u> GET c",
        "u> DISCARD", "u> EVAL \"return redis.pcall('GET', 'd')\" 0", "u> PUBLISH x m", "u> GET b",
    ]
    logs = []
    for server in pair:
        rendered(server, lines, protocol)
        with server.connect(protocol=2) as connection:
            entries = [dict(zip(entry[::2], entry[1::2])) for entry in connection.call("ACL", "LOG")]
            assert connection.call("ACL", "LOG", 2) and len(connection.call("ACL", "LOG", 2)) == 2
            info = connection.call("INFO", "stats").decode()
            assert connection.call("ACL", "LOG", "RESET") == b"OK" and connection.call("ACL", "LOG") == []
        shown = [tuple(entry[field] for field in (b"count", b"reason", b"context", b"object", b"username")) for entry in entries]
        logs.append(shown)
        assert all(b"cmd=" in entry[b"client-info"] and 0 <= float(entry[b"age-seconds"]) < 60 for entry in entries)
        if server is pair[0] and not stock_under_test():
            assert len({entry[b"entry-id"] for entry in entries}) == len(entries)
            assert all(entry[b"timestamp-created"] <= entry[b"timestamp-last-updated"] for entry in entries)
            denied = dict(re.findall(r"acl_access_denied_(\w+):(\d+)", info))
            assert all(int(count) > 0 for count in denied.values()) and len(denied) == 4
    assert logs[0] == logs[1]
    assert logs[0][0] == (3, b"key", b"toplevel", b"b", b"u")


def test_passwords_are_random(pair):
    with pair[0].connect() as connection:
        given = [connection.call("ACL", "GENPASS") for _ in range(50)]
        assert len(set(given)) == 50 and all(re.fullmatch(rb"[0-9a-f]{64}", word) for word in given)
        assert [len(connection.call("ACL", "GENPASS", bits)) for bits in (1, 4, 5, 128, 4096)] == [1, 1, 2, 32, 1024]


def test_users_of_the_configuration(make_server, tmp_path):
    """`user` lines in the file and on the command line; a wrong one stops the start, by name."""
    server = make_server(directives={"user": ["alice", "on", ">pw", "~a*", "(+set", "~b)", "+get"]}).start()
    with server.connect() as connection:
        connection.call("AUTH", "alice", "pw")
        assert connection.call("GET", "a1") is None
        assert connection.call("SET", "b", 1) == b"OK"
        assert error(connection, "SET", "a", 1).startswith("NOPERM")
    server.stop()
    for rules, reason in [
        (["alice", "+nosuch"], "Unknown command or category name in ACL"),
        (["alice", "nonsense"], "Syntax error"),
        (["alice", "on", "--user", "alice", "off"], "Duplicate user found"),
    ]:
        failed = make_server(directives={"user": rules})
        failed.start(wait=False)
        assert failed.process.wait(60) == 1
        log = failed.log_tail()
        assert "FATAL CONFIG FILE ERROR" in log and reason in log, log


def test_acl_file(make_server, tmp_path):
    """ACL SAVE writes what ACL LOAD and a start read; a file with an error changes nothing; connections stay, but for those whose user is gone."""
    path = tmp_path / "users.acl"
    path.write_text("user default on nopass ~* &* +@all\nuser bob on >b ~* +@all\nuser eve on >e ~* +get\n")
    server = make_server(directives={"aclfile": path}).start()
    admin, bob, eve = (server.connect() for _ in range(3))
    bob.call("AUTH", "bob", "b")
    eve.call("AUTH", "eve", "e")
    admin.call("ACL", "SETUSER", "new", "on", "nopass", "+ping", "(~x +get)")
    assert admin.call("ACL", "SAVE") == b"OK"
    saved = admin.call("ACL", "LIST")
    assert path.read_bytes().splitlines() == saved and [p.name for p in tmp_path.glob("users.acl*")] == ["users.acl"]
    admin.call("ACL", "DELUSER", "new")
    assert admin.call("ACL", "LOAD") == b"OK" and admin.call("ACL", "LIST") == saved
    path.write_text("user default on nopass ~* &* +@all\nuser bob on +nosuch\nuser bob on\n")
    refused = error(admin, "ACL", "LOAD")
    assert refused.startswith("ERR ") and "users.acl:2: Error in applying operation '+nosuch'" in refused and "Duplicate user 'bob' found on line 3" in refused
    assert admin.call("ACL", "LIST") == saved
    path.write_text("user bob on >b ~* +@all -set\n")
    assert admin.call("ACL", "LOAD") == b"OK"
    assert bob.call("GET", "k") is None and error(bob, "SET", "k", 1).startswith("NOPERM")
    with pytest.raises((Closed, OSError)):
        eve.call("GET", "k")
    assert admin.call("ACL", "WHOAMI") == b"default" and admin.call("ACL", "USERS") == [b"bob", b"default"]
    path.unlink()
    assert "No such file or directory" in error(admin, "ACL", "LOAD")
    server.stop()
    failed = server.start(wait=False)
    assert failed.process.wait(60) == 1 and "Aborting Redis startup because of ACL errors" in failed.log_tail()
    path.write_text(saved[0].decode() + "\n")
    server.start()
    with server.connect() as connection:
        assert connection.call("ACL", "LIST")[0] == saved[0]
    server.directives["user"] = ["carol", "on"]
    server.stop()
    assert server.start(wait=False).process.wait(60) == 1 and "but not both" in server.log_tail()


def test_saved_users_survive_a_kill(make_server, tmp_path):
    """ACL SAVE has answered when the file is on the disk, whole."""
    path = tmp_path / "users.acl"
    path.write_text("")
    server = make_server(directives={"aclfile": path}).start()
    with server.connect() as connection:
        for number in range(20):
            connection.call("ACL", "SETUSER", f"user{number}", "on", "nopass", "+@all", "~*")
            assert connection.call("ACL", "SAVE") == b"OK"
    server.kill9()
    server.start()
    with server.connect() as connection:
        assert len(connection.call("ACL", "USERS")) == 21


def test_a_waiting_client_is_asked_again(pair):
    for server in pair[:1]:
        reset_users(server)
        with server.connect() as admin, server.connect() as waiting:
            admin.call("ACL", "SETUSER", "u", "on", "nopass", "~*", "+@all")
            waiting.call("AUTH", "u", "x")
            waiting.send("BLPOP", "list", 0)
            wait_until(lambda: b"cmd=blpop user=u" in admin.call("CLIENT", "LIST"), 5, "the client waits")
            admin.call("ACL", "SETUSER", "u", "resetkeys")
            admin.call("RPUSH", "list", "x")
            assert waiting.read_reply().render().startswith("-NOPERM No permissions to access a key")
            assert admin.call("LLEN", "list") == 1


def test_while_a_script_keeps_the_server(make_server):
    """Who may not stop a script, or has not shown who he is, cannot do so while nothing else is answered either."""
    server = make_server(directives={"busy-reply-threshold": 50, "user": ["u", "on", ">p", "~*", "+@all", "-script"]}).start()
    with server.connect() as busy, server.connect() as u, server.connect() as other:
        u.call("AUTH", "u", "p")
        other.call("CONFIG", "SET", "requirepass", "secret")
        with server.connect() as stranger:
            busy.send("EVAL", "while true do end", 0)
            wait_until(lambda: error(u, "PING").startswith("BUSY"), 10, "the script is past its time")
            assert error(u, "SCRIPT", "KILL").startswith("NOPERM User u has no permissions to run the 'script|kill' command")
            assert error(stranger, "SCRIPT", "KILL").startswith("NOAUTH")
            assert error(stranger, "AUTH", "wrong").startswith("WRONGPASS")
            assert stranger.call("AUTH", "secret") == b"OK"
            assert stranger.call("SCRIPT", "KILL") == b"OK"
            assert "Script killed" in busy.read_reply().render()
            assert stranger.call("ACL", "WHOAMI") == b"default"
