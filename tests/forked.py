"""Processes for tests, each forked from one that has imported all they need, which takes longest.

A test keeps a process that Python starts anew where its start or its end is what is tested.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

# asked for by name, for pytest's own process has threads and must not be forked itself
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        "lean", "lightning_fabric", "simulacra.cli.app", "simulacra.runs.run",
        "simulacra.models.adversarial.gan", "simulacra.models.autoregressive.pixelcnn",
        "simulacra.models.flow.nice", "simulacra.models.latent.vae", "simulacra.models.mixture.gmm",
        # digits are read by it
        "sklearn.datasets",
    ]
)  # fmt: skip


class Forked:
    """A function that runs in a process of its own, told as `subprocess.Popen` tells.

    Args:
        run: Found by its name in a module, as are all functions that are pickled.
        arguments: Of the function.
        log: The file that gets standard output and standard error.
        folder: To run in.
        environment: What is set beside what the first of these processes found.
    """

    def __init__(
        self,
        run: Callable[..., object],
        *arguments: object,
        log: Path,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        told = (log, folder or Path.cwd(), dict(environment or {}), run, arguments)
        # those that a failing test leaves end with the tests
        self._process = _SERVER.Process(target=_run, args=told, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, seconds: float | None = None) -> int:
        self._process.join(seconds)
        assert self._process.exitcode is not None, f"still running: {self.said()}"
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def said(self) -> str:
        return self.log.read_text("utf-8")


def _run(
    log: Path,
    folder: Path,
    environment: dict[str, str],
    run: Callable[..., object],
    arguments: tuple[object, ...],
) -> None:
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for stream in (1, 2):
        os.dup2(handle, stream)
    os.chdir(folder)
    os.environ.update(environment)
    # as in the tests' own process: see conftest.py
    os.fsync = lambda _: None
    # what was imported is not looked through again before every training
    gc.freeze()
    run(*arguments)
