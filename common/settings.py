"""Node configuration: a TOML file, the environment or both become one frozen model, and unknown keys are refused.

Which settings there are is left to `proxy.config` and `target.config`; their field descriptions are the documentation.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from common.errors import InvalidRequest

ENVIRONMENT_PREFIX = "HAUL_NODE_"


class Settings(BaseModel):
    """Base of every configuration model: frozen, closed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=Settings)


def load_settings(model: type[S], path: Path | None, environment: Mapping[str, str] | None = None) -> S:
    """Read and check a TOML file, if any; variables `HAUL_NODE_…` of the environment, if given, win over it.

    Raises InvalidRequest that names the field and where the configuration is from.
    """
    known_from = " and ".join([*([str(path)] if path else []), *(["the environment"] if environment else [])])
    try:
        plain = tomllib.loads(path.read_text(encoding="utf-8")) if path else {}
        return model.model_validate(plain | _from_environment(model, environment or {}))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidRequest(f"cannot read configuration {path}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"configuration {known_from}: field '{field}': {first['msg']}") from None


def _from_environment(model: type[Settings], environment: Mapping[str, str]) -> dict[str, Any]:
    """The fields that are set there; an empty variable counts as not set, as `${NAME:-}` makes it in compose files."""
    return {
        name.removeprefix(ENVIRONMENT_PREFIX).lower(): _value(model, name, text)
        for name, text in environment.items()
        if name.startswith(ENVIRONMENT_PREFIX) and text
    }


def _value(model: type[Settings], name: str, text: str) -> Any:
    """Lists are separated by commas, tables are JSON; numbers are left to the model."""
    field = model.model_fields.get(name.removeprefix(ENVIRONMENT_PREFIX).lower())
    kind = get_origin(field.annotation) if field is not None else None
    if kind is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    if kind is dict:
        try:
            return json.loads(text)
        except ValueError as error:
            raise InvalidRequest(f"{name} is not JSON: {error}") from None
    return text
