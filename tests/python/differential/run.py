"""A run: two servers, sequences by number, and for each different difference one small story."""

from __future__ import annotations

import time
from pathlib import Path

from support.server import Server, stock_binary

from . import values
from .grammar import Grammar
from .play import Table
from .sequence import SETTINGS, Maker
from .shrink import Shrinker, story
from .wire import Wire


class Run:
    def __init__(self, directory: Path, *, binary: str | None = None, only: list[str] | None = None, say=print):
        self.say = say
        common = {"save": "", "databases": 16}
        self.graven = Server(directory / "graven", name="graven", binary=binary, directives={**common, "appendonly": "yes", "appendfsync": "no"})
        self.stock = Server(directory / "stock", name="stock", binary=stock_binary(), directives={**common, "appendonly": "no"})
        self.only = only

    def __enter__(self) -> "Run":
        self.graven.start()
        self.stock.start()
        wire = Wire(self.graven.port)
        known = {entry[1][0][1] for entry in wire.call(b"COMMAND")[1]}
        settings = {name for name in SETTINGS if wire.call(b"CONFIG", b"SET", name, SETTINGS[name][0])[0] == "+"}
        wire.close()
        self.grammar = Grammar(known, self.only)
        self.maker = Maker(self.grammar, settings, eager=self.only is not None)
        self.unset = set(SETTINGS) - settings
        self.table = Table(self.graven, self.stock, self.grammar)
        self.fill_pools()
        if self.grammar.missing:
            self.say(f"not in graven: {b' '.join(sorted(self.grammar.missing)).decode()}")
        if self.unset:
            self.say(f"cannot be set in graven: {b' '.join(sorted(self.unset)).decode()}")
        return self

    def __exit__(self, *_exc) -> None:
        self.graven.end()
        self.stock.end()

    def fill_pools(self) -> None:
        """What the sequences restore: payloads that both servers made of the same keys."""
        values.PAYLOADS.clear()
        values.FUNCTIONS.clear()
        makers = Maker(Grammar(self.grammar.known), set(SETTINGS) - self.unset)
        for number in range(12):
            self.table.play(makers.sequence(f"payloads-{number}", 250))
            for side in self.table.sides:
                control = side.control or Wire(side.server.port)
                control.call(b"SELECT", b"0")
                for key in sorted(item[1] for item in control.call(b"KEYS", b"*")[1]):
                    payload = control.call(b"DUMP", key)[1]
                    if payload and len(payload) < 3000:
                        values.PAYLOADS.append(payload)
                for library in values.LIBRARIES[number % 3 :: 3]:
                    control.call(b"FUNCTION", b"LOAD", b"REPLACE", library.encode())
                values.FUNCTIONS.append(control.call(b"FUNCTION", b"DUMP")[1])

    def one(self, seed: str, length: int) -> str | None:
        """The sequence of that seed; its story when it fails."""
        sequence = self.maker.sequence(seed, length)
        found = self.table.play(sequence)
        if not found:
            return None
        shrinker = Shrinker(self.table, found.signature)
        small = shrinker.shrink(sequence)
        told = story(small, self.table.play(small) or found)
        self.say(told + "\n")
        return told

    def many(self, seed: str, commands: int, *, length: int, most: int) -> list[str]:
        """Stories of the different differences among that many commands."""
        began = last = time.monotonic()
        stories: dict[str, str] = {}
        counts: dict[str, int] = {}
        number = played = 0
        while played < commands and len(stories) < most:
            sequence = self.maker.sequence(f"{seed}-{number}", length)
            number += 1
            played += sequence.count()
            found = self.table.play(sequence)
            if found:
                counts[found.signature] = counts.get(found.signature, 0) + 1
                if found.signature not in stories:
                    self.say(f"seed {sequence.seed}: {found.text}")
                    small = Shrinker(self.table, found.signature).shrink(sequence)
                    stories[found.signature] = story(small, self.table.play(small) or found)
                    self.say(f"## {found.signature}\n{stories[found.signature]}\n")
            if time.monotonic() - last > 30:
                last = time.monotonic()
                self.say(f"{played} commands, {number} sequences, {last - began:.0f} s, {len(stories)} defects")
        self.say(f"{played} commands in {number} sequences, {time.monotonic() - began:.0f} s: {len(stories)} different differences, seed {seed}")
        for signature, count in sorted(counts.items(), key=lambda item: -item[1]):
            self.say(f"  {count:6} x {signature}")
        return list(stories.values())
