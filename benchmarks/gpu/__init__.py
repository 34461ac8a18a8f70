"""What simulacra does on a GPU in a few minutes, unattended: `python -m benchmarks.gpu`.

It runs from a checkout, installed or not, with nothing but what `pyproject.toml` depends on and
without network. What is measured stands in `rows.py`, where a family adds its own.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""
if str(ROOT / "src") not in sys.path:
    # its own code, whatever else may be installed
    sys.path.insert(0, str(ROOT / "src"))
