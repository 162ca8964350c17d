"""Makes a failing sequence small: fewer steps by delta debugging, then plainer settings and fewer and shorter arguments, as long as it fails alike."""

from __future__ import annotations

import time

from .grammar import Command
from .play import Difference, Table
from .sequence import SETTINGS, Sequence, Step
from .wire import show_command

MOST_SECONDS = 30.0


class Shrinker:
    def __init__(self, table: Table, signature: str):
        self.table = table
        self.signature = signature
        self.end = time.monotonic() + MOST_SECONDS

    def fails(self, sequence: Sequence) -> bool:
        found = self.table.play(sequence)
        return found is not None and found.signature == self.signature

    def shrink(self, sequence: Sequence) -> Sequence:
        sequence = self.fewer_steps(sequence)
        sequence = self.plainer(sequence)
        sequence = self.fewer_words(sequence)
        return self.fewer_steps(sequence)

    def fewer_steps(self, sequence: Sequence) -> Sequence:
        steps = sequence.steps
        size = max(1, len(steps) // 2)
        while size:
            at = 0
            while at < len(steps) and time.monotonic() < self.end:
                fewer = steps[:at] + steps[at + size :]
                if self.fails(sequence.but(fewer)):
                    steps = fewer
                else:
                    at += size
            size //= 2
        return sequence.but(steps)

    def plainer(self, sequence: Sequence) -> Sequence:
        for name, value in list(sequence.settings.items()):
            if value != SETTINGS[name][0]:
                changed = sequence.but(sequence.steps)
                changed.settings = {**sequence.settings, name: SETTINGS[name][0]}
                if self.fails(changed):
                    sequence = changed
        if sequence.protocol == 3 or 3 in sequence.protocols:
            changed = sequence.but(sequence.steps)
            changed.protocol, changed.protocols = 2, [2] * sequence.actors
            if self.fails(changed):
                sequence = changed
        return sequence

    def fewer_words(self, sequence: Sequence) -> Sequence:
        """Leaves out arguments, alone and in pairs, and cuts long ones."""
        for number in range(len(sequence.steps)):
            for inner, command in enumerate(sequence.steps[number].commands):
                if command.form and command.form.blocking:
                    # Without its timeout it would wait for ever.
                    continue
                for size in (16, 4, 2, 1):
                    at = 1
                    while time.monotonic() < self.end:
                        words = sequence.steps[number].commands[inner].words
                        if at >= len(words):
                            break
                        changed = self.with_words(sequence, number, inner, words[:at] + words[at + size :])
                        if self.fails(changed):
                            sequence = changed
                        else:
                            at += size
                for at, word in enumerate(sequence.steps[number].commands[inner].words):
                    while len(word) > 8 and at and time.monotonic() < self.end:
                        words = sequence.steps[number].commands[inner].words
                        word = word[: len(word) // 2]
                        changed = self.with_words(sequence, number, inner, [*words[:at], word, *words[at + 1 :]])
                        if not self.fails(changed):
                            break
                        sequence = changed
        return sequence

    @staticmethod
    def with_words(sequence: Sequence, number: int, inner: int, words: list[bytes]) -> Sequence:
        step = sequence.steps[number]
        commands = list(step.commands)
        commands[inner] = Command(words, commands[inner].rule, commands[inner].form)
        steps = list(sequence.steps)
        steps[number] = Step(commands, step.actor)
        return sequence.but(steps)


def story(sequence: Sequence, difference: Difference) -> str:
    """The failing sequence as redis-cli would take it, with what differed."""
    lines = [f"-- seed {sequence.seed}, RESP{'/'.join(map(str, sequence.protocols)) or sequence.protocol}"]
    for name, value in sequence.settings.items():
        if value != SETTINGS[name][0]:
            lines.append(f"CONFIG SET {name.decode()} {value.decode() or repr('')}")
    for step in sequence.steps:
        for command in step.commands:
            lines.append((f"{step.actor}> " if sequence.actors > 1 else "") + show_command(command.words)[:2000])
    return "\n".join(lines) + f"\n=> {difference.text}"
