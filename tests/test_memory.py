"""Peak memory: what is counted, what is not, and what is said where no one counts."""

from __future__ import annotations

import gc

import pytest
import torch

from simulacra.training import memory
from simulacra.training.memory import STATUS, PeakMemory

CPU = torch.device("cpu")
MB = 2**20
linux = pytest.mark.skipif(not STATUS.exists(), reason="needs Linux's /proc")


def megabytes(count):
    return torch.ones(count * MB // 4)


@linux
def test_the_peak_is_kept_when_the_memory_is_free_again():
    before = megabytes(50)
    peak = PeakMemory(CPU)
    kept = megabytes(64)
    gone = megabytes(64)
    del gone
    # the system counts pages for each processor, and adds them up now and then
    assert 127 * MB < peak.growth() < 160 * MB
    assert before.numel()
    assert kept.numel()


@linux
def test_a_second_one_counts_as_much_as_the_first():
    """What the first left free is used again, and must not seem to be no growth."""

    def grown():
        peak = PeakMemory(CPU)
        # small enough to come from the heap, which keeps what is freed below something kept, and
        # so many pages each that those at its ends, which others may share, are few
        many = [torch.ones(30_000) for _ in range(count)]
        kept = torch.ones(30_000)
        del many
        return peak.growth(), kept

    count = 800
    (first, one), (second, other) = grown(), grown()
    assert first > 0.98 * count * 4 * 30_000
    for found in (first, second):
        assert found == pytest.approx(count * 4 * 30_000, rel=0.1)
    assert one.equal(other)


@linux
def test_what_nobody_can_reach_any_more_is_freed_before_the_count_begins():
    gc.collect()
    gc.disable()
    try:
        lost = [megabytes(64)]
        lost.append(lost)
        del lost
        peak = PeakMemory(CPU)
        gc.collect()
        kept = megabytes(64)
    finally:
        gc.enable()
    assert peak.growth() > 60 * MB
    assert kept.numel()


@linux
def test_files_in_memory_are_not_counted(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(bytes(64 * MB))
    peak = PeakMemory(CPU)
    mapped = torch.from_file(str(path), size=64 * MB, dtype=torch.uint8)
    assert int(mapped[::4096].sum()) == 0
    assert peak.growth() < 16 * MB


def test_where_no_one_counts_nothing_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    assert PeakMemory(CPU).growth() is None


@linux
def test_a_peak_that_cannot_be_forgotten_is_not_taken_for_one_of_ours(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_RESET", tmp_path / "no" / "such" / "folder")
    assert PeakMemory(CPU).growth() is None


def test_another_device_is_not_counted_as_the_processor():
    assert PeakMemory(torch.device("meta")).growth() is None


def test_on_a_gpu_it_is_the_growth_of_torchs_own_allocations(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "init", lambda: calls.append("init"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: calls.append("reset"))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 100)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 350)
    assert PeakMemory(torch.device("cuda")).growth() == 250
    assert calls == ["init", "reset"]
