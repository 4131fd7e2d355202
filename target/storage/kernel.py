"""Linux calls that Python's `os` lacks: confined opening, `syncfs`, preallocation; deciding when is left to callers.

`open_beneath` is how everything below a mountpath is opened: the kernel refuses to pass a symbolic link or another
mount on the way, so that no name and no planted link leads out of it (`openat2`, Linux 5.6; where that is missing or
filtered, the path is walked directory by directory).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from functools import cache

_OPENAT2 = 437
_NO_XDEV, _NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH, _CACHED = 0x01, 0x02, 0x04, 0x08, 0x20
_FALLOC_FL_KEEP_SIZE = 0x01
_HOW_BYTES = 24
_RENAME_NOREPLACE = 1
READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""For files: O_NONBLOCK only so that a planted FIFO cannot hold us up."""
DIRECTORY = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]
_syscall.restype = ctypes.c_long
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


_libc.renameat2.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
_rename_noreplace = _libc.renameat2


@cache
def _how(flags: int, resolve: int) -> bytes:
    return struct.pack("=QQQ", flags, 0, resolve | _NO_XDEV | _NO_MAGICLINKS | _NO_SYMLINKS | _BENEATH)


def _has_openat2() -> bool:
    root = os.open("/", DIRECTORY)
    try:
        opened: int = _syscall(_OPENAT2, root, b".", _how(DIRECTORY, 0), _HOW_BYTES)
        if opened >= 0:
            os.close(opened)
        return opened >= 0
    finally:
        os.close(root)


_openat2_works = _has_openat2()


def try_open_beneath(directory: int, path: bytes, flags: int, *, cached: bool = False) -> int:
    """A descriptor of `path` below the open `directory`, or a negative errno: no exception for the usual miss.

    With `cached`, -EAGAIN instead of waiting for a disk. A symbolic link on the way gives -ELOOP, a mount -EXDEV.
    """
    if not _openat2_works:
        return -errno.EAGAIN if cached else walk_beneath(directory, path, flags)
    while True:
        opened: int = _syscall(_OPENAT2, directory, path, _how(flags, _CACHED if cached else 0), _HOW_BYTES)
        if opened >= 0:
            return opened
        number = ctypes.get_errno()
        if cached and number == errno.EINVAL:  # before Linux 5.12 nothing can be asked without waiting
            return -errno.EAGAIN
        if number != errno.EINTR:
            return -number


def open_beneath(directory: int, path: bytes, flags: int) -> int:
    """`try_open_beneath` that raises OSError."""
    opened = try_open_beneath(directory, path, flags)
    if opened < 0:
        raise OSError(-opened, os.strerror(-opened))
    return opened


def walk_beneath(directory: int, path: bytes, flags: int) -> int:
    """What `openat2` does, one component at a time; mounts are told by their device."""
    components = path.split(b"/")
    device = os.fstat(directory).st_dev
    current = os.dup(directory)
    try:
        for position, component in enumerate(components, start=1):
            last = position == len(components)
            following = os.open(component, flags if last else DIRECTORY, dir_fd=current)
            os.close(current)
            current = following
            if os.fstat(current).st_dev != device:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    except OSError as error:
        os.close(current)
        return -(error.errno or errno.EIO)
    return current


def rename_new(source_directory: int, source: bytes, directory: int, name: bytes) -> None:
    """Rename to a name that must not exist; raises OSError, EEXIST for one that does, EINVAL where unsupported."""
    if _rename_noreplace(source_directory, source, directory, name, _RENAME_NOREPLACE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def syncfs(directory: int) -> None:
    """Make everything on the file system of `directory` durable.

    Raises OSError for any write-back error since the last call on the same descriptor (Linux 5.8), so a descriptor
    must be kept open from before the first write. Releases the GIL.
    """
    if _libc.syncfs(directory) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def reserve(descriptor: int, size_bytes: int) -> None:
    """Reserve blocks without changing the file's size; a file system that cannot is left to find out while writing."""
    if _libc.fallocate(descriptor, _FALLOC_FL_KEEP_SIZE, 0, size_bytes) != 0:
        number = ctypes.get_errno()
        if number not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINTR):
            raise OSError(number, os.strerror(number))
