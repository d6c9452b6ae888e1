"""The official SDK and CLI, and what imitates the clouds, each in a virtual environment of its own.

They never meet the house's own packages: what they want is pinned, with hashes, in
``requirements/``, and what they are made of is known by the name of the folder. Each is made once
and kept.

The one rule: an environment is whole or not there. A virtual environment cannot be moved (its
commands name its interpreter by the full path), so it is made where it stays, under a lock, and
the mark that says it is whole is written last; one without the mark is thrown away and made anew.

``python -m tests.conformance.environments [sdk] [cli] [stores] [deid] [fuzz]`` makes them and
prints where they are.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
REQUIREMENTS: Final = ROOT / "requirements"
CACHE: Final = "FWSYNC_TEST_CACHE"  # the variable that says where environments are kept


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an environment holds.

    Args:
        name: the first part of the folder's name.
        builders: a requirements file of what has to be there before the others are built; with
            it, nothing is built in isolation.
        packages: requirements files, with hashes.
        variables: set while packages are built.
    """

    name: str
    packages: tuple[Path, ...]
    builders: tuple[Path, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """Changes with every file, and with the interpreter."""
        digest = hashlib.sha256()
        for part in (sys.version, sys.base_prefix, repr(self.variables)):
            digest.update(part.encode() + b"\0")
        for file in (*self.builders, *self.packages):
            digest.update(file.read_bytes() + b"\0")
        return digest.hexdigest()[:16]


RECIPES: Final[Mapping[str, Recipe]] = {
    "sdk": Recipe("sdk", (REQUIREMENTS / "conformance-sdk.txt",)),
    "cli": Recipe(
        "cli",
        (REQUIREMENTS / "conformance-cli.txt",),
        builders=(REQUIREMENTS / "conformance-build.txt",),
        # Its speed-ups in C want a compiler and the headers, and nothing here is measured.
        variables=(("DISABLE_SQLALCHEMY_CEXT", "1"),),
    ),
    "stores": Recipe("stores", (REQUIREMENTS / "stores.txt",)),
    # fwsync itself runs from this one, with the library of its extra `deid` beside it.
    "deid": Recipe("deid", (REQUIREMENTS / "conformance-deid.txt",)),
    # So does the fuzzer of `make torture`, which instruments what it imports.
    "fuzz": Recipe("fuzz", (REQUIREMENTS / "fuzz.txt",)),
}


def cache() -> Path:
    """Where environments are: in ``$FWSYNC_TEST_CACHE``, or in ``.cache`` of the checkout."""
    return Path(os.environ.get(CACHE) or ROOT / ".cache").absolute() / "envs"


def place(recipe: Recipe) -> Path:
    """Where an environment is, or will be."""
    return cache() / f"{recipe.name}-{recipe.key}"


def is_whole(recipe: Recipe) -> bool:
    """Whether it is there, to its last package."""
    return _mark(place(recipe)).is_file()


def environment(recipe: Recipe) -> Path:
    """The folder of an environment, which is made if it is not there.

    Safe to call from several processes at once: one makes it, the others wait. Needs the package
    index only when it makes one, and takes a minute or two then.

    Raises:
        subprocess.CalledProcessError: it could not be made; what pip said is on stderr.
    """
    folder = place(recipe)
    if not is_whole(recipe):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(folder.name + ".lock")):
            if not is_whole(recipe):  # another process may have made it meanwhile
                _make(recipe, folder)
    return folder


def python(name: str) -> Path:
    """The interpreter of an environment."""
    return environment(RECIPES[name]) / "bin" / "python"


def program(name: str, command: str) -> Path:
    """A command of an environment, such as ``fw`` of ``cli``."""
    return environment(RECIPES[name]) / "bin" / command


def _make(recipe: Recipe, folder: Path) -> None:
    if folder.exists():  # what an interrupted run left
        shutil.rmtree(folder)
    pip = [] if recipe.packages else ["--without-pip"]
    _run(recipe, sys.executable, "-m", "venv", *pip, str(folder))
    install = [str(folder / "bin/python"), "-m", "pip", "install", "--require-hashes"]
    install += ["--disable-pip-version-check", "--no-input", "-qq"]
    for file in recipe.builders:
        _run(recipe, *install, "-r", str(file))
    isolation = ["--no-build-isolation"] if recipe.builders else []
    for file in recipe.packages:
        _run(recipe, *install, *isolation, "-r", str(file))
    _mark(folder).touch()


def _run(recipe: Recipe, *command: str) -> None:
    # What the house's own environment says of itself is not for this one.
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    variables = kept | dict(recipe.variables)
    subprocess.run(command, env=variables, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)


def _mark(folder: Path) -> Path:
    return folder / ".whole"


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # goes with the process, however that ends
        yield


def main(names: list[str]) -> None:
    """Make the environments that are named, or all, and print where each is."""
    for name in names or list(RECIPES):
        recipe = RECIPES[name]
        if not is_whole(recipe):
            print(f"environment of {name.upper()}", file=sys.stderr, flush=True)
        print(environment(recipe))


if __name__ == "__main__":
    main(sys.argv[1:])
