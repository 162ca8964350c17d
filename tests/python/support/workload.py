"""Clients whose writes form a sequence, so that any state of the server can be judged: is it a prefix, and of what length?

Client `c` issues operation 1, 2, 3, ...; what operation `n` does depends on `n` alone, so the state after the first `n` operations
is a function of `n`. Each connection's operations are executed in order, therefore after a crash the state must be exactly that
function for one `n` between the last acknowledged and the last sent. Transactions also append to one shared list, which shows the
order between clients, and every client writes down how far it has seen its neighbour.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field

from .resp import Closed, Connection, ProtocolError, ServerError, encode
from .server import wait_until

KINDS = 8
HASH_FIELDS = 50
SCRIPT = "local n = redis.call('INCR', KEYS[1]) redis.call('HSET', KEYS[2], 'at', n, 'n', ARGV[1]) return n"


def operation(client: int, n: int) -> list[tuple]:
    """The commands of operation `n`; more than one means a transaction."""
    k = f"c{client}:"
    kind = n % KINDS
    if kind == 0:
        return [("SET", k + "last", n)]
    if kind == 1:
        return [("RPUSH", k + "list", n)]
    if kind == 2:
        return [("INCR", k + "count")]
    if kind == 3:
        return [("INCR", k + "multi"), ("RPUSH", "order", f"{client}:{n}"), ("SET", k + "txn", n), ("INCR", "total")]
    if kind == 4:
        return [("HSET", k + "hash", f"f{n % HASH_FIELDS}", n)]
    if kind == 5:
        return [("ZADD", k + "zset", n, f"m{n % HASH_FIELDS}")]
    if kind == 6:
        return [("EVAL", SCRIPT, 2, k + "scripts", k + "script", n)]
    return [("SETEX", k + f"ttl{n % 3}", 100000, "x" * (n % 900))]


def wire(client: int, n: int) -> tuple[bytes, int]:
    """The bytes of operation `n` and how many replies they bring."""
    commands = operation(client, n)
    if len(commands) > 1:
        commands = [("MULTI",), *commands, ("EXEC",)]
    return b"".join(encode(*command) for command in commands), len(commands)


def expected(n: int) -> dict:
    """The state of one client's keys after `n` operations (all but the shared ones)."""

    def numbers(kind: int) -> range:
        return range(kind, n + 1, KINDS) if kind else range(KINDS, n + 1, KINDS)

    def last(kind: int) -> int:
        values = numbers(kind)
        return values[-1] if values else 0

    return {
        "last": last(0),
        "list": list(numbers(1)),
        "count": len(numbers(2)),
        "multi": len(numbers(3)),
        "txn": last(3),
        "hash": {f"f{i % HASH_FIELDS}": i for i in numbers(4)},
        "zset": {f"m{i % HASH_FIELDS}": i for i in numbers(5)},
        "scripts": len(numbers(6)),
        "script": last(6),
        "ttl": {i % 3: i % 900 for i in numbers(7)},
    }


def read_state(connection: Connection, client: int) -> dict:
    k = f"c{client}:"
    values = connection.pipeline(
        [
            ("GET", k + "last"),
            ("LRANGE", k + "list", 0, -1),
            ("GET", k + "count"),
            ("GET", k + "multi"),
            ("GET", k + "txn"),
            ("HGETALL", k + "hash"),
            ("ZRANGE", k + "zset", 0, -1, "WITHSCORES"),
            ("GET", k + "scripts"),
            ("HMGET", k + "script", "at", "n"),
            *(("STRLEN", k + f"ttl{i}") for i in range(3)),
            *(("EXISTS", k + f"ttl{i}") for i in range(3)),
        ]
    )
    for value in values:
        if isinstance(value, ServerError):
            raise value
    last, items, count, multi, txn, fields, members, scripts, script = values[:9]
    assert int(script[0] or 0) == int(scripts or 0), "a script was applied in part"
    return {
        "last": int(last or 0),
        "list": [int(item) for item in items],
        "count": int(count or 0),
        "multi": int(multi or 0),
        "txn": int(txn or 0),
        "hash": {f.decode(): int(v) for f, v in zip(fields[::2], fields[1::2])},
        "zset": {m.decode(): int(s) for m, s in zip(members[::2], members[1::2])},
        "scripts": int(scripts or 0),
        "script": int(script[1] or 0),
        "ttl": {i: values[9 + i] for i in range(3) if values[12 + i]},
    }


def applied(state: dict) -> int:
    """How many operations the state holds; fails when it is no prefix."""
    candidates = [
        state["last"],
        state["list"][-1] if state["list"] else 0,
        state["count"] * KINDS - KINDS + 2 if state["count"] else 0,
        state["txn"],
        max(state["hash"].values(), default=0),
        max(state["zset"].values(), default=0),
        state["script"],
    ]
    low = max(candidates)
    for n in range(low, low + 3):
        if expected(n) == state:
            return n
    wanted = expected(low)
    wrong = [f"{name}: {str(state[name])[-120:]} instead of {str(wanted[name])[-120:]}" for name in state if state[name] != wanted[name]]
    raise AssertionError(f"not a prefix of the client's operations (about {low}): " + "; ".join(wrong))


