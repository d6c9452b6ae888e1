"""What a path lies on, by the kernel's table of mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwsync.filesystems import FileSystem, filesystem_of

MOUNTS = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:5 / /proc rw - proc proc rw
23 21 0:40 / /data rw - autofs systemd-1 rw
24 23 0:41 / /data rw shared:9 - nfs4 server:/x rw
25 21 0:42 / /data/fast rw - xfs /dev/sdb1 rw
26 21 0:43 / /mnt/my\\040share rw master:1 - cifs //server/x rw
27 21 0:44 / /mnt/stick rw - vfat /dev/sdc1 rw
28 21 0:45 / /mnt/sftp rw - fuse.sshfs user@host: rw
29 21 0:46 / /mnt/union rw - fuse.mergerfs a:b rw
30 21 0:47 / /mnt/odd rw - fuse.whatever x rw
31 21 0:48 / /mnt/ntfs rw - fuseblk /dev/sdd1 rw
32 21 0:49 / /lustre rw - lustre 10.0.0.1@o2ib:/x rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "is_network"),
    [
        ("/srv/x", "ext4", False),
        ("/data", "nfs4", True),
        ("/data/not/made/yet", "nfs4", True),
        ("/data/fast/x", "xfs", False),
        ("/database", "ext4", False),
        ("/mnt/my share/x", "cifs", True),
        ("/mnt/stick/x", "vfat", False),
        ("/mnt/sftp/x", "fuse.sshfs", True),
        ("/mnt/union/x", "fuse.mergerfs", False),
        ("/mnt/odd/x", "fuse.whatever", True),
        ("/mnt/ntfs/x", "fuseblk", False),
        ("/lustre/x", "lustre", True),
    ],
)
def test_a_path_lies_on_the_mount_that_covers_it(
    tmp_path: Path, path: str, kind: str, is_network: bool
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)

    found = filesystem_of(Path(path), mounts=mounts)

    assert (kind, is_network) == (found.type, found.is_network)
    coarse = is_network or kind == "vfat"
    assert (2_000_000_000 if coarse else 20_000_000) == found.time_granularity_ns


def test_this_machine_knows_its_own_file_systems(tmp_path: Path) -> None:
    assert "proc" == filesystem_of(Path("/proc/self")).type
    assert filesystem_of(tmp_path).type
    assert FileSystem("", False, 20_000_000) == filesystem_of(tmp_path, mounts=tmp_path / "none")
