"""The nursery's process: `python -m target.carriers DESCRIPTOR`, started by a target."""

from __future__ import annotations

import socket
import sys

from common.logs import configure_logging
from target.carriers import carrier, nursery

if __name__ == "__main__":
    configure_logging()
    nursery.serve(socket.socket(fileno=int(sys.argv[1])), carrier.carry)
