"""What S3's clients ask about settings of buckets and objects that the cluster does not have: the answers of defaults.

Clients ask for them before they do what they were started for, so each has the answer that S3 gives where nothing was
ever set. Setting one is refused, unless it sets what is so anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.s3.answers import Responder
from proxy.s3.buckets import OWNER
from proxy.s3.documents import Content, Node
from proxy.s3.errors import S3Error, not_implemented

_GRANT: Final[list[Node]] = [
    ('Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"', list(OWNER)),
    ("Permission", "FULL_CONTROL"),
]
_DOCUMENTS: Final[Mapping[str, tuple[str, Content]]] = {
    "accelerate": ("AccelerateConfiguration", ""),
    "acl": ("AccessControlPolicy", [("Owner", list(OWNER)), ("AccessControlList", [("Grant", _GRANT)])]),
    "location": ("LocationConstraint", ""),
    "logging": ("BucketLoggingStatus", ""),
    "notification": ("NotificationConfiguration", ""),
    "requestPayment": ("RequestPaymentConfiguration", [("Payer", "BucketOwner")]),
    "versioning": ("VersioningConfiguration", ""),
}
_ABSENT: Final[Mapping[str, str]] = {
    "cors": "NoSuchCORSConfiguration",
    "encryption": "ServerSideEncryptionConfigurationNotFoundError",
    "lifecycle": "NoSuchLifecycleConfiguration",
    "object-lock": "ObjectLockConfigurationNotFoundError",
    "ownershipControls": "OwnershipControlsNotFoundError",
    "policy": "NoSuchBucketPolicy",
    "policyStatus": "NoSuchBucketPolicy",
    "publicAccessBlock": "NoSuchPublicAccessBlockConfiguration",
    "replication": "ReplicationConfigurationNotFoundError",
    "tagging": "NoSuchTagSet",
    "website": "NoSuchWebsiteConfiguration",
}
_OTHERS: Final = frozenset(
    {"abac", "analytics", "intelligent-tiering", "inventory", "metadataAnnotationTable", "metadataConfiguration"}
    | {"metadataInventoryTable", "metadataJournalTable", "metadataTable", "metrics", "session"}
    | {"annotation", "legal-hold", "renameObject", "retention", "select", "torrent"}
)
BUCKET_SETTINGS: Final = frozenset({*_DOCUMENTS, *_ABSENT, *_OTHERS})
"""Subresources that are answered here, of buckets and of objects."""
_REMOVED_ANYWAY: Final = frozenset({*_ABSENT} - {"policyStatus", "object-lock"})


async def answer(name: str, method: str, acl: str, responder: Responder, *, of_object: bool) -> None:
    """Answer a request for the setting `name`; `acl` is the canned one that a request names. Raises S3Error."""
    what = f"the {name} of {'objects' if of_object else 'buckets'}"
    if method == "DELETE" and name in _REMOVED_ANYWAY:
        await responder.answer(204)
    elif method == "PUT" and name == "acl" and acl in ("private", "bucket-owner-full-control"):
        await responder.answer(200)
    elif method not in ("GET", "HEAD"):
        raise not_implemented(f"setting {what}")
    elif name == "tagging" and of_object:
        await responder.document("Tagging", [("TagSet", [])])
    elif name in _DOCUMENTS and (not of_object or name == "acl"):
        root, content = _DOCUMENTS[name]
        await responder.document(root, content)
    elif name in _ABSENT and not of_object:
        raise S3Error(_ABSENT[name], f"there is no such setting: {what} cannot be changed in this cluster")
    else:
        raise not_implemented(what)
