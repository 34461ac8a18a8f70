"""How much memory something needs at its peak, beyond what was in use before."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")
"""Where Linux says how much memory this process has."""
_RESET = Path("/proc/self/clear_refs")


class PeakMemory:
    """The highest growth of this process's memory, or of a GPU's, from here on.

    On the CPU it is the growth over what the process had here: what was loaded before, torch's
    own libraries among it, is not in it, nor are files that are mapped into memory, such as the
    code that a first call reads. Unused memory is handed back to the system first: else what
    another training left free would be used again, and seem to be no growth at all. On a GPU it
    is the growth of torch's own allocations.

    The system keeps one peak for the whole process, and making a second `PeakMemory` begins it
    anew for the first one too.

    Args:
        device: Where the memory is.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        gc.collect()
        self._before: int | None = None
        if device.type == "cuda":
            torch.cuda.init()
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
        elif device.type == "cpu":
            _hand_back()
            self._before = _begin_anew()

    def growth(self) -> int | None:
        """Bytes at the peak so far, beyond those at the beginning; `None` where no one counts."""
        if self._before is None:
            return None
        peak: int | None
        if self.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self.device)
        else:
            peak = _own("VmHWM")
        return None if peak is None else max(0, peak - self._before)


def _hand_back() -> None:
    """Give freed memory back to the system, where the C library can (glibc)."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _begin_anew() -> int | None:
    """Forget the peak, and say what is in memory now; `None` where the system cannot forget."""
    try:
        _RESET.write_text("5")
    except OSError:
        return None
    return _own("VmRSS")


def _own(field: str) -> int | None:
    """Bytes of a field of `STATUS`, without mapped files, of which only the present is known."""
    try:
        lines = STATUS.read_text().splitlines()
        kib = {name: int(text.split()[0]) for name, _, text in (row.partition(":") for row in lines)
               if name in (field, "RssFile")}  # fmt: skip
        return 1024 * (kib[field] - kib["RssFile"])
    except (OSError, KeyError):
        return None
