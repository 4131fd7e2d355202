"""Amazon's host names before another S3: a proxy that takes `CONNECT host:443` and answers itself, with a certificate.

Clients find it by `HTTPS_PROXY` and trust it by `AWS_CA_BUNDLE`; one request a connection.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self


class Amazon:
    """`hosts` has whom clients wanted to reach; `environment` leads them here."""

    def __init__(self, folder: Path, service: tuple[str, int], regions: Sequence[str]) -> None:
        hosts = ["s3.amazonaws.com", *(f"s3.{region}.amazonaws.com" for region in regions)]
        names = ",".join(f"DNS:{host},DNS:*.{host}" for host in hosts)
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-days", "2", "-subj", "/CN=haul-test", "-addext", f"subjectAltName={names}"]
        subprocess.run([*command, "-keyout", "key.pem", "-out", "ca.pem"], cwd=folder, check=True, capture_output=True)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(folder / "ca.pem", folder / "key.pem")
        self._service = service
        self._listener = socket.create_server(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.environment = {"HTTPS_PROXY": proxy, "https_proxy": proxy, "AWS_CA_BUNDLE": str(folder / "ca.pem")}
        self.hosts: list[str] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            wanted = _head(client).split(b" ")[1].decode()
            self.hosts.append(wanted.removesuffix(":443"))
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            with self._tls.wrap_socket(client, server_side=True) as secure:
                request = _head(secure).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
                with socket.create_connection(self._service) as service:
                    service.sendall(request)
                    while chunk := service.recv(65536):
                        secure.sendall(chunk)


def _head(connection: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        chunk = connection.recv(65536)
        if not chunk:
            raise ConnectionError
        head += chunk
    return head
