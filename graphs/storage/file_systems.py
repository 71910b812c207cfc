"""Whether a store can be written at a place: permissions, and the kind of file system."""

import os
import re
import warnings
from pathlib import Path

from graphs.storage.records import StoreError

MOUNTS = Path("/proc/self/mountinfo")
"""Linux lists here what is mounted where; other systems do not, and every file system counts as local there."""

NETWORK = re.compile(
    r"9p|afs|beegfs|ceph|cifs|coda|gfs2|gpfs|lustre|ncpfs|nfs4?|ocfs2|orangefs|smb2|smb3|smbfs|virtiofs|vmhgfs|wekafs"
    r"|fuse\.(ceph|gcsfuse|glusterfs|rclone|s3fs|sshfs|vmhgfs-fuse)"
)
"""File systems shared between machines: locks and memory maps do not hold there as LMDB needs them to."""


class NetworkFileSystem(UserWarning):
    """A store is written where it can be damaged."""


def file_system(path: str | Path) -> str | None:
    """The type of the file system that holds ``path`` (which need not exist); None where the system does not say."""
    try:
        lines = MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    place = os.path.realpath(path)
    found, depth = None, -1
    for line in lines:
        # 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw: the fifth word is the mount point.
        before, separator, after = line.partition(" - ")
        words = before.split(" ")
        if not separator or len(words) < 5 or not after:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), words[4])
        inside = point == "/" or place == point or place.startswith(point + "/")
        if inside and len(point) >= depth:  # of two on one point the later one covers the other
            found, depth = after.split(" ")[0], len(point)
    return found


def check_writable(path: Path, strict: bool = False) -> None:
    """Refuse a place where no store can be written, before any work is done; warn of a network file system.

    Args:
        path: the store's file, absolute.
        strict: refuse the network file system too.

    Raises:
        StoreError: no such folder, read-only for this user, or (``strict``) on a network file system.

    Warns:
        NetworkFileSystem: it is on one, and not ``strict``.
    """
    # Not Path.is_dir, which raises where a folder above may not be entered.
    if not os.path.isdir(path.parent):
        raise StoreError(f"cannot write {path}: there is no folder {path.parent}, or this user may not enter it")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise StoreError(
            f"cannot write {path}: the folder or the file is read-only for this user; open it with mode 'r'"
        )
    # Only Linux says what is mounted where; elsewhere nothing is warned of.
    network = file_system(path)
    if network is not None and NETWORK.fullmatch(network):
        words = (
            f"{path} is on a network file system ({network}), where locks and memory maps are not reliable and a store "
            "can be damaged: write it on a local disk, then copy the finished file"
        )
        if strict:
            raise StoreError(words)
        warnings.warn(words, NetworkFileSystem, stacklevel=4)
