"""Tests of the shutdown of real worker processes, some of which end sooner than others."""

import multiprocessing
import signal
import socket
import time
from collections.abc import Iterator

import pytest
from uvicorn import Config
from uvicorn.supervisors.multiprocess import SIGNALS, Process

from app.runtime import WorkerSupervisor

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def workers() -> Iterator[WorkerSupervisor]:
    """Yield two workers: one ends soon, the other only after SIGTERM, which has Python's default handler."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    made = WorkerSupervisor(Config("nothing:here", log_config=None, timeout_graceful_shutdown=60), [socket.socket()])
    for seconds in (0.2, 600):
        worker = Process(made.config, [])
        worker.process = SPAWN.Process(target=time.sleep, args=(seconds,))
        worker.process.start()
        made.processes.append(worker)
    yield made
    for number, handler in handlers.items():
        signal.signal(number, handler)
    for worker in made.processes:
        worker.process.kill()
        worker.process.join()
        worker.parent_conn.close()
        worker.child_conn.close()
    made.sockets[0].close()


def test_second_signal_reaches_the_remaining_workers(workers: WorkerSupervisor) -> None:
    """The signal arrives during the wait for the first worker, which has ended when the supervisor forwards it."""
    workers.poll_seconds = 60
    workers.signal_queue.append(signal.SIGTERM)

    workers.join_all()

    assert [worker.exitcode for worker in workers.processes] == [0, -signal.SIGTERM]


def test_terminated_workers_close_the_listening_socket(workers: WorkerSupervisor) -> None:
    [listener] = workers.sockets

    workers.terminate_all()

    assert listener.fileno() == -1
