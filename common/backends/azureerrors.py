"""What Azure Blob Storage and its library complain about, in the words of Haul.

The library's own texts are not shown: those of failed connections quote the whole URL, with the signature in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from common.backends.azureaccess import CREDENTIALS_HINT, Access
from common.backends.base import OriginUnavailable, RemoteBucketNotFound
from common.errors import AccessDenied, HaulError, ObjectNotFound, OriginError

if TYPE_CHECKING:
    from azure.core.exceptions import HttpResponseError

_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_NO_CONTAINER = frozenset({"ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled"})
_REFUSED = frozenset({"PublicAccessNotPermitted", "NoAuthenticationInformation"})
_ADVICE = {
    "AuthenticationFailed": "the key is wrong, the SAS has expired or was changed, or a clock is off",
    "AuthorizationPermissionMismatch": (
        "a SAS needs the permissions read and list (sp=rl), an identity the role Storage Blob Data Reader"
    ),
    "AuthorizationResourceTypeMismatch": "an account's SAS needs the resource types container and object (srt=co)",
    "AuthorizationServiceMismatch": "an account's SAS needs the service blob (ss=b)",
    "AuthorizationProtocolMismatch": "the SAS is for https only",
    "AuthorizationSourceIPMismatch": "the SAS is for other addresses than this node's",
    "AuthorizationFailure": "the account's firewall keeps this node out, or the SAS has expired or does not allow this",
    "KeyBasedAuthenticationNotPermitted": "the account takes no keys: pip install azure-identity, and give an identity",
    "AccountIsDisabled": "the account is disabled",
}


@contextmanager
def translated(access: Access, container: str, name: str = "") -> Iterator[None]:
    """Raise an error of Haul for one of the library's; `name` is the object that is asked for, if it is one."""
    from azure.core.exceptions import (  # noqa: PLC0415 - an optional extra
        AzureError,
        ClientAuthenticationError,
        HttpResponseError,
        ServiceRequestError,
        ServiceResponseError,
    )

    where = f"az://{container}/{name}" if name else f"az://{container}"
    try:
        yield
    except (ServiceRequestError, ServiceResponseError) as error:
        kind = type(error.inner_exception or error).__name__
        raise OriginUnavailable(
            f"{where}: {access.host} does not answer ({kind}); try again later, if account and endpoint are right"
        ) from None
    except HttpResponseError as error:
        if error.response is None and isinstance(error, ClientAuthenticationError):
            raise AccessDenied(
                f"{where}: azure-identity has found no credentials that work ({type(error).__name__}): sign in or give "
                f"the node an identity, or {CREDENTIALS_HINT}"
            ) from None
        raise _of_answer(error, access, container, name) from None
    except (AzureError, AttributeError, TypeError, ValueError) as error:
        # The library stumbles like that over an answer of status 200 that is not Azure's.
        raise OriginError(f"{where}: the answer cannot be understood ({type(error).__name__})") from None


def _of_answer(error: HttpResponseError, access: Access, container: str, name: str) -> HaulError:
    bucket = f"az://{container}"
    where = f"{bucket}/{name}" if name else bucket
    status, code = error.status_code or 0, _code(error)
    told = " ".join(str(part) for part in (status, code) if part)
    if code in _REFUSED or status in (401, 403):
        return AccessDenied(f"{where}: access is denied ({told}): {_advice(access, code)}")
    if code in _NO_CONTAINER or (not name and (status == 404 or code == "InvalidResourceName")):
        hidden = ", or it is not public" if access.is_anonymous else ""
        return RemoteBucketNotFound(f'container "{bucket}" does not exist in account "{access.account}"{hidden}')
    if status == 404:
        return ObjectNotFound(f'blob "{where}" does not exist')
    if status in _BUSY:
        return OriginUnavailable(f"{where}: the service is busy or broken ({told}); try again later", _patience(error))
    return OriginError(f"{where}: the service's answer cannot be used ({told or type(error).__name__})")


def _code(error: HttpResponseError) -> str:
    """Azure's name for what is wrong: from the header, as an answer to HEAD has no body, or from the body."""
    code = getattr(error, "error_code", None) or _headers(error).get("x-ms-error-code") or ""
    text = str(getattr(code, "value", code))
    return text if text.isalnum() and len(text) <= 64 else ""


def _advice(access: Access, code: str) -> str:
    if access.is_anonymous:
        return f"the container is not public; {CREDENTIALS_HINT}"
    return _ADVICE.get(code, CREDENTIALS_HINT)


def _patience(error: HttpResponseError) -> float | None:
    """The seconds of `Retry-After`; a date is as good as nothing, Azure sends none."""
    text = _headers(error).get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None


def _headers(error: HttpResponseError) -> Mapping[str, str]:
    """The library's types do not tell of them."""
    found: Mapping[str, str] = getattr(error.response, "headers", {})
    return found
