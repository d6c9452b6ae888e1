"""The environments of the official programs: whole or not there, and made once."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conformance import environments
from tests.conformance.environments import CACHE, RECIPES, Recipe, environment, is_whole, place

ROOT = Path(__file__).resolve().parents[2]
BARE = Recipe("bare", ())


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE, str(tmp_path))
    return tmp_path


def test_an_environment_is_made_once_however_many_ask() -> None:
    with ThreadPoolExecutor(4) as askers:
        folders = set(askers.map(environment, [BARE] * 4))
    (folder,) = folders
    made = (folder / "bin/python").lstat().st_mtime_ns

    assert folder == environment(BARE)
    assert made == (folder / "bin/python").lstat().st_mtime_ns
    script = "import sys; print(sys.prefix)"
    said = subprocess.run(
        [folder / "bin/python", "-c", script], capture_output=True, text=True, check=True
    )
    assert str(folder) == said.stdout.strip()


def test_what_an_interrupted_run_left_is_made_anew() -> None:
    broken = place(BARE)
    (broken / "bin").mkdir(parents=True)
    (broken / "bin/python").write_text("half of it")

    assert not is_whole(BARE)
    assert broken == environment(BARE)
    assert is_whole(BARE)
    assert (broken / "bin/python").is_symlink()


def test_one_that_cannot_be_made_is_not_there(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("-r absent.txt\n")
    recipe = Recipe("wrong", (wrong,))

    with pytest.raises(subprocess.CalledProcessError):
        environment(recipe)

    assert not is_whole(recipe)


def test_another_pin_is_another_environment(tmp_path: Path) -> None:
    pins = tmp_path / "pins.txt"
    pins.write_text("one==1\n")
    before = place(Recipe("some", (pins,)))
    pins.write_text("one==2\n")

    assert before != place(Recipe("some", (pins,)))


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_package_is_pinned_with_its_hashes_and_no_index(name: str) -> None:
    recipe = RECIPES[name]
    for file in (*recipe.builders, *recipe.packages):
        text = file.read_text(encoding="utf-8")
        pinned = re.findall(r"^\S+?(?:\[\S+\])?==\S+ \\\n    --hash=sha256:", text, re.MULTILINE)

        assert len(pinned) == len(re.findall(r"^[A-Za-z]", text, re.MULTILINE))
        assert pinned
        assert "://" not in text


def test_the_official_programs_are_not_among_our_own_packages() -> None:
    ours = "\n".join(
        (ROOT / "requirements" / name).read_text(encoding="utf-8").lower()
        for name in ("runtime.txt", "dev.txt", "build.txt")
    )

    assert "flywheel" not in ours
    found = [name for name in sys.modules if name.partition(".")[0] == "flywheel"]
    assert [] == found


def test_it_lies_in_the_checkout_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CACHE)

    assert ROOT / ".cache/envs" == environments.cache()
