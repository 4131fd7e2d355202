"""Index pages of web servers: the contract on a real nginx, and the pages that others write."""

from __future__ import annotations

import functools
import grp
import http.server
import os
import pwd
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from common import web
from common.backends import web as backend_module
from common.backends.base import Backend, RemoteBucketNotFound
from common.backends.web import WebBackend
from common.errors import AccessDenied, InvalidRequest, ObjectNotFound, OriginError
from tests.backends.contract import BackendContract, DenialContract, Service, all_pages, fetch, names_of
from tests.backends.gateway import Gateway
from tests.serving import serving
from tests.waiting import wait_for

_NGINX = """
user {user} {group};
worker_processes 1;
daemon off;
pid {state}/nginx.pid;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {state}/body;
  proxy_temp_path {state}/proxy;
  fastcgi_temp_path {state}/fastcgi;
  uwsgi_temp_path {state}/uwsgi;
  scgi_temp_path {state}/scgi;
  autoindex on;
  server {{
    listen 127.0.0.1:{port};
    root {state}/files;
    location /denied/ {{ deny all; }}
    location /rounded/ {{ autoindex_exact_size off; }}
  }}
}}
"""
_NUMBERS = count()


class Nginx:
    """A real nginx whose folders are the buckets."""

    def __init__(self, files: Path, port: int) -> None:
        self._files = files
        self._port = port
        self._opened: list[WebBackend] = []
        self.url = f"http://127.0.0.1:{port}"

    def make_bucket(self) -> str:
        name = f"bucket-{next(_NUMBERS)}"
        (self._files / name).mkdir()
        return name

    def put(self, bucket: str, objects: Mapping[str, bytes]) -> None:
        for name, content in objects.items():
            path = self._files / bucket / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            # nginx's ETag is the size and the second of the last change.
            os.utime(path, (1_700_000_000 + (number := next(_NUMBERS)), 1_700_000_000 + number))

    def backend(self, bucket: str) -> WebBackend:
        return self.opened(f"{self.url}/{bucket}/")

    def through(self, gateway: Gateway, bucket: str) -> Backend:
        return self.opened(f"{gateway.url}/{bucket}")

    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._port

    def opened(self, url: str, headers: Mapping[str, list[str]] | None = None) -> WebBackend:
        backend = WebBackend(url, headers or {})
        self._opened.append(backend)
        return backend

    def close(self) -> None:
        for backend in self._opened:
            backend.close()


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """The folder that a running nginx serves, and its port."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, "nginx is missing: make debian"
    state = tmp_path_factory.mktemp("nginx")
    for folder in ("files", "files/denied", "files/rounded"):
        (state / folder).mkdir()
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    state.chmod(0o755)
    (state / "nginx.conf").write_text(_NGINX.format(user=user, group=group, state=state, port=port))
    command = [program, "-p", str(state), "-c", str(state / "nginx.conf"), "-e", str(state / "error.log")]
    with subprocess.Popen(command) as process:
        try:
            wait_for(lambda: _accepts(port), what="nginx")
            yield state / "files", port
        finally:
            process.terminate()


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture
def service(nginx: tuple[Path, int]) -> Iterator[Nginx]:
    server = Nginx(*nginx)
    yield server
    server.close()


class TestContract(BackendContract):
    def test_a_changed_object_has_another_etag_or_digest(self, service: Service, bucket: str) -> None:
        """A page tells nothing by which a change of the same size could be known; a look does."""
        backend = service.backend(bucket)
        service.put(bucket, {"one": b"0123456789"})
        before = backend.head("one")
        assert backend.head("one") == before
        service.put(bucket, {"one": b"9876543210"})
        assert backend.head("one").etag != before.etag
        service.put(bucket, {"one": b"98765432100"})
        assert [found.size_bytes for found in backend.page().objects] == [11]


class TestDenial(DenialContract):
    @pytest.fixture
    def denied(self, service: Nginx) -> Backend:
        return service.opened(f"{service.url}/denied/", {"Authorization": ["Bearer SECRET"]})


def page_of(*links: str, before: str = "", behind: str = "") -> bytes:
    anchors = "\n".join(f'<a href="{link}">{link}</a>{behind}' for link in links)
    return f"<html><body>{before}<pre>{anchors}</pre></body></html>".encode()


def site(pages: Mapping[str, bytes | int | str], kind: str = "text/html; charset=utf-8") -> web.Application:
    """Pages by path; a number is a status, a text where to go instead."""

    async def application(scope: web.Scope, receive: web.Receive, send: web.Send) -> None:
        found = pages.get(scope["path"], 404)
        if isinstance(found, bytes):
            await web.answer(send, 200, found, [(b"content-type", kind.encode())])
        elif isinstance(found, str):
            await web.answer(send, 302, b"", [(b"location", found.encode())])
        else:
            await web.answer(send, found, b"")

    return application


APACHE = b"""<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN"><html><head><title>Index of /d</title></head><body>
<pre><img src="/icons/blank.gif"> <a href="?C=N;O=D">Name</a> <a href="?C=M;O=A">Last modified</a><hr>
<img src="/icons/back.gif" alt="[PARENTDIR]"> <a href="/">Parent Directory</a>                     -
<img src="/icons/folder.gif" alt="[DIR]"> <a href="sub/">sub/</a>       2026-11-27 08:43    -
<img src="/icons/unknown.gif" alt="[   ]"> <a href="small.bin">small.bin</a>  2026-11-27 08:43  123
<img src="/icons/unknown.gif" alt="[   ]"> <a href="large.bin">large.bin</a>  2026-11-27 08:43  1.2K
<img src="/icons/unknown.gif" alt="[   ]"> <a href="a&amp;b.bin">a&amp;b.bin</a>  2026-11-27 08:43  4.0M
<hr></pre></body></html>"""
LIGHTTPD = b"""<table><tbody><tr class="d"><td class="n"><a href="../">..</a>/</td><td class="m">&nbsp;</td></tr>
<tr><td class="n"><a href="x%20y.bin">x y.bin</a></td><td class="m">2026-Nov-27 08:43:00</td><td class="s">1.0K</td>
</tr></tbody></table>"""
CADDY = b"""<h1><a href="../">d</a></h1><a href="./?sort=name&amp;order=desc">Name</a>
<tr><td><a href="./folder/"><span class="name">folder</span></a></td></tr>
<tr><td><a href="./7.bin"><span class="name">7.bin</span></a></td><td data-order="9">9 B</td></tr>"""


@pytest.mark.parametrize(
    ("page", "found"),
    [
        (APACHE, {"small.bin": 123, "large.bin": None, "a&b.bin": None, "sub/in.bin": None}),
        (LIGHTTPD, {"x y.bin": None}),
        (CADDY, {"7.bin": None, "folder/in.bin": None}),
    ],
)
def test_pages_that_other_servers_write(service: Nginx, page: bytes, found: dict[str, int | None]) -> None:
    inner = page_of("in.bin")
    with serving(site({"/d/": page, "/d/sub/": inner, "/d/folder/": inner})) as url:
        objects = service.opened(f"{url}/d").page().objects
    assert {one.name: one.size_bytes for one in objects} == found


def test_pages_of_python(service: Nginx, tmp_path: Path) -> None:
    for name in ("x y.bin", "s/ü.bin", "a:b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        backend = service.opened(f"http://127.0.0.1:{server.server_address[1]}")
        assert names_of(backend) == ["a:b", "s/ü.bin", "x y.bin"]
        assert [fetch(backend.request(name))[0] for name in names_of(backend)] == [b"x"] * 3
        server.shutdown()


def test_a_rounded_size_is_none(service: Nginx) -> None:
    service.put("rounded", {"large": bytes(200_000), "small": b"123"})
    sizes = {found.name: found.size_bytes for found in service.backend("rounded").page().objects}
    assert sizes == {"large": None, "small": 3}


def test_a_start_that_is_typed_as_people_do(service: Nginx) -> None:
    bucket = service.make_bucket()
    service.put(bucket, {"ä b/c/x": b"1"})
    for start in ("ä b", "ä b/", "%C3%A4%20b/"):
        backend = service.opened(f"{service.url}/{bucket}/{start}")
        assert names_of(backend) == ["c/x"]
        assert fetch(backend.request("c/x"))[0] == b"1"


def test_only_what_is_below_on_the_same_server_is_listed(service: Nginx) -> None:
    outside = [
        "/other.bin",
        "../up.bin",
        "http://elsewhere.example/d/x.bin",
        "https://127.0.0.1/d/x.bin",
        "//h/d/x.bin",
    ]
    tricks = [
        "%2e%2e/%2e%2e/etc/passwd",
        "..%2fup.bin",
        "%2e%2e/",
        ".",
        "./",
        "",
        "#top",
        "x.bin?download=1",
        "?C=N;O=D",
    ]
    others = ["mailto:a@b", "javascript:void(0)", "http://[/x", "deep/er/x.bin", "a%00b", "b%ff.bin", "/d/", "/d"]
    inside = ["ok.bin", "/d/absolute.bin", "./dot.bin", "sub/../back.bin"]
    with serving(site({"/d/": page_of(*outside, *tricks, *others, *inside, "ok.bin")})) as url:
        backend = service.opened(f"{url}/d/")
        assert names_of(backend) == ["absolute.bin", "back.bin", "dot.bin", "ok.bin"]
        assert any("%ff" in link for link in backend.left_out)
        assert not any("elsewhere" in link for link in backend.left_out)


def test_folders_that_lead_in_circles_end(service: Nginx, nginx: tuple[Path, int]) -> None:
    bucket = service.make_bucket()
    service.put(bucket, {"x": b"1"})
    (nginx[0] / bucket / "again").symlink_to(".")
    with pytest.raises(OriginError, match="in circles"):
        names_of(service.backend(bucket))


def test_a_folder_that_has_gone_is_empty_and_one_that_may_not_be_read_is_an_error(service: Nginx) -> None:
    with serving(site({"/d/": page_of("gone/", "x")})) as url:
        assert names_of(service.opened(f"{url}/d/")) == ["x"]
    with serving(site({"/d/": page_of("closed/", "x"), "/d/closed/": 403})) as url, pytest.raises(AccessDenied):
        names_of(service.opened(f"{url}/d/"))


def test_many_folders_are_read_in_several_calls(service: Nginx) -> None:
    folders = [f"f{number:03}/" for number in range(450)]
    pages = {f"/{folder}": page_of("x") if number % 3 == 0 else page_of() for number, folder in enumerate(folders)}
    with serving(site({"/": page_of(*folders), **pages})) as url:
        listed = list(all_pages(service.opened(url)))
        fresh: list[str] = []
        token = ""
        while True:  # each page by a backend that knows nothing of those before
            page = service.opened(url).page(token=token, limit=40)
            fresh += [found.name for found in page.objects]
            token = page.token
            if not token:
                break
    expected = [f"{folder}x" for folder in folders[::3]]
    assert len(listed) >= 3
    assert [found.name for page in listed for found in page] == expected == fresh


def test_what_is_no_index_page(service: Nginx, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(site({"/d/": b"x"}, kind="application/json")) as url, pytest.raises(OriginError, match="no page"):
        service.opened(f"{url}/d/").page()
    with serving(site({"/d/": "/e/"})) as url, pytest.raises(OriginError, match="list that one"):
        service.opened(f"{url}/d/").page()
    with serving(site({"/d/": 500})) as url, pytest.raises(OriginError, match="status 500"):
        service.opened(f"{url}/d/").page()
    monkeypatch.setattr(backend_module, "_MAX_INDEX_BYTES", 1000)
    with serving(site({"/d/": bytes(2000)})) as url, pytest.raises(OriginError, match="larger"):
        service.opened(f"{url}/d/").page()
    monkeypatch.setattr(backend_module, "_MAX_INDEXES", 2)
    with serving(site({"/": page_of("a/", "b/"), "/a/": page_of(), "/b/": page_of()})) as url:
        with pytest.raises(OriginError, match="more than 2"):
            service.opened(url).page()
        with pytest.raises(RemoteBucketNotFound):
            service.opened(f"{url}/none").page()


def test_a_look_at_what_is_no_file(service: Nginx) -> None:
    bucket = service.make_bucket()
    service.put(bucket, {"folder/x": b"1"})
    with pytest.raises(ObjectNotFound, match="folder"):
        service.backend(bucket).head("folder")
    with serving(site({"/x": "http://elsewhere.example/x"})) as url:
        assert service.opened(url).head("x").size_bytes is None


@pytest.mark.parametrize("url", ["ftp://h/d/", "http://h/d/?x=1", "http://h/d/#x", "http:///d", "s3://b/"])
def test_addresses_that_have_no_pages(url: str) -> None:
    with pytest.raises(InvalidRequest):
        WebBackend(url)


def test_headers_and_passwords_go_along_and_are_not_shown(service: Nginx) -> None:
    seen: list[bytes] = []

    async def application(scope: web.Scope, receive: web.Receive, send: web.Send) -> None:
        seen.extend(value for key, value in scope["headers"] if key == b"authorization")
        await web.answer(send, 403, b"")

    with serving(application) as url:
        host = urlsplit(url).netloc
        for backend in (
            service.opened(f"http://user:SECRET@{host}/d/"),
            service.opened(url, {"Authorization": ["Bearer SECRET"]}),
        ):
            with pytest.raises(AccessDenied) as caught:
                backend.page()
            assert "SECRET" not in str(caught.value)
            with pytest.raises(AccessDenied):
                backend.head("x")
    assert len(seen) == 4
