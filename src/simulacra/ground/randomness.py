"""Random numbers that belong to something: to a seed's scope, or to an observation.

`seeded` scopes torch's global generator. The keyed draws are a counter-based generator: each
number is a hash of (key, position), so it depends on nothing else that is drawn beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

# SplitMix64 (Steele, Lea and Flood 2014), as signed 64-bit integers, which wrap in torch.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_2 = 0x94D049BB133111EB - (1 << 64)
_ALL = (1 << 64) - 1


@contextmanager
def seeded(*seed: int) -> Iterator[None]:
    """Seed torch's generators inside the block, and leave them outside as they were.

    Args:
        seed: One or more integers that together are the seed: `seeded(run_seed, step)`.
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    key = _key_of(seed)
    with torch.random.fork_rng(devices=devices):
        if torch.accelerator.is_available() and not devices:
            torch.manual_seed(key)
        else:
            # the same, but the stack of calls is not written down for each kind of device that
            # may yet appear, which takes up to a millisecond
            torch.default_generator.manual_seed(key)
            for device in devices:
                torch.cuda.default_generators[device].manual_seed(key)
        yield


def _shift(bits: Tensor, by: int) -> Tensor:
    """Logical shift to the right: torch's own keeps the sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shift(bits, 30)) * _MIX_1
    bits = (bits ^ _shift(bits, 27)) * _MIX_2
    return bits ^ _shift(bits, 31)


def _key_of(seed: Iterable[int]) -> int:
    """`keys_from` of integers alone, without tensors: each step of a training asks for some."""
    key = 0
    for part in seed:
        key = (key * 31 + int(part) + _GOLDEN) & _ALL
        key = (key ^ key >> 30) * _MIX_1 & _ALL
        key = (key ^ key >> 27) * _MIX_2 & _ALL
        key ^= key >> 31
    # signed, as a tensor has it
    return key - (1 << 64) if key >> 63 else key


def keys_of(x: Tensor, seed: int = 0) -> Tensor:
    """One key per observation, from its own values and the seed alone.

    Args:
        x: Observations `(N, …)`, levels or floats.
        seed: Another seed gives other keys.

    Returns:
        `(N,)` int64.
    """
    # Apple's GPU has no float64, in which every device would give the same numbers
    flat = (x.cpu() if x.device.type == "mps" else x).flatten(1)
    # + 0.0 makes −0.0 and 0.0 one value
    bits = (flat.double() + 0.0).view(torch.int64) if flat.is_floating_point() else flat.long()
    position = torch.arange(flat.shape[1], device=flat.device) + 1
    return _mix(_mix(bits + position * _GOLDEN).sum(1) + _mix((torch.tensor(seed) + 1) * _GOLDEN))


def keys_from(*parts: Tensor | int) -> Tensor:
    """One key per row from several integers, such as (seed, epoch, index).

    Args:
        parts: Integers or int64 tensors `(N,)`, at least one of them a tensor.

    Returns:
        `(N,)` int64.
    """
    key = torch.zeros((), dtype=torch.int64)
    for part in parts:
        key = _mix(key * 31 + part + _GOLDEN)
    return key


def keyed_uniform(keys: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Uniform numbers in (0, 1), row *i* from key *i* alone.

    Args:
        keys: `(N,)` int64.
        shape: Shape of one row.

    Returns:
        `(N, *shape)` float64, on the keys' device.
    """
    count = torch.Size(shape).numel()
    position = torch.arange(count, device=keys.device) + 1
    bits = _mix(keys[:, None] + position * _GOLDEN)
    # 52 bits: with 53, adding a half to the largest would round up to 1
    return ((_shift(bits, 12).double() + 0.5) * 2.0**-52).reshape(len(keys), *shape)


def keyed_normal(keys: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers, row *i* from key *i* alone; `(N, *shape)` float64."""
    return torch.special.ndtri(keyed_uniform(keys, shape))
