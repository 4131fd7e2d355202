"""What `haul` does with buckets of a cloud, from end to end: a module gives a `Cloud`, and subclasses.

The command line, a cluster and the service are real. What is printed is compared where people would read it.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pytest
import structlog

from tests.cli.conftest import Haul, Outcome
from tests.cluster import Cluster

CLOSED = "closed"
"""A bucket for which the nodes have no credentials that suffice."""
CONTENTS = {f"shard-{number:04d}.tar": b"x" * number for number in range(1, 13)} | {
    "dir/a b": b"a",
    "dir/what?#%41": b"bb",
    "dir/sub/ü": b"ccc",
}
_LOG = "nodes.log"
_TOOK = re.compile(r" in [\d.]+ m?s( \([\d.]+ \w+/s\))?")


class Cloud(Protocol):
    """A running service; `scheme` and `alias` are its names in links, `extra` and `library` what it takes."""

    scheme: str
    alias: str
    extra: str
    library: str
    secrets: list[str]

    def settings_toml(self) -> str:
        """How nodes read it, but for `CLOSED`."""

    def make_bucket(self, name: str) -> None: ...

    def put(self, bucket: str, contents: Mapping[str, bytes]) -> None: ...

    def remove(self, bucket: str, name: str) -> None: ...

    def guarding(self) -> AbstractContextManager[Mapping[str, str]]:
        """Meanwhile credentials are checked; those that may read `CLOSED`."""


@contextlib.contextmanager
def cluster_of(cloud: Cloud, root: Path) -> Iterator[Cluster]:
    """A cluster that reads this cloud and leaves another alone; it writes its log to a file in `root`."""
    backends = f"{cloud.settings_toml()}\n[{_another(cloud)}]\nenabled = false\n"
    cloud.make_bucket(CLOSED)
    cloud.put(CLOSED, {"a/1": b"1", "a/2": b"22"})
    with (root / _LOG).open("w") as log:
        # The commands run in this process, too, and what they print is read.
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(log))
        with Cluster(root, targets=2, mountpaths=1, backends=backends, retry_attempts=2) as cluster:
            yield cluster
        structlog.reset_defaults()


def _another(cloud: Cloud) -> str:
    return "gs" if cloud.scheme != "gs" else "s3"


class CloudContract:
    """A module has fixtures `cloud`, and `own` by `cluster_of`."""

    @pytest.fixture(autouse=True)
    def endpoint(self, own: Cluster, state_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HAUL_ENDPOINT", own.api.url)

    @pytest.fixture
    def source(self, cloud: Cloud, request: pytest.FixtureRequest) -> str:
        """A new bucket with CONTENTS, as it is typed."""
        name = request.function.__name__.removeprefix("test_").replace("_", "-")[:60].rstrip("-")
        cloud.make_bucket(name)
        cloud.put(name, CONTENTS)
        return f"{cloud.scheme}://{name}"

    def test_an_object_under_its_own_name_another_and_in_a_directory(
        self, haul: Haul, own: Cluster, source: str
    ) -> None:
        done = haul("download", f"{source}/shard-0003.tar", "ais://single", "--wait")
        assert (done.code, plain(done)) == (0, "1 object stored, 3 B in TIME\n")
        assert haul("download", f"{source}/dir/what?#%41", "ais://single/x", "--wait").code == 0
        assert haul("download", f"{source}/dir/a b", "ais://single/d/", "--wait").code == 0
        assert stored(own, "single") == {"shard-0003.tar": b"xxx", "x": b"bb", "d/a b": b"a"}

    def test_an_object_that_is_not_there(self, haul: Haul, source: str) -> None:
        done = haul("download", f"{source}/no ne", "ais://missing", "--wait")
        assert (done.code, plain(done)) == (1, "0 objects stored, 0 B in TIME, 1 FAILED\n")
        assert f"\n  no ne: {source}/no%20ne does not exist\n" in done.err
        assert f"    no ne: {source}/no%20ne does not exist" in haul("show", "job", job_of(done), "-v").out
        assert haul("get", f"{source}/no ne", "-").err == f"Error: {source}/no ne does not exist\n"

    def test_a_template(self, haul: Haul, own: Cluster, source: str) -> None:
        done = haul("download", f"{source}/shard-{{0001..0010}}.tar", "ais://range/in", "--wait")
        assert (done.code, plain(done)) == (0, "10 objects stored, 55 B in TIME\n")
        assert stored(own, "range") == {f"in/shard-{n:04d}.tar": b"x" * n for n in range(1, 11)}
        more = haul("download", f"{source}/shard-{{0011..0014}}.tar", "ais://range/in", "--wait")
        assert (more.code, plain(more)) == (1, "2 objects stored, 23 B in TIME, 2 FAILED\n")

    def test_a_whole_bucket_and_what_is_there_of_it(self, haul: Haul, own: Cluster, source: str) -> None:
        assert haul("download", source, "ais://whole/in", "--dry-run").out == (
            "15 objects\n  there already:  0 objects, 0 B\n  to be fetched:  15 objects, 84 B\n"
        )
        done = haul("download", source, "ais://whole/in", "--wait")
        assert (done.code, plain(done)) == (0, "15 objects stored, 84 B in TIME\n")
        assert stored(own, "whole") == {f"in/{name}": content for name, content in CONTENTS.items()}
        again = haul("download", source, "ais://whole/in", "--wait")
        assert plain(again) == "15 objects stored (15 of them unchanged, not fetched again), 0 B in TIME\n"
        assert haul("download", source, "ais://whole/in", "--dry-run").out == (
            "15 objects\n  there already:  15 objects, 84 B\n  to be fetched:  0 objects\n"
        )

    def test_parts_of_a_bucket(self, haul: Haul, own: Cluster, source: str) -> None:
        done = haul("download", f"{source}/dir/", "ais://part", "--progress")
        assert (done.code, "3 of 3 objects, 6 B" in done.out) == (0, True)
        assert haul("download", f"{source}/shard-000*", "ais://part", "--suffix", "1.tar", "--wait").code == 0
        assert haul("download", source, "ais://part/p", "--prefix", "dir/s", "--wait").code == 0
        names = {"dir/a b", "dir/what?#%41", "dir/sub/ü", "shard-0001.tar"}
        assert stored(own, "part") == {name: CONTENTS[name] for name in names} | {"p/dir/sub/ü": b"ccc"}

    def test_a_prefix_that_no_object_has(self, haul: Haul, source: str) -> None:
        done = haul("download", f"{source}/none/", "ais://empty", "--wait")
        assert (done.code, plain(done)) == (0, "nothing to do: the source has no such objects\n")

    def test_a_bucket_is_kept_as_its_source_is(self, haul: Haul, own: Cluster, cloud: Cloud, source: str) -> None:
        sync = ("download", source, "ais://synced/s", "--sync", "--wait")
        assert plain(haul(*sync)) == "15 objects stored, 84 B in TIME\n"
        assert haul("download", f"{source}/dir/a b", "ais://synced/mine", "--wait").code == 0
        cloud.put(bucket_of(source), {"shard-0001.tar": b"changed", "added": b"new"})
        for name in ("shard-0002.tar", "shard-0003.tar"):
            cloud.remove(bucket_of(source), name)
        dry = haul(*sync[:-1], "--dry-run", "--max-delete", "1")
        assert dry.out == (
            "14 objects\n  there already:  12 objects, 78 B\n  to be fetched:  2 objects, 10 B\n"
            "  to be removed:  2 objects, gone at the source\n"
            "  which is more than the 1 allowed: none would be (--max-delete)\n"
        )
        refused = haul(*sync, "--max-delete", "1")
        assert plain(refused) == (
            "14 objects stored (12 of them unchanged, not fetched again), 10 B in TIME, 1 FAILED\n"
        )
        assert re.search(
            r"\b2 of 1[45] objects are gone at the source, and 'max_delete' allows 1: none was removed\n", refused.err
        )
        assert refused.code == 1
        assert len(stored(own, "synced")) == 15 + 1 + 1
        done = haul(*sync, "--max-delete", "2")
        assert plain(done) == "14 objects stored (14 of them unchanged, not fetched again), 0 B in TIME, 2 removed\n"
        assert done.code == 0
        ledger = [json.loads(line) for line in haul("show", "job", job_of(done), "--ledger", "-").out.splitlines()]
        removed = {line["name"] for line in ledger if line["state"] == "removed"}
        assert (len(ledger), removed) == (16, {"s/shard-0002.tar", "s/shard-0003.tar"})
        now = {name: content for name, content in CONTENTS.items() if name not in ("shard-0002.tar", "shard-0003.tar")}
        now |= {"shard-0001.tar": b"changed", "added": b"new"}
        assert stored(own, "synced") == {f"s/{name}": content for name, content in now.items()} | {"mine": b"a"}

    def test_a_list_of_names(self, haul: Haul, own: Cluster, source: str, tmp_path: Path) -> None:
        (tmp_path / "names").write_text("dir/a b\ndir/what?#%41\nshard-0001.tar\n")
        assert haul("download", source, "ais://listed/l", "--object-list", str(tmp_path / "names"), "--wait").code == 0
        assert haul("download", f"{source}/dir", "ais://listed", "--from", "-", "--wait", stdin=b"a b").code == 0
        assert stored(own, "listed") == {
            "l/dir/a b": b"a",
            "l/dir/what?#%41": b"bb",
            "l/shard-0001.tar": b"x",
            "a b": b"a",
        }

    def test_credentials_let_one_job_in_and_are_shown_nowhere(
        self, haul: Haul, own: Cluster, cloud: Cloud, tmp_path: Path
    ) -> None:
        closed = f"{cloud.scheme}://{CLOSED}"
        with cloud.guarding() as credentials:
            key = tmp_path / "key.json"
            key.write_text(json.dumps(credentials))
            refused = [
                haul("download", closed, "ais://denied", "--wait"),
                haul("download", closed, "ais://denied", "--dry-run"),
                haul("download", f"{closed}/a/1", "ais://denied", "--wait"),
                haul("ls", closed),
                haul("get", f"{closed}/a/1", "-"),
                haul("prefetch", closed),
                haul("bucket", "props", "set", "ais://denied", f"backend_bck={closed}"),
            ]
            with_key = ("--credentials", str(key))
            dry = haul("download", closed, "ais://let-in", "--dry-run", *with_key)
            done = [
                haul("download", closed, "ais://let-in", "--sync", "--wait", *with_key),
                haul("download", f"{closed}/a/1", "ais://let-in/one", "--wait", *with_key),
                haul("download", f"{closed}/a/{{1..2}}", "ais://let-in/t", "--wait", *with_key),
            ]
        assert [(outcome.code, outcome.out) for outcome in refused if "FAILED" not in outcome.out] == [(1, "")] * 6
        for outcome in refused:
            assert re.search(r"403|denied|denies|refuse|credentials", outcome.err), outcome.err
            assert closed in outcome.err, outcome.err
        assert "  to be fetched:  2 objects, 3 B\n" in dry.out
        assert [outcome.code for outcome in done] == [0, 0, 0]
        assert stored(own, "let-in") == {"a/1": b"1", "a/2": b"22", "one": b"1", "t/1": b"1", "t/2": b"22"}
        shown = [haul("show", "job", job_of(done[0]), *more) for more in ((), ("-v",), ("--json",), ("--ledger", "-"))]
        said = "".join(outcome.out + outcome.err for outcome in (*refused, *done, dry, *shown))
        said += (own.mountpaths("t1")[0].parents[1] / _LOG).read_text()
        assert not [secret for secret in cloud.secrets if secret in said]

    def test_what_is_there_what_is_read_fetched_and_put_out(self, haul: Haul, own: Cluster, source: str) -> None:
        def cached() -> list[str]:
            return [entry["name"] for entry in json.loads(haul("ls", source, "--json").out) if entry["cached"]]

        listed = haul("ls", f"{source}/dir/").out
        assert listed == (
            "      SIZE  CACHED  NAME\n"
            "       1 B  no      dir/a b\n"
            "       3 B  no      dir/sub/ü\n"
            "       2 B  no      dir/what?#%41\n"
            "3 objects, 6 B\n"
        )
        assert haul("show", "object", f"{source}/dir/a b").code == 0
        assert cached() == []
        assert haul("get", f"{source}/dir/a b", "-").out == "a"
        assert haul("get", f"{source}/shard-0009.tar", "-", "--offset", "2", "--length", "4").out == "xxxx"
        assert {"dir/a b"} <= set(cached())
        assert haul("evict", f"{source}/dir/").out == f"Evicted {source}/dir/\n"
        assert not {name for name in cached() if name.startswith("dir/")}
        two = haul("evict", source, "--list", "-", stdin=b"shard-0009.tar\ndir/a b\n")
        assert (two.out, cached()) == (f"Evicted 2 objects of {source}\n", [])
        one = haul("prefetch", f"{source}/shard-0001.tar")
        assert haul("wait", one.out.split()[-1]).code == 0
        assert "shard-0001.tar" in cached()
        rest = haul("prefetch", source)
        assert haul("wait", rest.out.split()[-1]).code == 0
        assert cached() == sorted(CONTENTS)
        assert haul("evict", source).out == f"Evicted {source}\n"
        assert cached() == []
        assert haul("download", source, "--wait").code == 0
        assert cached() == sorted(CONTENTS)

    def test_a_bucket_in_front_of_another(self, haul: Haul, own: Cluster, cloud: Cloud, source: str) -> None:
        front, typed = "ais://front", f"{cloud.alias}://{bucket_of(source)}"
        assert haul("create", front).code == 0
        assert haul("bucket", "props", "set", front, f"backend_bck={typed}").out == (
            f"Changed {front}: backend_bck={typed}\n"
        )
        assert f"backend_bck                     {source}\n" in haul("bucket", "props", "show", front).out
        assert haul("get", f"{front}/dir/a b", "-").out == "a"
        listed = haul("ls", f"{front}/dir/").out
        assert listed == (
            "      SIZE  CACHED  NAME\n"
            "       1 B  yes     dir/a b\n"
            "       3 B  no      dir/sub/ü\n"
            "       2 B  no      dir/what?#%41\n"
            "3 objects, 6 B\n"
        )
        assert haul("wait", haul("prefetch", f"{front}/dir/").out.split()[-1]).code == 0
        done = haul("download", source, front, "--wait")
        assert plain(done) == "15 objects stored (3 of them unchanged, not fetched again), 78 B in TIME\n"
        entries = json.loads(haul("ls", front, "--json").out)
        assert [(entry["name"], entry["cached"]) for entry in entries] == [(name, True) for name in sorted(CONTENTS)]
        assert stored(own, "front") == CONTENTS

    def test_what_is_elsewhere_stays_as_it_is(self, haul: Haul, source: str, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(b"x")
        for words in (
            ("rmb", source, "--yes"),
            ("rmo", f"{source}/dir/a b"),
            ("put", str(tmp_path / "x"), f"{source}/dir/a b"),
        ):
            refused = haul(*words)
            assert refused.code != 0
            assert source in refused.err
            assert "haul evict" in refused.err or words[0] == "put", refused.err
        assert haul("get", f"{source}/dir/a b", "-").out == "a"

    def test_jobs_are_listed_by_what_they_fetch(self, haul: Haul, source: str) -> None:
        done = haul("download", f"{source}/dir/", "ais://shown/in", "--wait")
        rows = [row for row in haul("show", "job", "download", "--all").out.splitlines() if job_of(done) in row]
        assert len(rows) == 1
        assert rows[0].endswith(f"{source}/dir/ -> ais://shown/in")
        assert re.search(r" finished +3/3 +0 ", rows[0])
        assert "result:   3 objects stored, 6 B in" in haul("show", "job", "download", job_of(done)).out

    def test_a_bucket_that_does_not_exist(self, haul: Haul, cloud: Cloud) -> None:
        missing = f"{cloud.scheme}://no-such-bucket"
        for words in (
            ("download", missing, "ais://never-made", "--wait"),
            ("download", missing, "ais://never-made", "--dry-run"),
            ("ls", missing),
            ("get", f"{missing}/x", "-"),
            ("prefetch", missing),
            ("prefetch", f"{missing}/x"),
            ("evict", missing),
        ):
            outcome = haul(*words)
            assert (outcome.code, outcome.out) == (1, ""), words
            assert re.fullmatch(rf'Error: (bucket|container) "?{missing}"? does not exist.*\n', outcome.err)
        single = haul("download", f"{missing}/x", "ais://single-of-none", "--wait")
        assert (single.code, f"  x: {missing}/x does not exist\n" in single.err) == (1, True)
        assert "never-made" not in haul("ls").out

    def test_a_cloud_that_the_cluster_leaves_alone(self, haul: Haul, cloud: Cloud) -> None:
        other = _another(cloud)
        name = {"gs": "GCP", "s3": "AWS"}[other]
        for words in (
            ("download", f"{other}://b", "ais://never-made"),
            ("ls", f"{other}://b"),
            ("get", f"{other}://b/x", "-"),
            ("prefetch", f"{other}://b/x"),
        ):
            outcome = haul(*words)
            assert outcome.code == 1
            assert f"{other}://b, err: {name} backend is missing in the cluster configuration\n" in outcome.err

    def test_a_library_that_is_not_installed(self, haul: Haul, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, cloud.library, None)
        bucket = f"{cloud.scheme}://without-library"
        single = haul("download", f"{bucket}/x", "ais://without", "--wait")
        for outcome in (
            single,
            haul("download", bucket, "ais://without"),
            haul("ls", bucket),
            haul("get", f"{bucket}/x", "-"),
        ):
            assert outcome.code == 1
            assert f'need the extra "{cloud.extra}" on every node: pip install "haul[{cloud.extra}]"' in outcome.err

    def test_credentials_that_are_none(self, haul: Haul, source: str) -> None:
        outcome = haul("download", source, "ais://none", "--credentials", "-", stdin=b'{"password": "SECRET"}')
        assert (outcome.code, "unknown field 'password'" in outcome.err, "SECRET" in outcome.err) == (1, True, False)


def bucket_of(source: str) -> str:
    return source.partition("://")[2]


def job_of(done: Outcome) -> str:
    """The id of the job that a command has started and waited for."""
    return done.err.split()[2]


def plain(done: Outcome) -> str:
    """How a job ended, without what is different each time."""
    return _TOOK.sub(" in TIME", done.out.removeprefix(f"{job_of(done)}: "))


def stored(own: Cluster, bucket: str) -> dict[str, bytes]:
    return {entry["name"]: own.api.get(bucket, entry["name"]).content for entry in own.api.list(bucket)}
