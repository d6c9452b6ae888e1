"""Rules of the house that no linter knows."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: Spelled in pieces, so that this file does not say what it looks for.
REGISTRIES = (
    "py" + "pi.org",
    "python" + "hosted",
    "npm" + "js.",
    "deb." + "debian",
    "crates" + ".io",
)
#: At the start of a path only: `{tmp}/root/a` is no one's home.
HOMES = ("/ho" + r"me/\w", "/Us" + r"ers/\w", "/ro" + r"ot/\.?\w")
FORBIDDEN = re.compile(
    "|".join([*map(re.escape, REGISTRIES), rf"(?<![\w.}}/-])(?:{'|'.join(HOMES)})"])
)

MAX_LINES = 600


def house_files() -> list[Path]:
    """What git tracks or would track; everything but the ignored. Without git, the sources."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        return [p for top in ("fwsync", "tests") for p in (ROOT / top).rglob("*") if p.is_file()]
    names = sorted({ROOT / name for name in listed.stdout.decode().split("\0") if name})
    return [path for path in names if path.is_file()]


def text_of(path: Path) -> str:
    """The text of a file; empty for one that holds none."""
    data = path.read_bytes()
    return "" if b"\0" in data[:8192] else data.decode("utf-8", "replace")


def test_no_file_names_a_package_registry_or_someones_home() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path in house_files()
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if FORBIDDEN.search(line)
    ]

    assert [] == found


def test_a_helper_lives_in_the_room_that_uses_it() -> None:
    drawers = {"util.py", "utils.py", "helpers.py", "common.py", "misc.py"}
    found = [str(p.relative_to(ROOT)) for p in house_files() if p.name in drawers]

    assert [] == found


def test_a_room_is_not_a_hall() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in house_files()
        if path.suffix == ".py" and (lines := len(path.read_bytes().splitlines())) > MAX_LINES
    }

    assert {} == long


def test_the_folder_of_sql_is_not_ignored() -> None:
    ignored = subprocess.run(
        ["git", "check-ignore", "--quiet", "--no-index", "fwsync/state.db/0001_initial.sql"],
        cwd=ROOT,
        check=False,
    )

    assert 0 != ignored.returncode
