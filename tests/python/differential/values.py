"""The kinds of arguments that the grammar names: mostly plain values from small pools, so that commands meet, and now and then an edge.

Each kind is a function of a `Source` that returns one word or a list of words. Two rules keep replies comparable: relative lifetimes
never repeat within a sequence and lie far apart (two servers reach a command some milliseconds apart), and names asked for by
lexicographic order live in sorted sets whose members all have one score.
"""

from __future__ import annotations

import random

from .lua import Expressions
from .wire import ACTOR

INT_EDGES = [b"9223372036854775807", b"-9223372036854775808", b"9223372036854775806", b"-9223372036854775807", b"4294967296", b"2147483648",
             b"-2147483649", b"4611686018427387904"]
NOT_INTS = [b"9223372036854775808", b"-9223372036854775809", b"99999999999999999999999", b"", b"abc", b"1.5", b" 1", b"1 ", b"+1", b"01", b"-0", b"0x10", b"1e3",
            b"--1", b"-", b"1\x00", b"\xff", b"nan", b"inf"]
FLOAT_EDGES = [b"inf", b"-inf", b"+inf", b"Infinity", b"-INFINITY", b"1e308", b"-1.7976931348623157e308", b"5e-324", b"1e-7", b"0.1", b"0.30000000000000004", b"1e21",
               b"123456789012345678", b"9007199254740993", b"-0", b"-0.0", b"3.0", b"1e2", b"0x10", b"1E3", b".5", b"5.", b"+3", b"17179869184.5"]
