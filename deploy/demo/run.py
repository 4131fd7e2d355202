"""`make demo` and `make demo-down`: the real `haul` commands, one after the other, as a person would type them.

The data comes from `dataset`, the web server is `webserver`; both lie beside this script.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dataset
import httpx
import xxhash

from cli import formats, output, transfer
from cli.client import Client
from cli.cluster import ports, shape
from cli.endpoints import find_endpoints
from cli.errors import CommandError
from cli.transfer import Range
from cli.uris import parse_object

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
HOME = Path(".demo")
DATA = HOME / "data"
CLUSTER = HOME / "cluster"
LIST = HOME / "notes.json"
WEB = HOME / "web.json"
BUCKET = "ais://demo"
_FIRST_CLUSTER_PORT = 8080
_FIRST_WEB_PORT = 8000
_LARGE_FILE_BYTES_PER_SECOND = 24 * 1024 * 1024
_DEADLINE_SECONDS = 20.0


class Digest:
    """Takes an object's bytes and keeps only their checksum."""

    def __init__(self) -> None:
        self._hasher = xxhash.xxh64()

    def write(self, data: bytes, /) -> int:
        self._hasher.update(data)
        return len(data)

    def hexdigest(self) -> str:
        return self._hasher.hexdigest()


def main() -> int:
    """Run the demo or stop it; returns the exit code."""
    os.chdir(ROOT)
    os.environ.pop("HAUL_ENDPOINT", None)  # the demo talks to its own cluster
    try:
        down() if sys.argv[1:] == ["down"] else up()
    except CommandError as error:
        output.note(f"Error: {error}", style="red")
        return 1
    except KeyboardInterrupt:
        output.note("\nInterrupted; stop what is running with:  make demo-down")
        return 130
    return 0


def up() -> None:
    """The whole demo."""
    began = time.monotonic()
    title("Sample data and a web server that has it")
    prepare()
    web = start_web_server()
    title("A cluster on this machine")
    haul("cluster", "up", "--dir", str(CLUSTER), "--proxies", "1", "--targets", "3", "--mountpaths", "4",
         "--port", str(cluster_port()), "--allow-origin", "127.0.0.0/8")  # fmt: skip
    title("A single object")
    haul("download", f"{web}/{dataset.LARGE_FILE}", f"{BUCKET}/model.bin", "--desc", "one large object", "--progress")
    title("Many objects by a list of names")
    haul("download", f"{web}/notes", f"{BUCKET}/notes/", "--object-list", str(LIST), "--progress")
    title("Many objects by a template")
    last = dataset.SMALL_FILES - 1
    haul("download", f"{web}/small/obj-{{000..{last:03}}}.bin", f"{BUCKET}/small/", "--desc", "a range", "--progress")
    title("What is there now")
    haul("ls", f"{BUCKET}/notes/", "--long")
    haul("ls", f"{BUCKET}/small/", "--limit", "4")
    title("Reading back")
    haul("get", f"{BUCKET}/model.bin", str(HOME / "model.bin"))
    haul("get", f"{BUCKET}/model.bin", str(HOME / "part.bin"), "--offset", "1MiB", "--length", "4KiB")
    compare()
    title("What happened, and where the objects lie")
    haul("show", "job", "download", "--all")
    show_places()
    haul("cluster", "status", "--dir", str(CLUSTER))
    title(f"That was all, in {formats.duration(time.monotonic() - began)}. The cluster is still running")
    say_what_next(web)


def down() -> None:
    """Stop the cluster and the web server."""
    if (CLUSTER / shape.FILE_NAME).exists():
        haul("cluster", "down", "--dir", str(CLUSTER))
    if (pid := web_server_pid()) is not None:
        os.kill(pid, signal.SIGTERM)
        output.say("Stopped the web server")


def title(text: str) -> None:
    """A heading."""
    output.say(f"\n── {text} " + "─" * max(0, 76 - len(text)), style="bold cyan")


def haul(*arguments: str) -> None:
    """Show a command line and run it; the demo ends when it fails."""
    output.say(f"\n$ haul {shlex.join(arguments)}", style="bold")
    sys.stdout.flush()
    program = Path(sys.executable).with_name("haul")
    command = [str(program)] if program.exists() else [sys.executable, "-m", "cli.main"]
    code = subprocess.run([*command, *arguments], check=False).returncode
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise CommandError(f"`haul {arguments[0]}` ended with code {code}; stop what is running with:  make demo-down")


