"""The task queues of Python beside Celery, with their real workers: RQ, Huey, Dramatiq, and the channel layers of Django Channels."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
import time

import pytest
import redis

from support.celery_app import Program
from support.server import Server, wait_until


class Site:
    """One server, a directory for notes, and the jobs' module bound to both."""

    def __init__(self, base):
        self.base = base
        self.server = Server(base / "data", name="graven").start()
        os.environ["TEST_PORT"] = str(self.server.port)
        os.environ["TEST_WORK"] = str(base)
        sys.modules.pop("support.jobs", None)
        self.jobs = importlib.import_module("support.jobs")
        self.programs = []

    def client(self, db: int = 0, **options):
        return redis.Redis(port=self.server.port, db=db, **options)

    def lines(self, name: str) -> list[str]:
        path = self.base / name
        return path.read_text().splitlines() if path.exists() else []

    def program(self, *arguments) -> Program:
        log = self.base / f"program-{len(self.programs)}.log"
        environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.abspath(__file__)), "PYTHONUNBUFFERED": "1"}
        self.programs.append(Program([sys.executable, *map(str, arguments)], environment, log))
        return self.programs[-1]

    def end(self) -> None:
        for program in self.programs:
            program.kill9()
        self.server.end()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    made = Site(tmp_path_factory.mktemp("queues"))
    yield made
    made.end()


# RQ


@pytest.fixture(scope="module")
def rq_worker(site):
    return site.program("-m", "rq.cli", "worker", "--url", site.server.url(0), "--with-scheduler", "default", "low")


def finished(job):
    return wait_until(lambda: job.is_finished and job, 30, f"{job.id} is finished: {job.get_status()}", pause=0.05)


def test_rq_jobs_and_results(site, rq_worker):
    from rq import Queue

    queue = Queue(connection=site.client())
    jobs = queue.enqueue_many([Queue.prepare_data(site.jobs.add, (n, n)) for n in range(8)])
    assert [finished(job).return_value() for job in jobs] == [2 * n for n in range(8)]
    after = queue.enqueue(site.jobs.add, 100, 1, depends_on=jobs)
    assert finished(after).return_value() == 101
    assert queue.count == 0 and after.id in queue.finished_job_registry.get_job_ids()


def test_rq_retries_and_failures(site, rq_worker):
    from rq import Queue, Retry

    queue = Queue(connection=site.client())
    job = queue.enqueue(site.jobs.fail_until, "rq-retried", 2, retry=Retry(max=3))
    assert finished(job).return_value() == 3
    job = queue.enqueue(site.jobs.fail_until, "rq-failed", 100)
    wait_until(lambda: job.is_failed, 30, "the job has failed", pause=0.05)
    assert "ValueError: try 1" in job.latest_result().exc_string
    assert queue.failed_job_registry.requeue(job.id)
    wait_until(lambda: len(site.lines("rq-failed")) == 2 and job.is_failed, 30, "it has failed again", pause=0.05)


def test_rq_schedules_and_cancels(site, rq_worker):
    from datetime import timedelta

    from rq import Queue

    queue = Queue("low", connection=site.client())
    naps, sent = len(site.lines("naps")), time.time()
    # RQ keeps whole seconds.
    job = queue.enqueue_in(timedelta(seconds=2), site.jobs.nap, 0)
    later = queue.enqueue_in(timedelta(hours=1), site.jobs.nap, 0)
    assert later.id in queue.scheduled_job_registry and later.get_status() == "scheduled"
    finished(job)
    assert float(site.lines("naps")[naps]) >= sent + 0.9
    later.cancel()
    assert later.get_status() == "canceled" and later.id not in queue.scheduled_job_registry


def test_rq_across_a_crash(site, rq_worker):
    """What was enqueued before `kill -9` is done after the restart."""
    from rq import Queue, Worker

    queue = Queue("default", connection=site.client())
    jobs = [queue.enqueue(site.jobs.hold, "rq-go") for _ in range(4)]
    wait_until(lambda: "rq-go" in site.lines("holding"), 20, "the first is running")
    site.server.kill9()
    site.server.start()
    (site.base / "rq-go").touch()
    queue = Queue("default", connection=site.client())
    worker = [rq_worker]

    def done() -> bool:
        # A worker whose server went away may end; a site has a supervisor for it.
        if worker[0].process.poll() is not None:
            worker[0] = site.program("-m", "rq.cli", "worker", "--url", site.server.url(0), "default", "low")
        return all(queue.fetch_job(job.id).is_finished for job in jobs[1:])

    wait_until(done, 60, "those that waited are done", pause=0.1)
    assert Worker.all(connection=site.client())


# Huey


@pytest.fixture(scope="module")
def huey(site):
    """The queue, without a consumer: tests run one as they need it."""
    return site.jobs.make_huey()


@pytest.fixture
def consumer(huey):
    started = []

    def start(workers: int = 2, **options):
        made = huey.create_consumer(workers=workers, check_worker_health=False, initial_delay=0.01, backoff=1.0, scheduler_interval=1, **options)
        made.start()
        started.append(made)
        return made

    yield start
    for made in started:
        made.stop(graceful=True)


def test_huey_results_retries_and_pipelines(huey, consumer):
    consumer()
    tasks = huey.tasks
    assert [tasks["multiply"](n, 3).get(blocking=True, timeout=60) for n in range(10)] == [3 * n for n in range(10)]
    assert tasks["flaky"](2).get(blocking=True, timeout=60) == 3
    chain = huey.enqueue(tasks["multiply"].s(2, 3).then(tasks["multiply"], 10))
    assert chain.get(blocking=True, timeout=60) == [6, 60]


