"""`python -m proxy --config FILE`: from the command line to a running proxy; everything else is in `proxy.app`."""

from __future__ import annotations

import sys

from common import node
from proxy.app import ProxyNode
from proxy.config import ProxyConfig

if __name__ == "__main__":
    sys.exit(node.main("proxy", ProxyConfig, ProxyNode))
