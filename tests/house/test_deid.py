"""What goes up under a profile: the planted name is in no byte that leaves, or nothing leaves.

fwsync runs from an environment that has the library of its extra ``deid``; the tests do not.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pydicom
import pydicom.data
import pytest
from pydicom.dataset import Dataset

from tests.conformance.environments import python
from tests.house.house import (
    Desk,
    Done,
    Ground,
    Tree,
    complains,
    finish,
    grown,
    plant,
    until,
)
from tests.house.wire import Relay

SHIPPED = Path(pydicom.data.__file__).with_name("test_files")

PLANTED = "Plantedsecret"

#: pydicom's file, and what it is called here: two have no name by which to know them.
FILES = {
    "CT_small.dcm": "1.dcm",
    "MR_small_bigendian.dcm": "2.dcm",
    "JPEG2000.dcm": "3.dcm",
    "image_dfl.dcm": "4.dcm",
    "rtplan.dcm": "5.dcm",
    "MR_small.dcm": "IM0006",
}

PROFILE = """
name: test
dicom:
  recurse-sequence: true
  remove-private-tags: true
  fields:
    - name: PatientName
      replace-with: ANON
    - name: PatientID
      hash: true
    - name: OtherPatientNames
      remove: true
    - name: PatientComments
      remove: true
"""


@pytest.fixture(scope="session")
def interpreter() -> Path:
    return python("deid")


@pytest.fixture(scope="module")
def planted() -> dict[str, bytes]:
    """pydicom's files with a name in several places: plain, nested, and in private elements."""
    return {f"s/e/a/{called}": with_name(SHIPPED / file) for file, called in FILES.items()}


@pytest.fixture
def desk(ground: Ground, tmp_path: Path, interpreter: Path) -> Desk:
    return Desk(tmp_path / "home", ground.key(), python=interpreter)


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    file = tmp_path / "profile.yaml"
    file.write_text(PROFILE)
    return file


def with_name(file: Path, **values: object) -> bytes:
    """A DICOM file with the name planted in it."""
    data = pydicom.dcmread(file, force=True)
    data.PatientName = f"{PLANTED}^First"
    data.PatientID = f"{PLANTED}-1"
    data.OtherPatientNames = [f"{PLANTED}^Second", "Other^Name"]
    data.PatientComments = f"says {PLANTED}"
    deep, mid = Dataset(), Dataset()
    deep.PatientName = f"{PLANTED}^Deep"
    mid.PatientID = f"{PLANTED}-2"
    mid.OtherPatientIDsSequence = [deep]
    data.OtherPatientIDsSequence = [mid]
    block = data.private_block(0x0099, "FWSYNC TEST", create=True)
    block.add_new(0x01, "LO", f"{PLANTED} private")
    for name, value in values.items():
        setattr(data, name, value)
    out = io.BytesIO()
    data.save_as(out)
    assert PLANTED.encode() in out.getvalue() or "dfl" in file.name
    return out.getvalue()


