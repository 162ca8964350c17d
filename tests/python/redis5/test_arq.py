"""arq on redis-py 5: jobs, results, retries, deferral, abortion and cron, with its real worker in this process."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from arq import Retry, create_pool, cron
from arq.connections import RedisSettings
from arq.jobs import Job, JobStatus
from arq.worker import Worker

from support.server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("arq") / "data", name="graven").start()
    yield server
    server.end()


async def double(ctx, n):
    return 2 * n


async def flaky(ctx):
    if ctx["job_try"] < 3:
        raise Retry(defer=0.05)
    return ctx["job_try"]


async def broken(ctx):
    raise ValueError("on purpose")


async def long(ctx):
    await asyncio.sleep(60)


def scenario(server, steps, **options):
    """Runs `steps(pool)` beside a worker on an empty server."""

    async def run():
        settings = RedisSettings(port=server.port)
        pool = await create_pool(settings)
        await pool.flushall()
        worker = Worker([double, flaky, broken, long], redis_settings=settings, poll_delay=0.02, handle_signals=False, allow_abort_jobs=True, keep_result=60, **options)
        running = asyncio.ensure_future(worker.async_run())
        try:
            return await asyncio.wait_for(steps(pool), 120)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await worker.close()
            await pool.aclose()

    return asyncio.run(run())


def test_jobs_results_and_retries(server):
    async def steps(pool):
        jobs = [await pool.enqueue_job("double", n) for n in range(10)]
        assert [await job.result(timeout=60) for job in jobs] == [2 * n for n in range(10)]
        assert await (await pool.enqueue_job("flaky")).result(timeout=60) == 3
        with pytest.raises(ValueError, match="on purpose"):
            await (await pool.enqueue_job("broken")).result(timeout=60)
        assert len(await pool.all_job_results()) == 12

    scenario(server, steps)


def test_deferral_and_unique_jobs(server):
    async def steps(pool):
        soon = await pool.enqueue_job("double", 1, _job_id="only-one", _defer_by=0.5)
        assert await pool.enqueue_job("double", 2, _job_id="only-one") is None
        later = await pool.enqueue_job("double", 3, _defer_by=timedelta(hours=1))
        assert await later.status() == JobStatus.deferred
        assert await soon.result(timeout=60) == 2
        assert [job.args for job in await pool.queued_jobs()] == [(3,)]
        assert (await later.info()).score is not None

    scenario(server, steps)


def test_abortion(server):
    async def steps(pool):
        job = await pool.enqueue_job("long")
        while await job.status() != JobStatus.in_progress:
            await asyncio.sleep(0.02)
        assert await Job(job.job_id, pool).abort(timeout=60) is True

    scenario(server, steps)


def test_cron(server):
    ran = []

    async def tick(ctx):
        ran.append(ctx["job_id"])

    async def steps(pool):
        while not ran:
            await asyncio.sleep(0.05)

    scenario(server, steps, cron_jobs=[cron(tick, second=set(range(60)), unique=True)])


def test_jobs_outlive_a_crash(server):
    async def send():
        pool = await create_pool(RedisSettings(port=server.port))
        await pool.flushall()
        ids = [(await pool.enqueue_job("double", n)).job_id for n in range(20)]
        await pool.aclose()
        return ids

    ids = asyncio.run(send())
    server.kill9()
    server.start()

    async def run():
        settings = RedisSettings(port=server.port)
        worker = Worker([double], redis_settings=settings, burst=True, poll_delay=0.02, handle_signals=False)
        await worker.main()
        pool = await create_pool(settings)
        assert [await Job(job_id, pool).result(timeout=60) for job_id in ids] == [2 * n for n in range(20)]
        await pool.aclose()
        await worker.close()

    asyncio.run(run())
