"""Node configuration: one TOML file becomes one frozen model, and unknown keys are refused.

Which settings there are is left to `proxy.config` and `target.config`; their field descriptions are the documentation.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from common.errors import InvalidRequest


class Settings(BaseModel):
    """Base of every configuration model: frozen, closed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=Settings)


def load_settings(model: type[S], path: Path) -> S:
    """Read and check a TOML file; raises InvalidRequest that names the file and the field."""
    try:
        return model.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidRequest(f"cannot read configuration {path}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"configuration {path}: field '{field}': {first['msg']}") from None
