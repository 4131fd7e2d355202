"""`python -m target --config FILE`: from the command line to a running target; everything else is in `target.app`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from common import node
from common.errors import HaulError
from common.settings import load_settings
from target.app import TargetNode
from target.config import TargetConfig

_SWITCH_INTERVAL_SECONDS = 0.0005
"""With Python's default of 5 ms four lanes were a third slower (design.md §4)."""


def main() -> int:
    """Run a target until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m target", description="Run one target of a Haul cluster.")
    parser.add_argument("--config", type=Path, required=True, help="TOML file with the target's settings")
    arguments = parser.parse_args()
    node.configure_logging()
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
    try:
        config = load_settings(TargetConfig, arguments.config)
        with node.exclusive(config.data_dir), node.listen(config.host, config.port) as listener:
            node.run(TargetNode(config), listener)
    except HaulError as error:
        print(f"target: {error.message}", file=sys.stderr)  # noqa: T201 - the log may not be where the user looks
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
