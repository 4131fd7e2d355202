"""The file of the keys: what it may be, and that it must not be everybody's."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import InvalidRequest
from proxy.s3.credentials import load_credentials


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    file = path / "s3.toml"
    file.write_text(text)
    file.chmod(mode)
    return file


def test_keys_are_read(tmp_path: Path) -> None:
    file = written(tmp_path, 'AKIAONE = "secret one"\n"key.2" = "secret two"\n')
    assert load_credentials(file) == {"AKIAONE": "secret one", "key.2": "secret two"}
    assert load_credentials(None) is None


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ('AKIAONE = "secret one"', 0o644),
        ('AKIAONE = "secret one"', 0o620),
        ("", 0o600),
        ("AKIAONE = 12345678", 0o600),
        ('AKIAONE = "short"', 0o600),
        ('"a/b" = "secret one"', 0o600),
        ("[table]\nAKIAONE = 'secret one'", 0o600),
        ("nonsense", 0o600),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(tmp_path: Path, text: str, mode: int) -> None:
    file = written(tmp_path, text, mode)
    with pytest.raises(InvalidRequest, match=r"s3\.toml") as refused:
        load_credentials(file)
    assert "secret one" not in str(refused.value)


def test_a_file_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot be read"):
        load_credentials(tmp_path / "none")
