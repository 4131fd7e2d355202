"""`python -m target --config FILE`: from the command line to a running target; everything else is in `target.app`."""

from __future__ import annotations

import sys

from common import node
from target.app import TargetNode
from target.config import TargetConfig

_SWITCH_INTERVAL_SECONDS = 0.0005
"""With Python's default of 5 ms four lanes were a third slower (design.md §4)."""

if __name__ == "__main__":
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
    sys.exit(node.main("target", TargetConfig, TargetNode))
