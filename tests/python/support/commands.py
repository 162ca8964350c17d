"""Random writes per type, to fill a server with; and the commands that there must be.

Ranges by name are asked of sorted sets with one score only: others have no defined answer. Scores and increments are multiples of a quarter, whose shortest and longest decimal forms are the same. Commands that choose by
chance (SPOP, RANDOMKEY, ...) are left to the tables.
"""

from __future__ import annotations

import random

EXPECTED = """
append decr decrby get getdel getex getrange getset incr incrby incrbyfloat lcs mget mset msetnx psetex set setex setnx setrange strlen substr
bitcount bitfield bitfield_ro bitop bitpos getbit setbit pfadd pfcount pfdebug pfmerge pfselftest
geoadd geodist geohash geopos georadius georadius_ro georadiusbymember georadiusbymember_ro geosearch geosearchstore
copy del exists expire expireat expiretime keys move object persist pexpire pexpireat pexpiretime pttl randomkey rename renamenx scan touch ttl type unlink waitaof
blmove blmpop blpop brpop brpoplpush lindex linsert llen lmove lmpop lpop lpos lpush lpushx lrange lrem lset ltrim rpop rpoplpush rpush rpushx
hdel hexists hget hgetall hincrby hincrbyfloat hkeys hlen hmget hmset hrandfield hscan hset hsetnx hstrlen hvals
xack xadd xautoclaim xclaim xdel xgroup xinfo xlen xpending xrange xread xreadgroup xrevrange xsetid xtrim
sadd scard sdiff sdiffstore sinter sintercard sinterstore sismember smembers smismember smove spop srandmember srem sscan sunion sunionstore
bzmpop bzpopmax bzpopmin zadd zcard zcount zdiff zdiffstore zincrby zinter zintercard zinterstore zlexcount zmpop zmscore zpopmax zpopmin zrandmember zrange
zrangebylex zrangebyscore zrangestore zrank zrem zremrangebylex zremrangebyrank zremrangebyscore zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore zunion zunionstore
discard exec multi unwatch watch psubscribe publish pubsub punsubscribe spublish ssubscribe subscribe sunsubscribe unsubscribe
eval eval_ro evalsha evalsha_ro script auth client echo hello ping quit reset select
bgrewriteaof bgsave command config dbsize debug flushall flushdb info lastsave shutdown swapdb time wait
""".split()
if __name__ != "__main__":
    from .server import stock_under_test

    if stock_under_test():
        EXPECTED.remove("waitaof")


def key(chance: random.Random, kind: str) -> str:
    """Mostly a key of the family; now and then one that holds another type."""
    return f"{kind}{chance.randrange(4)}" if chance.random() > 0.02 else chance.choice("slhtz") + "0"


def text(chance: random.Random) -> str:
    roll = chance.random()
    if roll < 0.4:
        return str(chance.randrange(-20, 300))
    if roll < 0.9:
        return chance.choice("abcdefgh") * chance.randrange(1, 5)
    if roll < 0.97:
        return chance.choice("xyz") * chance.randrange(30, 90)
    return ""


def small(chance: random.Random) -> int:
    return chance.randrange(-6, 40) if chance.random() < 0.8 else chance.randrange(-300, 300)


def quarter(chance: random.Random) -> str:
    value = chance.randrange(-40, 200) / 4
    return repr(value) if value % 1 else str(int(value))


def some(chance: random.Random, most: int, item) -> list:
    return [item(chance) for _ in range(chance.randrange(1, most + 1))]


def choose(chance: random.Random, *makers):
    made = chance.choice(makers)()
    return tuple(str(word) for word in made)


