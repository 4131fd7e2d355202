"""Archives for tests, made by the standard library, and by hand where it makes none."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Mapping

MEMBERS = {
    "a/first.txt": b"first",
    "a/empty.cls": b"",
    "a/sample.seg.png": bytes(range(256)) * 20,
    "ünïcode/Größe.txt": "ß".encode() * 700,
    "long/" + "x" * 300: b"long name",
    "zeros.bin": bytes(3 << 20),
}
"""Names in all forms that a tar writes in its own way; one member takes several pieces to read."""


def tar(members: Mapping[str, bytes], *, kind: int = tarfile.PAX_FORMAT, prefix: str = "") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
        directory = tarfile.TarInfo(f"{prefix}a")
        directory.type = tarfile.DIRTYPE
        archive.addfile(directory)
        for name, data in members.items():
            info = tarfile.TarInfo(prefix + name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def tgz(members: Mapping[str, bytes]) -> bytes:
    return gzip.compress(tar(members))


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED, *, force_zip64: bool = False) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.mkdir("a")
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            with archive.open(info, "w", force_zip64=force_zip64) as member:
                member.write(data)
    return file.getvalue()


def untar(data: bytes) -> dict[str, bytes]:
    """What is in a tar, as a client reads it while it comes."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r|") as archive:
        for info in archive:
            file = archive.extractfile(info)
            assert file is not None
            found[info.name] = file.read()
    return found
