"""The units of deploy/systemd start nodes with the examples beside them; systemd itself is not asked."""

from pathlib import Path

import pytest

from common.settings import Settings, load_settings
from proxy.config import ProxyConfig
from target.config import TargetConfig

DIRECTORY = Path(__file__).parents[2] / "deploy/systemd"


def service(role: str) -> dict[str, str]:
    lines = (DIRECTORY / f"haul-{role}.service").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


@pytest.mark.parametrize(("role", "model"), [("proxy", ProxyConfig), ("target", TargetConfig)])
def test_the_example_is_a_configuration_that_its_unit_can_run(role: str, model: type[Settings]) -> None:
    settings = load_settings(model, DIRECTORY / f"{role}.toml")
    unit = service(role)
    assert unit["ExecStart"] == f"/opt/haul/bin/python -P -m {role} --config /etc/haul/{role}.toml"
    state = Path("/var/lib") / unit["StateDirectory"]
    assert state in settings.data_dir.parents  # type: ignore[attr-defined] # both models have it


def test_the_disks_of_the_example_can_be_written_to() -> None:
    settings = load_settings(TargetConfig, DIRECTORY / "target.toml")
    writable = Path(service("target")["ReadWritePaths"].removeprefix("-"))
    assert all(writable in path.parents for path in settings.mountpaths)
    assert service("target")["KillMode"] == "mixed"