def strings(c: random.Random):
    k = lambda: key(c, "s")  # noqa: E731
    return choose(
        c,
        lambda: ("SET", k(), text(c)),
        lambda: ("SET", k(), text(c), c.choice(["NX", "XX", "GET", "KEEPTTL"])),
        lambda: ("SET", k(), text(c), "EX", c.choice([1000, 0, -1, "x"])),
        lambda: ("GET", k()),
        lambda: ("APPEND", k(), text(c)),
        lambda: ("STRLEN", k()),
        lambda: ("GETRANGE", k(), small(c), small(c)),
        lambda: ("SETRANGE", k(), c.randrange(-1, 60), text(c)),
        lambda: ("INCR", k()),
        lambda: ("DECR", k()),
        lambda: ("INCRBY", k(), small(c)),
        lambda: ("DECRBY", k(), text(c)),
        lambda: ("INCRBYFLOAT", k(), quarter(c)),
        lambda: ("GETSET", k(), text(c)),
        lambda: ("GETDEL", k()),
        lambda: ("GETEX", k(), *c.choice([(), ("PERSIST",), ("EX", 500)])),
        lambda: ("MGET", *some(c, 4, lambda c: key(c, "s"))),
        lambda: ("MSET", *(w for _ in range(c.randrange(1, 4)) for w in (f"s{c.randrange(4)}", text(c)))),
        lambda: ("MSETNX", *(w for _ in range(c.randrange(1, 3)) for w in (f"s{c.randrange(6)}", text(c)))),
        lambda: ("SETNX", k(), text(c)),
        lambda: ("LCS", k(), k(), *c.choice([(), ("LEN",), ("IDX",), ("IDX", "WITHMATCHLEN")])),
        lambda: ("OBJECT", "ENCODING", f"s{c.randrange(4)}"),
        lambda: ("DEL", k()),
        lambda: ("TTL", k()),
    )


def lists(c: random.Random):
    k = lambda: key(c, "l")  # noqa: E731
    side = lambda: c.choice(["LEFT", "RIGHT"])  # noqa: E731
    return choose(
        c,
        lambda: ("RPUSH", k(), *some(c, 12, text)),
        lambda: ("LPUSH", k(), *some(c, 12, text)),
        lambda: (c.choice(["LPUSHX", "RPUSHX"]), k(), *some(c, 3, text)),
        lambda: ("LPOP", k()),
        lambda: ("RPOP", k(), c.randrange(0, 9)),
        lambda: ("LLEN", k()),
        lambda: ("LINDEX", k(), small(c)),
        lambda: ("LSET", k(), small(c), text(c)),
        lambda: ("LRANGE", k(), small(c), small(c)),
        lambda: ("LINSERT", k(), c.choice(["BEFORE", "AFTER"]), text(c), text(c)),
        lambda: ("LREM", k(), c.randrange(-2, 3), text(c)),
        lambda: ("LTRIM", k(), c.randrange(0, 5), c.randrange(-5, 300)),
        lambda: ("LPOS", k(), text(c), *c.choice([(), ("RANK", -1), ("COUNT", 0), ("RANK", 2, "COUNT", 2), ("MAXLEN", 20)])),
        lambda: ("RPOPLPUSH", k(), k()),
        lambda: ("LMOVE", k(), k(), side(), side()),
        lambda: ("LMPOP", 2, k(), k(), side(), "COUNT", c.randrange(1, 5)),
        lambda: ("BLPOP", f"l{c.randrange(4)}", "0.001"),
    )


def hashes(c: random.Random):
    k = lambda: key(c, "h")  # noqa: E731
    field = lambda: f"f{c.randrange(8 if c.random() < 0.5 else 400)}"  # noqa: E731
    return choose(
        c,
        lambda: ("HSET", k(), *(w for _ in range(c.randrange(1, 10)) for w in (field(), text(c)))),
        lambda: ("HSETNX", k(), field(), text(c)),
        lambda: ("HGET", k(), field()),
        lambda: ("HMGET", k(), field(), field()),
        lambda: ("HDEL", k(), *some(c, 6, lambda _: field())),
        lambda: ("HLEN", k()),
        lambda: ("HEXISTS", k(), field()),
        lambda: ("HSTRLEN", k(), field()),
        lambda: ("HINCRBY", k(), field(), small(c)),
        lambda: ("HINCRBYFLOAT", k(), field(), quarter(c)),
        lambda: ("HGETALL", k()),
        lambda: ("HKEYS", k()),
        lambda: ("HVALS", k()),
        lambda: ("OBJECT", "ENCODING", f"h{c.randrange(4)}"),
        lambda: ("DEL", k()) if c.random() < 0.1 else ("HLEN", k()),
    )


