"""Fixtures of every test that uses the command line."""

from __future__ import annotations

import gc
import importlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

# what takes seconds to import is imported below where it is used: the process that only hands
# tests to workers, which start when it has read this, does without
if TYPE_CHECKING:
    from kept import Kept


# as `make test` has it: two workers of several threads stand in each other's way, and how many
# work is then nothing that a training tries
os.environ.setdefault("OMP_NUM_THREADS", "1")

if "PYTEST_XDIST_WORKER" in os.environ:
    importlib.import_module("lean")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every", action="store_true", help="every law on all that it can be asked on: minutes"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "nightly: once more what another case shows already; tried with --every alone"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("every"):
        late = [item for item in items if item.get_closest_marker("nightly")]
        config.hook.pytest_deselected(items=late)
        items[:] = [item for item in items if item not in set(late)]


@pytest.fixture(scope="module", autouse=True)
def looked_through() -> None:
    """What is imported by now is not looked through again before every training."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def cached_extractors(tmp_path_factory) -> None:
    """Classifiers that see samples are trained once for all tests, and not kept among the user's.

    They are pinned to their data, so that no test can notice who trained them.
    """
    from kept import shared

    os.environ["SIMULACRA_CACHE"] = str(shared(tmp_path_factory.getbasetemp()) / "cache")


@pytest.fixture(scope="session", autouse=True)
def unsynced() -> Iterator[None]:
    """No test is about a disk after a power cut: those of what is synced and when stand in here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def kept_floors() -> Iterator[None]:
    """What real data get of the judge is measured once for all tests of the same data."""
    import floors

    with pytest.MonkeyPatch.context() as patch:
        floors.keep(patch)
        yield


@pytest.fixture(scope="session")
def kept(tmp_path_factory) -> Kept:
    """What takes long to make and many tests read: `kept.run("gmm", "digits", ...)` for one."""
    from kept import Kept, shared

    return Kept(shared(tmp_path_factory.getbasetemp()) / "kept")


@pytest.fixture(autouse=True)
def distributions_still_checked():
    """What a test compiled leaves the rest of the process as it was."""
    from torch.distributions import Distribution

    yield
    still = Distribution._validate_args
    Distribution.set_default_validate_args(True)
    assert still, "distributions no longer check their arguments after this test"


@pytest.fixture(scope="module")
def undrawn() -> Iterator[None]:
    """Trainings draw no pictures of samples: for files of which no test looks at them."""
    from commands import undrawn

    with pytest.MonkeyPatch.context() as patch:
        undrawn(patch)
        yield


@pytest.fixture(scope="module")
def short_chains() -> Iterator[None]:
    """Chains that complete make few moves: for files where no test looks at how near they come."""
    import chains

    with pytest.MonkeyPatch.context() as patch:
        chains.shorten(patch)
        yield


@pytest.fixture
def cli(capsys, tmp_path, monkeypatch) -> Callable[..., tuple[int, str, str]]:
    """Run a command in an empty folder: its exit code, standard output and standard error."""
    from commands import run_main
    from simulacra.cli import waiting

    monkeypatch.chdir(tmp_path)
    # on a slow machine no line tells that something lasts
    monkeypatch.setattr(waiting, "EVERY", 1e6)

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run_main(*arguments)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def ok(cli) -> Callable[..., tuple[str, str]]:
    """Run a command that must succeed: its standard output and standard error."""

    def run(*arguments: object) -> tuple[str, str]:
        code, out, err = cli(*arguments)
        assert code == 0, err
        return out, err

    return run