def test_huey_schedule_and_revocation(huey, consumer):
    sent = time.time()
    soon = huey.tasks["multiply"].schedule((4, 4), delay=1)
    later = huey.tasks["multiply"].schedule((5, 5), delay=3600)
    never = huey.tasks["multiply"](6, 6)
    never.revoke()
    assert huey.scheduled_count() + huey.pending_count() == 3
    consumer()
    assert soon.get(blocking=True, timeout=60) == 16 and time.time() >= sent + 0.9
    assert never.get() is None
    wait_until(lambda: huey.scheduled_count() == 1, 20, "the late one is scheduled")
    assert later.get() is None
    huey.flush()


def test_huey_priorities_and_locks(site, huey, consumer):
    for priority in (1, 5, 3, 9, 7):
        huey.enqueue(huey.tasks["ordered"].s(str(priority), priority=priority))
    consumer(workers=1)
    assert wait_until(lambda: len(site.lines("huey-order")) == 5 and site.lines("huey-order"), 20, "all are done") == ["9", "7", "5", "3", "1"]
    consumer(workers=1)
    first = huey.tasks["alone"]("huey-go")
    wait_until(lambda: site.lines("huey-alone"), 20, "one has the lock")
    second = huey.tasks["alone"]("huey-go")
    with pytest.raises(Exception, match="TaskLockedException"):
        second.get(blocking=True, timeout=60)
    (site.base / "huey-go").touch()
    assert first.get(blocking=True, timeout=60) == "done"


# Dramatiq


@pytest.fixture(scope="module")
def dramatiq_site(site):
    import dramatiq

    broker, actors = site.jobs.make_dramatiq()
    worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=4)
    worker.start()
    yield broker, actors
    worker.stop()
    broker.close()


def test_dramatiq_results_groups_and_pipelines(dramatiq_site):
    from dramatiq import group, pipeline

    _, actors = dramatiq_site
    power = actors["power"]
    assert power.send(2, 10).get_result(block=True, timeout=60000) == 1024
    assert sorted(group(power.message(n, 2) for n in range(10)).run().get_results(block=True, timeout=60000)) == [n * n for n in range(10)]
    assert pipeline([power.message(2, 2), power.message(3)]).run().get_result(block=True, timeout=60000) == 81


def test_dramatiq_retries_delays_and_dead_letters(site, dramatiq_site):
    broker, actors = dramatiq_site
    assert actors["stubborn"].send(2).get_result(block=True, timeout=60000) == 3
    actors["stamp"].send_with_options(args=(time.time(),), delay=700)
    assert float(wait_until(lambda: site.lines("dramatiq-stamp"), 20, "the delayed message is done")[0]) >= 0.7
    actors["broken"].send()
    dead = "site:default.XQ"
    wait_until(lambda: site.client(2).zcard(dead) == 1, 20, "the failed message is among the dead")
    broker.join("default", timeout=60000)


def test_dramatiq_rate_limits(dramatiq_site):
    _, actors = dramatiq_site
    answers = [message.get_result(block=True, timeout=60000) for message in [actors["guarded"].send() for _ in range(4)]]
    assert answers.count(True) >= 1 and answers.count(False) >= 1


# Channels


def layer(site, kind: str):
    from channels_redis.core import RedisChannelLayer
    from channels_redis.pubsub import RedisPubSubChannelLayer

    made = {"core": RedisChannelLayer, "pubsub": RedisPubSubChannelLayer}[kind]
    return made(hosts=[site.server.url(3)], prefix=kind, capacity=5) if kind == "core" else made(hosts=[site.server.url(3)], prefix=kind)


@pytest.mark.parametrize("kind", ["core", "pubsub"])
def test_channel_layer(site, kind):
    """Messages to one channel and to groups arrive in order; whoever has left a group hears no more of it."""

    async def scenario():
        channels = layer(site, kind)
        names = [await channels.new_channel() for _ in range(3)]
        for name in names:
            await channels.group_add("room", name)
        await channels.send(names[0], {"type": "one", "n": 1})
        await channels.group_send("room", {"type": "all", "text": "hello \u00e9", "bytes": b"\x00\xff"})
        assert await asyncio.wait_for(channels.receive(names[0]), 60) == {"type": "one", "n": 1}
        for name in names:
            assert await asyncio.wait_for(channels.receive(name), 60) == {"type": "all", "text": "hello \u00e9", "bytes": b"\x00\xff"}
        await channels.group_discard("room", names[1])
        waiting = asyncio.ensure_future(channels.receive(names[2]))
        await asyncio.sleep(0.05)
        await channels.group_send("room", {"type": "again"})
        assert await asyncio.wait_for(waiting, 60) == {"type": "again"}
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(channels.receive(names[1]), 0.3)
        await channels.flush()
        await (channels.close_pools() if kind == "core" else asyncio.sleep(0))

    asyncio.run(scenario())


def test_channel_capacity(site):
    from channels.exceptions import ChannelFull

    async def scenario():
        channels = layer(site, "core")
        name = await channels.new_channel()
        for n in range(5):
            await channels.send(name, {"n": n})
        with pytest.raises(ChannelFull):
            await channels.send(name, {"n": 5})
        assert [(await asyncio.wait_for(channels.receive(name), 60))["n"] for _ in range(5)] == [0, 1, 2, 3, 4]
        await channels.close_pools()

    asyncio.run(scenario())
