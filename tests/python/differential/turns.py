"""Plays a sequence of several connections: one step at a time, and after each what every connection has been sent.

Nothing is awaited by the clock. Behind each step its connection is asked something that no server knows, whose refusal marks the end of
the replies; then all others are asked the same, so that whatever the step has pushed to them has come before. A connection that is
blocked on stock must be blocked on graven, and is left alone until it is served. One that is closed by both is opened again.
"""

from __future__ import annotations

import time

from support.resp import Closed

from . import compare
from .sequence import Sequence, Step
from .wire import SECONDS, Wire, encode, show, show_command

MARK = b"~mark~"
MARKED = b"ERR unknown command '" + MARK + b"'"
SCRIPTS = {b"EVAL", b"EVALSHA", b"FCALL", b"EXEC"}
# Whoever has changed users or subscriptions before, it is undone by these.
USERS = [b"u1", b"u2", b"u3"]
UNDONE = [
    [b"ACL", b"SETUSER", b"default", b"reset", b"on", b"nopass", b"allkeys", b"allchannels", b"+@all"],
    [b"ACL", b"DELUSER", *USERS],
    [b"ACL", b"LOG", b"RESET"],
]


class Turns:
    def __init__(self, table, sequence: Sequence):
        self.table = table
        self.sides = table.sides
        self.sequence = sequence
        self.judges = table.judges(sequence)
        # What a connection has been sent and not answered, by its number.
        self.waiting: dict[int, list[list[bytes]]] = {}
        # The servers stand apart by a difference that is allowed.
        self.over = False

    def play(self):
        self.table.listen(self.sequence)
        self.open()
        found = None
        for step in self.sequence.steps:
            if step.actor in self.waiting:
                continue
            found = self.step(step)
            if found or self.over:
                break
        found = found or (None if self.over else self.release())
        for side in self.sides:
            if found or self.over:
                side.disconnect()
            else:
                self.close(side)
        return found

    def open(self) -> None:
        for side in self.sides:
            for words in [*UNDONE, *self.table.prologue(self.sequence)]:
                side.guard(side.control.call, *words)
            for number in range(self.sequence.actors):
                self.greet(side, number)

    def greet(self, side, number: int) -> None:
        """A fresh state for one connection."""
        wire = side.actors[number]
        side.guard(wire.send, b"".join(map(encode, [[b"RESET"], *self.table.hello(self.sequence.protocols[number]), [MARK]])))
        self.until_marked(side, number)

    def close(self, side) -> None:
        for number in range(self.sequence.actors):
            side.guard(side.actors[number].send, encode([b"RESET"]) + encode([MARK]))
            self.until_marked(side, number)
        for words in UNDONE:
            side.guard(side.control.call, *words)

    def until_marked(self, side, number: int) -> list:
        frames: list = []
        while not ended(frames):
            side.guard(side.actors[number].has, SECONDS)
            frames += side.guard(side.actors[number].whole)
        return frames

    def step(self, step: Step):
        self.waiting[step.actor] = [command.words for command in step.commands]
        for side in self.sides:
            data = b"".join(encode(side.named(command.words)) for command in step.commands)
            side.guard(side.actors[step.actor].send, data + encode([MARK]))
        return self.settle()

    def release(self):
        """Ends every wait by CLIENT UNBLOCK."""
        for _ in range(20 * self.sequence.actors):
            if not self.waiting:
                return None
            number = min(self.waiting)
            answers = [side.guard(side.control.call, b"CLIENT", b"UNBLOCK", side.ids[number]) for side in self.sides]
            if answers[0] != answers[1]:
                return self.table.difference("unblock", f"CLIENT UNBLOCK of connection {number}: graven {show(answers[0])}, stock {show(answers[1])}")
            found = self.settle()
            if found or self.over:
                return found
        return self.table.difference("unblock", f"connection {min(self.waiting)} is blocked for ever")

    def settle(self):
        """Waits until every connection is either answered or blocked, on both servers, and compares who is and what came."""
        came = [self.collect(side) for side in self.sides]
        ours, stock = came
        for number in sorted(self.waiting):
            if (number in ours) != (number in stock):
                words = self.waiting[number][-1]
                if words[0].upper() == b"XREAD" and number in stock:
                    # What was added is gone again within one transaction: 7.0 answers with no entries, 7.2 goes on waiting.
                    self.over = True
                    return None
                who = "graven" if number in stock else "stock"
                return self.table.difference(f"blocked {words[0].upper().decode('latin-1')}", f"connection {number}, {show_command(words)}: {who} has not answered")
        for number in sorted(ours):
            found = self.compare(number, self.waiting.pop(number, []), ours[number], stock[number])
            if found:
                return found
        for number in ours:
            if ours[number] is None:
                for side in self.sides:
                    side.guard(side.reopen, number)
                    self.greet(side, number)
        return None

    def collect(self, side) -> dict:
        """Frames by connection, of all that are not blocked; None for one that was closed."""
        got: dict[int, list | None] = {number: [] for number in self.waiting}
        end = time.monotonic() + SECONDS
        while True:
            for number in self.open_ones(got):
                try:
                    side.actors[number].has(0.0)
                    got[number] += side.actors[number].whole()
                except (Closed, ConnectionError):
                    got[number] = None
            left = self.open_ones(got)
            if not left or side.guard(side.blocked) == len(left):
                break
            if time.monotonic() > end:
                side.fell_silent(f"connection {left} is neither answered nor blocked after {show_command(self.waiting[left[0]][-1])}")
            try:
                side.actors[left[0]].has(0.001)
            except (Closed, ConnectionError):
                got[left[0]] = None
        for number in self.open_ones(got):
            # Kept for the time when it is answered.
            side.actors[number].put_back(got.pop(number))
        for number in range(self.sequence.actors):
            if number in got or number not in self.waiting:
                before = got.get(number, [])
                after = self.ask(side, number) if before is not None else None
                got[number] = [frame for frame in before + after if not is_mark(frame)] if after is not None else None
        return got

    def open_ones(self, got: dict) -> list[int]:
        return [number for number, frames in got.items() if frames is not None and not ended(frames)]

    def ask(self, side, number: int) -> list | None:
        """What has come to a connection since its last mark."""
        try:
            side.actors[number].send(encode([MARK]))
            frames: list = []
            while not ended(frames):
                side.actors[number].has(SECONDS)
                frames += side.actors[number].whole()
            return frames
        except (Closed, ConnectionError):
            return None

    def compare(self, number: int, commands: list, ours: list | None, stock: list | None):
        place = f"connection {number}"
        if (ours is None) != (stock is None):
            after = show_command(commands[-1]) if commands else "nothing of its own"
            return self.table.difference("closed", f"{place}: closed by {'graven' if ours is None else 'stock'} alone after {after}")
        if ours is None:
            return None
        if ours == stock:
            self.judges[number].follow(commands, parted(stock)[0])
            return None
        tell_ids = any(words[0].upper() == b"CLIENT" for words in commands)
        named = [[side.unnamed(frame) if tell_ids else frame for frame in frames] for side, frames in zip(self.sides, (ours, stock))]
        if named[0] == named[1]:
            self.judges[number].follow(commands, parted(named[1])[0])
            return None
        (ours, our_pushes), (stock, their_pushes) = (parted(frames) for frames in named)
        our_pushes, their_pushes = ([frame for frame in frames if not unpromised(frame)] for frames in (our_pushes, their_pushes))
        words = {word.upper() for step in self.sequence.steps for command in step.commands for word in command.words}
        if any(command[0].upper() in SCRIPTS for command in commands) and {b"NOLOOP", b"BCAST"} <= words:
            # Stock takes a script for somebody else than the connection that runs it.
            our_pushes = their_pushes = []
        if our_pushes != their_pushes:
            for left, right in zip([*our_pushes, ("-", b"nothing")], [*their_pushes, ("-", b"nothing")]):
                if left != right:
                    after = show_command(commands[-1]) if commands else "what another connection did"
                    return self.table.difference(f"push {compare.kind_of_push(left if left[0] != '-' else right)}", f"{place}, after {after}:\n    graven: {show(left)}\n    stock:  {show(right)}")
        commands = [words for words in commands if not (is_subscription(words) and len(stock) < len(commands))]
        return self.judges[number].replies(commands, ours, stock)


def is_mark(frame) -> bool:
    return frame[0] == "-" and frame[1].startswith(MARKED)


def unpromised(frame) -> bool:
    """In 7.2 a consumer is made, and said to be, when it asks; in 7.0 when it is given something."""
    return any(b"xgroup-createconsumer" in word or b"xgroup-delconsumer" in word for kind, word in frame[1] or [] if isinstance(word, bytes))


def ended(frames: list) -> bool:
    """What a connection does to itself may be told to it behind the mark."""
    return any(map(is_mark, frames))


def is_subscription(words: list[bytes]) -> bool:
    return words[0].upper().endswith(b"SUBSCRIBE")


def parted(frames: list) -> tuple[list, list]:
    """Replies, and what was pushed in an order that both must keep."""
    pushed = [frame for frame in frames if compare.is_push(frame)]
    return [frame for frame in frames if not compare.is_push(frame)], compare.pushes(pushed)
