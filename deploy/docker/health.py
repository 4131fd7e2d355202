#!/opt/haul/bin/python -IS
"""`haul-health [--ready]`: exit code 0 when this container's node serves, with --ready only when it can be used."""

import http.client
import os
import sys

port = int(os.environ.get("HAUL_NODE_PORT", "8080"))
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)
try:
    connection.request("GET", "/v1/health" + ("?readiness=true" if "--ready" in sys.argv else ""))
    status = connection.getresponse().status
except OSError as error:
    sys.exit(f"port {port}: {error}")
sys.exit(0 if status == 200 else f"port {port} answers {status}")
