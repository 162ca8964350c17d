"""`maxmemory-clients`: connections that hold most are ended, whether what they hold came in or goes out; CLIENT NO-EVICT protects."""

from __future__ import annotations

import pytest

from support.resp import Closed, encode
from support.server import wait_until

MIB = 1 << 20


def figure(admin, name: str) -> int:
    return int(dict(line.split(":", 1) for line in admin.call("INFO").decode().splitlines() if ":" in line)[name])


def is_over(connection) -> bool:
    try:
        connection.call("PING")
        return False
    except (Closed, OSError):
        return True


def fill_query(connection, size: int) -> None:
    """Most of a request: it stays in the query buffer."""
    whole = encode("SET", "k", b"x" * size)
    try:
        connection.send_bytes(whole[:-1000])
    except OSError:
        pass


def named(server, name: str, no_evict: bool = False):
    connection = server.connect()
    connection.call("CLIENT", "SETNAME", name)
    if no_evict:
        connection.call("CLIENT", "NO-EVICT", "ON")
    return connection


def names(admin) -> set[str]:
    lines = admin.call("CLIENT", "LIST").decode().splitlines()
    return {dict(field.split("=", 1) for field in line.split(" "))["name"] for line in lines}


def test_input_that_is_too_much(make_server):
    server = make_server(directives={"appendonly": "no", "maxmemory-clients": f"{20 * MIB}"}).start()
    admin = named(server, "admin", no_evict=True)
    small, large, kept = named(server, "small"), named(server, "large"), named(server, "kept", no_evict=True)
    fill_query(small, 2 * MIB)
    fill_query(kept, 8 * MIB)
    wait_until(lambda: figure(admin, "mem_clients_normal") > 10 * MIB, 10, "the buffers are counted")
    assert names(admin) == {"admin", "small", "large", "kept"} and figure(admin, "evicted_clients") == 0
    fill_query(large, 30 * MIB)
    wait_until(lambda: "large" not in names(admin), 10, "the largest is gone")
    assert names(admin) == {"admin", "small", "kept"} and figure(admin, "evicted_clients") == 1
    assert is_over(large)
    wait_until(lambda: figure(admin, "mem_clients_normal") < 20 * MIB, 10, "its memory is given back")


def test_output_that_nobody_reads(make_server):
    server = make_server(directives={"appendonly": "no"}).start()
    admin, slow, other = named(server, "admin", no_evict=True), named(server, "slow"), named(server, "other")
    admin.call("SET", "big", b"x" * MIB)
    slow.send_bytes(encode("GET", "big") * 40)
    wait_until(lambda: figure(admin, "mem_clients_normal") > 20 * MIB, 10, "replies wait")
    admin.call("CONFIG", "SET", "maxmemory-clients", 10 * MIB)
    wait_until(lambda: names(admin) == {"admin", "other"}, 10, "who does not read is gone")
    assert not is_over(other) and figure(admin, "evicted_clients") == 1


def test_a_share_of_maxmemory(make_server):
    server = make_server(directives={"appendonly": "no", "maxmemory": f"{400 * MIB}", "maxmemory-clients": "5%"}).start()
    admin, large = named(server, "admin", no_evict=True), named(server, "large")
    fill_query(large, 12 * MIB)
    wait_until(lambda: figure(admin, "mem_clients_normal") > 12 * MIB, 10, "the buffer is counted")
    assert "large" in names(admin)
    admin.call("CONFIG", "SET", "maxmemory-clients", "2%")
    wait_until(lambda: "large" not in names(admin), 10, "it is gone")


@pytest.mark.parametrize("words", [("SORT", "l", "BY", "w_*"), ("SORT", "l", "GET", "#"), ("SORT", "l", "BY", "nosort")])
def test_sort_reads_only_what_its_user_may(make_server, make_stock, words):
    """Patterns reach keys that the call does not name."""
    shown = []
    for server in (make_server(directives={"appendonly": "no"}).start(), make_stock(directives={"appendonly": "no"}).start()):
        with server.connect() as connection:
            connection.call("RPUSH", "l", 2, 1)
            connection.call("ACL", "SETUSER", "some", "on", "nopass", "+@all", "~l*")
            connection.call("ACL", "SETUSER", "every", "on", "nopass", "+@all", "%R~*")
            for user in ("some", "every"):
                connection.call("AUTH", user, "x")
                shown.append(connection.ask(*words).render())
    assert shown[:2] == shown[2:]
