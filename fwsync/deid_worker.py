"""The process that de-identifies: a profile and one file at a time in, changed bytes out.

It is run by its path, and is the only place that imports the optional library
``flywheel-migration`` (13.10.11, observed). It fails closed: what the library leaves as it was
with no more than a warning (a file that it ignores, pixels that it cannot clean, a value that it
cannot replace) is refused here.

The one rule: no value of a file leaves this process but in the changed bytes. Messages of the
library quote values, so they are dropped; a refusal says the kind of what happened, and a field.

Frames on stdin and stdout are eight bytes of length, big-endian, and so many bytes. The first
frame is the profile; every file is two, what it is called as JSON and its bytes. Each is answered
by JSON, and a changed file by its bytes as well.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import resource
import shutil
import signal
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

_LENGTH = struct.Struct(">Q")
_PIECE = 1 << 20

#: Parts of a profile whose work would be lost here, or would leave values on this disk.
_NOT_HERE = {
    "deid-log": "would write the original values to this disk",
    "map-subjects": "is not used here; name the subjects by the layout",
    "filename": "changes names only, and would let any content pass",
    "zip": "is not used here; let fwsync pack files (--pack), and zips be left out",
}
_OPTIONS = frozenset({"name", "description", "secret-key", "only-config-profiles"})
_NO_NAMES = "filenames: files are called as the layout says, and not as a profile does"


class BadProfileError(Exception):
    """The profile cannot be used; the text is for people, and holds nothing of any file."""


class RefusedError(Exception):
    """A file is not to be sent: why, and at which field if one is to blame."""

    def __init__(self, kind: str, field: str = "") -> None:
        super().__init__(kind)
        self.kind = kind
        self.field = field


# ------------------------------------------------------------------------------ the frames


def write_frame(stream: BinaryIO, pieces: Iterable[bytes], size: int) -> None:
    """Write one frame of ``size`` bytes."""
    stream.write(_LENGTH.pack(size))
    for piece in pieces:
        stream.write(piece)
    stream.flush()


def write_json(stream: BinaryIO, value: object) -> None:
    """Write one frame that holds JSON."""
    data = json.dumps(value).encode()
    write_frame(stream, [data], len(data))


def read_size(stream: BinaryIO) -> int | None:
    """The size of the next frame; None: there is none, the other end is gone."""
    head = stream.read(_LENGTH.size)
    return int(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else None


def read_pieces(stream: BinaryIO, size: int) -> Iterator[bytes]:
    """The bytes of a frame whose size was read.

    Raises:
        EOFError: the other end is gone.
    """
    while size:
        piece = stream.read(min(_PIECE, size))
        if not piece:
            raise EOFError
        size -= len(piece)
        yield piece


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next frame; None: the other end is gone."""
    size = read_size(stream)
    try:
        return None if size is None else b"".join(read_pieces(stream, size))
    except EOFError:
        return None


# ----------------------------------------------------------------------------- the profile


class _Asked(dict[str, Any]):
    """A table that remembers which of its keys the library asked for."""

    def __init__(self, content: dict[str, Any]) -> None:
        super().__init__(content)
        self.asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return super().__getitem__(key)


def load(content: Any) -> Any:
    """A fresh profile: the library's own keep things of one file for the next.

    Raises:
        BadProfileError: it is none, or not for here.
    """
    from flywheel_migration.deidentify.deid_profile import DeIdProfile
    from flywheel_migration.deidentify.file_profile import FileProfile

    if not isinstance(content, dict):
        raise BadProfileError("expected a table with a section such as `dicom`")
    for key, why in _NOT_HERE.items():
        if key in content:
            raise BadProfileError(f"{key}: {why}")
    sections = set(FileProfile.profile_names()) & content.keys()
    unknown = content.keys() - sections - _OPTIONS
    if unknown:
        raise BadProfileError(f"{min(unknown)}: is nothing that a profile has")
    if not sections:
        raise BadProfileError("has no section for a kind of file, such as `dicom`")
    config = copy.deepcopy(content)
    for name in sections:
        if not isinstance(config[name], dict):
            raise BadProfileError(f"{name}: expected a table with `fields`")
        if config[name].get("filenames"):
            raise BadProfileError(f"{name}: {_NO_NAMES}")
        config[name] = _Asked(config[name])
    profile = DeIdProfile()
    profile.load_config(config)
    # A section that the profile does not name is loaded all the same, and changes nothing.
    profile.file_profiles = [one for one in profile.file_profiles if one.name in sections]
    errors = profile.validate()
    for name in sorted(sections):
        ignored = config[name].keys() - config[name].asked
        errors += [f"{name}: {key} is nothing that this section has" for key in sorted(ignored)]
    if errors:
        raise BadProfileError("; ".join(map(str, errors)))
    return profile


# -------------------------------------------------------------------------------- one file


