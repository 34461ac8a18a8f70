"""Writing tensors as safetensors, one after another: the library makes two copies of all first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_KINDS = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16",
    torch.float16: "F16", torch.bfloat16: "BF16", torch.int32: "I32", torch.float32: "F32",
    torch.complex64: "C64", torch.float64: "F64", torch.int64: "I64",
}  # fmt: skip
"""What the format calls each kind of number, in its order of them: the last comes first."""


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Write a file as the library would, to the byte.

    Args:
        path: Of the file.
        tensors: By name, on the CPU and contiguous.

    Returns:
        What a manifest says of the file: `sha256` and `bytes`.

    Raises:
        OSError: If it cannot be written.
    """
    order = list(_KINDS)
    names = sorted(tensors, key=lambda name: (-order.index(tensors[name].dtype), name))
    header: dict[str, Any] = {}
    end = 0
    for name in names:
        each = tensors[name]
        start, end = end, end + each.numel() * each.element_size()
        header[name] = {
            "dtype": _KINDS[each.dtype], "shape": list(each.shape), "data_offsets": [start, end]
        }  # fmt: skip
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    digest, size = hashlib.sha256(), 0
    bodies: Iterable[Any]  # arrays are buffers, which their types do not say
    with path.open("wb") as file:
        bodies = (tensors[name].reshape(-1).view(torch.uint8).numpy() for name in names)
        for part in (len(text).to_bytes(8, "little"), text, *bodies):
            file.write(part)
            digest.update(part)
            size += len(part)
    return {"sha256": digest.hexdigest(), "bytes": size}