def sets(c: random.Random):
    k = lambda: key(c, "t")  # noqa: E731
    member = lambda c: str(c.randrange(40)) if c.random() < 0.6 else text(c)  # noqa: E731
    return choose(
        c,
        lambda: ("SADD", k(), *some(c, 12, member)),
        lambda: ("SREM", k(), *some(c, 6, member)),
        lambda: ("SCARD", k()),
        lambda: ("SISMEMBER", k(), member(c)),
        lambda: ("SMISMEMBER", k(), member(c), member(c)),
        lambda: ("SMEMBERS", k()),
        lambda: (c.choice(["SINTER", "SUNION", "SDIFF"]), *some(c, 3, lambda c: key(c, "t"))),
        lambda: (c.choice(["SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"]), f"t{c.randrange(4)}", *some(c, 3, lambda c: key(c, "t"))),
        lambda: ("SINTERCARD", 2, k(), k(), *c.choice([(), ("LIMIT", 3)])),
        lambda: ("SMOVE", k(), k(), member(c)),
        lambda: ("DEL", k()) if c.random() < 0.2 else ("SCARD", k()),
    )


def zsets(c: random.Random):
    k = lambda: key(c, "z")  # noqa: E731
    member = lambda: f"m{c.randrange(10 if c.random() < 0.5 else 300)}"  # noqa: E731
    bound = lambda: c.choice(["", "", "("]) + quarter(c) if c.random() < 0.9 else c.choice(["-inf", "+inf", "x"])  # noqa: E731
    flat = lambda: f"x{c.randrange(2)}"  # noqa: E731
    lex = lambda: c.choice(["[", "("]) + member() if c.random() < 0.9 else c.choice(["-", "+", "x"])  # noqa: E731
    limit = lambda: c.choice([(), ("LIMIT", c.randrange(-1, 5), c.randrange(-1, 9))])  # noqa: E731
    scores = lambda: c.choice([(), ("WITHSCORES",)])  # noqa: E731
    return choose(
        c,
        lambda: ("ZADD", k(), *(w for _ in range(c.randrange(1, 10)) for w in (quarter(c), member()))),
        lambda: ("ZADD", k(), *c.choice([("NX",), ("XX",), ("GT",), ("LT",), ("CH",), ("XX", "CH")]), quarter(c), member()),
        lambda: ("ZADD", k(), *c.choice([("INCR",), ("NX", "INCR"), ("GT", "INCR")]), quarter(c), member()),
        lambda: ("ZINCRBY", k(), quarter(c), member()),
        lambda: ("ZREM", k(), *some(c, 5, lambda _: member())),
        lambda: ("ZCARD", k()),
        lambda: ("ZSCORE", k(), member()),
        lambda: ("ZMSCORE", k(), member(), member()),
        lambda: (c.choice(["ZRANK", "ZREVRANK"]), k(), member()),
        lambda: (c.choice(["ZRANGE", "ZREVRANGE"]), k(), small(c), small(c), *scores()),
        lambda: (c.choice(["ZRANGEBYSCORE", "ZREVRANGEBYSCORE"]), k(), bound(), bound(), *scores(), *limit()),
        lambda: (c.choice(["ZRANGEBYLEX", "ZREVRANGEBYLEX"]), flat(), lex(), lex(), *limit()),
        lambda: ("ZRANGE", k(), bound(), bound(), "BYSCORE", *c.choice([(), ("REV",)]), *limit(), *scores()),
        lambda: ("ZCOUNT", k(), bound(), bound()),
        lambda: ("ZLEXCOUNT", flat(), lex(), lex()),
        lambda: ("ZADD", flat(), *(w for _ in range(c.randrange(1, 10)) for w in ("0", member()))),
        lambda: ("ZREMRANGEBYLEX", flat(), lex(), lex()) if c.random() < 0.1 else ("ZCARD", flat()),
        lambda: (c.choice(["ZPOPMIN", "ZPOPMAX"]), k(), c.randrange(0, 4)),
        lambda: ("ZMPOP", 2, k(), k(), c.choice(["MIN", "MAX"]), "COUNT", c.randrange(1, 4)),
        lambda: ("ZREMRANGEBYRANK", k(), c.randrange(0, 4), c.randrange(0, 6)),
        lambda: ("ZREMRANGEBYSCORE", k(), quarter(c), quarter(c)) if c.random() < 0.2 else ("ZCARD", k()),
        lambda: (c.choice(["ZUNION", "ZINTER", "ZDIFF"]), 2, k(), k(), *scores()),
        lambda: (c.choice(["ZUNIONSTORE", "ZINTERSTORE"]), f"z{c.randrange(4)}", 2, k(), k(), *c.choice([(), ("WEIGHTS", "0.5", 2), ("AGGREGATE", "MAX")])),
        lambda: ("ZDIFFSTORE", f"z{c.randrange(4)}", 2, k(), k()) if c.random() < 0.3 else ("ZCARD", k()),
        lambda: ("ZRANGESTORE", f"z{c.randrange(4)}", k(), small(c), small(c)) if c.random() < 0.3 else ("ZCARD", k()),
        lambda: ("ZINTERCARD", 2, k(), k()),
        lambda: ("OBJECT", "ENCODING", f"z{c.randrange(4)}"),
    )


