"""Which commands count as an access, a hit, a miss or a change: by INFO, by the counters of LFU and by keyspace events, each beside stock.

Every form is tried on keys that are there, that are not, and that hold something else.
"""

from __future__ import annotations

import pytest

# Counters that rise with every access and never fall. (With a limit stock shares no integers between keys.)
PAIR_DIRECTIVES = {
    "maxmemory": "1gb", "maxmemory-policy": "allkeys-lfu", "lfu-log-factor": "0", "lfu-decay-time": "0", "notify-keyspace-events": "KEAmn", "enable-debug-command": "yes",
}  # fmt: skip
KEYS = "s1 s2 l1 l2 h1 t1 t2 z1 z2 x1 p1 p2 g1 b1 d".split()
THERE = """
SET s1 10|SET s2 hello|RPUSH l1 1 2 3|RPUSH l2 3 4|HSET h1 a 1 b 2|SADD t1 a b 1|SADD t2 b c|ZADD z1 1 a 2 b|ZADD z2 1 b|XADD x1 1-1 f v|XGROUP CREATE x1 g 0
XREADGROUP GROUP g c STREAMS x1 >|PFADD p1 a|PFADD p2 b|GEOADD g1 1 1 m 2 2 n|SETBIT b1 3 1
"""
FORMS = """
GET s1|GETSET s1 1|GETDEL s1|GETEX s1|GETEX s1 PERSIST|GETEX s1 EX 100|SET s1 x|SET s1 x GET|SET s1 x XX|SET s1 x NX|SET s1 x XX GET|SET s1 x NX GET|SETNX s1 x|SETEX s1 10 x
MGET s1 s2|MSET s1 x s2 y|MSETNX s1 x s2 y|APPEND s1 x|STRLEN s1|GETRANGE s1 0 1|SUBSTR s1 0 1|SETRANGE s1 0 x|INCR s1|DECRBY s1 2|INCRBYFLOAT s1 1|LCS s1 s2
LPUSH l1 x|RPUSHX l1 x|LPOP l1|LPOP l1 2|RPOP l1 0|LLEN l1|LINDEX l1 0|LSET l1 0 x|LINSERT l1 BEFORE 1 x|LRANGE l1 0 -1|LREM l1 0 1|LTRIM l1 0 1|LPOS l1 1|RPOPLPUSH l1 l2
LMOVE l1 l2 LEFT RIGHT|LMPOP 2 l1 l2 LEFT|BLPOP l1 l2 0.001|BLMPOP 0.001 2 l1 l2 LEFT|BRPOPLPUSH l1 l2 0.001|BLMOVE l1 l2 LEFT LEFT 0.001
HSET h1 a 5|HSETNX h1 c 1|HGET h1 a|HMGET h1 a x|HDEL h1 a|HLEN h1|HSTRLEN h1 a|HEXISTS h1 a|HGETALL h1|HKEYS h1|HINCRBY h1 a 1|HINCRBYFLOAT h1 a 1|HRANDFIELD h1|HSCAN h1 0
SADD t1 x|SREM t1 a|SISMEMBER t1 a|SMISMEMBER t1 a b|SCARD t1|SMEMBERS t1|SMOVE t1 t2 a|SINTER t1 t2|SUNION t1 t2|SDIFF t1 t2|SINTERCARD 2 t1 t2|SINTERSTORE d t1 t2
SUNIONSTORE d t1 t2|SDIFFSTORE d t1 t2|SRANDMEMBER t1|SRANDMEMBER t1 2|SPOP t1|SPOP t1 2|SSCAN t1 0
ZADD z1 5 x|ZADD z1 XX 5 x|ZADD z1 INCR 1 x|ZINCRBY z1 1 a|ZREM z1 a|ZCARD z1|ZSCORE z1 a|ZMSCORE z1 a b|ZRANK z1 a|ZCOUNT z1 0 5|ZLEXCOUNT z1 - +|ZRANGE z1 0 -1
ZRANGE z1 0 5 BYSCORE|ZRANGE z1 - + BYLEX|ZREVRANGE z1 0 -1|ZRANGESTORE d z1 0 -1|ZREMRANGEBYRANK z1 0 0|ZREMRANGEBYSCORE z1 0 1|ZPOPMIN z1|ZPOPMAX z1 2|ZMPOP 2 z1 z2 MIN
BZPOPMIN z1 z2 0.001|BZMPOP 0.001 2 z1 z2 MIN|ZUNION 2 z1 z2|ZINTER 2 z1 z2|ZDIFF 2 z1 z2|ZUNIONSTORE d 2 z1 z2|ZINTERSTORE d 2 z1 z2|ZDIFFSTORE d 2 z1 z2|ZINTERCARD 2 z1 z2
ZRANDMEMBER z1|ZSCAN z1 0|XADD x1 9-9 f v|XADD x1 NOMKSTREAM 9-9 f v|XLEN x1|XRANGE x1 - +|XREVRANGE x1 + -|XDEL x1 1-1|XTRIM x1 MAXLEN 0|XREAD STREAMS x1 0|XREAD BLOCK 1 STREAMS x1 $
XSETID x1 9-9|XGROUP CREATE x1 h 0|XGROUP CREATE x1 h 0 MKSTREAM|XGROUP SETID x1 g 0|XGROUP DESTROY x1 g|XGROUP CREATECONSUMER x1 g d|XGROUP DELCONSUMER x1 g c
XREADGROUP GROUP g c STREAMS x1 >|XREADGROUP GROUP g c STREAMS x1 0|XACK x1 g 1-1|XPENDING x1 g|XPENDING x1 g - + 10|XCLAIM x1 g c 0 1-1|XAUTOCLAIM x1 g c 0 0|XINFO STREAM x1
XINFO STREAM x1 FULL|XINFO GROUPS x1|XINFO CONSUMERS x1 g|PFADD p1 z|PFCOUNT p1|PFCOUNT p1 p2|PFMERGE p1 p2|PFMERGE d p1 p2|GEOADD g1 3 3 o|GEOPOS g1 m|GEODIST g1 m n|GEOHASH g1 m
GEOSEARCH g1 FROMLONLAT 1 1 BYRADIUS 1000 km|GEOSEARCHSTORE d g1 FROMLONLAT 1 1 BYRADIUS 1000 km|GEORADIUS g1 1 1 1000 km STORE d|GEORADIUSBYMEMBER g1 m 100 km
SETBIT b1 3 1|GETBIT b1 3|BITCOUNT b1|BITPOS b1 1|BITOP AND d b1 s1|BITFIELD b1 GET u8 0|BITFIELD b1 SET u8 0 1|BITFIELD_RO b1 GET u8 0
DEL s1 l1|UNLINK s1|EXISTS s1 s1|TOUCH s1|TYPE s1|RENAME s1 d|RENAMENX s1 s2|RENAMENX s1 d|COPY s1 d|COPY s1 s2|COPY s1 s2 REPLACE|MOVE s1 1|EXPIRE s1 100|EXPIRE s1 100 XX|PEXPIREAT s1 1
TTL s1|PTTL s1|EXPIRETIME s1|PERSIST s1|OBJECT ENCODING s1|OBJECT FREQ s1|OBJECT REFCOUNT s1|OBJECT IDLETIME s1|DUMP s1|RANDOMKEY|MEMORY USAGE s1|DEBUG OBJECT s1|WATCH s1|SCAN 0|KEYS *
SORT l1|SORT l1 BY s*|SORT l1 GET s*|SORT l1 STORE d|SORT_RO l1|SORT l1 BY h*->a GET h*->b GET #|SORT t1 ALPHA|SORT z1 ALPHA
"""


