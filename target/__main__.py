"""`python -m target --config FILE`: from the command line to a running target; everything else is in `target.app`."""

from __future__ import annotations

import contextlib
import sys

from target.carriers.nursery import Nursery

_SWITCH_INTERVAL_SECONDS = 0.0005
"""With Python's default of 5 ms a thread of a lane waits for the others far longer than it works."""


def main() -> int:
    """Run a target; the nursery loads while the target does."""
    with contextlib.closing(Nursery()) as nursery:
        nursery.start()
        from common import node  # noqa: PLC0415 - half a second of imports, beside the nursery's
        from target.app import TargetNode  # noqa: PLC0415
        from target.config import TargetConfig  # noqa: PLC0415

        return node.main("target", TargetConfig, lambda config, log: TargetNode(config, nursery, log))


if __name__ == "__main__":
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
    sys.exit(main())
