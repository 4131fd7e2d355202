"""TLS is always verified."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest

from common.errors import Retry
from target.transfer.engine import trusted_certificates
from tests.origin import Origin
from tests.transfer.driving import failure, make_engine, receipt


def test_an_unknown_issuer_is_refused_for_good(server_context: ssl.SSLContext) -> None:
    engine = make_engine()
    with Origin(ssl_context=server_context) as origin:
        error = failure(engine, origin.put("/a", b"x") + "?secret")
        assert (error.kind, error.retry, origin.requests) == ("tls", Retry.NEVER, [])
    engine.close()
    assert "TLS certificate refused" in str(error)
    assert "self" in str(error)
    assert "secret" not in str(error)


def test_a_configured_issuer_is_trusted(server_context: ssl.SSLContext, certificates: Path) -> None:
    engine = make_engine(ca_file=str(certificates / "cert.pem"))
    with Origin(ssl_context=server_context) as origin:
        assert receipt(engine, origin.put("/a", b"x" * 100_000))[1] == b"x" * 100_000
        wrong_name = failure(engine, f"https://localhost:{origin.port}/a")
        assert (wrong_name.kind, wrong_name.retry) == ("tls", Retry.NEVER)
        assert len(origin.requests) == 1
    engine.close()


def test_old_protocol_versions_are_refused(certificates: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.deprecated_call():
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    engine = make_engine(ca_file=str(certificates / "cert.pem"))
    with Origin(ssl_context=context) as origin:
        assert failure(engine, origin.put("/a", b"x")).kind == "tls"
        assert origin.requests == []
    engine.close()


def test_a_missing_file_of_issuers_is_final(server_context: ssl.SSLContext) -> None:
    engine = make_engine(ca_file="/nonexistent.pem")
    with Origin(ssl_context=server_context) as origin:
        error = failure(engine, origin.put("/a", b"x"))
    engine.close()
    assert (error.kind, error.retry) == ("tls", Retry.NEVER)
    assert "/nonexistent.pem" not in str(error)


def test_a_plain_server_behind_https_is_a_failure() -> None:
    engine = make_engine()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer_in_clear() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer_in_clear)
        thread.start()
        assert failure(engine, f"https://127.0.0.1:{server.getsockname()[1]}/a").kind == "tls"
        thread.join()
    engine.close()


def test_the_systems_certificates_are_found() -> None:
    assert Path(trusted_certificates()).is_file()
