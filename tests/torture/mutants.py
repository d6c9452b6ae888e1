"""``make mutants``: break the promises of the code one at a time; the tests must notice each.

A mutant is an exact text and what stands there instead, tried in a copy of the tree with the
tests that should kill it. One that survives is a promise that nobody tests, and one whose text is
no longer found is a promise that somebody has to look at: both end it with 1.

``--part K`` of six runs every sixth mutant, for the torture; ``--only WORD`` those so named.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = 6
LIMIT_S = 180  # seconds for the tests of one mutant; one that hangs is dead as well
COPIED = ("fwsync", "tests", "pyproject.toml", "README.md", "LICENSE")

DOWNLOADER = ("tests/room/test_downloader.py",)
PIECES = (
    "tests/room/test_pieces.py",
    "tests/room/test_pieces_begun.py",
    "tests/room/test_pieces_wrong.py",
)
FETCH = ("tests/remotes/test_fetch_members.py",)
UPLOADER = ("tests/room/test_uploader.py",)
LOCALFS = ("tests/room/test_localfs.py",)
RENAMING = ("tests/room/test_renaming.py",)
RELOCATING = ("tests/room/test_relocating.py",)
FOLDER_MOVES = ("tests/room/test_engine_folder_moves.py",)
MOVES = ("tests/pure/test_moves.py",)
ENGINE_MOVES = ("tests/room/test_engine_moves.py",)
TRASH = ("tests/room/test_trash.py",)
UNPACKING = ("tests/room/test_unpacking.py", "tests/room/test_unpacking_kills.py")
RECONCILE = ("tests/pure/test_reconcile.py", "tests/pure/test_reconcile_properties.py")
PROMISES = ("tests/torture/test_promises.py",)
PLAN = ("tests/pure/test_plan.py",)
ROUTING = "tests/house/test_routing.py"
A_LOST_ANSWER = (
    "tests/house/test_whichever_request.py"
    "::test_whichever_request_fails_everything_is_there_once[multipart-lost answer]",
)
A_404 = (
    "tests/house/test_fault_rows.py"
    "::test_a_fault_on_the_wire_loses_and_doubles_nothing[F43-multipart]",
)
MAIN_JOB = ("tests/house/test_main_job.py::test_a_touch_moves_nothing",)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One promise, broken."""

    name: str
    file: str  #: below the package
    old: str  #: stands there exactly once
    new: str
    tests: tuple[str, ...]  #: the fastest first


