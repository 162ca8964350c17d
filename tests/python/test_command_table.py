"""What COMMAND, COMMAND DOCS and their kin say of each command, beside stock redis-server 7.0.

Every command and subcommand that both know is compared: arity, flags, key specs, ACL categories, tips and the whole tree of arguments. What 7.2 has
and 7.0 has not stands in DIFFERENT with its reason, and an entry that is not needed fails.
"""

from __future__ import annotations

import pytest

from support.resp import ServerError
from support.server import stock_under_test

# (command, what) -> why graven says something else
DIFFERENT = {
    ("bitop", "arguments"): "7.2 names the operations",
    ("pfmerge", "arguments"): "7.2 says that the sources may be left out",
    ("zrank", "arity"): "7.2 has WITHSCORE",
    ("zrank", "arguments"): "7.2 has WITHSCORE",
    ("zrevrank", "arity"): "7.2 has WITHSCORE",
    ("zrevrank", "arguments"): "7.2 has WITHSCORE",
    ("config|get", "arguments"): "7.2 writes the parameter without a block around it",
    ("psubscribe", "arguments"): "7.2 writes the pattern without a block around it",
    ("module|loadex", "arguments"): "7.2 writes the argument without a block around it",
    ("command|getkeys", "arity"): "corrected in 7.2",
    ("command|getkeys", "arguments"): "7.2 has them",
    ("command|getkeysandflags", "arity"): "corrected in 7.2",
    ("command|getkeysandflags", "arguments"): "7.2 has them",
    ("client|kill", "arguments"): "Valkey 8 has MAXAGE",
    ("cluster", "flags"): "graven has the name only, to refuse it clearly",
    ("cluster", "group"): "graven has the name only, to refuse it clearly",
}


def text(value):
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list):
        return [text(item) for item in value]
    if isinstance(value, dict):
        return {text(key): text(item) for key, item in value.items()}
    return value


def by_name(entries, found=None) -> dict:
    """Entries of COMMAND by name, subcommands too."""
    found = {} if found is None else found
    for name, arity, flags, first, last, step, categories, tips, specs, subcommands in entries:
        specs = [{key: sorted(value) if key == "flags" else value for key, value in spec.items() if key != "notes"} for spec in specs]
        found[name] = {"arity": arity, "flags": sorted(flags), "range": [first, last, step], "categories": sorted(categories), "tips": sorted(tips), "specs": specs}
        by_name(subcommands, found)
    return found


def documents(entries: dict, found=None) -> dict:
    found = {} if found is None else found
    for name, document in entries.items():
        documents(document.pop("subcommands", {}), found)
        arguments = document.get("arguments", [])
        for argument in arguments:
            without_display(argument)
        found[name] = {
            "arguments": arguments,
            "group": document["group"],
            "since": document["since"],
            "deprecated": [sorted(document.get("doc_flags", [])), document.get("deprecated_since"), document.get("replaced_by", "").replace("!", "") or None],
        }
    return found


def without_display(argument: dict) -> None:
    """7.2 says beside each argument under which name to show it."""
    argument.pop("display_text", None)
    argument["flags"] = sorted(argument.get("flags", []))
    for inner in argument.get("arguments", []):
        without_display(inner)


def everything(server) -> dict:
    with server.connect(protocol=3, timeout=30.0) as connection:
        table = by_name(text(connection.call("COMMAND")))
        docs = documents(text(connection.call("COMMAND", "DOCS")))
    assert table.keys() == docs.keys()
    return {name: {**entry, **docs[name]} for name, entry in table.items()}


def test_every_command_is_as_in_stock(pair):
    ours, stock = map(everything, pair)
    shared = ours.keys() & stock.keys()
    assert len(shared) > 150
    different = {(name, what) for name in shared for what in ours[name] if ours[name][what] != stock[name][what]}
    allowed = set() if stock_under_test() else {key for key in DIFFERENT if key[0] in shared}
    wrong = [f"{name} {what}:\n    stock:  {stock[name][what]}\n    graven: {ours[name][what]}" for name, what in sorted(different - allowed)]
    assert not wrong, "\n".join(wrong)
    assert not allowed - different, f"not needed: {sorted(allowed - different)}"


@pytest.mark.graven_only
def test_what_stock_does_not_have_is_newer(pair):
    """Names that 7.0 does not know are those of Redis 7.2 and Valkey 8, and nothing else."""
    ours, stock = map(everything, pair)
    since = {name: ours[name]["since"] for name in ours.keys() - stock.keys()}
    assert {version for version in since.values()} <= {"7.2.0", "8.0.0"}, since


# Commands of 7.0 that graven does not have.
MISSING = {
    "migrate": "comes with the cluster",
    "cluster|": "the name stands alone, to refuse it clearly",
}


@pytest.mark.graven_only
def test_what_graven_does_not_have_has_a_reason(pair):
    ours, stock = map(everything, pair)
    missing = {"cluster|" if name.startswith("cluster|") else name for name in stock.keys() - ours.keys()}
    assert missing == MISSING.keys()