@dataclass
class Client:
    """One connection's past: how many operations were sent and how many acknowledged; survives crashes of the server."""

    number: int
    sent: int = 0
    acknowledged: int = 0
    seen: dict = field(default_factory=dict)
    errors: list = field(default_factory=list)
    # What was acknowledged when it connected last; None before it has.
    begun: int | None = None

    def run(self, port: int, stop: threading.Event, chance: random.Random, depth: int, neighbour: int) -> None:
        """Sends batches of up to `depth` operations until told to stop or the server is gone."""
        try:
            with Connection(port, timeout=60.0) as connection:
                self.sent = self.acknowledged = self.begun = max(self.acknowledged, self.recover(connection))
                while not stop.is_set():
                    batch = range(self.sent + 1, self.sent + 1 + chance.randint(1, depth))
                    parts = [wire(self.number, n) for n in batch]
                    self.sent = batch[-1]
                    connection.send_bytes(b"".join(data for data, _ in parts))
                    for n, (_, replies) in zip(batch, parts):
                        for _ in range(replies):
                            reply = connection.read_reply()
                            if reply.is_error:
                                self.errors.append(reply.render())
                        self.acknowledged = n
                    if chance.random() < 0.2:
                        value = connection.call("GET", f"c{neighbour}:last")
                        if value is not None:
                            self.seen[neighbour] = max(self.seen.get(neighbour, 0), int(value))
        except (Closed, ConnectionError, TimeoutError, ProtocolError):
            pass
        except Exception as error:
            self.errors.append(repr(error))

    def recover(self, connection: Connection) -> int:
        """Where to go on: as many operations as the server holds."""
        return applied(read_state(connection, self.number))


class Load:
    """Several clients at once; `start`, `stop`, and `judge` between crashes."""

    def __init__(self, clients: int, seed: int, depth: int = 8):
        self.clients = [Client(number) for number in range(clients)]
        self.chance = random.Random(seed)
        self.depth = depth
        self.stopping = threading.Event()
        self.threads: list[threading.Thread] = []

    def start(self, port: int) -> None:
        self.stopping.clear()
        for client in self.clients:
            client.begun = None
        count = len(self.clients)
        self.threads = [
            threading.Thread(
                target=client.run,
                args=(port, self.stopping, random.Random(self.chance.random()), 1 if client.number == 0 else self.depth, (client.number + 1) % count),
                daemon=True,
            )
            for client in self.clients
        ]
        for thread in self.threads:
            thread.start()

    def run_for(self, seconds: float) -> None:
        """That long, and until something has been acknowledged since `start`."""
        time.sleep(seconds)
        moved = lambda client: client.errors or (client.begun is not None and client.acknowledged > client.begun)  # noqa: E731
        wait_until(lambda: any(map(moved, self.clients)), 30, "the load does something")

    def stop(self) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(90)
            assert not thread.is_alive(), "a client hangs"

    def check_errors(self) -> None:
        errors = [error for client in self.clients for error in client.errors]
        assert not errors, f"{len(errors)} errors, first {errors[:3]}"

    def judge(self, port: int, *, whole: bool = True) -> dict:
        """Asserts that the server holds a prefix, with all that was acknowledged or shown (unless not `whole`); returns the lengths."""
        lengths = {}
        with Connection(port, timeout=90.0) as connection:
            for client in self.clients:
                n = applied(read_state(connection, client.number))
                assert n <= client.sent, f"client {client.number}: {n} operations applied, {client.sent} sent"
                if whole:
                    assert n >= client.acknowledged, f"client {client.number}: {client.acknowledged} operations acknowledged, {n} there"
                lengths[client.number] = n
            if whole:
                for client in self.clients:
                    for neighbour, value in client.seen.items():
                        assert lengths[neighbour] >= value, f"client {client.number} was shown {value} of {neighbour}; {lengths[neighbour]} are there"
            order = [tuple(map(int, item.split(b":"))) for item in connection.call("LRANGE", "order", 0, -1)]
            total = int(connection.call("GET", "total") or 0)
        assert len(order) == total, "a transaction was applied in part"
        for client in self.clients:
            own = [n for number, n in order if number == client.number]
            wanted = list(range(3, lengths[client.number] + 1, KINDS))
            assert own == wanted, f"client {client.number}: the shared list holds {own[-5:]}, wanted {wanted[-5:]}"
        return lengths

    def adopt(self, port: int) -> None:
        """Takes the server's state for the truth: after a test has cut the log on purpose."""
        with Connection(port, timeout=90.0) as connection:
            for client in self.clients:
                client.sent = client.acknowledged = applied(read_state(connection, client.number))
                client.seen.clear()
