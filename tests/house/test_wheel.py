"""The wheel carries all that fwsync reads from its own package."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ("py.typed", "state.db/*.sql", "sandbox/**/*.sql")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this tree, built from a copy, with no network and no isolation."""
    tmp_path = tmp_path_factory.mktemp("wheel")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "fwsync", source / "fwsync", ignore=shutil.ignore_patterns("*.pyc"))
    dist = tmp_path / "dist"
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(dist)]
    done = subprocess.run(
        [*command, str(source)], capture_output=True, text=True, check=False, timeout=50
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    (built,) = dist.glob("*.whl")
    return built


def test_the_wheel_carries_every_module_and_the_data(wheel: Path) -> None:
    package = ROOT / "fwsync"
    expected = {
        path.relative_to(ROOT).as_posix()
        for pattern in ("**/*.py", *DATA)
        for path in package.glob(pattern)
    }
    with zipfile.ZipFile(wheel) as archive:
        actual = {name for name in archive.namelist() if name.startswith("fwsync/")}

    assert expected == actual


def test_the_state_starts_from_sql_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        numbered = sorted(n for n in archive.namelist() if n.startswith("fwsync/state.db/"))

    assert "fwsync/state.db/0001_initial.sql" in numbered


def test_a_state_opens_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    program = """
import pathlib, sys
import fwsync.state as room
with room.open_state(pathlib.Path(sys.argv[1])) as state:
    print(pathlib.Path(room.__file__).parent.parent, state.counts()["files"])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "state.db")],
        env={"PYTHONPATH": str(tmp_path / "installed"), "PATH": os.environ["PATH"]},
        cwd=tmp_path,  # not where the sources lie
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert f"{tmp_path / 'installed'} 0\n" == done.stdout
    assert (tmp_path / "state.db").read_bytes().startswith(b"SQLite format 3")


def test_the_wheel_names_the_command_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        texts = {
            Path(n).name: archive.read(n).decode() for n in archive.namelist() if "dist-info" in n
        }

    assert "fwsync = fwsync.__main__:main" in texts["entry_points.txt"]
    assert "License-Expression: MIT" in texts["METADATA"]
