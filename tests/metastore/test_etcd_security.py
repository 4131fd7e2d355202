"""An etcd that wants to know who asks: users and tokens, TLS and client certificates."""

from __future__ import annotations

import asyncio
import base64
import gc
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from common.errors import Unavailable
from common.metastore.base import Resync, put
from common.metastore.etcd.address import tls_context
from common.metastore.etcd.login import Credentials
from common.metastore.etcd.store import EtcdStore
from common.metastore.etcd.timing import Timing
from tests.etcd import Etcd
from tests.metastore.scenario import run, take, told, value_of

TOKEN_SECONDS = 1
HAUL = Credentials("haul", "S3CRET")
IMPATIENT = Timing(start_seconds=1.0)


@asynccontextmanager
async def opened(etcd: Etcd, credentials: Credentials | None = HAUL, cluster_id: str = "c") -> AsyncIterator[EtcdStore]:
    store = EtcdStore(etcd.urls, cluster_id, credentials=credentials, timing=IMPATIENT)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


async def why_not(etcd: Etcd, reason: str, credentials: Credentials | None = HAUL, cluster_id: str = "c") -> str:
    """The message of a start that fails for that reason; on a busy machine the first may have had no answer in time."""
    while True:
        with pytest.raises(Unavailable) as caught:
            async with opened(etcd, credentials, cluster_id):
                pass
        if reason in caught.value.message:
            return caught.value.message


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Etcd]:
    """One member that knows the user `haul`, who may do everything below /haul/c/ and nothing else."""
    with Etcd(tmp_path, members=1, options=[f"--auth-token-ttl={TOKEN_SECONDS}"]) as etcd:
        first, end = (base64.b64encode(key).decode() for key in (b"/haul/c/", b"/haul/c0"))
        for user, password in (("root", "r00t"), (HAUL.user, HAUL.password)):
            etcd.call(0, "/v3/auth/user/add", name=user, password=password)
            etcd.call(0, "/v3/auth/role/add", name=user)
            etcd.call(0, "/v3/auth/user/grant", user=user, role=user)
        permission = {"permType": "READWRITE", "key": first, "range_end": end}
        etcd.call(0, "/v3/auth/role/grant", name=HAUL.user, perm=permission)
        etcd.call(0, "/v3/auth/enable")
        yield etcd


def test_a_user_may_do_what_haul_needs_and_a_token_that_has_expired_is_renewed(guarded: Etcd) -> None:
    async def scenario() -> None:
        async with opened(guarded) as store, aclosing(store.watch("")) as events:
            assert isinstance(await anext(events), Resync)
            lease = await store.grant(60.0)
            await put(store, "a", b"1", lease.id)
            assert told(await anext(events))[1:] == ("a", b"1")
            # A token that is not used ends after its time; that can only be waited for.
            await asyncio.sleep(TOKEN_SECONDS * 2.5)
            await put(store, "a", b"2", lease.id)
            assert told(await anext(events))[1:] == ("a", b"2")
            await asyncio.sleep(TOKEN_SECONDS * 2.5)
            async with aclosing(store.watch("")) as later:
                assert isinstance(await anext(later), Resync)
            # A restarted member has forgotten all tokens, and cuts the watch.
            guarded.kill(0)
            guarded.start(0)
            await asyncio.to_thread(guarded.wait_until_ready)
            assert await value_of(store, "a") == b"2"
            await asyncio.gather(*(put(store, f"k{number}", b"") for number in range(20)))
            assert {told(event)[1] for event in await take(events, 20)} == {f"k{number}" for number in range(20)}
            await store.keep_alive(lease.id)
            await store.revoke(lease.id)
            assert await value_of(store, "a") is None

    run(scenario)


@pytest.mark.parametrize(
    ("credentials", "cluster_id", "reason"),
    [
        (None, "c", "user name is empty"),
        (Credentials("haul", "wrong"), "c", "authentication failed"),
        (HAUL, "other", "permission denied"),
    ],
)
def test_who_may_not_is_told_why(guarded: Etcd, credentials: Credentials | None, cluster_id: str, reason: str) -> None:
    async def scenario() -> None:
        message = await why_not(guarded, reason, credentials, cluster_id)
        assert "see meta_store_user" in message
        assert "S3CRET" not in message

    run(scenario)


def test_a_user_where_nobody_is_asked_for_one(tmp_path: Path) -> None:
    async def scenario(etcd: Etcd) -> None:
        await why_not(etcd, "authentication is not enabled")

    with Etcd(tmp_path, members=1) as etcd:
        run(lambda: scenario(etcd))


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def authority(folder: Path, name: str) -> None:
    openssl(
        folder,
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
        *("-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem"),
    )


def certificate(folder: Path, name: str, signer: str) -> None:
    """For both ends of a connection: etcd's gateway speaks to its own server with the server's certificate."""
    openssl(
        folder,
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}"),
        *("-keyout", f"{name}.key", "-out", f"{name}.csr"),
    )
    extensions = "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n"
    (folder / f"{name}.ext").write_text(extensions)
    openssl(
        folder,
        *("x509", "-req", "-in", f"{name}.csr", "-CA", f"{signer}.pem", "-CAkey", f"{signer}.key", "-CAcreateserial"),
        *("-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem"),
    )


# A call that is broken off in the middle of a handshake leaves its transport to the garbage collector: httpcore 1.0.9
# (`AnyIOStream.start_tls`) closes it after an Exception, and a CancelledError is none.
@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
def test_tls_with_client_certificates(tmp_path: Path) -> None:
    for name in ("ca", "other-ca"):
        authority(tmp_path, name)
    for name, signer in (("server", "ca"), ("client", "ca"), ("stranger", "other-ca")):
        certificate(tmp_path, name, signer)

    def path(name: str) -> Path:
        return tmp_path / name

    options = {"cert-file": "server.pem", "key-file": "server.key", "trusted-ca-file": "ca.pem"}
    etcd = Etcd(
        tmp_path / "etcd",
        members=1,
        options=["--client-cert-auth", *(f"--{option}={path(name)}" for option, name in options.items())],
        tls=tls_context(path("ca.pem"), path("client.pem"), path("client.key")),
    )

    async def start(ca: Path | None, client: str | None, urls: list[str]) -> None:
        names = (path(f"{client}.pem"), path(f"{client}.key")) if client else (None, None)
        store = EtcdStore(urls, "c", tls=tls_context(ca, *names), timing=IMPATIENT)
        try:
            await store.start()
            async with aclosing(store.watch("")) as events:
                assert isinstance(await anext(events), Resync)
                await put(store, "a", b"1")
                assert told(await anext(events))[1:] == ("a", b"1")
        finally:
            await store.close()

    async def scenario() -> None:
        await start(path("ca.pem"), "client", etcd.urls)
        plain = [url.replace("https:", "http:") for url in etcd.urls]
        elsewhere = [url.replace("127.0.0.1", "localhost") for url in etcd.urls]
        for ca, client, urls in (
            (path("ca.pem"), None, etcd.urls),
            (path("ca.pem"), "stranger", etcd.urls),
            (path("other-ca.pem"), "client", etcd.urls),
            (None, "client", etcd.urls),
            (path("ca.pem"), "client", elsewhere),
            (path("ca.pem"), "client", plain),
        ):
            with pytest.raises(Unavailable):
                await start(ca, client, urls)

    with etcd:
        run(scenario)
        gc.collect()  # here, where it is known whose they are
