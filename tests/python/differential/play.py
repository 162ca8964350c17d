"""Plays a sequence on graven and on stock and finds the first difference: a reply, a keyspace event, or what is left in the keyspace.

One `Table` is a pair of servers with their connections, used for one sequence after the other.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from support.resp import Closed, ProtocolError

from . import compare, payloads
from .grammar import Grammar
from .sequence import Sequence
from .turns import Turns
from .wire import ACTOR, Wire, encode, parse_all, show, show_command

OWN_RULES = ("damage", "forgotten")
LIMITED = b"LIMIT"
MARKER = b"~end of the sequence~"
END = b"$%d\r\n%s\r\n" % (len(MARKER), MARKER)
DATABASES = [b"0", b"1", b"2"]
LIFETIME_APART_MS = 8000
APART_SECONDS = 0.5
# No key of any sequence.
CARRIED = b"~carried~"
READERS = {
    b"string": lambda key: [b"GET", key],
    b"list": lambda key: [b"LRANGE", key, b"0", b"-1"],
    b"set": lambda key: [b"SMEMBERS", key],
    b"hash": lambda key: [b"HGETALL", key],
    b"zset": lambda key: [b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"],
    b"stream": lambda key: [b"XINFO", b"STREAM", key, b"FULL", b"COUNT", b"0"],
}
VALUE_RULES = {b"set": compare.unordered, b"hash": compare.pairs, b"zset": compare.doubles, b"stream": compare.xinfo}


@dataclass
class Difference:
    """What differed, in words; `signature` is equal for differences that are probably one defect."""

    signature: str
    text: str


class Lost(Exception):
    """A server ended, closed the connection or fell silent."""

    def __init__(self, side: str, error: Exception):
        super().__init__(f"{side}: {type(error).__name__}: {error}")
        self.side = side


class Side:
    """One server and the connections to it."""

    def __init__(self, name: str, server):
        self.name = name
        self.server = server
        self.actors: list[Wire] = []
        self.listener: Wire | None = None
        self.control: Wire | None = None
        self.ids: list[bytes] = []

    def connect(self, actors: int) -> None:
        while len(self.actors) < actors:
            self.actors.append(Wire(self.server.port))
            self.ids.append(self.actors[-1].call(b"CLIENT", b"ID")[1])
        if self.control is None:
            self.control = Wire(self.server.port)

    def disconnect(self) -> None:
        for wire in [*self.actors, self.listener, self.control]:
            if wire is not None:
                wire.close()
        self.actors, self.ids, self.listener, self.control = [], [], None, None

    def stop_listening(self) -> None:
        if self.listener is not None:
            self.listener.close()
            self.listener = None

    def reopen(self, number: int) -> None:
        """A connection in the place of one that was closed."""
        self.actors[number].close()
        self.actors[number] = Wire(self.server.port)
        self.ids[number] = self.actors[number].call(b"CLIENT", b"ID")[1]

    def named(self, words: list[bytes]) -> list[bytes]:
        """With the numbers that this server gave to connections in the place of their names."""
        return [self.ids[int(word[len(ACTOR) :]) % len(self.ids)] if word.startswith(ACTOR) else word for word in words]

    def unnamed(self, reply):
        """With names in the place of the numbers of connections."""
        kind, value = reply
        if kind in "*~>%|" and value is not None:
            return (kind, [self.unnamed(item) if isinstance(item[0], str) else (self.unnamed(item[0]), self.unnamed(item[1])) for item in value])
        if kind == ":" and value in self.ids:
            return (kind, ACTOR + b"%d" % self.ids.index(value))
        return reply

    def fell_silent(self, what: str):
        raise Lost(self.name, TimeoutError(what))

    def blocked(self) -> int:
        info = self.control.call(b"INFO", b"clients")[1]
        return int(info.split(b"blocked_clients:")[1].split(b"\r\n")[0])

    def guard(self, action, *arguments):
        try:
            return action(*arguments)
        except (OSError, Closed, ProtocolError) as error:
            raise Lost(self.name, error) from error


class Table:
    """Both servers. `play` returns the first difference of a sequence, or None."""

    def __init__(self, graven, stock, grammar: Grammar):
        self.grammar = grammar
        self.ours = Side("graven", graven)
        self.stock = Side("stock", stock)
        self.sides = (self.ours, self.stock)
        self.commands = 0
        self.sorted = False

    def play(self, sequence: Sequence) -> Difference | None:
        self.commands += sequence.count()
        words = {word.upper() for step in sequence.steps for command in step.commands for word in command.words}
        compare.COUNTS_GIVEN[:] = words & {b"ENTRIESREAD", b"LASTID", b"ENTRIESADDED"}
        self.sorted = any(word.upper().startswith(b"SORT") for step in sequence.steps for command in step.commands for word in command.words)
        try:
            for side in self.sides:
                side.guard(side.connect, sequence.actors)
            turns = None
            if sequence.actors == 1:
                found = self.play_all_at_once(sequence)
            else:
                turns = Turns(self, sequence)
                found = turns.play()
            if found or turns and turns.over:
                # The events of this sequence are none of the next.
                for side in self.sides:
                    side.stop_listening()
                return found
            return self.events(sequence) or self.keyspace()
        except Lost as lost:
            self.restart()
            return Difference(f"lost {lost.side}", str(lost))

    def restart(self) -> None:
        for side in self.sides:
            side.disconnect()
            if side.server.alive():
                continue
            side.server.start()

    def reopen(self) -> None:
        """Kills graven and starts it again on what it has written."""
        for side in self.sides:
            side.disconnect()
        self.ours.server.kill9()
        self.ours.server.start()
        for side in self.sides:
            side.guard(side.connect, 1)

    def prologue(self, sequence: Sequence) -> list[list[bytes]]:
        listen = [b"CONFIG", b"SET", *(word for pair in sequence.settings.items() for word in pair)]
        commands = [[b"RESET"], [b"FLUSHALL"], [b"SCRIPT", b"FLUSH"], [b"FUNCTION", b"FLUSH"], *([listen] if sequence.settings else [])]
        return commands

    @staticmethod
    def hello(protocol: int) -> list[list[bytes]]:
        return [[b"HELLO", b"3"]] if protocol == 3 else []

    def judges(self, sequence: Sequence) -> list:
        return [Judge(self.grammar, sequence) for _ in range(sequence.actors)]

    @staticmethod
    def difference(signature: str, text: str) -> Difference:
        return Difference(signature, text)

    def listen(self, sequence: Sequence) -> None:
        if sequence.settings.get(b"notify-keyspace-events"):
            for side in self.sides:
                if side.listener is None:
                    side.listener = side.guard(Wire, side.server.port)
                    side.guard(side.listener.call, b"PSUBSCRIBE", b"__key*__:*")

    def play_all_at_once(self, sequence: Sequence) -> Difference | None:
        self.listen(sequence)
        before = self.prologue(sequence)
        opening = before + self.hello(sequence.protocol)
        commands = [self.ours.named(command.words) for step in sequence.steps for command in step.commands]
        data = b"".join(map(encode, [*opening, *commands, [b"RESET"], [b"ECHO", MARKER]]))
        for side in self.sides:
            side.guard(side.actors[0].send, data)
        ours, stock = (side.guard(side.actors[0].until, END) for side in self.sides)
        if ours == stock:
            return None
        ours, stock = self.ours.guard(parse_all, ours), self.stock.guard(parse_all, stock)
        return Judge(self.grammar, sequence).replies(commands, ours[len(opening) : -1], stock[len(opening) : -1])

    def events(self, sequence: Sequence) -> Difference | None:
        if not sequence.settings.get(b"notify-keyspace-events"):
            return None
        marker = b"$5\r\n~end~\r\n"
        damaged = any(command.rule == "damage" for step in sequence.steps for command in step.commands)
        unsure = (b"restore", b"del", b"new") if damaged else ()
        if any(word.upper() in (b"BY", b"GET", b"WITHSCORE", b"PFDEBUG", b"BITCOUNT", b"BITPOS") for step in sequence.steps for command in step.commands for word in command.words):
            # SORT looks for the keys of a set's members in no order; 7.2 has ZRANK WITHSCORE, and reads the
            # arguments of BITCOUNT and BITPOS before it looks; PFDEBUG is for tests.
            unsure = (*unsure, b"keymiss")
        seen = []
        for side in self.sides:
            side.guard(side.control.call, b"PUBLISH", b"__keyend__:~", b"~end~")
            events = [(item[1][2][1], item[1][3][1]) for item in side.guard(parse_all, side.guard(side.listener.until, marker) + marker)]
            # When a key whose deadline has passed is found out is each server's own business.
            # Of a damaged payload nobody promises who takes it.
            # XSETID is refused more often in 7.2. In 7.2 a consumer is made, and said to be, when it asks; in 7.0 when it is given something.
            seen.append([event for event in events[:-1] if not any(word in event[0] + event[1] for word in (b"expired", b"xgroup-createconsumer", b"xgroup-delconsumer", b"xsetid", *unsure))])
        if any(word.upper() == b"FAIL" for step in sequence.steps for command in step.commands for word in command.words):
            # Where every operation of a BITFIELD fails the string may have grown: graven writes that down and says so, stock does neither.
            seen = [[event for event in events if b"setbit" not in event[0] + event[1]] for events in seen]
        ours, stock = seen
        for at in range(max(len(ours), len(stock))):
            left, right = (events[at] if at < len(events) else (b"", b"no more") for events in seen)
            if left != right:
                return Difference(f"event {min(left[1], right[1])[:20]!r}", f"event {at}: graven {left}, stock {right}; before it {stock[max(0, at - 3) : at]}")
        return None

    def keyspace(self) -> Difference | None:
        """Types, encodings, deadlines, values and payloads of all keys of all databases that sequences use."""
        self.both([[b"CONFIG", b"SET", b"notify-keyspace-events", b""]])
        for database in DATABASES:
            listed = self.listed(database)
            if listed[0] != listed[1]:
                return Difference("keys", f"database {database.decode()}: only in graven {set(listed[0]) - set(listed[1])}, only in stock {set(listed[1]) - set(listed[0])}")
            found = self.values(listed[0], database)
            if found:
                return found
        return None

    def listed(self, database: bytes) -> list[list[bytes]]:
        """The keys of a database, which is selected then. The servers reached a command some milliseconds apart: a deadline may have passed for one of them."""
        end = time.monotonic() + APART_SECONDS
        while True:
            listed = []
            for side in self.sides:
                side.guard(side.control.send, encode([b"SELECT", database]) + encode([b"KEYS", b"*"]))
            for side in self.sides:
                side.guard(side.control.reply)
                listed.append(sorted(item[1] for item in side.guard(side.control.reply)[1]))
            if listed[0] == listed[1] or time.monotonic() > end:
                return listed

    def values(self, keys: list[bytes], database: bytes) -> Difference | None:
        if not keys:
            return None
        ask = [[word, key] if word != b"ENCODING" else [b"OBJECT", word, key] for key in keys for word in (b"TYPE", b"ENCODING", b"PTTL")]
        ours, stock = self.both(ask)
        there, types, alike = [], [], []
        for at, key in enumerate(keys):
            kinds, encodings, lifetimes = ([side[3 * at + n] for side in (ours, stock)] for n in range(3))
            place = f"key {show_command([key])} of database {database.decode()}"
            if ("+", b"none") in kinds:
                continue
            if kinds[0] != kinds[1]:
                return Difference("type", f"{place}: graven {show(kinds[0])}, stock {show(kinds[1])}")
            if not compare.encoding(*encodings) and not (self.sorted and encodings[1] == ("$", b"skiplist")):
                # (Stock's SORT turns the sorted set that it reads into its large form.)
                return Difference(f"encoding {encodings[1][1]}", f"{place}: graven {show(encodings[0])}, stock {show(encodings[1])}")
            if not compare.lifetime(*lifetimes):
                return Difference("lifetime", f"{place}: PTTL graven {show(lifetimes[0])}, stock {show(lifetimes[1])}")
            there.append(key)
            types.append(kinds[0][1])
            alike.append(encodings[0] == encodings[1] or (encodings[0][1], encodings[1][1]) in ((b"listpack", b"quicklist"), (b"embstr", b"raw")))
        # Listed a moment ago, and gone since.
        keys = there
        if b"xinfo" in self.grammar.missing:
            READERS[b"stream"] = lambda key: [b"XRANGE", key, b"-", b"+"]
        ours, stock = self.both([READERS[kind](key) for key, kind in zip(keys, types)])
        for key, kind, left, right in zip(keys, types, ours, stock):
            if left != right and not VALUE_RULES.get(kind, compare.exact)(left, right):
                return Difference(f"value {kind.decode()}", f"key {show_command([key])}, a {kind.decode()}: graven {show(left)}, stock {show(right)}")
        return self.payloads(keys, types, alike)

    def payloads(self, keys: list[bytes], types: list[bytes], alike: list[bool]) -> Difference | None:
        """Payloads of the same encoding are the same, and every payload is on the other server what it was on its own."""
        dumped = [[payload for _, payload in side] for side in self.both([[b"DUMP", key] for key in keys])]
        # One that a server refuses to dump has reached its deadline, or what it held in the meantime was no value.
        rows = [row for row in zip(keys, types, alike, *dumped) if row[3] is not None and row[4] is not None]
        if not rows:
            return None
        keys, types, alike, ours, stock = map(list, zip(*rows))
        for key, kind, same, left, right in zip(keys, types, alike, ours, stock):
            if same and not payloads.same(left, right, counted=not compare.COUNTS_GIVEN):
                return Difference(f"payload {kind.decode()}", f"key {show_command([key])}, a {kind.decode()}: DUMP graven {show(('$', left))}, stock {show(('$', right))}")
        readers = [READERS[kind] for kind in types]
        for name, mine, sides in (("graven", ours, self.sides[::-1]), ("stock", stock, self.sides)):
            carried = [word for payload, read in zip(mine, readers) for word in ([b"RESTORE", CARRIED, b"0", payload, b"REPLACE"], read(CARRIED))]
            asked = [read(key) for key, read in zip(keys, readers)]
            got, was = self.sent(sides[0], [*carried, [b"DEL", CARRIED]]), self.sent(sides[1], asked)
            for key, kind, taken, left, right in zip(keys, types, got[:-1:2], got[1:-1:2], was):
                if taken != ("+", b"OK") or left != right and not VALUE_RULES.get(kind, compare.exact)(*((left, right) if name == "stock" else (right, left))):
                    return Difference(f"carried {kind.decode()}", f"key {show_command([key])}, a {kind.decode()}: {name} held {show(right)}, restored {show(taken)} {show(left)}")
        return None

    def both(self, commands: list[list[bytes]]) -> list[list]:
        data = b"".join(map(encode, [*commands, [b"ECHO", MARKER]]))
        for side in self.sides:
            side.guard(side.control.send, data)
        return [side.guard(parse_all, side.guard(side.control.until, END)) for side in self.sides]

    @staticmethod
    def sent(side: Side, commands: list[list[bytes]]) -> list:
        side.guard(side.control.send, b"".join(map(encode, [*commands, [b"ECHO", MARKER]])))
        return side.guard(parse_all, side.guard(side.control.until, END))


class Judge:
    """Compares the replies of one connection; remembers its transaction, whose replies come with EXEC."""

    def __init__(self, grammar: Grammar, sequence: Sequence):
        self.grammar = grammar
        self.sequence = sequence
        self.queued: list[list[bytes]] | None = None
        self.sorts = any(word.upper().startswith(b"SORT") for step in sequence.steps for command in step.commands for word in command.words)
        # Commands that have a rule of their own, whatever others of their name have.
        self.marked = {tuple(unwrapped(command.words)): command.rule for step in sequence.steps for command in step.commands if command.rule in OWN_RULES}

    def follow(self, commands, replies: list) -> None:
        """Notes what equal replies say of the transaction."""
        for words, reply in zip(commands, replies):
            self.note(words, reply)

    def note(self, words, stock) -> None:
        name = words[0].upper()
        if stock == ("+", b"QUEUED") and self.queued is not None:
            self.queued.append(words)
        elif name == b"MULTI" and stock == ("+", b"OK"):
            self.queued = []
        elif name in (b"DISCARD", b"EXEC", b"RESET"):
            self.queued = None

    def replies(self, commands, ours: list, stock: list) -> Difference | None:
        for words, left, right in zip(commands, ours, stock):
            found = self.reply(words, left, right)
            if found:
                return found
        if len(ours) != len(stock):
            return Difference("count", f"graven sent {len(ours)} replies, stock {len(stock)}")
        return None

    def reply(self, words, ours, stock) -> Difference | None:
        name = words[0].upper()
        if name == b"EXEC" and self.queued is not None:
            queued, self.queued = self.queued, None
            if ours[0] == "*" == stock[0] and ours[1] is not None and stock[1] is not None and len(ours[1]) == len(stock[1]) == len(queued):
                for inner, left, right in zip(queued, ours[1], stock[1]):
                    if not self.equal(inner, left, right):
                        return self.difference(inner, left, right, "in EXEC: ")
                return None
        self.note(words, stock)
        return None if self.equal(words, ours, stock) else self.difference(words, ours, stock)

    def equal(self, words, ours, stock) -> bool:
        if ours == stock:
            return True
        inner = unwrapped(words)
        rule = self.marked.get(tuple(inner)) or self.grammar.rule(inner)
        if rule == "encoding" and self.sorts and stock == ("$", b"skiplist") and ours == ("$", b"listpack"):
            # Stock's SORT turns the sorted set that it reads into its large form.
            return True
        if compare.RULES[rule](ours, stock) or compare.allowed(inner, ours, stock):
            return True
        if inner[0].upper().startswith(b"SORT") and any(word.upper() == b"BY" for word in inner) and (compare.unordered(ours, stock) or LIMITED in map(bytes.upper, inner) and compare.shape(ours, stock)):
            # By a pattern without a star the order of a set is nobody's promise, nor is that of equal weights.
            return True
        return inner is not words and (compare.wrapped(ours) == compare.wrapped(stock) or compare.allowed(words, ours, stock))

    @staticmethod
    def difference(words, ours, stock, where: str = "") -> Difference:
        name = unwrapped(words)[0].upper().decode("latin-1")
        return Difference(f"{name} {brief(ours)} {brief(stock)}", f"{where}{show_command(words)[:2000]}\n    graven: {show(ours)}\n    stock:  {show(stock)}")


def unwrapped(words: list[bytes]) -> list[bytes]:
    """The command inside a script that does nothing but call it."""
    if len(words) > 3 and words[0] == b"EVAL" and b"(unpack(ARGV))" in words[1]:
        return words[3:]
    return words


def brief(reply) -> str:
    kind, value = reply
    return kind + (" ".join(value.decode("latin-1").split()[:4]) if kind == "-" else "")
