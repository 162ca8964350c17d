"""A small run of the differential tester (`differential/`): another seed of the same sequences that are run by the million by hand.

`GRAVEN_TEST_SEED` repeats a run; `python3 -m differential` in this directory makes a long one.
"""

from __future__ import annotations

import os
import random

import pytest

from differential.grammar import Command
from differential.play import Difference
from differential.run import Run
from differential.sequence import SETTINGS, Sequence, Step
from differential.shrink import Shrinker, story

SEED = os.environ.get("GRAVEN_TEST_SEED", "20240607")
COMMANDS = 40_000
LENGTH = 150


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with Run(tmp_path_factory.mktemp("differential")) as started:
        yield started


def test_random_sequences(run):
    """Replies, keyspace events and what is left in the keyspace are the same, whatever is sent."""
    found = run.many(SEED, COMMANDS, length=LENGTH, most=5)
    assert not found, "\n\n".join(found)


def test_replay_gives_what_was_there(run):
    """A long sequence of every family; what graven reads back from its log is what stock still holds."""
    sequence = run.maker.sequence(f"{SEED}-replay", 4000)
    # The limits of the encodings are those of the configuration again after the restart.
    sequence.settings = {name: SETTINGS[name][0] for name in sequence.settings}
    assert run.table.play(sequence) is None
    run.table.reopen()
    found = run.table.keyspace()
    assert found is None, found.text


class Pretended:
    """A table on which a sequence fails when it holds an RPUSH of `x` behind a MULTI."""

    def play(self, sequence):
        words = [command.words for step in sequence.steps for command in step.commands]
        names = [command[0] for command in words]
        pushes = [at for at, command in enumerate(words) if command[0] == b"RPUSH" and b"x" in command[1:]]
        return Difference("RPUSH", "pretended") if b"MULTI" in names and any(at > names.index(b"MULTI") for at in pushes) else None


def test_a_failing_sequence_shrinks():
    chance = random.Random(SEED)
    pool = [[b"GET", b"s1"], [b"RPUSH", b"l1", b"a", b"x", b"y"], [b"MULTI"], [b"EXEC"], [b"SET", b"s1", b"long" * 20]]
    steps = [Step([Command(list(chance.choice(pool)))]) for _ in range(200)]
    small = Shrinker(Pretended(), "RPUSH").shrink(Sequence("pretended", 3, {b"notify-keyspace-events": b"KEA"}, steps))
    assert [command.words for step in small.steps for command in step.commands] == [[b"MULTI"], [b"RPUSH", b"x"]]
    assert (small.protocol, small.settings) == (2, {b"notify-keyspace-events": b""})
    assert story(small, Difference("RPUSH", "pretended")) == "-- seed pretended, RESP2\nMULTI\nRPUSH x\n=> pretended"