NOT_FLOATS = [b"nan", b"NaN", b"-nan", b"1e400", b"-1e400", b"", b"abc", b" 1", b"1 ", b"1.2.3", b"1,5", b"\xff\xfe", b"0x", b"e5", b"(1", b"--1", b"inff"]
BINARY = [b"\x00", b"\x00\x00a", b"\xff\xfe", b"a\r\nb", b"\xc3\xa9", b"\x80", b"*1\r\n$4\r\nPING\r\n", b"\n", b"\"q\"", b"{tag}x"]
WORDS = [b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h", b"foo", b"bar", b"hello world", b"aa", b"ab", b"Foo", b"ohmytext", b"mynewtext"]
PATTERNS = [b"*", b"*", b"*", b"?", b"a*", b"[ab]*", b"[^a]", b"*1", b"s?", b"k*", b"\\*", b"", b"[a-c]", b"*o*", b"[", b"h?llo*", b"[z-a]*", b"**", b"?*?", b"\\", b"f[a-"]
LENGTHS = [10, 43, 44, 45, 63, 64, 65, 66, 127, 128, 200, 511, 512]
LONG = [1000, 4000, 4096, 4097, 8192, 9000, 16384, 20000]
ODD_KEYS = [b"", b"\x00\xff\r\n", b"none", b"a key with spaces", b"k" * 70, b"12345", b"*"]
# Keys by what they hold in most sequences. A lexicographic sorted set (`lex`) has one score for all members.
POOLS = {
    "str": [b"s1", b"s2", b"s3"],
    "list": [b"l1", b"l2", b"l3"],
    "hash": [b"h1", b"h2"],
    "set": [b"t1", b"t2", b"t3"],
    "zset": [b"z1", b"z2", b"z3"],
    "lex": [b"y1", b"y2"],
    "stream": [b"x1", b"x2"],
    "bits": [b"b1", b"b2", b"b3"],
    "hll": [b"p1", b"p2", b"p3"],
    "geo": [b"g1", b"g2"],
}
EVERY_KEY = [key for kind, pool in POOLS.items() if kind != "lex" for key in pool] + ODD_KEYS
NO_ZSETS = [key for kind in ("str", "list", "hash", "set") for key in POOLS[kind]] + ODD_KEYS
SECOND = 4_102_444_800


class Source:
    """The chance of one sequence, and what the sequence has to remember while it is made."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.lifetimes = self.random.sample(range(1, 2000), 1999)
        # How often an argument is one that should be refused.
        self.wrong = self.random.choice([0.0, 0.02, 0.1])
        self.blocking = False

    def pick(self, pool):
        return pool[int(self.random.random() * len(pool))]

    def below(self, count: int) -> int:
        return int(self.random.random() * count)

    def roll(self, chance: float) -> bool:
        return self.random.random() < chance

    def lifetime(self) -> int:
        """Seconds, each value once, at least 100 apart."""
        return 1000 + 100 * (self.lifetimes.pop() if self.lifetimes else self.below(10**9))


def key_of(kind: str):
    pool = POOLS[kind]
    others = NO_ZSETS if kind == "lex" else EVERY_KEY

    def key(source: Source) -> bytes:
        return source.pick(pool) if source.roll(0.96) else source.pick(others)

    return key


def any_key(source: Source) -> bytes:
    return source.pick(EVERY_KEY)


def number(value: int) -> bytes:
    return b"%d" % value


def text(source: Source) -> bytes:
    """A value, member or field."""
    roll = source.random.random()
    if roll < 0.35:
        return number(source.below(60) - 10)
    if roll < 0.80:
        return source.pick(WORDS)
    if roll < 0.86:
        return number(source.below(100000) * source.below(100000))
    if roll < 0.90:
        return source.pick(WORDS)[:1] * source.pick(LENGTHS)
    if roll < 0.93:
        return source.pick(INT_EDGES)
    if roll < 0.95:
        return source.pick(NOT_INTS + FLOAT_EDGES)
    if roll < 0.98:
        return source.pick(BINARY)
    if roll < 0.99:
        return b""
    return source.pick(WORDS)[:1] * source.pick(LONG)


def member(source: Source) -> bytes:
    """From a smaller pool than `text`, so that members meet."""
    return number(source.below(30)) if source.roll(0.4) else source.pick(WORDS) if source.roll(0.85) else text(source)


def members_many(source: Source) -> list[bytes]:
    """Enough members to pass the limits of the packed encodings at once."""
    start, kind = source.below(50), source.below(3)
    count = source.pick([5, 30, 127, 128, 129, 140])
    if kind == 0:
        return [number(start + n) for n in range(count)]
    if kind == 1:
        return [b"m%d" % (start + n) for n in range(count)]
    return [number((start + n) * 7919 % 100003 - 50000) for n in range(count)]


def pairs_many(source: Source) -> list[bytes]:
    return [word for name in members_many(source) for word in (name, text(source))]


def scores_many(source: Source) -> list[bytes]:
    step = source.pick([0, 1, 3])
    return [word for n, name in enumerate(members_many(source)) for word in (number(n * step % 97), name)]


def lex_many(source: Source) -> list[bytes]:
    return [word for name in members_many(source) for word in (b"0", name)]


def integer(source: Source) -> bytes:
    if source.roll(source.wrong):
        return source.pick(NOT_INTS)
    if source.roll(0.04):
        return source.pick(INT_EDGES)
    return number(source.below(200) - 60)


def index(source: Source) -> bytes:
    if source.roll(source.wrong):
        return source.pick(NOT_INTS)
    if source.roll(0.03):
        return source.pick(INT_EDGES)
    return number(source.below(24) - 8 if source.roll(0.8) else source.below(400) - 200)


def count(source: Source) -> bytes:
    if source.roll(source.wrong):
        return source.pick(NOT_INTS + [b"-1", b"0", b"-9223372036854775808"])
    return number(source.below(6) if source.roll(0.8) else source.below(300))


def positive(source: Source) -> bytes:
    if source.roll(source.wrong):
        return source.pick(NOT_INTS + [b"-1", b"0"])
    return number(1 + source.below(12))


def plenty(source: Source) -> bytes:
    """A COUNT of a scan that sees everything at once, so that the reply is whole."""
    return b"100000"


def spread(source: Source) -> bytes:
    """A count for random members with repeats."""
    if source.roll(source.wrong):
        return source.pick(NOT_INTS + [b"-9223372036854775808", b"9223372036854775807"])
    return number(source.below(40) - 20)


def floating(source: Source) -> bytes:
    if source.roll(source.wrong):
        return source.pick(NOT_FLOATS)
    roll = source.random.random()
    if roll < 0.5:
        return number(source.below(40) - 10)
    if roll < 0.8:
        return repr((source.below(4000) - 1000) / source.pick([4, 8, 10, 1000])).encode()
    if roll < 0.9:
        return repr(source.random.uniform(-1e6, 1e6)).encode()
    return source.pick(FLOAT_EDGES)


def bound(source: Source) -> bytes:
    """A score bound of a range."""
    roll = source.random.random()
    if roll < 0.15:
        return b"-inf"
    if roll < 0.3:
        return b"+inf"
    value = floating(source)
    return b"(" + value if source.roll(0.3) else value


def lex_bound(source: Source) -> bytes:
    roll = source.random.random()
    if roll < 0.15:
        return b"-"
    if roll < 0.3:
        return b"+"
    if source.roll(source.wrong):
        return source.pick([b"", b"a", b"++", b"-a", b"\x00", b"{a"])
    return source.pick([b"[", b"("]) + member(source)


def lifetime_s(source: Source) -> bytes:
    if source.roll(source.wrong):
        return source.pick(NOT_INTS + [b"0", b"-1", b"9223372036854775807", b"9223372036854775", b"-9223372036854775808", b"9223372036854776"])
    return number(source.lifetime())


def lifetime_ms(source: Source) -> bytes:
    if source.roll(source.wrong):
        return source.pick(NOT_INTS + [b"0", b"-1", b"9223372036854775807", b"-9223372036854775808", b"9223372036854775000"])
    return number(source.lifetime() * 1000 + source.below(1000))


def deadline_s(source: Source) -> bytes:
    if source.roll(source.wrong):
        return source.pick(NOT_INTS + [b"0", b"-1", b"9223372036854775807", b"9223372036854775", b"-9223372036854775808"])
    return number(SECOND + source.below(8))


def deadline_ms(source: Source) -> bytes:
    if source.roll(source.wrong):
        return source.pick(NOT_INTS + [b"0", b"-1", b"9223372036854775807", b"-9223372036854775808"])
    return number(SECOND * 1000 + source.below(8) * 500)


def moment_s(source: Source) -> bytes:
    """As a deadline, but perhaps in the past, for commands that delete what is due at once."""
    return b"1000" if source.roll(0.05) else deadline_s(source)


def moment_ms(source: Source) -> bytes:
    return b"1000" if source.roll(0.05) else deadline_ms(source)


def timeout(source: Source) -> bytes:
    """Of a blocking command: where nobody else could unblock it, a short one."""
    if source.roll(source.wrong):
        return source.pick([b"-1", b"-0.5", b"abc", b"", b"nan", b"1e-400x", b"1e300"])
    if source.blocking:
        return source.pick([b"0", b"0.0", b"1000", b"100.5"])
    return source.pick([b"0.001", b"0.002", b"0.003"])


def timeout_ms(source: Source) -> bytes:
    if source.roll(source.wrong):
        return source.pick([b"-1", b"abc", b"", b"1.5", b"9223372036854775808"])
    if source.blocking:
        return source.pick([b"0", b"100000"])
    return source.pick([b"1", b"2"])


def pattern(source: Source) -> bytes:
    return source.pick(PATTERNS)


def database(source: Source) -> bytes:
    if source.roll(source.wrong):
        return source.pick(NOT_INTS + [b"-1", b"16", b"2147483648", b"9223372036854775807"])
    return source.pick([b"0", b"0", b"1", b"2"])


def offset(source: Source) -> bytes:
    """Of a bit or byte in a string; nothing that makes one of half a gigabyte."""
    if source.roll(source.wrong):
        return source.pick(NOT_INTS + [b"-1", b"4294967296", b"536870912", b"9223372036854775807", b"-9223372036854775808"])
    return number(source.below(40) if source.roll(0.7) else source.below(2000) if source.roll(0.9) else source.below(80000))


def bit(source: Source) -> bytes:
    if source.roll(source.wrong):
        return source.pick([b"2", b"-1", b"", b"a", b"01"])
    return source.pick([b"0", b"1"])


def field_type(source: Source) -> bytes:
    if source.roll(source.wrong):
        return source.pick([b"u64", b"i65", b"u0", b"i0", b"u-1", b"", b"8", b"x8", b"u", b"u 8", b"u08", b"I8", b"U8"])
    return source.pick([b"u1", b"i1", b"u2", b"i5", b"u8", b"i8", b"u16", b"i16", b"u31", b"i32", b"u33", b"u63", b"i63", b"i64"])


def field_offset(source: Source) -> bytes:
    if source.roll(source.wrong):
        return source.pick([b"-1", b"#-1", b"", b"#", b"#a", b"a", b"4294967296", b"#4294967296", b"9223372036854775807", b"#9223372036854775807"])
    value = number(source.below(70) if source.roll(0.9) else source.below(5000))
    return b"#" + value if source.roll(0.4) else value


def stream_id(source: Source) -> bytes:
    """Ids from a small grid, so that ranges, deletions and claims meet."""
    if source.roll(source.wrong):
        return source.pick([b"0-0", b"-", b"+", b"", b"a", b"1-a", b"1-", b"-1", b"1-2-3", b"1.5", b"18446744073709551615-18446744073709551615", b"18446744073709551616-1", b"$", b">", b"(1"])
    ms = source.below(12)
    return number(ms) if source.roll(0.2) else b"%d-%d" % (ms, source.below(4))


def new_id(source: Source) -> bytes:
    """For XADD: rising with the number of ids given, mostly, so that entries are added."""
    if source.roll(source.wrong):
        return source.pick([b"0-0", b"0", b"", b"a", b"1-a", b"-1", b"18446744073709551615-18446744073709551615", b"18446744073709551616-1", b"5-18446744073709551615", b"0-*", b"*-1", b"**"])
    source.entries = getattr(source, "entries", 0) + 1
    ms = 1 + source.entries // 3
    roll = source.random.random()
    if roll < 0.15:
        return b"%d-*" % ms
    if roll < 0.25:
        return b"%d-%d" % (source.below(12), source.below(4))
    return b"%d-%d" % (ms, source.entries % 3 + 1)


def range_id(source: Source) -> bytes:
    roll = source.random.random()
    if roll < 0.2:
        return b"-"
    if roll < 0.4:
        return b"+"
    value = stream_id(source)
    return b"(" + value if source.roll(0.2) else value


def group(source: Source) -> bytes:
    return source.pick([b"gr1", b"gr1", b"gr2"]) if source.roll(0.97) else source.pick([b"none", b"", b"gr3"])


def consumer(source: Source) -> bytes:
    return source.pick([b"alice", b"bob", b"carol"]) if source.roll(0.97) else text(source)


def idle(source: Source) -> bytes:
    """A least idle time: nothing waits that long, or everything does."""
    if source.roll(source.wrong):
        return source.pick(NOT_INTS + [b"-1"])
    return source.pick([b"0", b"0", b"0", b"3600000000"])


def longitude(source: Source) -> bytes:
    if source.roll(source.wrong):
        return source.pick(NOT_FLOATS + [b"180.1", b"-181", b"inf"])
    return b"%.6f" % source.random.uniform(-20, 30) if source.roll(0.9) else source.pick([b"-180", b"180", b"0", b"179.999999"])


def latitude(source: Source) -> bytes:
    if source.roll(source.wrong):
        return source.pick(NOT_FLOATS + [b"85.06", b"-86", b"inf"])
    return b"%.6f" % source.random.uniform(30, 60) if source.roll(0.9) else source.pick([b"-85.05112878", b"85.05112878", b"0"])


def radius(source: Source) -> bytes:
    if source.roll(source.wrong):
        return source.pick(NOT_FLOATS + [b"-1", b"-0.5"])
    return source.pick([b"1", b"100", b"500.5", b"1000", b"3000", b"0", b"20000"])


def place(source: Source) -> bytes:
    return b"p%d" % source.below(12) if source.roll(0.95) else text(source)


def junk(source: Source) -> bytes:
    return source.pick([b"FOO", b"", b"0", b"-1", b"abc", b"COUNT", b"LIMIT", b"WITHSCORES", b"\x00", b"GET", b"NX", b"9223372036854775807", b"*", b"BY"])


def counted(kind):
    """A number of keys and the keys; now and then the number is wrong."""

    def keys(source: Source) -> list[bytes]:
        found = [kind(source) for _ in range(1 + (source.below(3) if source.roll(0.8) else source.below(6)))]
        many = number(len(found))
        if source.roll(source.wrong):
            many = source.pick([b"0", b"-1", number(len(found) + 1), number(len(found) + 5), b"abc", b"", b"9223372036854775807", b"1"])
        return [many, *found]

    return keys


def name_value(source: Source) -> list[bytes]:
    return [member(source), text(source)]


def channel(source: Source) -> bytes:
    return source.pick([b"c1", b"c2", b"news.a", b"news.b", b"", b"\xff\x00"])


def channel_pattern(source: Source) -> bytes:
    return source.pick([b"c*", b"news.*", b"*", b"c1", b"[cn]*", b"?1"])


def any_pattern(source: Source) -> bytes:
    """Of channels, those of keyspace events among them."""
    return source.pick([b"c*", b"news.*", b"c1", b"[cn]*", b"?1"]) if source.roll(0.7) else source.pick([b"__keyspace@0__:s*", b"__keyevent@0__:*", b"__key*__:l1"])


def actor(source: Source) -> bytes:
    """The id of a connection."""
    return ACTOR + number(source.below(3)) if source.roll(0.93) else source.pick([b"0", b"-1", b"abc", b"999999999", b""])


def prefix(source: Source) -> bytes:
    return source.pick([b"s", b"l", b"h1", b"", b"s1", b"x"])


def user(source: Source) -> bytes:
    return source.pick([b"u1", b"u2", b"u3"]) if source.roll(0.97) else source.pick([b"nobody", b"", b"a b", b"default"])


def ruled_user(source: Source) -> bytes:
    return source.pick([b"u1", b"u2", b"u3"]) if source.roll(0.98) else source.pick([b"a b", b"a\x00"])


def password(source: Source) -> bytes:
    return source.pick([b"p1", b"p1", b"p2", b"wrong"])


ACL_RULES = """
on on on on off nopass nopass resetpass >p1 >p1 >p2 <p1 <p2 reset
#9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 !9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
~* ~* ~s* ~l? ~s1 ~h* %R~h* %W~z* %RW~x* %R~s* %W~s* allkeys resetkeys &* &* &c* &news.* allchannels resetchannels
+@all +@all +@all -@all +@read +@write -@write +@string -@string +@list +@keyspace -@dangerous -@slow +@fast +@admin +@pubsub +@scripting -@scripting
+get +set -set -get +mget +incr +config|get -config|set +select|0 +client|id -client|kill +acl|whoami +object -object|freq +eval -exec -multi
allcommands nocommands sanitize-payload skip-sanitize-payload clearselectors
""".split()
SELECTORS = [b"(+get ~s*)", b"(+@read ~*)", b"(+@all %R~l* &c*)", b"(+set ~h?)", b"( +publish &* )", b"(+@list ~l* -lpop)", b"()", b"(allkeys +@hash)"]
NOT_RULES = [b"nonsense", b"+nosuch", b"+@nosuch", b"-select|0", b"+client|nosuch", b"+get|", b"%X~a", b"%~a", b"~a b", b"<nosuch", b"#x", b"!x", b"(", b"(+get", b"(+nosuch)", b"(on)", b"+", b"", b"+client|id|x", b"&a b", b"%R~"]


def acl_rules(source: Source) -> list[bytes]:
    rules = []
    for _ in range(1 + source.below(6)):
        if source.roll(source.wrong * 0.5):
            rules.append(source.pick(NOT_RULES))
        elif source.roll(0.08):
            rules.append(source.pick(SELECTORS))
        else:
            rules.append(source.pick(ACL_RULES).encode())
    return rules


LIBRARIES = [
    "#!lua name=lib1\nredis.register_function('f1', function(keys, args) return redis.call('SET', keys[1], args[1]) end)",
    "#!lua name=lib1\nredis.register_function('f1', function(keys, args) return {keys, args} end)\nredis.register_function('f2', function() return 2 end)",
    "#!lua name=lib2\nredis.register_function{function_name='f2', callback=function(keys) return redis.call('GET', keys[1]) end, flags={'no-writes'}}",
    "#!lua name=lib2\nredis.register_function{function_name='f3', callback=function(keys, args) return redis.call('LPUSH', keys[1], unpack(args)) end, flags={'no-writes'}}",
    "#!lua name=lib3\nlocal n = 0\nredis.register_function{function_name='f4', callback=function() n = n + 1 return n end, flags={'no-writes', 'allow-stale'}, description='counts'}",
    "#!lua name=lib3\nredis.register_function{function_name='f4', callback=function(keys, args) return redis.pcall(unpack(args)) end, flags={'allow-oom', 'no-cluster', 'allow-cross-slot-keys'}}",
    "#!LUA name=lib1\nredis.register_function('F1', function() return redis.error_reply('ERR on purpose') end)",
    "#!lua name=lib4\nredis.register_function('f5', function(keys, args) return {ok = args[1]} end)\nredis.log(redis.LOG_DEBUG, 'loaded')",
    "#!lua name=lib4\nredis.register_function('f5', function() return cjson.encode({redis.setresp ~= nil, redis.REDIS_VERSION_NUM > 0}) end)",
    "#!lua name=lib5\nredis.register_function('f6', function() error('plain') end)\nredis.register_function('f7', function() error({err='ERR of a table'}) end)",
]
NOT_LIBRARIES = [
    "", "return 1", "#!lua\nreturn 1", "#!lua name=\nreturn 1", "#!js name=lib1\nx", "#!lua name=lib1 name=lib2\nreturn 1", "#!lua foo=bar name=lib1\nreturn 1", "#!lua name=lib1\n",
    "#!lua name=lib1\nreturn 1", "#!lua name=lib-1\nredis.register_function('f1', function() end)", "#!lua name=lib1\nredis.register_function('f-1', function() end)",
    "#!lua name=lib1\nredis.register_function('f1', function() end)\nredis.register_function('f1', function() end)", "#!lua name=lib1\nredis.register_function('f1')",
    "#!lua name=lib1\nredis.register_function('f1', 'x')", "#!lua name=lib1\nredis.register_function(1, function() end)", "#!lua name=lib1\nredis.register_function{function_name='f1'}",
    "#!lua name=lib1\nredis.register_function{function_name='f1', callback=function() end, flags={'nosuch'}}", "#!lua name=lib1\nredis.register_function{function_name='f1', callback=function() end, flags='x'}",
    "#!lua name=lib1\nredis.register_function{function_name='f1', callback=function() end, foo=1}", "#!lua name=lib1\nredis.call('GET', 'k')", "#!lua name=lib1\nthis is no lua",
    "#!lua name=lib1\nerror('while loading')", "#!lua name=lib1\nfoo = 1", "#!lua name=lib1\nlocal x = nosuch.field", "#!lua name=lib1 \nredis.register_function('f1', function() end)", "#!lua  name=lib1\nredis.register_function('f1', function() end)",
]


def library(source: Source) -> bytes:
    return source.pick(LIBRARIES if not source.roll(source.wrong * 3) else NOT_LIBRARIES).encode()


def function(source: Source) -> bytes:
    return source.pick([b"f1", b"f1", b"f2", b"f3", b"f4", b"f5", b"F1", b"f6", b"f7", b"none"])


def library_name(source: Source) -> bytes:
    return source.pick([b"lib1", b"lib2", b"lib3", b"lib4", b"lib5", b"none", b"lib*", b"*", b"LIB1"])


# DUMP's payloads of both servers; filled when a run begins.
PAYLOADS: list[bytes] = []
FUNCTIONS: list[bytes] = []


def payload(source: Source) -> bytes:
    if source.roll(source.wrong):
        return damaged(source)
    return source.pick(PAYLOADS) if PAYLOADS else b""


def damaged(source: Source) -> bytes:
    """Cut, lengthened, of another version, or with a byte changed: the checksum does not fit."""
    whole = source.pick(PAYLOADS) if PAYLOADS else b""
    roll = source.below(6)
    if roll == 0 or not whole:
        return whole[: source.below(len(whole) + 1)]
    if roll == 1:
        return whole + text(source)
    if roll == 2:
        return whole[:-10] + b"\xff\xff" + whole[-8:]
    at = source.below(len(whole))
    return whole[:at] + bytes([whole[at] ^ (1 << source.below(8))]) + whole[at + 1 :]


def resigned(source: Source) -> bytes:
    """A byte changed and the checksum made to fit."""
    whole = source.pick(PAYLOADS) if PAYLOADS else b"\x00\x00\x0a\x00" + bytes(8)
    at = source.below(len(whole) - 10)
    changed = whole[:at] + bytes([whole[at] ^ (1 << source.below(8))]) + whole[at + 1 : -8]
    return changed + crc64(changed).to_bytes(8, "little")


def crc64(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc


def crc_row(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x95AC9329AC4BC9B5 if byte & 1 else 0)
    return byte


CRC_TABLE = [crc_row(byte) for byte in range(256)]


def functions_payload(source: Source) -> bytes:
    whole = source.pick(FUNCTIONS) if FUNCTIONS else b""
    if source.roll(source.wrong):
        at = source.below(len(whole) + 1)
        return source.pick([whole[:at], whole + b"x", b"", b"garbage"])
    return whole


def lua(source: Source) -> bytes:
    return Expressions(source.random).script().encode("latin-1")


KEYS = {f"k{kind}": key_of(kind) for kind in POOLS}
KINDS = {
    **KEYS,
    "key": any_key,
    **{f"n{kind}": counted(KEYS[f"k{kind}"]) for kind in POOLS},
    "nkey": counted(any_key),
    "value": text, "member": member, "members": members_many, "pairs": pairs_many, "scores": scores_many, "lexes": lex_many, "int": integer,
    "index": index, "count": count, "positive": positive, "plenty": plenty, "spread": spread, "float": floating, "bound": bound, "lex": lex_bound,
    "seconds": lifetime_s, "ms": lifetime_ms, "at": deadline_s, "atms": deadline_ms, "pastat": moment_s, "pastatms": moment_ms, "timeout": timeout, "timeoutms": timeout_ms, "pattern": pattern,
    "db": database, "offset": offset, "bit": bit, "fieldtype": field_type, "fieldoffset": field_offset, "id": stream_id, "newid": new_id, "rangeid": range_id,
    "group": group, "consumer": consumer, "idle": idle, "lon": longitude, "lat": latitude, "radius": radius, "place": place, "junk": junk, "pair": name_value,
    "channel": channel, "chpattern": channel_pattern, "anypattern": any_pattern, "actor": actor, "prefix": prefix, "user": user, "ruleduser": ruled_user, "password": password,
    "rules": acl_rules, "library": library, "function": function, "libname": library_name, "payload": payload, "damaged": damaged, "resigned": resigned,
    "functions": functions_payload, "lua": lua,
}