# Stock looks a key up again once it knows that the call need not wait; graven puts what PFCOUNT has computed into the key, which is a change.
TWICE = {"BRPOPLPUSH", "BLMOVE", "BZPOPMIN", "BZMPOP", "PFCOUNT"}


def forms(text: str) -> list[list[str]]:
    return [form.split(" ") for line in text.strip().splitlines() for form in line.split("|")]


class Watched:
    """One server with a listener to its events."""

    def __init__(self, server):
        self.connection, self.listener = server.connect(), server.connect()
        self.listener.call("PSUBSCRIBE", "__keyevent@*__:*")

    def close(self) -> None:
        self.connection.close()
        self.listener.close()

    def events(self) -> list[tuple]:
        """Those since it was last asked."""
        self.connection.call("PUBLISH", "__keyevent@0__:~", "mark")
        found = []
        while True:
            _, _, channel, message = self.listener.read()
            if message == b"mark":
                return found
            found.append((channel.split(b":")[1].decode(), message.decode()))

    def counters(self) -> list:
        return [self.connection.ask("OBJECT", "FREQ", key).plain() for key in KEYS]

    def seen(self, setup: list, words: list) -> dict:
        self.connection.pipeline([("FLUSHALL",), *setup])
        before = self.counters()
        self.events()
        stats = self.connection.info("stats")
        self.connection.ask(*words)
        after = self.connection.info("stats")
        events = self.events()
        touched = {key: new - old for key, old, new in zip(KEYS, before, self.counters()) if old is not None and new is not None and new != old}
        return {"events": events, "touched": touched, **{name: int(after[name]) - int(stats[name]) for name in ("keyspace_hits", "keyspace_misses")}}


@pytest.mark.parametrize("state", ["there", "gone", "of another type"])
def test_what_counts_as_an_access(pair, state):
    others = [("SET", key, "x") if key[0] not in "sbp" else ("RPUSH", key, "x") for key in KEYS if key != "d"]
    setup = {"there": forms(THERE), "gone": [], "of another type": others}[state]
    both = [Watched(server) for server in pair]
    wrong = []
    for words in forms(FORMS):
        ours, stock = (watched.seen(setup, words) for watched in both)
        if state == "of another type":
            # Whether a call that fails counts as an access is nobody's promise.
            ours.pop("touched"), stock.pop("touched")
        elif words[0] in TWICE and len(ours["touched"]) == len(stock["touched"]):
            ours["touched"], stock["touched"] = set(ours["touched"]), set(stock["touched"])
        wrong += [f"{' '.join(words)}: {name}: graven {ours[name]}, stock {stock[name]}" for name in ours if ours[name] != stock[name]]
    for watched in both:
        watched.close()
    assert not wrong, "\n".join(wrong)