def prepare() -> None:
    """The data, and a note to git that nothing of it is part of the repository."""
    HOME.mkdir(exist_ok=True)
    (HOME / ".gitignore").write_text("*\n", encoding="ascii")
    dataset.generate(DATA)
    dataset.write_list(LIST)
    files = [path for path in DATA.rglob("*") if path.is_file()]
    total = formats.size(sum(path.stat().st_size for path in files))
    output.say(f"{formats.count(len(files) - 1, 'file')} ({total}) in {DATA}")


def cluster_port() -> int:
    """The port that the demo's cluster has, or a free one for a new cluster."""
    existing = shape.load(CLUSTER) if CLUSTER.is_dir() else None
    return existing.proxies[0].port if existing else ports.next_free("127.0.0.1", _FIRST_CLUSTER_PORT)


def start_web_server() -> str:
    """Start it, unless it is running; returns its URL."""
    if web_server_pid() is None:
        port = ports.next_free("127.0.0.1", _FIRST_WEB_PORT)
        process = subprocess.Popen(
            [*web_server_command(), "--port", str(port), "--rate", str(_LARGE_FILE_BYTES_PER_SECOND)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        WEB.write_text(json.dumps({"pid": process.pid, "port": port}), encoding="ascii")
        wait_for(f"http://127.0.0.1:{port}/notes/readme.txt")
    url = f"http://127.0.0.1:{json.loads(WEB.read_text(encoding='ascii'))['port']}"
    rate = formats.rate(_LARGE_FILE_BYTES_PER_SECOND)
    output.say(f"Web server at {url}; it sends large files at {rate} per connection, as one far away would")
    return url


def web_server_command() -> list[str]:
    """The beginning of its command line, by which it is known."""
    return [sys.executable, str(HERE / "webserver.py"), "--root", str(DATA.resolve())]


def web_server_pid() -> int | None:
    """Its pid, if it is running and really is it."""
    try:
        pid = int(json.loads(WEB.read_text(encoding="ascii"))["pid"])
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError, KeyError):
        return None
    expected = [os.fsencode(word) for word in web_server_command()]
    return pid if words[: len(expected)] == expected else None


def wait_for(url: str) -> None:
    """Return when a URL answers; raises CommandError when it does not."""
    end = time.monotonic() + _DEADLINE_SECONDS
    with httpx.Client(trust_env=False) as http:
        while True:
            try:
                http.get(url).raise_for_status()
            except httpx.HTTPError:
                if time.monotonic() > end:
                    raise CommandError(f"{url} does not answer") from None
                time.sleep(0.05)
            else:
                return


def compare() -> None:
    """Read every object back and compare it with the file that it came from."""
    output.say("\nReading every object back and comparing checksums with the original files …")
    with Client(find_endpoints(None)) as client, ThreadPoolExecutor(8) as pool:

        def differs(pair: tuple[str, str]) -> bool:
            name, file = pair
            digest = Digest()
            transfer.fetch(client, parse_object(f"{BUCKET}/{name}"), Range(), digest)
            return digest.hexdigest() != xxhash.xxh64((DATA / file).read_bytes()).hexdigest()

        names = dataset.object_names()
        wrong = [name for name, bad in zip(names, pool.map(differs, names.items()), strict=True) if bad]
    if wrong:
        raise CommandError(f"{formats.count(len(wrong), 'object')} differ, the first is {wrong[0]}")
    part = (DATA / dataset.LARGE_FILE).read_bytes()[1024 * 1024 :][:4096]
    if (HOME / "part.bin").read_bytes() != part:
        raise CommandError("the part of model.bin differs from the original")
    output.say(f"{formats.count(len(names), 'object')} and one part of an object: all equal", style="green")


def show_places() -> None:
    """How the objects are spread over targets and mountpaths."""
    command = [sys.executable, "-m", "cli.main", "ls", BUCKET, "--json"]
    listing = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    places = Counter(entry["location"] for entry in listing)
    output.say("\nObjects per target and mountpath:")
    output.lines(f"  {number:>5}  {formats.name(place)}" for place, number in sorted(places.items()))


def say_what_next(web: str) -> None:
    """What a person could type now."""
    output.lines(
        [
            f'  export PATH="{ROOT}/.venv/bin:$PATH"',
            f"  haul download {web}/small/obj-007.bin ais://mine/ --wait",
            "  haul ls ais://mine",
            "  haul show cluster",
            "  haul show job --all",
            "  haul download --help",
            "  make demo-down     # stop the cluster and the web server; the data stays",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
