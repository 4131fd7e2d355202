"""Real FTP and SFTP servers for tests: one folder each, in a thread, on 127.0.0.1.

    with serving("sftp", folder, {"a.bin": b"data"}) as server:
        fetch(server.url("/a.bin"))

`user` with the password `secret` may log in; FTP lets the anonymous in, too.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncssh
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import DTPHandler, FTPHandler
from pyftpdlib.ioloop import IOLoop
from pyftpdlib.servers import FTPServer as PyFtpServer

PASSWORD = "secret"
MODIFIED_UNIX = 1_700_000_000
_QUIET = logging.CRITICAL + 1


class FtpServer:
    """`commands` has every command but passwords, `data_connections` counts them; `drop_after` breaks the next off."""

    def __init__(self, folder: Path) -> None:
        logging.getLogger("pyftpdlib").setLevel(_QUIET)
        self.commands: list[str] = []
        self.data_connections = 0
        self.drop_after: int | None = None
        authorizer = DummyAuthorizer()
        authorizer.add_anonymous(str(folder))
        authorizer.add_user("user", PASSWORD, str(folder))
        server = self

        class Data(DTPHandler):  # type: ignore[misc]
            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **options)
                server.data_connections += 1

            def send(self, data: bytes) -> int:
                limit = server.drop_after
                if limit is not None and self.tot_bytes_sent >= limit:
                    server.drop_after = None
                    self.cmd_channel.close()
                    self.close()
                    return 0
                return int(super().send(data))

        class Control(FTPHandler):  # type: ignore[misc]
            auth_failed_timeout = 0
            dtp_handler = Data
            use_sendfile = False

            def pre_process_command(self, line: str, command: str, argument: str) -> None:
                server.commands.append(line if command != "PASS" else command)
                super().pre_process_command(line, command, argument)

        Control.authorizer = authorizer
        self._loop = IOLoop()
        self._server = PyFtpServer(("127.0.0.1", 0), Control, ioloop=self._loop)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._stopping = False
        self.port: int = self._server.address[1]

    def _serve(self) -> None:
        while not self._stopping:
            self._server.serve_forever(timeout=0.05, blocking=False, handle_exit=False)
        self._server.close_all()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._thread.join()

    def url(self, path: str, user: str = "") -> str:
        return f"ftp://{f'{user}@' if user else ''}127.0.0.1:{self.port}{path}"


class SftpServer:
    """`known_hosts` is a line with its key; `reads` counts requests for bytes; `drop_after`, `stats_to_drop` break."""

    def __init__(self, folder: Path) -> None:
        asyncssh.set_log_level(_QUIET)
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        self._connections: list[Any] = []
        self.reads = 0
        self.stats_to_drop = 0
        self.drop_after: int | None = None
        self.port = 0

    @property
    def known_hosts(self) -> str:
        return f"[127.0.0.1]:{self.port} {self._key.export_public_key().decode()}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        for connection in list(self._connections):
            connection.abort()
            await connection.wait_closed()
        await self._server.wait_closed()

    def url(self, path: str, user: str = f"user:{PASSWORD}") -> str:
        return f"sftp://{f'{user}@' if user else ''}127.0.0.1:{self.port}{path}"

    async def _start(self) -> Any:
        server, folder = self, self._folder

        class Login(asyncssh.SSHServer):
            def connection_made(self, conn: Any) -> None:
                server._connections.append(conn)

            def begin_auth(self, username: str) -> bool:
                return True

            def password_auth_supported(self) -> bool:
                return True

            def validate_password(self, username: str, password: str) -> bool:
                return (username, password) == ("user", PASSWORD)

        class Files(asyncssh.SFTPServer):
            def __init__(self, channel: Any) -> None:
                super().__init__(channel, chroot=str(folder))

            def stat(self, path: bytes) -> Any:
                if server.stats_to_drop:
                    server.stats_to_drop -= 1
                    self.connection.abort()
                return super().stat(path)

            def read(self, file_obj: Any, offset: int, size: int) -> bytes:
                server.reads += 1
                if server.drop_after is not None and offset >= server.drop_after:
                    server.drop_after = None
                    self.connection.abort()
                return bytes(super().read(file_obj, offset, size))

        return await asyncssh.create_server(
            Login, "127.0.0.1", 0, server_host_keys=[self._key], sftp_factory=Files, line_editor=False
        )


Server = FtpServer | SftpServer


@contextmanager
def serving(kind: str, folder: Path, files: Mapping[str, bytes]) -> Iterator[Server]:
    """A server ("ftp" or "sftp") of these files in a new folder, all of them from MODIFIED_UNIX."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (MODIFIED_UNIX, MODIFIED_UNIX))
    with FtpServer(folder) if kind == "ftp" else SftpServer(folder) as server:
        yield server


def known_hosts_of(server: Server, folder: Path) -> Path:
    """A new file in `folder` with the key of a server, if it has one."""
    path = folder / "known_hosts"
    path.write_text(server.known_hosts if isinstance(server, SftpServer) else "")
    return path
