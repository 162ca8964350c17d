"""Random sequences: the settings they start from and the steps that follow, each of which can be left out without the others failing to make sense."""

from __future__ import annotations

from dataclasses import dataclass, field

from .grammar import Command, Form, Grammar
from .values import Source, any_key, key_of, text

# Limits of the encodings and what else is set before a sequence: the first of each is stock's default.
SETTINGS = {
    b"hash-max-listpack-entries": [b"128", b"128", b"512", b"4", b"0"],
    b"hash-max-listpack-value": [b"64", b"64", b"5"],
    b"set-max-intset-entries": [b"512", b"512", b"3", b"0"],
    b"zset-max-listpack-entries": [b"128", b"128", b"4", b"0"],
    b"zset-max-listpack-value": [b"64", b"64", b"5"],
    b"list-max-listpack-size": [b"-2", b"-2", b"128", b"3", b"-1", b"1"],
    b"hll-sparse-max-bytes": [b"3000", b"3000", b"100", b"0"],
    b"stream-node-max-entries": [b"100", b"100", b"3"],
    b"notify-keyspace-events": [b"", b"", b"", b"KEA", b"KEAmn", b"Kg$l", b"Eshzt", b"KEgn", b"Em"],
    # (With a limit, stock shares no small integers between keys, whose counters would be one.)
    b"maxmemory": [b"8589934592"],
    # Under LFU the counters rise with every access and never fall, so that they can be compared.
    b"maxmemory-policy": [b"noeviction", b"noeviction", b"noeviction", b"allkeys-lfu", b"volatile-lfu", b"allkeys-lru", b"volatile-ttl"],
    b"lfu-log-factor": [b"0"],
    b"lfu-decay-time": [b"0"],
    b"rdbcompression": [b"yes", b"yes", b"no"],
    b"sanitize-dump-payload": [b"yes"],
    b"acl-pubsub-default": [b"resetchannels"],
    b"tracking-table-max-keys": [b"1000000", b"1000000", b"0"],
}
# What is played by several connections: the families of each scene, and how often it comes.
SCENES = {"blocking": ([], 0.1), "pubsub": (["pubsub"], 0.05), "tracking": (["tracking"], 0.06), "acl": (["acl"], 0.06), "clients": (["clients"], 0.03)}
IN_SCENES = {name for families, _ in SCENES.values() for name in families}
# Stock's SORT takes an error of range that an earlier command has left behind for its own. Reading any score clears it.
FORGET_RANGE = [b"ZADD", b"~none~", b"XX", b"0", b"x"]
WRAPPERS = [b"return redis.call(unpack(ARGV))", b"return redis.pcall(unpack(ARGV))", b"local r = redis.call(unpack(ARGV)) return r"]


@dataclass
class Step:
    """Commands that stay together, of one connection."""

    commands: list[Command]
    actor: int = 0


@dataclass
class Sequence:
    seed: object
    protocol: int
    settings: dict[bytes, bytes]
    steps: list[Step] = field(default_factory=list)
    # Steps of several connections are sent one after the other, each awaited; those of one connection all at once.
    actors: int = 1
    protocols: list[int] = field(default_factory=list)

    def but(self, steps: list[Step]) -> "Sequence":
        return Sequence(self.seed, self.protocol, self.settings, steps, self.actors, self.protocols)

    def count(self) -> int:
        return sum(len(step.commands) for step in self.steps)