def entry_id(c: random.Random) -> str:
    """Mostly small, so that entries are hit; now and then with a sequence, or wrong."""
    roll = c.random()
    if roll < 0.9:
        return f"{c.randrange(1, 400)}" + c.choice(["", "", "-0", "-1", f"-{c.randrange(4)}"])
    return c.choice(["0", "0-1", "-", "+", "x", "18446744073709551615", "5-x"])


def stream_writes(c: random.Random):
    """What a stock server replays to the same state: the log of stock 7.0 does not name consumers that have got nothing."""
    k = lambda: key(c, "e")  # noqa: E731
    group = lambda: f"g{c.randrange(2)}"  # noqa: E731
    consumer = lambda: f"c{c.randrange(3)}"  # noqa: E731
    fields = lambda: [word for n in range(c.randrange(1, 4)) for word in (f"f{n if c.random() < 0.8 else 9}", text(c))]  # noqa: E731
    trim = lambda: c.choice([(), (), ("MAXLEN", c.randrange(60)), ("MAXLEN", "~", c.randrange(60)), ("MINID", c.randrange(300)), ("MINID", "~", c.randrange(300)), ("MAXLEN", "~", c.randrange(60), "LIMIT", c.randrange(200))])  # noqa: E731
    adding = lambda: ("XADD", k(), *trim(), c.choice(["0-*", f"{c.randrange(1, 400)}-*", f"{c.randrange(1, 400)}-{c.randrange(9)}", "400-*"]), *fields())  # noqa: E731
    return choose(
        c,
        adding,
        adding,
        adding,
        adding,
        lambda: ("XADD", k(), "NOMKSTREAM", "400-*", *fields()),
        lambda: ("XDEL", k(), *some(c, 4, entry_id)),
        lambda: ("XTRIM", k(), *(trim() or ("MAXLEN", 40))),
        lambda: ("XSETID", k(), c.randrange(390, 410), *c.choice([(), ("ENTRIESADDED", c.randrange(500)), ("MAXDELETEDID", c.randrange(400))])) if c.random() < 0.2 else ("XLEN", k()),
        lambda: ("XGROUP", "CREATE", k(), group(), entry_id(c), "MKSTREAM", *c.choice([(), ("ENTRIESREAD", c.randrange(50))])),
        lambda: ("XGROUP", "SETID", k(), group(), entry_id(c), *c.choice([(), ("ENTRIESREAD", c.randrange(50))])) if c.random() < 0.3 else ("XLEN", k()),
        lambda: ("XREADGROUP", "GROUP", group(), consumer(), "COUNT", c.randrange(1, 9), "STREAMS", k(), ">"),
        lambda: ("XACK", k(), group(), *some(c, 6, entry_id)),
        lambda: ("XCLAIM", k(), group(), consumer(), 0, *some(c, 4, entry_id), "JUSTID", *c.choice([(), ("FORCE",), ("RETRYCOUNT", 5), ("LASTID", c.randrange(300))])),
        lambda: ("XAUTOCLAIM", k(), group(), consumer(), 0, entry_id(c), "COUNT", c.randrange(1, 9)),
        lambda: ("DEL", k()) if c.random() < 0.1 else ("XLEN", k()),
    )