class _Warnings(logging.Handler):
    """Counts what the library warns of."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


class _Work:
    """One file under the profile that is for it.

    Args:
        rules: the library's profile for this kind of file; used once.
        warnings: counts what the library warns of.
        tells: find out what is changed.
    """

    def __init__(self, rules: Any, warnings: _Warnings, *, tells: bool) -> None:
        self.rules = rules
        self.warnings = warnings
        self.changed: list[tuple[str, str]] = []
        self.is_warned = False  #: the library was not content with its work
        self._field = ""
        self._before: dict[str, Any] = {}
        for field in rules.fields:
            field.deidentify = self._watched(field, field.deidentify)
        if tells:
            load_record = rules.load_record
            rules.load_record = lambda *args: self._loaded(load_record(*args))
            rules.log = [None]  # not empty: asks for write_log_entry, which is ours
            rules.write_log_entry = self._note

    def run(self, src: Any, dst: Any, name: str) -> None:
        """Let the library work.

        Raises:
            RefusedError: it failed.
        """
        before = self.warnings.count
        try:
            self.rules.process_files(src, dst, [name])
        except (Exception, SystemExit) as error:  # it exits where a value has no place
            kind = "no room" if isinstance(error, OSError) and error.errno == 28 else ""
            raise RefusedError(kind or f"failed ({type(error).__name__})", self._field) from None
        self.is_warned = self.warnings.count > before

    def _watched(self, field: Any, deidentify: Callable[..., None]) -> Callable[..., None]:
        def watched(*args: Any) -> None:
            self._field = str(field.fieldname)
            deidentify(*args)
            self._field = ""

        return watched

    def _loaded(self, loaded: tuple[Any, bool]) -> tuple[Any, bool]:
        rules = self.rules
        if loaded[1] and getattr(rules, "remove_private_tags", False):
            self.changed.append(("private elements", "remove"))
        if loaded[1] and getattr(rules, "patient_age_from_birthdate", False):
            self.changed.append(("PatientAge", "from birth date"))
        if getattr(rules, "remove_undefined", False):
            self.changed.append(("elements without a rule", "remove"))
        return loaded

    def _note(self, path: str, when: str, state: Any, record: Any) -> None:
        try:
            values, fields = self.rules.get_log_entry(path, when, state, record)
        except Exception:  # a field that cannot be read says nothing; what is done to it may fail
            return
        if when == "before":
            self._before = copy.deepcopy(values)
            return
        self.changed += [
            (str(name), str(field.key))
            for name, field in fields.items()
            if self._before.get(name) != values.get(name)
        ]


def _rules_for(profile: Any, src: Any, name: str, *, is_dicom: bool) -> Any:
    """The library's profile for a file: by its own filters, then by content.

    Raises:
        RefusedError: there is none.
    """
    for one in profile.file_profiles:
        if one.matches_file(name):
            return one
        if not one.enforce_file_filter and one.matches_byte_sig(src, name):
            return one
    one = profile.get_file_profile("dicom") if is_dicom else None
    if one is None or one.enforce_file_filter:
        raise RefusedError("dicom without a rule" if is_dicom else "no rule")
    return one


def change(profile: Any, asked: dict[str, Any], folder: Path, warnings: _Warnings) -> _Work:
    """De-identify the one file in ``folder/in``; the outcome is the one file in ``folder/out``.

    Raises:
        RefusedError: it is not to be sent.
    """
    from fs.osfs import OSFS

    with OSFS(str(folder / "in")) as src, OSFS(str(folder / "out")) as dst:
        rules = _rules_for(profile, src, asked["name"], is_dicom=asked["dicom"])
        work = _Work(rules, warnings, tells=asked["tell"])
        work.run(src, dst, asked["name"])
        return work


# ------------------------------------------------------------------------------ the process


@contextmanager
def _clean(folder: Path) -> Iterator[None]:
    """Empty folders for one file, which hold nothing afterwards."""
    for name in ("in", "out"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(mode=0o700)
    try:
        yield
    finally:
        for one in folder.iterdir():
            if one.is_dir():
                shutil.rmtree(one, ignore_errors=True)
            else:
                one.unlink()


def _answer(
    stdin: BinaryIO, stdout: BinaryIO, folder: Path, content: Any, heard: _Warnings
) -> bool:
    """Deal with one file; False: there is none."""
    head = read_frame(stdin)
    size = None if head is None else read_size(stdin)
    if head is None or size is None:
        return False
    asked = json.loads(head)
    pieces = read_pieces(stdin, size)
    with _clean(folder):
        try:
            try:
                with (folder / "in" / asked["name"]).open("wb") as file:
                    file.writelines(pieces)
            except OSError as error:
                for _ in pieces:  # the rest of the frame, so that the next one is understood
                    pass
                raise RefusedError("no room" if error.errno == 28 else "no file") from None
            work = change(load(content), asked, folder, heard)
            made = [one for one in (folder / "out").rglob("*") if one.is_file()]
            if len(made) != 1:
                raise RefusedError("not readable")
            if work.is_warned:
                raise RefusedError("warned")
        except RefusedError as error:
            write_json(stdout, {"refused": error.kind, "field": error.field})
            return True
        write_json(stdout, {"changed": work.changed})
        with made[0].open("rb") as file:
            out = made[0].stat().st_size
            write_frame(stdout, iter(lambda: file.read(_PIECE), b""), out)
    return True


def _begin(profile: bytes, stdout: BinaryIO) -> Any:
    """Take the profile in; None, after it was said, if it cannot be used."""
    content = json.loads(profile)
    try:
        load(content)
    except ImportError as error:
        write_json(stdout, {"missing": error.name or "flywheel_migration"})
        return None
    except BadProfileError as error:
        write_json(stdout, {"bad": str(error)})
        return None
    except Exception as error:  # about the profile: no file has been read
        write_json(stdout, {"bad": f"{type(error).__name__}: {error}"})
        return None
    write_json(stdout, {"ready": True})
    return content


def main() -> None:
    """Serve until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started us says when it is over
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold what is to go
    os.umask(0o077)
    stdin, stdout = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # whatever the library prints
    os.dup2(nowhere, 2)
    folder = Path.cwd()
    heard = _Warnings(logging.WARNING)
    logging.getLogger("flywheel_migration").addHandler(heard)
    try:
        profile = read_frame(stdin)
        content = None if profile is None else _begin(profile, stdout)
        while content is not None and _answer(stdin, stdout, folder, content, heard):
            pass
    except BrokenPipeError:
        pass
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