def test_commands_about_other_servers(pair):
    """Of a server that has neither replicas nor a cluster."""
    for words in (
        ("READONLY",), ("READWRITE",), ("ASKING",), ("READONLY", "x"), ("CLUSTER", "INFO"), ("FAILOVER",), ("FAILOVER", "ABORT"), ("FAILOVER", "ABORT", "x"),
        ("FAILOVER", "TO", "h", 1), ("FAILOVER", "TO", "h", "x"), ("FAILOVER", "TO", "h", 1, "FORCE", "TIMEOUT", 7), ("FAILOVER", "TIMEOUT", 0), ("FAILOVER", "TIMEOUT", "x"),
        ("FAILOVER", "FORCE"), ("FAILOVER", "TO"), ("FAILOVER", "TIMEOUT"), ("FAILOVER", "x"), ("FAILOVER", "TO", "h", 1, "TO", "h", 1), ("PSYNC", "x"), ("SYNC", "x"), ("REPLICAOF", "NO", "ONE"),
    ):
        replies = []
        for server in pair:
            with server.connect() as connection:
                replies.append(connection.ask(*words).raw)
        assert replies[0] == replies[1], words


@pytest.mark.graven_only
def test_replication_is_refused(pair):
    ours, _ = pair
    with ours.connect() as connection:
        for words in (("PSYNC", "?", "-1"), ("SYNC",), ("REPLCONF", "listening-port", 1), ("REPLICAOF", "127.0.0.1", 1)):
            with pytest.raises(ServerError, match="replication is not supported"):
                connection.call(*words)


@pytest.mark.parametrize("protocol", [2, 3])
def test_shapes_of_replies(pair, protocol):
    """Type by type the reply is that of stock: sets where stock has sets, status words where it has status words."""
    for command in (("COMMAND", "INFO", "get"), ("COMMAND", "INFO", "pubsub|numsub", "nosuch"), ("COMMAND", "GETKEYSANDFLAGS", "mset", "a", "b", "c", "d")):
        shapes = []
        for server in pair:
            with server.connect(protocol=protocol) as connection:
                shapes.append(connection.ask(*command).raw)
        assert shapes[0] == shapes[1], command


def test_list_filters(pair):
    """COMMAND LIST with each filter names, of the commands that both have, the same ones."""
    ours, stock = map(everything, pair)
    shared = ours.keys() & stock.keys()
    different_categories = {name for name in shared if ours[name]["categories"] != stock[name]["categories"]}
    filters = [(), ("FILTERBY", "PATTERN", "*sc?n"), ("filterby", "pattern", "CONFIG|*"), ("FILTERBY", "MODULE", "x"), ("FILTERBY", "ACLCAT", "nosuch")]
    filters += [("FILTERBY", "ACLCAT", name) for name in ("read", "write", "keyspace", "list", "dangerous", "fast", "SLOW", "connection", "transaction", "scripting")]
    for words in filters:
        replies = []
        for server in pair:
            with server.connect() as connection:
                names = text(connection.call("COMMAND", "LIST", *words))
                replies.append(sorted(name for name in names if name in shared and name not in different_categories))
        assert replies[0] == replies[1], words
    for words in (("FILTERBY",), ("FILTERBY", "PATTERN"), ("FILTERBY", "FOO", "x"), ("x",), ("FILTERBY", "PATTERN", "a", "b")):
        errors = []
        for server in pair:
            with server.connect() as connection, pytest.raises(ServerError) as raised:
                connection.call("COMMAND", "LIST", *words)
            errors.append(str(raised.value))
        assert errors[0] == errors[1], words


GETKEYS = """
get a
set a b
set a b GET
set a b EX 10 get
mset a 1 b 2
mset a
eval x 0
eval x 2 a b c
eval x 5 a
eval x -1 a
eval x y a
config foo
config get x
nosuch x
spublish a b
subscribe a
zunionstore d 2 a b
zunionstore d 9 a b
zunionstore d 0 a
zinterstore d -1 a
zdiffstore d x a
lmpop 0 a LEFT
sintercard 0 a
zinter 2 a b WEIGHTS 1 2
blmpop 0 2 a b LEFT
lmpop 1 a LEFT
copy a b
rename a b
object encoding a
object help
bitop and d a b
sinter a b c
blpop a b 0
brpoplpush a b 0
lcs a b
watch a b
xread streams a b 0 0
xread count 1 streams a b 0
xread block 0 a b
xreadgroup group g c streams a b > >
xgroup create a g 0
xinfo stream a
ping x
"""


@pytest.mark.parametrize("line", GETKEYS.strip().splitlines())
@pytest.mark.parametrize("subcommand", ["GETKEYS", "GETKEYSANDFLAGS"])
def test_keys_of_calls(pair, line, subcommand):
    with pair[0].connect() as connection:
        if connection.call("COMMAND", "INFO", line.split()[0]) == [None] and line.split()[0] != "nosuch":
            return
    replies = []
    for server in pair:
        with server.connect(protocol=3) as connection:
            replies.append(connection.ask("COMMAND", subcommand, *line.split()).render())
    assert replies[0] == replies[1]
