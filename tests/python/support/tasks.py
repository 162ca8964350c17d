"""The Celery application of the suites, imported by workers, producers and tests alike; configured by the environment.

`record` and its kin append to a file outside the server, so that what was executed is known independently of it.
"""

import os
import time

from celery import Celery

app = Celery("graven_tests", broker=os.environ["TEST_BROKER"], backend=os.environ["TEST_BACKEND"])
app.conf.update(
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    broker_connection_retry=True,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "visibility_timeout": float(os.environ.get("TEST_VISIBILITY", "3600")),
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 5,
        "priority_steps": [0, 3, 6, 9],
        "queue_order_strategy": "priority",
        "sep": ":",
    },
    result_expires=int(os.environ.get("TEST_RESULT_EXPIRES", "3600")),
    result_backend_always_retry=True,
    worker_prefetch_multiplier=2,
    worker_send_task_events=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    timezone="UTC",
    enable_utc=True,
)


def note(name: str, line: str) -> None:
    """Appends one line to a file of the test's directory with a single write."""
    fd = os.open(os.path.join(os.environ["TEST_WORK"], name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(fd, (line + "\n").encode())
    finally:
        os.close(fd)


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def fail(text):
    raise ValueError(text)


@app.task(bind=True, max_retries=5)
def flaky(self, failures):
    note("flaky", f"{self.request.id} {self.request.retries}")
    if self.request.retries < failures:
        raise self.retry(countdown=0.1)
    return self.request.retries


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def record(self):
    note("executed", self.request.id)


@app.task(bind=True, acks_late=True)
def slow(self, seconds):
    note("started", f"{self.request.id} {os.getpid()}")
    time.sleep(seconds)
    note("executed", self.request.id)
    return os.getpid()


@app.task(bind=True, acks_late=True)
def held(self):
    """Runs until the test lets everybody go, by the file `go`."""
    note("started", f"{self.request.id} {os.getpid()}")
    while not os.path.exists(os.path.join(os.environ["TEST_WORK"], "go")):
        time.sleep(0.02)
    note("executed", self.request.id)
    return os.getpid()


@app.task
def order(label):
    note("order", str(label))


@app.task
def stamp():
    return time.time()
