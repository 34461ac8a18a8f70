"""Which of the processes of one training this is, as `torchrun` tells each of them."""

from __future__ import annotations

import os


def count() -> int:
    """How many processes train together; 1 unless torchrun started them."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def rank() -> int:
    """The number of this process, from 0: the first one writes and shows."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0


def first() -> bool:
    """Whether this is the process that writes and shows."""
    return rank() == 0
