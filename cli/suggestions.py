"""What was probably meant where a name is unknown: commands, providers, buckets; pure but for asking for the buckets.

Unknown options and wrong commands inside of a group are left to typer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches

from cli.errors import CommandError, ServerError

SCHEMES = ("ais", "s3", "gs", "az", "oc", "aws", "gcp", "azure", "oci")
_SCHEME_SIMILARITY = 0.4
"""They are short: of `s4` and `s3` half is the same."""
_MISSING_BUCKET = ("ErrBckNotFound", "ErrRemoteBckNotFound")
_SHOWN = 3


def did_you_mean(known: Iterable[str], text: str, *, similarity: float = 0.6) -> str:
    """`"Did you mean x or y?"`, empty when nothing known is like it."""
    matches = get_close_matches(text.lower(), sorted(set(known)), _SHOWN, similarity)
    return f"Did you mean {' or '.join(matches)}?" if matches else ""


def for_scheme(scheme: str) -> str:
    """What may be meant by a provider that does not exist."""
    likely = get_close_matches(scheme.lower(), SCHEMES, 1, _SCHEME_SIMILARITY)
    return f"Did you mean {likely[0]}://?" if likely else ""


def for_missing_bucket(error: ServerError, list_buckets: Callable[[], Iterable[str]]) -> str:
    """Which buckets there are that are called like the missing one; `list_buckets` returns their cnames."""
    missing = error.bucket
    if error.code not in _MISSING_BUCKET or not missing:
        return ""
    try:
        known = sorted(set(list_buckets()))
    except CommandError:
        return ""
    same_name = [cname for cname in known if cname.rpartition("/")[2] == missing.rpartition("/")[2]]
    if same_name and missing not in known:
        return f"Did you mean {' or '.join(same_name[:_SHOWN])}?"
    return did_you_mean((cname for cname in known if cname != missing), missing, similarity=0.8)
