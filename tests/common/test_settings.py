"""Configuration files: what is wrong with one is said with the file's and the field's name."""

from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from common.errors import InvalidRequest
from common.settings import Settings, load_settings
from target.config import TargetConfig


class Listen(Settings):
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65_535)


class Config(Settings):
    id: str
    listen: Listen = Listen()
    mountpaths: tuple[Path, ...] = ()


def _load(tmp_path: Path, content: str | bytes) -> Config:
    path = tmp_path / "node.toml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_settings(Config, path)


def test_defaults_and_nested_fields(tmp_path: Path) -> None:
    config = _load(tmp_path, 'id = "t1"\nmountpaths = ["/a", "/b"]\n[listen]\nport = 9000\n')
    assert config == Config(id="t1", listen=Listen(port=9000), mountpaths=(Path("/a"), Path("/b")))


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    config = _load(tmp_path, 'id = "t1"')
    with pytest.raises(ValidationError):
        config.id = "t2"  # type: ignore[misc] # what is tested


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('id = "t1"\nnonsense = 1', "field 'nonsense': Extra inputs are not permitted"),
        ('id = "t1"\n[listen]\nprot = 1', "field 'listen.prot': Extra inputs are not permitted"),
        ('id = "t1"\n[listen]\nport = "many"', "field 'listen.port': Input should be a valid integer"),
        ('id = "t1"\n[listen]\nport = 70000', "field 'listen.port': Input should be less than or equal to 65535"),
        ('id = "t1"\nmountpaths = ["/a", 5]', "field 'mountpaths.1': Input is not a valid path"),
        ("", "field 'id': Field required"),
        ("id = ", "Invalid value"),
        ('id = "a"\nid = "b"', "Cannot overwrite a value"),
        (b'id = "\xff"', "can't decode byte 0xff"),
    ],
)
def test_refusals_name_the_file_and_the_field(tmp_path: Path, content: str | bytes, reason: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        _load(tmp_path, content)
    assert reason in str(refused.value)
    assert str(tmp_path / "node.toml") in str(refused.value)


def test_variables_win_over_the_file_or_stand_in_for_it(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text('id = "t1"\nmountpaths = ["/a"]\n')
    variables = {"HAUL_NODE_MOUNTPATHS": "/b, /c", "HAUL_NODE_ID": "", "HAUL_ENDPOINT": "http://x"}
    assert load_settings(Config, path, variables) == Config(id="t1", mountpaths=(Path("/b"), Path("/c")))
    variables = {"HAUL_NODE_ID": "t2", "HAUL_NODE_LISTEN": "{}"}
    with pytest.raises(InvalidRequest, match="the environment: field 'listen'"):
        load_settings(Config, None, variables)
    assert load_settings(Config, None, {"HAUL_NODE_ID": "t2"}).id == "t2"


def test_tables_in_variables_are_json(tmp_path: Path) -> None:
    path = tmp_path / "target.toml"
    path.write_text(
        'id = "t1"\nport = 1\npublic_url = "u"\ncluster_id = "c"\ndata_dir = "d"\nproxies = ["p"]\nmountpaths = ["m"]\n'
    )
    variables = {"HAUL_NODE_MOUNTPATHS": "/m", "HAUL_NODE_PORT": "8081", "HAUL_NODE_RATE_LIMIT": '{"a.example": 5}'}
    config = load_settings(TargetConfig, path, variables)
    assert (config.port, config.rate_limit) == (8081, {"a.example": 5})
    with pytest.raises(InvalidRequest, match="HAUL_NODE_RATE_LIMIT is not JSON"):
        load_settings(TargetConfig, path, variables | {"HAUL_NODE_RATE_LIMIT": "{"})
    with pytest.raises(InvalidRequest, match="field 'prot': Extra inputs"):
        load_settings(TargetConfig, path, {"HAUL_NODE_PROT": "1"})


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="No such file"):
        load_settings(Config, tmp_path / "none.toml")
    with pytest.raises(InvalidRequest, match="Is a directory"):
        load_settings(Config, tmp_path)


@pytest.mark.parametrize("host", ["https://example.com", "example.com:443", "example.com/x", "u@example.com", ""])
def test_a_rate_limit_is_for_a_host_alone(tmp_path: Path, host: str) -> None:
    path = tmp_path / "target.toml"
    given = (
        'id = "t1"\nport = 1\npublic_url = "u"\ncluster_id = "c"\ndata_dir = "d"\nmountpaths = ["m"]\nproxies = ["p"]\n'
    )
    path.write_text(f'{given}[rate_limit]\n"{host}" = 1000\n')
    with pytest.raises(InvalidRequest, match="rate_limit"):
        load_settings(TargetConfig, path)
    path.write_text(f'{given}[rate_limit]\n"example.com" = 1000\n"[::1]" = 5\n')
    assert load_settings(TargetConfig, path).rate_limit == {"example.com": 1000, "[::1]": 5}