class Listening(Relay):
    """Keeps every byte that a client sends, by connection."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.heard: list[bytearray] = []

    async def _pump_up(self, reader: asyncio.StreamReader, line: Any) -> None:
        heard = bytearray()
        self.heard.append(heard)
        read = reader.read

        async def listen(n: int = -1) -> bytes:
            chunk = await read(n)
            heard.extend(chunk)
            return chunk

        reader.read = listen  # type: ignore[method-assign]  # it is ours alone
        await super()._pump_up(reader, line)


@pytest.fixture
def wire(ground: Ground, desk: Desk) -> Iterator[Listening]:
    """Between the command and the server."""
    relay = Listening(ground.port)
    ground.run(relay.open())
    desk.key = ground.key(port=relay.port)
    yield relay
    ground.run(relay.close())


def blobs(ground: Ground, label: str) -> dict[str, bytes]:
    """The latest version of each file of a project, by name, as the server gives it back."""
    record = ground.ask("GET", "/sandbox/record")
    by_id = {one["id"]: one for one in record["containers"]}

    def project_of(container: str) -> str:
        at = by_id[container]
        while at["kind"] != "project":
            at = by_id[at["parent_id"]]
        return str(at["label"])

    return {
        one["name"]: ground.content("GET", f"/files/{one['file_id']}/download")
        if "file_id" in one
        else ground.content("GET", f"/acquisitions/{one['container_id']}/files/{one['name']}")
        for one in record["files"]
        if project_of(one["container_id"]) == label
    }


def holds_planted(content: bytes) -> bool:
    """Is the name in these bytes, as they are, or inflated as DICOM or in a zip?"""
    if PLANTED.encode() in content:
        return True
    if content[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return any(holds_planted(archive.read(name)) for name in archive.namelist())
    try:
        return PLANTED in str(pydicom.dcmread(io.BytesIO(content), force=True))
    except Exception:
        return False


def moved(done: Done, ground: Ground, label: str) -> int:
    """How many files a push sent; it must have ended well."""
    assert done.code == 0, done
    return ground.count(label)


@pytest.mark.parametrize(
    ("how", "files"),
    [
        ((), 6),
        (("--route", "form"), 6),
        (("--route", "signed"), 6),
        (("--pack", "*.dcm=dicom"), 2),
        (("--pack", "*.dcm=dicom", "--pack-compress"), 2),
        (("--pack", "*.dcm=dicom", "--route", "packfile"), 2),
    ],
)
def test_the_planted_name_is_in_no_byte_that_the_server_got(
    ground: Ground,
    desk: Desk,
    wire: Listening,
    label: str,
    tmp_path: Path,
    profile: Path,
    planted: Tree,
    how: tuple[str, ...],
    files: int,
) -> None:
    root = plant(tmp_path / "root", planted)

    done = desk.run("push", root, f"lab/{label}", "--deid-profile", profile, *how, "--json")

    assert moved(done, ground, label) == files
    assert not any(PLANTED.encode() in heard for heard in wire.heard)
    assert sum(map(len, wire.heard)) > 50_000  # it did listen
    stored = blobs(ground, label)
    assert len(stored) == files
    assert [name for name, content in stored.items() if holds_planted(content)] == []
    assert any(b"ANON" in content for content in stored.values())
    assert grown(root) == planted  # what is here stays as it is
    assert PLANTED not in done.out + done.err
    again = desk.run("push", root, "--deid-profile", profile, *how[:2], "--json")
    assert (again.code, again.moved()) == (0, {}), again


def test_a_plan_shows_what_is_changed_by_field_and_sends_nothing(
    ground: Ground,
    desk: Desk,
    wire: Listening,
    label: str,
    tmp_path: Path,
    profile: Path,
    planted: Tree,
) -> None:
    root = plant(tmp_path / "root", {**planted, "s/e/a/notes.txt": PLANTED.encode()})

    done = desk.run("plan", "push", root, f"lab/{label}", "--deid-profile", profile)

    said = done.out + done.err
    assert done.code == 1, done  # the text file would not be sent
    assert "PatientName: replace-with in 6 of 6 files" in said
    assert "PatientID: hash in 6 of 6 files" in said
    assert "private elements: remove in 6 of 6 files" in said
    assert "the profile says nothing about .txt files" in said
    assert PLANTED not in said
    assert not any(PLANTED.encode() in heard for heard in wire.heard)
    assert ground.count(label) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dicom: [", "not YAML"),
        ("- dicom", "table"),
        ("name: nothing", "no section"),
        ("dicom:\n  fields:\n    - {name: PatientName, remov: true}", "Unknown de-identify action"),
        ("dicom:\n  fields:\n    - {name: PatientNam, remove: true}", "PatientNam"),
        ("dicom:\n  remove-private: true\n  fields: []", "remove-private"),
        ("dicomm:\n  fields: []", "dicomm"),
        ("deid-log: log.csv\ndicom:\n  fields: []", "deid-log"),
        ("filename:\n  filenames: []", "filename"),
    ],
)
def test_a_profile_that_cannot_be_used_sends_nothing(
    ground: Ground, desk: Desk, label: str, tmp_path: Path, planted: Tree, text: str, said: str
) -> None:
    root = plant(tmp_path / "root", planted)
    (tmp_path / "bad.yaml").write_text(text)
    ground.forget_requests()

    done = desk.run("push", root, f"lab/{label}", "--deid-profile", tmp_path / "bad.yaml")

    complains(done, 2, said, "bad.yaml", hint=False)
    assert ground.requests() == []
    assert not (root / ".fwsync").exists()


def test_a_file_that_the_profile_cannot_change_is_a_problem_that_names_the_field(
    ground: Ground, desk: Desk, wire: Listening, label: str, tmp_path: Path
) -> None:
    file = tmp_path / "dates.yaml"
    file.write_text(
        PROFILE.replace("  fields:\n", "  date-increment: -7\n  fields:\n")
        + "    - name: StudyDescription\n      increment-date: true\n"
    )
    good, bad = (
        with_name(SHIPPED / "CT_small.dcm", StudyDescription=value)
        for value in ("20200101", f"not a date of {PLANTED}")
    )
    text = f"the notes of {PLANTED}".encode()
    tree = {"s/e/a/1.dcm": good, "s/e/a/2.dcm": bad, "s/e/a/3.txt": text, "s/e/a/4.dcm": b"x"}
    root = plant(tmp_path / "root", tree)

    done = desk.run("push", root, f"lab/{label}", "--deid-profile", file)

    assert done.code == 1, done
    assert [one.path for one in ground.stored(label)] == ["s/e/a/1.dcm"]
    said = done.out + done.err
    assert "at the field StudyDescription" in said
    assert "the profile says nothing about .txt files" in said
    assert "4.dcm: cannot be read as what its name" in said
    assert PLANTED not in said
    assert not any(PLANTED.encode() in heard for heard in wire.heard)


def test_other_files_go_as_they_are_only_where_that_is_set_and_dicom_never(
    ground: Ground, desk: Desk, label: str, tmp_path: Path, planted: Tree
) -> None:
    tree = {"s/e/a/notes.txt": b"plain", "s/e/a/IM0006": planted["s/e/a/IM0006"]}
    root = plant(tmp_path / "root", tree)
    (tmp_path / "json.yaml").write_text("json:\n  fields:\n    - {name: name, remove: true}\n")
    desk.env["FWSYNC_DEID_OTHER"] = "send"

    done = desk.run("push", root, f"lab/{label}", "--deid-profile", tmp_path / "json.yaml")

    assert done.code == 1, done
    assert "is DICOM by its content" in done.out + done.err
    assert [one.path for one in ground.stored(label)] == ["s/e/a/notes.txt"]


def test_a_pack_whose_members_come_out_otherwise_each_time_is_not_sent(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    file = tmp_path / "jitter.yaml"
    file.write_text(PROFILE + "    - name: PatientWeight\n      jitter: true\n")
    content = with_name(SHIPPED / "CT_small.dcm", PatientWeight="70")
    root = plant(tmp_path / "root", {f"s/e/a/{n}.dcm": content for n in range(2)})
    args = ("push", root, f"lab/{label}", "--pack", "*.dcm=dicom", "--deid-profile", file)

    done = desk.run(*args)

    assert done.code == 1, done
    assert "makes other bytes" in done.out + done.err
    assert ground.count(label) == 0


def test_a_killed_worker_is_replaced_and_every_file_arrives(
    ground: Ground, desk: Desk, label: str, tmp_path: Path, profile: Path
) -> None:
    content = with_name(SHIPPED / "MR_small.dcm")
    root = plant(tmp_path / "root", {f"s/e/a/{n:03}.dcm": content for n in range(150)})
    process = desk.start("push", root, f"lab/{label}", "--deid-profile", profile)
    until(lambda: ground.count(label) > 5, what="some files are there")

    victims = workers_of(process.pid)
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    done = finish(process)

    assert victims
    assert done.code == 0, done
    assert ground.count(label) == 150
    assert not any(Path(f"/proc/{pid}").exists() for pid in victims)


def test_a_file_at_which_each_worker_is_killed_is_a_problem_and_is_not_sent(
    ground: Ground, desk: Desk, label: str, tmp_path: Path, profile: Path
) -> None:
    large = with_name(SHIPPED / "CT_small.dcm", PixelData=bytes(80 << 20))
    root = plant(tmp_path / "root", {"s/e/a/1.dcm": large})
    process = desk.start("push", root, f"lab/{label}", "--deid-profile", profile, "--json")
    killed = set()

    def kill_who_works() -> bool:
        for pid in workers_of(process.pid):
            with suppress(OSError):
                if any(Path(f"/proc/{pid}/cwd/in").iterdir()):
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
        return process.poll() is not None

    until(kill_who_works, what="the push has ended")
    done = finish(process)

    assert len(killed) == 2
    assert done.code == 1, done
    assert "was ended twice at this file" in done.out
    assert ground.count(label) == 0


def workers_of(pid: int) -> list[int]:
    """The processes that a command has started."""
    found: list[int] = []
    with suppress(OSError):  # it has ended, or one of its threads
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(one) for one in (task / "children").read_text().split()]
    return found


def test_a_killed_push_leaves_no_process_and_no_file_of_a_patient_behind(
    ground: Ground, desk: Desk, label: str, tmp_path: Path, profile: Path
) -> None:
    content = with_name(SHIPPED / "MR_small.dcm")
    root = plant(tmp_path / "root", {f"s/e/a/{n:03}.dcm": content for n in range(150)})
    process = desk.start("push", root, f"lab/{label}", "--deid-profile", profile)
    until(lambda: ground.count(label) > 5, what="some files are there")
    left = workers_of(process.pid)
    folders = [Path(f"/proc/{pid}/cwd").readlink() for pid in left]

    process.kill()
    process.communicate()

    assert folders
    until(lambda: not any(map(Path.exists, folders)), what="the workers have ended")


def test_the_labels_come_of_the_changed_header(
    ground: Ground, desk: Desk, wire: Listening, label: str, tmp_path: Path, profile: Path
) -> None:
    root = plant(tmp_path / "root", {"x/1": with_name(SHIPPED / "CT_small.dcm")})

    done = desk.run(
        "push", root, f"lab/{label}", "--scan", "dicom", "--deid-profile", profile, "--json"
    )

    assert moved(done, ground, label) == 1
    (stored,) = ground.stored(label)
    assert len(stored.path.split("/")[0]) == 16  # the library's hash of the PatientID
    assert not any(PLANTED.encode() in heard for heard in wire.heard)
    assert PLANTED not in json.dumps(ground.ask("GET", "/sandbox/record"))


def test_what_is_there_by_the_name_is_a_conflict_and_not_taken_for_ours(
    ground: Ground, desk: Desk, label: str, tmp_path: Path, profile: Path, planted: Tree
) -> None:
    root = plant(tmp_path / "root", {"s/e/a/1.dcm": planted["s/e/a/1.dcm"]})
    state = tmp_path / "other.db"
    push = ("push", root, f"lab/{label}", "--deid-profile", profile)
    assert moved(desk.run(*push), ground, label) == 1

    done = desk.run(*push, "--state", state, "--json")

    assert (done.code, done.summary["conflicts"]) == (1, 1), done
    won = desk.run(*push, "--state", state, "--conflict", "local", "--json")
    assert (won.code, won.moved()["uploaded"]) == (0, 1), won
    again = desk.run(*push, "--state", state, "--json")
    assert (again.code, again.moved()) == (0, {}), again


def test_a_tree_does_not_change_half_way_whether_it_is_de_identified(
    ground: Ground, desk: Desk, label: str, tmp_path: Path, profile: Path, planted: Tree
) -> None:
    tree = {"s/e/a/1.dcm": planted["s/e/a/1.dcm"]}
    with_it, without = plant(tmp_path / "with", tree), plant(tmp_path / "without", tree)
    assert desk.run("push", with_it, f"lab/{label}", "--deid-profile", profile).code == 0
    ground.project(f"{label}-plain")
    assert desk.run("push", without, f"lab/{label}-plain").code == 0

    complains(desk.run("push", with_it), 2, "--deid-profile: ")
    complains(desk.run("push", without, "--deid-profile", profile), 2, "--deid-profile: ")
    complains(desk.run("pull", f"lab/{label}", with_it), 2, "--deid-profile: ")
    assert desk.run("verify", with_it).code == 0


def test_it_leads_one_way_only(desk: Desk, label: str, tmp_path: Path, profile: Path) -> None:
    root = plant(tmp_path / "root", {"s/e/a/1.dcm": b"x"})
    desk.env["FWSYNC_DEID_PROFILE"] = str(profile)

    for command in (("sync",), ("watch", "--mode", "both")):
        complains(desk.run(*command, root, f"lab/{label}"), 2, "FWSYNC_DEID_PROFILE: ", "up")
    complains(desk.run("pull", f"lab/{label}", root), 2, "FWSYNC_DEID_PROFILE: ", "up")


def test_without_the_library_the_way_to_get_it_is_said_before_anything_else(
    ground: Ground, desk: Desk, label: str, tmp_path: Path, profile: Path
) -> None:
    root = plant(tmp_path / "root", {"s/e/a/1.dcm": b"x"})
    plain = Desk(tmp_path / "home", ground.key())
    ground.forget_requests()

    done = plain.run("push", root, f"lab/{label}", "--deid-profile", profile)

    complains(done, 2, "flywheel-migration", "pip install 'fwsync[deid]'")
    assert ground.requests() == []
