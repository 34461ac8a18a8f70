"""How much memory this process may have, and how much of it is free."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CONTAINERS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    (
        Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)  # fmt: skip
"""Where Linux says how much memory a container may have, has, and could give back: cgroups of
version 2 and 1."""


def whole() -> int:
    """Bytes of memory that this process may have, as far as the system tells."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        memory = 16 << 30
    for folder, limit, _, _ in _CONTAINERS:
        with contextlib.suppress(OSError, ValueError):
            memory = min(memory, int((folder / limit).read_text()))  # "max" is no number
    return memory


def free() -> int | None:
    """Bytes that this process may still take; `None` where the system does not tell."""
    rooms = []
    with contextlib.suppress(OSError, ValueError, KeyError):
        rooms.append(1024 * _fields(_MEMINFO)["MemAvailable"])
    for folder, limit, used, unused in _CONTAINERS:
        with contextlib.suppress(OSError, ValueError, KeyError):
            most = int((folder / limit).read_text())
            # what was read of files counts as used, and makes room when it is needed
            room = most - int((folder / used).read_text()) + _fields(folder / "memory.stat")[unused]
            rooms.append(max(0, room))
    return min(rooms, default=None)


def amount(size: float) -> str:
    """Bytes in words: `3.4 GB`."""
    for unit, power in (("TB", 1e12), ("GB", 1e9)):
        if size >= power:
            return f"{size / power:,.1f} {unit}"
    return f"{size / 1e6:,.0f} MB"


def _fields(path: Path) -> dict[str, int]:
    """Names and first numbers of lines as `MemAvailable:  123 kB`."""
    rows = (line.replace(":", " ").split() for line in path.read_text().splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}
