"""What is sealed can be read with the same key only."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import InvalidRequest
from common.vault import Sealed, Vault, new_key

SECRETS = {"headers": [["A", "b"]], "credentials": {"token": "canarySECRETcanary"}}


def key_file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_what_is_sealed_is_opened_with_the_same_key(tmp_path: Path) -> None:
    vault = Vault(key_file(tmp_path / "key", new_key()))
    sealed = vault.seal(SECRETS)
    assert b"SECRET" not in sealed
    assert vault.open(sealed) == SECRETS
    assert vault.seal(SECRETS) != sealed


def test_another_key_none_and_changed_bytes_open_nothing(tmp_path: Path) -> None:
    sealed = Vault(key_file(tmp_path / "key", new_key())).seal(SECRETS)
    for vault in (Vault(key_file(tmp_path / "other", new_key())), Vault(None)):
        with pytest.raises(Sealed, match="secret_key_file"):
            vault.open(sealed)
    with pytest.raises(Sealed):
        Vault(tmp_path / "key").open(sealed[:-1])


def test_nothing_is_sealed_without_a_key() -> None:
    with pytest.raises(InvalidRequest, match="secret_key_file"):
        Vault(None).seal(SECRETS)


@pytest.mark.parametrize("text", ["", "short", "!" * 44])
def test_a_file_without_a_key_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidRequest, match="secret_key_file"):
        Vault(key_file(tmp_path / "key", text))
    with pytest.raises(InvalidRequest, match="cannot be read"):
        Vault(tmp_path / "missing")
