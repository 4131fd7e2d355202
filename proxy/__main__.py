"""`python -m proxy --config FILE`: from the command line to a running proxy; everything else is in `proxy.app`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from common import node
from common.errors import HaulError
from common.settings import load_settings
from proxy.app import ProxyNode
from proxy.config import ProxyConfig


def main() -> int:
    """Run a proxy until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m proxy", description="Run one proxy of a Haul cluster.")
    parser.add_argument("--config", type=Path, required=True, help="TOML file with the proxy's settings")
    arguments = parser.parse_args()
    node.configure_logging()
    try:
        config = load_settings(ProxyConfig, arguments.config)
        with node.exclusive(config.data_dir), node.listen(config.host, config.port) as listener:
            node.run(ProxyNode(config), listener)
    except HaulError as error:
        print(f"proxy: {error.message}", file=sys.stderr)  # noqa: T201 - the log may not be where the user looks
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