class Maker:
    """Makes sequences from one grammar."""

    def __init__(self, grammar: Grammar, settings: set[bytes], *, eager: bool = False):
        """`eager`: those scenes that have families of their own, most of the time."""
        self.grammar = grammar
        self.settings = {name: values for name, values in SETTINGS.items() if name in settings}
        self.names = sorted(grammar.families.keys() - IN_SCENES)
        scenes = {name: scene for name, scene in SCENES.items() if all(family in grammar.families for family in scene[0])}
        own = sum(weight for families, weight in scenes.values() if families) or 1.0
        self.scenes = {name: (families, 0.7 * weight / own if eager and families else weight) for name, (families, weight) in scenes.items()}

    def sequence(self, seed, length: int) -> Sequence:
        source = Source(seed)
        settings = {name: source.pick(values) for name, values in self.settings.items()}
        made = Sequence(seed, source.pick([2, 3]), settings)
        at = source.random.random()
        for name, (families, weight) in self.scenes.items():
            if at < weight:
                self.choose_forms(source, families)
                self.several(source, made, min(length, 40), name)
                return made
            at -= weight
        self.choose_forms(source)
        self.alone(source, made, length)
        return made

    def choose_forms(self, source: Source, scene: list[str] | tuple = ()) -> None:
        """A few families per sequence, so that their keys grow; the commands on keys always; more of those of the scene."""
        # (In stock 7.0 a script is taken to have read all keys that it was given, and no others.)
        self.plain = "tracking" in scene
        names = [name for name in self.names if not (self.plain and name in ("scripts", "functions"))]
        chosen = {"keys", *scene, *(source.pick(names) for _ in range(source.pick([1, 1, 2, 3, 6])))} if names else set(scene)
        forms = [form for name in sorted(chosen) for form in self.grammar.families.get(name, [])]
        weights = {name: sum(form.weight for form in self.grammar.families.get(name, [])) for name in chosen}
        others = sum(weights[name] for name in chosen if name not in scene) or 1.0
        shares = {name: 1.5 * others / weights[name] for name in scene}
        total, self.forms = 0.0, []
        for form in forms:
            total += form.weight * (0.25 if form.family == "keys" else shares.get(form.family, 1.0))
            self.forms.append((total, form))
        self.total = total

    def form(self, source: Source) -> Form:
        at = source.random.random() * self.total
        low, high = 0, len(self.forms) - 1
        while low < high:
            middle = (low + high) // 2
            if self.forms[middle][0] < at:
                low = middle + 1
            else:
                high = middle
        return self.forms[low][1]

    def alone(self, source: Source, made: Sequence, length: int) -> None:
        count = 0
        transaction = 0
        while count < length:
            if transaction:
                transaction -= 1
                if transaction == 0:
                    made.steps.append(Step([Command([source.pick([b"EXEC", b"EXEC", b"EXEC", b"EXEC", b"EXEC", b"EXEC", b"DISCARD"])])]))
                    count += 1
                    continue
            elif source.roll(0.006):
                if source.roll(0.3):
                    made.steps.append(Step([Command([b"WATCH", any_key(source)])]))
                made.steps.append(Step([Command([b"MULTI"])]))
                transaction = 1 + source.below(8)
                count += 1
                continue
            step = self.step(source, bool(transaction))
            made.steps.append(step)
            count += len(step.commands)
        if transaction:
            made.steps.append(Step([Command([b"EXEC"])]))

    def step(self, source: Source, transaction: bool = False) -> Step:
        form = self.form(source)
        # (What tracks a key in 7.2 is a wrong number of arguments in 7.0.)
        while transaction and form.alone or self.plain and form.name in (b"ZRANK", b"ZREVRANK"):
            form = self.form(source)
        words = form.words(source)
        while [word.upper() for word in words].count(b"PREFIX") > 2:
            # Stock refuses prefixes that overlap, and accepts them in a second reply unless the first one is among them.
            words = form.words(source)
        if not form.alone and not form.blocking and not self.plain and source.roll(0.02):
            wrapped = [b"EVAL", source.pick(WRAPPERS), b"0", *words]
            commands = [Command(wrapped, form.rule, form)]
        else:
            commands = [Command(words, form.rule, form)]
        if form.name.startswith(b"SORT"):
            commands.insert(0, Command(list(FORGET_RANGE)))
        if form.family == "tracking" and words[1:2] and words[1].upper() == b"CACHING":
            # It speaks of the command behind it.
            commands += self.step(source, transaction).commands
        if form.forget:
            commands.append(Command([b"DEL", *dict.fromkeys(words[1:] or [b"none"])], "forgotten" if form.rule == "damage" else "exact"))
        return Step(commands)

    def several(self, source: Source, made: Sequence, length: int, scene: str) -> None:
        """Three connections: what blocks is served by others, what is watched, tracked or listened to is changed by others."""
        made.actors = 3
        if scene in IN_SCENES:
            # (What a connection misses is told it by stock 7.0 in the middle of MGET's reply.)
            made.settings[b"notify-keyspace-events"] = made.settings.get(b"notify-keyspace-events", b"").replace(b"m", b"")
        mixed = scene != "blocking"
        made.protocols = [source.pick([2, 3]) if mixed else made.protocol for _ in range(made.actors)]
        source.blocking = True
        while made.count() < length:
            step = self.step(source)
            step.actor = source.below(3)
            # (Where a connection listens, stock 7.0 puts what it is told into the middle of EXEC's reply.)
            listens = scene in ("pubsub", "acl", "clients") or any(b"REDIRECT" in command.words for step in made.steps for command in step.commands)
            if source.roll(0.12) and not listens:
                step = self.transaction(source)
            elif source.roll(0.06):
                step = Step([Command([source.pick([b"UNWATCH", b"WATCH"])])], source.below(3))
                if step.commands[0].words[0] == b"WATCH":
                    step.commands[0].words += [any_key(source) for _ in range(1 + source.below(3))]
            made.steps.append(step)
        source.blocking = False

    def transaction(self, source: Source) -> Step:
        inner = []
        for _ in range(1 + source.below(5)):
            step = self.step(source, True)
            inner += step.commands
        return Step([Command([b"MULTI"]), *inner, Command([source.pick([b"EXEC", b"EXEC", b"EXEC", b"DISCARD"])])], source.below(3))
