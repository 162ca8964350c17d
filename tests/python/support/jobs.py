"""What the queues of `test_queues.py` execute, imported by their workers: jobs of RQ, tasks of Huey, actors of Dramatiq.

Configured by the environment; `note` (as in `support.tasks`) leaves a line outside the server.
"""

import os
import threading
import time

PORT = int(os.environ["TEST_PORT"])


def note(name: str, line: str) -> None:
    fd = os.open(os.path.join(os.environ["TEST_WORK"], name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(fd, (line + "\n").encode())
    finally:
        os.close(fd)


# RQ


def add(x, y):
    note("rq", f"{x}+{y}")
    return x + y


def fail_until(name, times):
    note(name, "tried")
    with open(os.path.join(os.environ["TEST_WORK"], name)) as file:
        tried = len(file.readlines())
    if tried <= times:
        raise ValueError(f"try {tried}")
    return tried


def nap(seconds):
    note("naps", str(time.time()))
    time.sleep(seconds)


def released(name):
    return os.path.exists(os.path.join(os.environ["TEST_WORK"], name))


def hold(name):
    """Runs until the test makes a file of that name."""
    note("holding", name)
    while not released(name):
        time.sleep(0.02)


# Huey


def make_huey():
    from huey import PriorityRedisExpireHuey, crontab

    huey = PriorityRedisExpireHuey("site", url=f"redis://127.0.0.1:{PORT}/1")

    @huey.task()
    def multiply(x, y):
        return x * y

    @huey.task(retries=3, retry_delay=0)
    def flaky(times):
        return fail_until("huey-flaky", times)

    @huey.task(priority=0)
    def ordered(name):
        note("huey-order", name)

    @huey.task()
    @huey.lock_task("only-one")
    def alone(name):
        note("huey-alone", "began")
        while not released(name):
            time.sleep(0.02)
        return "done"

    @huey.periodic_task(crontab(minute="*"))
    def every_minute():
        note("huey-periodic", "ran")

    huey.tasks = {"multiply": multiply, "flaky": flaky, "ordered": ordered, "alone": alone}
    return huey


# Dramatiq


def make_dramatiq():
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker
    from dramatiq.rate_limits import ConcurrentRateLimiter
    from dramatiq.rate_limits.backends import RedisBackend as LimiterBackend
    from dramatiq.results import Results
    from dramatiq.results.backends import RedisBackend

    url = f"redis://127.0.0.1:{PORT}/2"
    broker = RedisBroker(url=url, namespace="site")
    broker.add_middleware(Results(backend=RedisBackend(url=url)))
    dramatiq.set_broker(broker)
    mutex = ConcurrentRateLimiter(LimiterBackend(url=url), "mutex", limit=1)
    refused = threading.Event()

    @dramatiq.actor(store_results=True)
    def power(x, y):
        return x**y

    @dramatiq.actor(store_results=True, max_retries=5, min_backoff=20, max_backoff=50)
    def stubborn(times):
        return fail_until("dramatiq-stubborn", times)

    @dramatiq.actor(store_results=True)
    def guarded():
        with mutex.acquire(raise_on_failure=False) as acquired:
            # Whoever has it keeps it until somebody else, in another thread of this worker, has asked in vain.
            if acquired:
                refused.wait(60)
            else:
                refused.set()
            return bool(acquired)

    @dramatiq.actor
    def stamp(sent):
        note("dramatiq-stamp", f"{time.time() - sent}")

    @dramatiq.actor(max_retries=0)
    def broken():
        raise ValueError("on purpose")

    return broker, {"power": power, "stubborn": stubborn, "guarded": guarded, "stamp": stamp, "broken": broken}
