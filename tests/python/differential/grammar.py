"""The grammar of commands: lines of `families/*.txt`, and the random commands that they give.

    SET <kstr> <value> [NX|XX] [GET] [EX <seconds>|KEEPTTL]  :: weight=3
    word        itself, in any case          <kind>   an argument of that kind (`values.KINDS`)
    [a|b]       nothing, or one of them      (a|b)    one of them            x...   one or several times
    '' 'x y'    a literal word

Behind `::` stand attributes: `weight=N`; `rule=NAME`, how replies of this command are compared (`compare.RULES`; `damage` of this form alone); `forget`, the outcome is random, so
the keys named are deleted behind it; `blocking`, may block, so a wrong form must not lack its timeout; `alone`, no place in a
script or transaction; `nowrong`, sent as it stands only; `unknown`, no command of any server;
`needs=NAME`, only where that command is known too.

A family is used once the server under test has all its commands; what it lacks is reported by `Grammar.missing`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from .values import KINDS, Source, junk, text

FAMILIES = Path(__file__).with_name("families")
TOKEN = re.compile(r"'[^']*'|<[a-z]+>|\.\.\.|[][()|]|[^][()|\s<>'.]+(?:\.[^][()|\s<>'.]+)*")


@dataclass
class Form:
    """One line: a tree of nodes that `words` walks."""

    name: bytes
    tree: list
    family: str
    line: str
    weight: float = 1.0
    rule: str = "exact"
    forget: bool = False
    blocking: bool = False
    alone: bool = False
    nowrong: bool = False
    unknown: bool = False
    needs: str = ""

    def words(self, source: Source) -> list[bytes]:
        out: list[bytes] = []
        emit(self.tree, source, out)
        if not self.nowrong and source.roll(source.wrong * 0.8):
            spoil(out, source, self.blocking)
        return out


@dataclass
class Command:
    """One command to send, and how its replies compare."""

    words: list[bytes]
    rule: str = "exact"
    form: Form | None = field(default=None, repr=False)


def emit(nodes, source: Source, out: list[bytes]) -> None:
    for kind, value in nodes:
        if kind == "word":
            out.append(value if not value.isalpha() or source.roll(0.9) else value.lower() if source.roll(0.7) else value.title())
        elif kind == "arg":
            got = value(source)
            if type(got) is list:
                out += got
            else:
                out.append(got)
        elif kind == "many":
            for _ in range(1 if source.roll(0.45) else 2 + source.below(3) if source.roll(0.9) else 2 + source.below(12)):
                emit(value, source, out)
        elif kind == "choice":
            emit(source.pick(value), source, out)
        elif source.roll(0.35):
            emit(source.pick(value), source, out)
            if source.roll(source.wrong):
                # Twice, or together with one that it excludes.
                emit(source.pick(value), source, out)


def spoil(words: list[bytes], source: Source, blocking: bool) -> None:
    """Makes a command wrong in one place, most likely."""
    roll = source.random.random()
    at = 1 + source.below(len(words) - 1) if len(words) > 1 else 1
    if roll < 0.3 and len(words) > 1:
        del words[at]
    elif roll < 0.6:
        words.append(b"FOO" if blocking else junk(source))
    elif blocking:
        del words[2:]
    elif roll < 0.75:
        words.insert(at, junk(source))
    elif roll < 0.85 and len(words) > 1:
        words[at] = text(source)
    elif roll < 0.93 and len(words) > 2:
        other = 1 + source.below(len(words) - 1)
        words[at], words[other] = words[other], words[at]
    else:
        del words[1 + source.below(len(words)) :]


def parse(text_line: str, family: str) -> Form:
    body, _, attributes = text_line.partition("::")
    tokens = TOKEN.findall(body)
    tree, rest = parse_sequence(tokens, 0)
    if rest != len(tokens):
        raise ValueError(f"{family}: {text_line!r}: a bracket too many")
    form = Form(tree[0][1], tree, family, body.strip())
    for attribute in attributes.split():
        name, _, value = attribute.partition("=")
        if name == "weight":
            form.weight = float(value)
        elif name == "rule":
            form.rule = value
        elif name == "needs":
            form.needs = value
        elif name in ("forget", "blocking", "alone", "nowrong", "unknown"):
            setattr(form, name, True)
        else:
            raise ValueError(f"{family}: {text_line!r}: no attribute {name!r}")
    return form


def parse_sequence(tokens: list[str], at: int) -> tuple[list, int]:
    nodes: list = []
    while at < len(tokens):
        token = tokens[at]
        if token in "|])":
            break
        if token in "[(":
            branches, at = parse_branches(tokens, at + 1, "]" if token == "[" else ")")
            nodes.append(("maybe" if token == "[" else "choice", branches))
        elif token == "...":
            nodes[-1] = ("many", [nodes[-1]])
            at += 1
        elif token.startswith("<"):
            nodes.append(("arg", KINDS[token[1:-1]]))
            at += 1
        else:
            nodes.append(("word", token.strip("'").encode()))
            at += 1
    return nodes, at


def parse_branches(tokens: list[str], at: int, end: str) -> tuple[list, int]:
    branches = []
    while True:
        nodes, at = parse_sequence(tokens, at)
        branches.append(nodes)
        if at >= len(tokens):
            raise ValueError(f"{' '.join(tokens)!r}: {end!r} is missing")
        at += 1
        if tokens[at - 1] == end:
            return branches, at


class Grammar:
    """All forms of the families whose commands `known` (lower-case names) has."""

    def __init__(self, known: set[bytes] | None = None, only: list[str] | None = None):
        self.known = known
        self.families: dict[str, list[Form]] = {}
        self.missing: set[bytes] = set()
        self.rules: dict[bytes, str] = {}
        for path in sorted(FAMILIES.glob("*.txt")):
            for line in path.read_text().splitlines():
                if not line.strip() or line.startswith("#"):
                    continue
                form = parse(line, path.stem)
                name = form.name.lower()
                needed = form.needs.encode() or name
                if known is not None and needed not in known and not form.unknown:
                    self.missing.add(needed)
                    continue
                if form.rule not in ("exact", "damage"):
                    self.rules[self.rule_key(form)] = form.rule
                if only is None or path.stem in only:
                    self.families.setdefault(path.stem, []).append(form)

    @staticmethod
    def rule_key(form: Form) -> bytes:
        """A container's rule belongs to its subcommand."""
        words = form.line.split()
        if form.name in (b"OBJECT", b"XINFO", b"DEBUG", b"MEMORY", b"CLIENT", b"CONFIG", b"COMMAND", b"FUNCTION", b"SCRIPT", b"ACL", b"PUBSUB", b"LATENCY", b"SLOWLOG"):
            return form.name + b" " + words[1].encode()
        return form.name

    def rule(self, words: list[bytes]) -> str:
        name = words[0].upper()
        if name in self.rules:
            return self.rules[name]
        if len(words) > 1:
            return self.rules.get(name + b" " + words[1].upper(), "exact")
        return "exact"
