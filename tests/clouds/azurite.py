"""A real Azurite, Microsoft's emulator of Azure's storage, on loopback and in memory; npm installs it once.

with Azurite(directory) as azurite:
    container = azurite.make_container()
    azurite.put(container, {"name": b"content"})
"""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from azure.storage.blob import BlobServiceClient

from tests.waiting import wait_for

VERSION = "3.35.0"
"""The last one that runs on the Node.js of Debian; newer ones need 21 and above."""
HOME = Path(__file__).parents[2] / ".azurite"
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Those that Azurite has been given by its makers, and everybody knows."""
_OPTIONS = ["--inMemoryPersistence", "--blobPort", "0", "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
"""The API version is not checked: Microsoft's client is always ahead of Azurite."""
_LISTENS = re.compile(r"successfully listens on (https?)://127\.0\.0\.1:(\d+)")


def installed() -> Path:
    """The script that is Azurite's blob service; installs it if needed, and only one of several processes does."""
    folder = HOME / VERSION
    script = folder / "node_modules/azurite/dist/src/blob/main.js"
    HOME.mkdir(exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            assert shutil.which("npm"), "Azurite needs npm; on Debian:  apt install nodejs npm"
            options = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
            subprocess.run(["npm", "install", "--prefix", str(folder), *options, f"azurite@{VERSION}"], check=True)
            (folder / "complete").touch()
    return script


class Azurite:
    """`endpoint` is what a node's settings have; `service` is Microsoft's own client, as the account's owner.

    `options` go to the server: with `--cert` and `--key` it speaks TLS, and `verify` is what that client trusts.
    """

    def __init__(self, directory: Path, *, options: Sequence[str] = (), verify: bool | str = True) -> None:
        self._directory = directory
        self._options = options
        self._verify = verify
        self._containers = itertools.count()
        self.endpoint = ""
        self.port = 0

    def __enter__(self) -> Self:
        script = installed()
        self._directory.mkdir(parents=True, exist_ok=True)
        log = self._directory / "azurite.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                ["node", script, *_OPTIONS, *self._options],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Accounts that somebody's own environment names would take the place of the known one.
                env={name: value for name, value in os.environ.items() if not name.startswith("AZURITE_")},
            )
        try:
            found = wait_for(lambda: self._listens(log), what="Azurite listens")
            self.port = int(found[2])
            self.endpoint = f"{found[1]}://127.0.0.1:{self.port}/{ACCOUNT}"
            credential: Any = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}
            self.service = BlobServiceClient(self.endpoint, credential, connection_verify=self._verify)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.service.close()
        self._stop()

    @property
    def connection_string(self) -> str:
        return f"AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};BlobEndpoint={self.endpoint};"

    def settings_toml(self) -> str:
        """The section of a `backends_file` by which a node reads all that is here."""
        return f'[az]\naccount = "{ACCOUNT}"\nendpoint = "{self.endpoint}"\naccount_key = "{ACCOUNT_KEY}"\n'

    def make_container(self, public_access: str | None = None) -> str:
        """A new and empty one; `public_access` is "container" or "blob" where others may read. Its name."""
        name = f"container-{next(self._containers)}"
        self.service.create_container(name, public_access=public_access)
        return name

    def put(self, container: str, objects: Mapping[str, bytes]) -> None:
        client = self.service.get_container_client(container)
        for name, content in objects.items():
            client.upload_blob(name, content, overwrite=True)

    def _listens(self, log: Path) -> re.Match[str] | None:
        text = log.read_text(errors="replace")
        assert self._process.poll() is None, f"Azurite has ended: {text}"
        return _LISTENS.search(text)

    def _stop(self) -> None:
        self._process.kill()
        self._process.wait()
