"""Programs written for AIStore's SDK, unmodified and in several versions, against a cluster.

The programs are in `programs`, each folder for some versions; they read as what people write. They are run by pytest in
the environment of their version, a folder at a time, and each of their tests is a test here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.backends.s3server import MotoS3
from tests.cluster import Cluster
from tests.origin import Origin
from tests.sdk.environments import ENVIRONMENTS, Environment
from tests.sdk.runs import Case, Outcomes, cases, run

REMOTE_OBJECTS = 6


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A cluster, an origin to download from and a bucket at a service; the environment variables that tell programs."""
    with Origin() as origin, MotoS3() as s3:
        for number in range(20):
            origin.put(f"/data/shard-{number:04}.bin", b"%04d" % number * 5000)
        for environment in ENVIRONMENTS:
            bucket = remote_bucket(environment)
            s3.client().create_bucket(Bucket=bucket)
            for number in range(REMOTE_OBJECTS):
                s3.client().put_object(Bucket=bucket, Key=f"r-{number}", Body=b"remote %d" % number)
        root = tmp_path_factory.mktemp("cluster")
        with Cluster(root, backends=s3.settings_toml(), proxies=2) as cluster:
            yield {"HAUL_ENDPOINT": cluster.urls["p2"], "HAUL_ORIGIN": origin.base}


def remote_bucket(environment: Environment) -> str:
    """Each environment has a bucket of its own, so that what one evicts is not missed by the next."""
    return f"remote-{environment.name}"


@pytest.fixture(scope="module")
def outcomes(variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Outcomes]:
    """What became of the programs that lie beside a case; each folder is run once in each environment."""
    scratch = tmp_path_factory.mktemp("programs")
    known: dict[tuple[str, str], Outcomes] = {}

    def outcomes_of(case: Case) -> Outcomes:
        environment, folder = case.environment, case.file.parent.name
        key = (environment.name, folder)
        if key not in known:
            told = {**variables, "HAUL_REMOTE_BUCKET": remote_bucket(environment)}
            known[key] = run(environment, folder, told, scratch)
        return known[key]

    return outcomes_of


@pytest.mark.timeout(900)  # the first of a folder waits for all of them, and may have to make their environment
@pytest.mark.parametrize("case", list(cases()), ids=str)
def test_program(case: Case, outcomes: Callable[[Case], Outcomes]) -> None:
    outcomes(case).check(case)