MUTANTS = (
    # Downloads: whole or not there.
    Mutant("no fsync before the name", "arrivals.py",
           "            os.fsync(part_fd)\n", "            pass\n", DOWNLOADER),
    Mutant("no fsync of the folder", "arrivals.py",
           "                    self._folders.sync(above)\n", "                    pass\n",
           DOWNLOADER),
    Mutant("no size check of downloads", "arrivals.py",
           "    if part.hasher.size != entry.size:\n", "    if False:\n", DOWNLOADER),
    Mutant("no hash check of downloads", "arrivals.py",
           "    if entry.digest is not None and part.hasher.digest != entry.digest:\n",
           "    if False:\n", DOWNLOADER),
    Mutant("a piece is believed unread", "courses.py",
           "        if own.size != size or own.local_tag != tag:\n", "        if False:\n", PIECES),
    Mutant("a piece is recorded before it is durable", "courses.py",
           "        if is_end:\n            self.sync()\n", "", PIECES),
    Mutant("the beginning of a piece is recorded before it is durable", "courses.py",
           "            await in_thread(file.sync)\n            await self._confirm",
           "            await self._confirm", PIECES),
    Mutant("a slow piece is recorded before it is durable", "courses.py",
           "                if is_slow:\n                    await in_thread(file.sync)\n", "",
           PIECES),
    Mutant("the beginning of a piece is believed unread", "courses.py",
           "        if begins.held() != held:\n", "        if False:\n", PIECES),
    Mutant("pieces of two contents are joined", "courses.py",
           "        if mark and self._kept.mark and mark != self._kept.mark:\n",
           "        if False:\n", PIECES),
    Mutant("the whole file is taken for a piece of it", "courses.py",
           "                    if answer.whole:\n", "                    if False:\n", PIECES),
    Mutant("a part of another content is gone on with", "pieces.py",
           '    return "\\n".join([*told, entry.etag])\n', '    return ""\n', PIECES),
    Mutant("no hash check on standard output", "one_file.py",
           "    if hasher.size != entry.size or entry.digest not in (None, hasher.digest):\n",
           "    if False:\n",
           ("tests/house/test_one_file.py::test_f28_wrong_bytes_are_told_by_the_exit_code",)),
    Mutant("what is there is taken for the same", "one_file.py",
           "    if here is None or here != there:\n", "    if here is None:\n",
           ("tests/house/test_one_file.py::test_members_come_into_a_folder_and_replace_nothing",)),
    Mutant("a download begins without room", "space.py",
           "            if need > free:\n", "            if False:\n",
           ("tests/room/test_space.py",)),
    Mutant("room that others were promised", "space.py",
           " - sum(self._promised.values())\n", "\n", ("tests/room/test_space.py",)),
    Mutant("published over what appeared", "renaming.py",
           "    if look(root_fd, arrival.path) != arrival.replaces:\n", "    if False:\n",
           RENAMING),
    Mutant("a rename where a link refuses", "renaming.py",
           "        os.link(part_name, name, src_dir_fd=from_fd, dst_dir_fd=to_fd,"
           " follow_symlinks=False)\n",
           "        raise OSError(errno.EPERM, '')\n", RENAMING),
    Mutant("nothing goes to the trash", "renaming.py",
           '                kept = keep_copy(root_fd, arrival.path, f"{trash}/{arrival.path}")\n',
           "                pass\n", RENAMING),
    Mutant("discarded without a look", "renaming.py",
           "    if look(root_fd, path) != seen:\n", "    if False:\n", RENAMING),
    Mutant("what went to the trash is not looked at", "renaming.py",
           "        if not _is_still(stamp_at(to_fd, kept), seen):\n", "        if False:\n",
           RENAMING),
    Mutant("files change places where parts are swept", "renaming.py",
           "                if arrival.is_noted:\n", "                if True:\n", RENAMING),
    Mutant("another spelling is told by links", "renaming.py",
           "                if {was, name}.issubset(os.listdir(folder_fd)):\n",
           "                if move.seen.inode:\n", RELOCATING),
    Mutant("a folder moves with what is not ours", "moving.py",
           "        if not localfs.holds_just(self._root_fd, whole.old, files):\n",
           "        if False:\n", FOLDER_MOVES),
    Mutant("an edit goes to where its file was", "moves.py",
           "        return _Way.REPORT if is_edited and _is_left(old)",
           "        return _Way.PATHS if is_edited", MOVES),
    Mutant("an edit that moved along is a conflict for ever", "moves.py",
           "            return _Way.JUDGE if is_edit and is_free and not",
           "            return _Way.PATHS if is_edit and is_free and not", MOVES),
    Mutant("a new folder makes what moved anew", "moving.py",
           "    return {one: above[one] for one in state.moves.without_files(above)} | dict(moved)",
           "    return {one: above[one] for one in ()} | dict(moved)", ENGINE_MOVES),
    Mutant("the trash believes the clock", "trash.py",
           "        if ages[run] < days * _DAY_S:\n", "        if False:\n", TRASH),
    Mutant("links on the way are followed", "localfs.py",
           "os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC",
           "os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC", LOCALFS),
    Mutant("a FIFO hangs the open", "localfs.py",
           "os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC",
           "os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC", LOCALFS),
    # Uploads: believed once the server has named what it holds.
    Mutant("no size check of uploads", "uploader.py",
           "    if entry.size != source.size:\n", "    if False:\n", UPLOADER),
    Mutant("no hash check of uploads", "uploader.py",
           "    if entry.digest is not None and entry.digest != digest:\n",
           "    if False:\n", UPLOADER),
    Mutant("no look after reading", "sources.py",
           '        self._source.look_again(self._file_fd, "while it was sent")\n',
           "", UPLOADER),
    Mutant("sent twice without a look", "uploader.py",
           "        if there is None or _difference(source, there) is not None:\n",
           "        if True:\n", UPLOADER),
    Mutant("replaced without a look", "uploader.py",
           "        if (now and now.etag) == (seen and seen.etag):\n",
           "        if True:\n", UPLOADER),
    Mutant("a lost answer is sent again, whole run", "uploader.py",
           "        if there is None or _difference(source, there) is not None:\n",
           "        if True:\n", A_LOST_ANSWER),
    Mutant("one answer takes the project away", "remotes/flywheel_tree.py",
           "known.level is Level.PROJECT:\n", "known.level is Level.GROUP:\n", A_404),
    # Packs.
    Mutant("a note of members that are not durable", "unpacking/packs.py",
           "        os.fsync(part_fd)\n", "        pass\n", UNPACKING),
    Mutant("unpacked over what changed", "unpacking/packs.py",
           "        if localfs.look(root_fd, step.path) != step.seen:\n",
           "        if False:\n", UNPACKING),
    Mutant("a receipt of half a pack", "unpacking/finish.py",
           "    if note.version and not problems:\n", "    if note.version:\n", UNPACKING),
    Mutant("what came out of a swap is dropped", "unpacking/finish.py",
           "    _rescue(root_fd, aside, note)\n", "", UNPACKING),
    Mutant("what was cut short waits for the next start", "engine.py",
           "        if self._was_cut:\n", "        if False:\n",
           ("tests/room/test_packs_both_ways.py",)),
    Mutant("half a pack is believed", "leftovers.py",
           "        if is_begun(root_fd, parts, decision.path):\n", "        if False:\n",
           ("tests/room/test_packs_both_ways.py",)),
    Mutant("a zip that contradicts itself is sent", "packs.py",
           "crc32 != summed.crc32:\n", "False:\n", ("tests/room/test_packs.py",)),
    Mutant("chunks are not those of the lengths", "packs.py",
           "                if len(made) != summed.packed[number]:\n",
           "                if False:\n", ("tests/room/test_packs.py",)),
    # What is decided.
    Mutant("unknown here counts as gone", "reconcile.py",
           "unseen_here.covers(path) or unseen_there.covers(path)",
           "unseen_there.covers(path)", RECONCILE),
    Mutant("unknown there counts as gone", "reconcile.py",
           "unseen_here.covers(path) or unseen_there.covers(path)",
           "unseen_here.covers(path)", RECONCILE),
    Mutant("a deletion beats an edit", "reconcile.py",
           "    (CHANGED, DELETED): Verb.UPLOAD,  # new content beats",
           "    (CHANGED, DELETED): Verb.DELETE_LOCAL,  # new content beats", RECONCILE),
    Mutant("two unknown hashes are equal", "reconcile.py",
           "    return one is not None and one == other\n", "    return one == other\n", PROMISES),
    Mutant("no cap on deletions", "plan.py",
           "    if allowed is None or len(lost) <= allowed:\n", "    if True:\n", PLAN),
    Mutant("an emptied root is believed", "plan.py",
           "    if facts.local_files or facts.base_files < _ENOUGH_TO_BE_EMPTIED:\n",
           "    if True:\n", PLAN),
    Mutant("an empty listing is believed", "plan.py",
           "    if facts.remote_files or facts.base_files < _ENOUGH_TO_BE_EMPTIED:\n",
           "    if True:\n", PLAN),
    Mutant("all changed at once is believed", "plan.py",
           "    if len(paths) * 100 < facts.base_files * _EVERYTHING_PERCENT:\n",
           "    if True:\n", PLAN),
    # What is remembered, and by whom.
    Mutant("a deletion that is held counts as in step", "state_queries.py",
           " AND b.held = ''\n    AND r.container_id", "\n    AND r.container_id",
           ("tests/room/test_state_in_step.py",)),
    Mutant("what was in step once stays so", "state.py",
           "        if self._in_step_at != self._db.changes():\n", "        if False:\n",
           ("tests/room/test_state_in_step.py::test_what_was_in_step_when_files_were_to_be_hashed"
            "_is_asked_again_after_a_change",)),
    Mutant("the racy rule is off", "state_queries.py",
           '"(hashed_at_ns > 0 AND abs(hashed_at_ns - mtime_ns) >= :granularity)"',
           '"(hashed_at_ns > 0 AND :granularity >= 0)"',
           ("tests/room/test_state_scan.py", "tests/room/test_state.py")),
    Mutant("a newer state is used", "state_file.py",
           "    if version > newest:\n", "    if False:\n", ("tests/room/test_state_file.py",)),
    Mutant("a damaged state is used", "state_file.py",
           '    if verdict != "ok":\n        raise _damaged(shown, verdict.replace',
           "    if False:\n        raise _damaged(shown, verdict.replace",
           ("tests/room/test_state_file.py",)),
    Mutant("no lock", "locks.py",
           "            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n", "            pass\n",
           ("tests/room/test_roots_locks.py", "tests/room/test_roots.py")),
    Mutant("another root is this root", "roots.py",
           "    if found != expected_id:\n", "    if False:\n", ("tests/room/test_roots.py",)),
    # What is seen and heard.
    Mutant("a folder that cannot be read is empty", "scanner.py",
           '        return [Unknown(scope, f"the folder cannot be opened ({reason})")], nowhere\n',
           "        return [], nowhere\n", ("tests/room/test_scanner.py",)),
    Mutant("everything is settled", "settle.py",
           "            known.settled = now >= self._due(known)\n",
           "            known.settled = True\n", ("tests/room/test_settle.py",)),
    # What an archive brings.
    Mutant("a link is a file", "remotes/flywheel_fetch.py",
           "        is_ours = member.kind is tarstream.Kind.FILE and folder in _FOLDERS\n",
           "        is_ours = folder in _FOLDERS\n", FETCH),
    Mutant("a member of any container is taken", "remotes/flywheel_fetch.py",
           "            entry = self._wanted.pop(key, None)\n",
           "            entry = self._wanted.pop((next(iter(self._containers)), name), None)\n",
           FETCH),
    Mutant("a mark is the file of its name", "remotes/flywheel_fetch.py",
           "        if is_ours and not self._is_mark(key, member):\n", "        if is_ours:\n",
           FETCH),
    Mutant("an archive has no end", "remotes/flywheel_fetch.py",
           "        if self._spare < 0:\n", "        if False:\n", FETCH),
    Mutant("what a ticket promised is not compared", "remotes/flywheel_fetch.py",
           "        if (members, size) != (self._files, self._bytes):\n", "        if False:\n",
           FETCH),
    Mutant("a name that leads out is worth no word", "remotes/strays.py",
           "    return Oddity.LEADS_OUT if leads_out(name) else _OF_KIND.get(kind)\n",
           "    return _OF_KIND.get(kind)\n", FETCH),
    Mutant("two names for one member are one", "remotes/tarstream.py",
           "    if (said[0] and pending.path is not None) or (said[1] and pending.size is not None)"
           ":\n",
           "    if False:\n", ("tests/remotes/test_tarstream_differential.py",)),
    Mutant("a folder of old is one by its last name", "remotes/tarstream.py",
           '    if name.endswith(b"/") != header.name.endswith(b"/"):\n', "    if False:\n",
           ("tests/remotes/test_tarstream_differential.py",)),
    Mutant("what an archive leaves out is asked of archives for ever", "downloader.py",
           "                if self._missed[path] >= TOGETHER:\n", "                if False:\n",
           ("tests/room/test_downloader_apart.py",)),
    Mutant("a cut tar is a whole one", "remotes/tarstream.py",
           'raise Cut(f"the archive ends {self._left} bytes before the end of a member")',
           "raise StopAsyncIteration", PROMISES),
    Mutant("a broken tar header is believed", "remotes/tarstream.py",
           "        if stored != sum(blanked) - 256 * sum(byte > 127 for byte in blanked):\n",
           "        if False:\n", PROMISES),
    Mutant("the key goes to strangers", "remotes/calls.py",
           "        if self._header and request.url.origin() == self._origin:\n",
           "        if self._header:\n",
           ("tests/remotes/test_http_body.py", "tests/remotes/test_http.py")),
    Mutant("a container is made without a look", "remotes/flywheel_containers.py",
           "            found = await self._oldest(parent, wanted, lately=not again)\n"
           "            if found is not None:\n                return found\n"
           "        if not unsure:\n",
           "            found = None\n        if not unsure:\n",
           ("tests/contract/test_remote.py", "tests/contract/test_faults.py",
            "tests/room/test_engine_races.py")),
    Mutant("an answer from before the question is believed", "remotes/rounds.py",
           "                del self._open[key]  # whoever comes now is not too late: there is a"
           " next one\n", "                pass\n",
           ("tests/remotes/test_rounds.py",)),
    Mutant("a run forgets what it did", "recorder.py",
           "            await self._state.call(State.record, outcomes)\n", "            pass\n",
           MAIN_JOB),
    # Many projects: nothing goes, or is made, where nobody said so.
    Mutant("a plan makes projects", "scopes.py", "pretend=self.pretend", "pretend=False",
           (f"{ROUTING}::test_a_project_is_made_where_that_is_asked_for_and_a_group_never",)),
    Mutant("a project of another name is taken", "scopes.py",
           "        if (project.group, project.label) != labels:\n", "        if False:\n",
           (f"{ROUTING}::test_a_text_that_leads_to_a_project_by_its_id_is_no_name",)),
    Mutant("a project that refuses is asked with the bytes", "reviews.py",
           "        return without(plan, {one.path for one in problems}), problems\n",
           "        return plan, problems\n",
           (f"{ROUTING}::test_a_project_that_refuses_keeps_its_own_files_and_no_others",)),
    Mutant("folders are projects unasked", "mapping/settings.py",
           " | {Level.GROUP, Level.PROJECT}\n", "\n", ("tests/pure/test_mapping_rules.py",)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a mutant."""

    mutant: Mutant
    killer: str  #: the test that failed; empty: none did
    why: str = ""  #: of a mutant that was not killed
    took_s: float = 0.0


def copy_tree(to: Path) -> None:
    """The sources and tests; the environment is the one that runs this."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            skipped = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(source, to / name, ignore=skipped)
        elif source.exists():
            shutil.copy(source, to / name)


def run_tests(tree: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    """The exit code of pytest (1: a test failed), and what it said."""
    options = ["-q", "-x", "-p", "no:cacheprovider", "--tb=no", "--timeout=10"]
    # -B: a source that is changed twice within a second must not be read from its .pyc.
    command = [sys.executable, "-B", "-m", "pytest", *options, *tests]
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "ci", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPATH", None)
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return 1, f"FAILED {tests[0]}::a test that does not end"
    return done.returncode, done.stdout + done.stderr


def first_failure(said: str) -> str:
    """The name of the test that failed."""
    found = re.search(r"^FAILED (\S+)", said, re.MULTILINE)
    return found[1].removeprefix("tests/") if found else ""


def try_mutant(mutant: Mutant, tree: Path) -> Verdict:
    """Break it, test it, and put it right again."""
    file = tree / "fwsync" / mutant.file
    text = file.read_text() if file.exists() else ""
    if text.count(mutant.old) != 1:
        return Verdict(mutant, "", f"its text stands {text.count(mutant.old)} times in the file")
    started = time.monotonic()
    file.write_text(text.replace(mutant.old, mutant.new))
    try:
        code, said = run_tests(tree, mutant.tests)
    finally:
        file.write_text(text)
    took_s = time.monotonic() - started
    if code == 1 and (killer := first_failure(said)):
        return Verdict(mutant, killer, took_s=took_s)
    why = "survived" if code == 0 else f"pytest gave {code}: {said[-400:]}"
    return Verdict(mutant, "", why, took_s)


def main() -> int:
    """Try them, and print what killed each."""
    parser = argparse.ArgumentParser(description="Break the code; the tests must notice.")
    parser.add_argument("--part", type=int, default=None)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    chosen = [one for one in MUTANTS if args.only in one.name]
    if args.part is not None:
        chosen = chosen[args.part % PARTS :: PARTS]
    bad = 0
    with tempfile.TemporaryDirectory(prefix="fwsync-mutants-") as scratch:
        tree = Path(scratch)
        copy_tree(tree)
        # A test that fails anyway would kill everything.
        files = sorted({test for mutant in chosen for test in mutant.tests})
        sound: dict[str, bool] = {}
        for name in files:
            code, said = run_tests(tree, (name,))
            sound[name] = code == 0
            if code:
                print(f"without any mutant, {name} fails: {first_failure(said) or said[-400:]}")
        for mutant in chosen:
            if all(sound[test] for test in mutant.tests):
                verdict = try_mutant(mutant, tree)
            else:
                verdict = Verdict(mutant, "", "its tests fail without it")
            bad += not verdict.killer
            by = verdict.killer or f"NOTHING: {verdict.why}"
            print(f"{mutant.name:<38} {verdict.took_s:5.1f} s  {by}", flush=True)
    print(f"{len(chosen) - bad} of {len(chosen)} mutants killed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
