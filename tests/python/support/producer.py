"""A producer process: sends `record` tasks and notes the id of each as soon as `apply_async` has returned."""

import sys
import time
import uuid

from support.tasks import note, record


def main() -> None:
    count, pause = int(sys.argv[1]), float(sys.argv[2])
    done = 0
    while done < count:
        task_id = str(uuid.uuid4())
        try:
            record.apply_async(task_id=task_id, retry=True, retry_policy={"max_retries": 2, "interval_start": 0.1, "interval_step": 0.1})
        except Exception as error:
            note("refused", f"{task_id} {error!r}")
            time.sleep(0.1)
            continue
        note("acknowledged", task_id)
        done += 1
        time.sleep(pause)


main()
