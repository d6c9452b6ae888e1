"""What a path lies on: the type of its file system, and what follows from it.

Its rule: the kernel's table of mounts is read and nothing else; what it does not say is
not known, and what may be a network is taken for one.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")

#: File systems whose locks or shared memory cannot be trusted between hosts (or between a
#: host and its guests), which is what SQLite's WAL needs: https://www.sqlite.org/wal.html
_NETWORK = frozenset(
    {"9p", "acfs", "afpfs", "afs", "beegfs", "beegfs_nodev", "ceph", "cifs", "coda", "davfs"}
    | {"drvfs", "gfs", "gfs2", "glusterfs", "gpfs", "kafs", "lustre", "mmfs", "ncpfs", "nfs"}
    | {"nfs4", "ocfs2", "orangefs", "panfs", "prl_fs", "pvfs2", "smb2", "smb3", "smbfs"}
    | {"sshfs", "vboxsf", "virtiofs", "vmhgfs", "wekafs"}
)
#: FUSE file systems over local disks; any other FUSE may be a network in disguise.
_LOCAL_FUSE = frozenset(
    {"bindfs", "cryfs", "encfs", "exfat", "ext2", "fuse-overlayfs", "gocryptfs", "lowntfs-3g"}
    | {"mergerfs", "ntfs", "ntfs-3g", "securefs", "unionfs"}
)
#: Nanoseconds between two stamps, where that is more than a tick of the kernel.
#: FAT: the Microsoft specification, 2000, "Date and Time Formats".
_COARSE_NS = {
    "vfat": 2_000_000_000,
    "msdos": 2_000_000_000,
    "exfat": 2_000_000_000,
} | dict.fromkeys(("ext2", "ext3", "hfs", "hfsplus", "reiserfs", "udf", "iso9660"), 1_000_000_000)
_FINE_NS = 20_000_000  # as in the state: two ticks at HZ=100
_FOREIGN_NS = 2_000_000_000  # what is behind a network is not known: the coarsest


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What a path lies on."""

    type: str  #: as the kernel names it; empty: not known
    is_network: bool  #: or any other that other hosts may write to as well
    time_granularity_ns: int  #: how far apart two writes must be for their stamps to differ


def filesystem_of(path: Path, *, mounts: Path = _MOUNTS) -> FileSystem:
    """The file system that holds ``path``, or will hold it once it is made.

    Args:
        path: need not exist.
        mounts: the kernel's table of mounts; where there is none, the type is not known.
    """
    real = Path(os.path.realpath(path))
    kind, longest = "", -1
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError:
        lines = []
    for line in filter(None, lines):
        # Source: proc(5), /proc/pid/mountinfo: … (5) mount point … - (9) type (10) source
        left, _, right = line.partition(" - ")
        point = Path(_unescaped(left.split(" ")[4]))
        # A later mount at the same point covers the earlier one.
        if real.is_relative_to(point) and len(point.parts) >= longest:
            kind, longest = right.split(" ", 1)[0], len(point.parts)
    network = _is_network(kind)
    fine = _FOREIGN_NS if network else _FINE_NS
    return FileSystem(kind, network, _COARSE_NS.get(kind, fine))


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _is_network(kind: str) -> bool:
    if kind.startswith("fuse."):
        return kind.removeprefix("fuse.") not in _LOCAL_FUSE
    return kind in _NETWORK or kind == "fuse"
