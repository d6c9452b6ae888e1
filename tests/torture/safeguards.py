"""The safeguards that ``mutants.py`` takes away one at a time, and the tests that must notice."""

from __future__ import annotations

from dataclasses import dataclass

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
GUARDS = ("tests/pure/test_guards.py",)
KNOWN_ROOTS = ("tests/room/test_known_roots.py",)
ROUTING = "tests/house/test_routing.py"
DELETIONS = ("tests/room/test_engine_deletions.py",)
SAFEKEEPING = ("tests/room/test_safekeeping.py",)
CONFLICT_COPIES = ("tests/room/test_engine.py", "tests/room/test_conflict_copies.py")
MOVES_UP = (
    "tests/room/test_engine_moves_up_faults.py"
    "::test_a_file_that_is_not_as_it_was_there_is_not_moved",
)
UNHEARD_MOVE = (
    "tests/room/test_engine_moves_up_faults.py::test_an_unheard_answer_to_a_move_costs_a_look",
)
BELIEVED_MOVE = (
    "tests/room/test_engine_moves_up_faults.py"
    "::test_a_move_that_the_server_only_says_it_has_made_is_made",
)
EDITED_ALONG = ("tests/pure/test_moves_up.py",)
#: A run is killed while names go round on the server.
ASIDE_KILLED = (
    "tests/house/test_moves_up_kill.py"
    "::test_what_has_a_name_for_a_moment_is_known_after_the_state_is_lost",
)
PULLED_ASIDE = (
    "tests/house/test_moves_up_kill.py::test_a_pull_into_it_follows_no_name_for_a_moment",
)
MOVED_BY_OTHERS = (
    "tests/room/test_engine_moves_up_faults.py"
    "::test_a_container_that_others_move_meanwhile_is_left_to_the_next_run",
)
LOOK_REFUSED = (
    "tests/room/test_engine_moves_up_faults.py"
    "::test_a_look_that_is_refused_after_a_move_is_no_refusal_of_the_move",
)
REBUILDING = ("tests/room/test_rebuilding.py",)
#: A scenario is played.
GOLDEN = "tests/golden/test_golden.py::test_a_scenario_ends_as_its_file_says"
APPLY = ("tests/room/test_applying.py", "tests/room/test_saved_plans.py")
#: ``sync`` is killed at a point.
KILLED = "tests/house/test_sync_kill.py::test_a_sync_that_is_killed_there_is_finished_by_the_next"
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
    hangs: bool = False  #: what it breaks is that something ends


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
           "                _second_name(from_fd, name, to_fd, free_name)\n",
           "                pass\n", RENAMING),
    Mutant("discarded without a look", "renaming.py",
           "    if look(root_fd, path) != seen:\n", "    if False:\n", RENAMING),
    Mutant("what went to the trash is not looked at", "renaming.py",
           "        if not _is_still(stamp_at(to_fd, kept), seen):\n", "        if False:\n",
           RENAMING),
    Mutant("files change places where parts are swept", "renaming.py",
           "                if arrival.is_noted:\n", "                if True:\n", RENAMING),
    Mutant("folders without a file keep a name for ever", "renaming.py",
           " and clear_folder(to_fd, new_name):\n", " and False:\n", RELOCATING),
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
    Mutant("an edit goes along over another file", "moves.py",
           "        is_free = there is None or move.new in self._leaving\n",
           "        is_free = True\n", MOVES),
    Mutant("what has its place already goes along", "moves.py",
           "        is_edit = not self._belongs_there(move.old)\n", "        is_edit = True\n",
           MOVES),
    Mutant("a ring turns though one of it stays", "moves.py",
           "            if self._leaving <= goes:\n", "            if True:\n", MOVES),
    Mutant("a new folder makes what moved anew", "following.py",
           "    return {one: above[one] for one in state.moves.without_files(above)} | dict(moved)",
           "    return {one: above[one] for one in ()} | dict(moved)", ENGINE_MOVES),
    Mutant("the trash believes the clock", "trash.py",
           "        if ages[run] < days * _DAY_S:\n", "        if False:\n", TRASH),
    Mutant("the trash believes a clock that is behind it", "trash.py",
           "    if _time_of(runs[-1]) > now + timedelta(days=1):\n", "    if False:\n", TRASH),
    Mutant("links on the way are followed", "localfs.py",
           "os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC",
           "os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC", LOCALFS),
    Mutant("a FIFO hangs the open", "localfs.py",
           "os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC",
           "os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC",
           (f"{LOCALFS[0]}::test_a_pipe_in_the_place_of_a_file_does_not_hang_the_open",),
           hangs=True),
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
    Mutant("no cap on deletions", "guards.py",
           "    if allowed is None or len(lost) <= allowed:\n", "    if True:\n", PLAN),
    Mutant("no cap in a container", "guards.py",
           "        if allowed is not None and len(paths) > allowed:\n", "        if False:\n",
           GUARDS),
    Mutant("a share is counted of what came while it was held", "guards.py",
           "        return min(then, self.base_files)\n", "        return self.base_files\n",
           GUARDS),
    Mutant("an emptied root is believed", "guards.py",
           "    return _emptied(ROOT_EMPTIED, f\"all",
           "    return None\n    return _emptied(ROOT_EMPTIED, f\"all", PLAN),
    Mutant("an empty listing is believed", "guards.py",
           "    return _emptied(REMOTE_EMPTIED, f\"the server lists none of the {",
           "    return None\n    return _emptied(REMOTE_EMPTIED, f\"the server lists none of the {",
           PLAN),
    Mutant("an emptied root with one new file is believed", "guards.py",
           "    return not files or (files * 2 <= agreed and none_is_left())\n",
           "    return not files\n", GUARDS),
    Mutant("an emptied root is believed once a file has come to it", "guards.py",
           "    if not facts.holds(ROOT_EMPTIED) and not _is_empty(\n", "    if not _is_empty(\n",
           GUARDS),
    Mutant("a guard keeps what is new from going up", "guards.py",
           "        return decision.replaces is not None\n", "        return True\n", MOVES),
    Mutant("all changed at once is believed", "guards.py",
           "    if len(paths) * 100 < facts.agreed * _EVERYTHING_PERCENT:\n",
           "    if True:\n", PLAN),
    Mutant("a version that falls is believed", "guards.py",
           "    return base.file_id == remote.file_id and remote.version < base.version\n",
           "    return False\n", GUARDS),
    Mutant("a server that lost its newest files is believed", "guards.py",
           "    return server.newest_ns <= server.marks_ns[-2]\n", "    return False\n", GUARDS),
    Mutant("a restored server is believed when it is used again", "guards.py",
           "    if not facts.holds(SERVER_RESTORED):\n", "    if True:\n", GUARDS),
    Mutant("an empty mount point is taken for a new folder", "known_roots.py",
           "        if moved or (known.ids and not fetches_only):\n", "        if False:\n",
           KNOWN_ROOTS),
    Mutant("a root that is gone is nothing to speak of", "known_roots.py",
           "        if makes:\n            return\n", "        return\n", KNOWN_ROOTS),
    Mutant("a root that is a link now is followed", "known_roots.py",
           "    if root_id(at) not in known.ids:\n", "    if False:\n", KNOWN_ROOTS),
    Mutant("another folder in the place of a root is taken for it", "known_roots.py",
           "    elif not fetches_only and _is_replaced(at, known):\n", "    elif False:\n",
           KNOWN_ROOTS),
    Mutant("a new marker is not known to who is killed after it was written", "known_roots.py",
           "    if file is not None and _at(file, root) is not None:\n", "    if False:\n",
           KNOWN_ROOTS),
    Mutant("another disk over the root is scanned", "known_roots.py",
           "    elif moved and known.ids:\n", "    elif False:\n", KNOWN_ROOTS),
    Mutant("the marker is not looked at while a run goes on", "engine.py",
           "        if why := roots.check_marker(self._root, self._root_id):\n",
           "        if why := \"\":\n",
           ("tests/room/test_engine_races.py::test_a_root_whose_marker_is_gone_or_another_halts"
            "_while_the_run_goes_on",)),
    # Two ways: what is looked at again, and in which order things are done.
    Mutant("another version is deleted there", "executor.py",
           "        if now.etag != decision.remote.etag:\n", "        if False:\n", DELETIONS),
    Mutant("what is there again is deleted here", "executor.py",
           "        if await self._reader.look(decision.path) is not None:\n",
           "        if False:\n", ("tests/room/test_engine_pull_deletions.py",)),
    Mutant("what is here again is deleted there", "executor.py",
           "await self._state.call(_check_still_gone, self._root_fd, decision.path)\n", "False\n",
           SAFEKEEPING),
    Mutant("a deletion does not wait for what is new", "executor.py",
           "elif any(map(recorder.failed, _BRINGS[decision.verb])) or view.deferred:\n",
           "elif False:\n", ("tests/room/test_engine_pull_deletions.py",)),
    Mutant("a deletion that is answered with 404 is believed", "remotes/flywheel.py",
           "            if await self.look(entry.path) is not None:\n                raise\n",
           "            return\n",
           ("tests/house/test_nth_operation.py::test_a_deletion_that_the_server_only_seems_to_have"
            "_done_is_done_by_the_next_run",)),
    Mutant("the last bytes there are not fetched before they are deleted", "executor.py",
           "        await self._safekeeping().keep(now, always=is_folder)\n", "", SAFEKEEPING),
    Mutant("a file that gives way to a folder is not kept", "executor.py",
           "keep(now, always=is_folder)", "keep(now)", SAFEKEEPING),
    Mutant("the last bytes there are not fetched before they are replaced", "safekeeping.py",
           "        return self._send_after(send) if self._is_needed else send\n",
           "        return send\n", SAFEKEEPING),
    Mutant("what cannot be kept is replaced all the same", "safekeeping.py",
           "            left = [one for one in batch if one.path not in problems]\n",
           "            left = [*batch]\n", SAFEKEEPING),
    Mutant("the server's bytes come without a copy of ours", "executor.py",
           "            stamp = await in_thread(conflicts.make_copy, self._root_fd, local, copy)\n",
           "            stamp = local.stamp\n",
           ("tests/room/test_engine.py"
            "::test_a_conflict_keeps_both_and_its_copy_never_goes_up_nor_grows",)),
    Mutant("a copy is not written down", "conflicts.py",
           "    note_copy(root_fd, copy)\n", "", CONFLICT_COPIES),
    Mutant("a copy is one file with what lies in the trash", "renaming.py",
           "                if arrival.copy and are_one_file(root_fd, kept, arrival.copy):\n",
           "                if False:\n", CONFLICT_COPIES),
    Mutant("a copy that is another file is enough", "renaming.py",
           "arrival.copy and are_one_file(root_fd, kept, arrival.copy)", "arrival.copy",
           ("tests/room/test_renaming.py"
            "::test_what_stood_there_stays_in_the_trash_if_its_copy_is_another_file",)),
    Mutant("a killed conflict has a second copy", "conflicts.py",
           "if localfs.is_free(root_fd, copy) or renaming.are_one_file(root_fd, on_disk, copy):\n",
           "if False:\n",
           ("tests/room/test_conflict_copies.py"
            "::test_a_copy_that_was_recorded_and_not_made_is_the_one_that_is_made",)),
    Mutant("a conflict that the state forgot has a second copy", "conflicts.py",
           "        if beside and renaming.are_one_file(root_fd, on_disk, copy):\n",
           "        if False:\n",
           ("tests/room/test_conflict_copies.py"
            "::test_a_copy_that_only_the_disk_knows_of_is_the_one_that_is_made",)),
    Mutant("any consent is consent", "plan.py",
           "objecting if accept != plan_id else ()\n", "objecting if accept is None else ()\n",
           (*PLAN, "tests/room/test_engine_deletions.py::test_consent_is_for_that_plan_only")),
    Mutant("a file that was emptied with its old time is sent", "state_scan.py",
           "        if _is_emptied_unseen(row, seen):\n", "        if False:\n",
           ("tests/room/test_engine_races.py",)),
    Mutant("what a filter leaves out takes part", "reconcile.py",
           "        if not unseen and in_scope(path):\n", "        if not unseen:\n",
           (*RECONCILE, "tests/room/test_engine_faults.py")),
    Mutant("a deletion beats an edit there", "reconcile.py",
           "    (DELETED, SAME): Verb.DELETE_REMOTE,\n    (DELETED, CHANGED): Verb.DOWNLOAD,\n",
           "    (DELETED, SAME): Verb.DELETE_REMOTE,\n    (DELETED, CHANGED): Verb.DELETE_REMOTE,"
           "\n", RECONCILE),
    Mutant("a watch ends when its root goes away", "daemon.py",
           "                except Halted as error:",
           "                except ZeroDivisionError as error:",
           ("tests/house/test_sync_faults.py::test_f75_a_watch_whose_mount_vanishes_waits_and_goes"
            "_on_when_it_is_back",)),
    # Renames that go up.
    Mutant("another version is renamed there", "moving_up.py",
           "        if now is None or now.etag != seen.etag or now.file_id != seen.file_id:\n",
           "        if now is None:\n", MOVES_UP),
    Mutant("a rename there goes over what has the path", "moving_up.py",
           "        if there is None or (there.file_id and there.file_id == now.file_id):\n",
           "        if True:\n", MOVES_UP),
    Mutant("a lost answer to a rename is a failure", "asides.py",
           "            if there is not None and there.file_id == entry.file_id:\n",
           "            raise\n            if there:\n", UNHEARD_MOVE),
    Mutant("a look that is refused is a move that is refused", "remotes/flywheel_moves.py",
           "        except (FileProblem, Forbidden, Garbled, NotFound, Refused) as error:\n",
           "        except Garbled as error:\n", LOOK_REFUSED),
    Mutant("a look after a lost answer is a move that is refused", "asides.py",
           "            there = await _look_after(remote, to)", "            there = await"
           " remote.look(to)", LOOK_REFUSED),
    Mutant("a pack moves with what has changed in it", "moving.py",
           "                if localfs.look(self._root_fd, entry.on_disk) != entry.stamp:\n",
           "                if False:\n",
           (f"{ENGINE_MOVES[0]}"
            "::test_a_pack_of_which_a_member_changes_after_the_plan_is_left_and_fetched_anew",)),
    Mutant("a new file makes anew what has moved", "following.py",
           "    if not elsewhere or decision.verb", "    if True or decision.verb", ENGINE_MOVES),
    Mutant("a container that another host moved is moved again", "remotes/flywheel_moves.py",
           "not await self._is_as_listed(container)", "False", MOVED_BY_OTHERS),
    Mutant("two hosts make twins of a container", "remotes/flywheel_moves.py",
           "        if len(await self._containers.ids_of(to.parent, to.label)) > 1:\n",
           "        if False:\n",
           ("tests/room/test_several_hosts.py"
            "::test_a_container_that_is_made_while_ours_gets_its_label_has_no_twin",)),
    Mutant("what has a name for a moment is not written down", "moving_up.py",
           "        await self._aside.begin("
           "is_folder=False, aside=target, to=job.to, back=job.at)\n", "",
           (f"{KILLED}[F06-after-_put_aside-1]",)),
    Mutant("an edit in a renamed folder is sent over its own file", "edits_along.py",
           "whole.get(_parent(one.base.path)) == _parent(one.local.path)",
           "False", EDITED_ALONG),
    Mutant("what goes along comes to where a new file goes", "moving_up.py",
           "            if any(now_at(one, folders) in coming for one in along):\n",
           "            if False:\n",
           (f"{GOLDEN}[folder-renamed-here-with-a-deleted-file-made-anew-engine]",)),
    Mutant("what changes places is made anew before it has come home", "moving_up.py",
           "        return path in self.waiting or _lies_below(path, self.waiting)\n",
           "        return False\n",
           (f"{GOLDEN}[swapped-here-and-refused-half-way-engine]",)),
    Mutant("a ring that was cut short finds no place free", "asides.py",
           "        return (self.to, self.back, *self.further)\n",
           "        return (self.to, self.back)\n",
           (f"{GOLDEN}[moved-round-here-and-refused-half-way-engine]",)),
    Mutant("names for a moment are in the state alone", "asides.py",
           "        noted = _read(await in_thread(_noted, self._root_fd))\n",
           "        noted: list[Aside] = []\n", ASIDE_KILLED),
    Mutant("what has a name for a moment is somebody's new file", "asides.py",
           "            for one in await self.all()\n            for path in",
           "            for one in ()\n            for path in", PULLED_ASIDE),
    Mutant("a move that is answered with yes is believed", "remotes/flywheel_moves.py",
           "        if there is None or there.file_id != entry.file_id:\n"
           "            raise Unavailable",
           "        if there is None or there.file_id != entry.file_id:\n"
           "            return entry\n            raise Unavailable", BELIEVED_MOVE),
    Mutant("a file is sent over one that is called otherwise here",
           "remotes/flywheel_filenames.py",
           "twin is not None and await self.looks.look(container, name, path) is not None:\n",
           "False:\n",
           tuple(f"{GOLDEN}[{one}-engine]"
                 for one in ("named-as-another-is-there", "named-like-an-empty-container"))),
    # Saved plans, and conflicts that are settled.
    Mutant("what changed here since a plan was saved is sent", "approving.py",
           '    return "" if _is_file(was, now) else "changed here since the plan was made"\n',
           '    return ""\n', APPLY),
    Mutant("what changed there since a plan was saved is replaced", "approving.py",
           "    if any(was.get(name) != now[name] for name in now):\n", "    if False:\n", APPLY),
    Mutant("what was chosen of a conflict is done to other bytes", "model.py",
           "        return local.stamp == self.stamp and remote.etag == self.remote_etag\n",
           "        return True\n",
           ("tests/house/test_conflicts.py::test_what_was_chosen_is_not_done_to_other_bytes",)),
    Mutant("a conflict is settled before the server's bytes are here", "resolutions.py",
           "    if renaming.are_one_file(root_fd, here, one.copy_path):\n", "    if False:\n",
           ("tests/room/test_conflict_copies.py"
            "::test_a_conflict_whose_other_version_is_not_here_is_not_settled",)),
    Mutant("a conflict is closed while its copy is gone with all else", "resolutions.py",
           "        elif not moved and not is_held:\n", "        elif not moved:\n",
           ("tests/room/test_conflict_copies.py"
            "::test_a_copy_that_is_gone_with_all_else_closes_nothing",)),
    Mutant("which copy takes its path back is not written down", "resolutions.py",
           "    state.copies.begin_taking_back(one.id, _which(one, copy))\n", "",
           ("tests/house/test_conflicts.py"
            "::test_killed_before_any_step_nothing_is_lost_and_done_again_it_goes_on[keep-local]",)),
    # A state made anew, and files that leave the scope.
    Mutant("a row of a damaged state is believed unread", "rebuilding.py",
           "        return entry.etag == base.local_etag\n", "        return True\n", REBUILDING),
    Mutant("what is made anew moves files", "rebuilding.py",
           "            same = tuple(one for one in told if one.verb is Verb.ADOPT)\n",
           "            same = tuple(told)\n", REBUILDING),
    Mutant("a state is made anew over an empty mount point", "rebuilding.py",
           "    await in_thread(known_roots.check, folder, environment())\n", "",
           REBUILDING),
    Mutant("what a filter hid counts as watched", "out_of_scope.py",
           "        state.forget_agreed(anew)\n", "", ("tests/room/test_filters_anew.py",)),
    Mutant("what got an excluded name is deleted there", "out_of_scope.py",
           "        if decision.verb is Verb.DELETE_REMOTE and decision.path in lies_at:\n",
           "        if False:\n", ("tests/room/test_engine_moves_up.py",)),
    Mutant("what may be a file that cannot be read is deleted there", "comparing.py",
           "            as_large.setdefault(entry.size, one.scope)\n", "            pass\n",
           (f"{GOLDEN}[moved-here-and-not-readable-engine]",)),
    Mutant("what may be in a folder that cannot be read is deleted there", "comparing.py",
           "            anywhere = anywhere or one.scope\n", "            pass\n",
           (f"{GOLDEN}[moved-into-a-folder-that-is-not-readable-engine]",)),
    Mutant("what may be in what cannot be read is not asked for", "engine.py",
           "[*(one for one in scan.unknown if one.hides), *unread]", "[*unread]",
           (f"{GOLDEN}[moved-into-a-folder-that-is-not-readable-engine]",)),
    Mutant("that a file is gone is written down while it may be unread", "comparing.py",
           "decision.verb in (Verb.DELETE_REMOTE, Verb.HOLD) and",
           "decision.verb is Verb.DELETE_REMOTE and",
           (f"{GOLDEN}[moved-here-and-not-readable-without-deletes-engine]",)),
    Mutant("a plan is made on the state itself", "grounds.py",
           "    own = state_copy(place) if only_look else own_state(place, name, is_new=is_new)\n",
           "    own = own_state(place, name, is_new=is_new)\n",
           ("tests/room/test_runs.py::test_a_plan_writes_nothing_anywhere",)),
    Mutant("a root that does not answer has a second state", "whereabouts.py",
           "    except OSError as error:\n        raise LocalError(f\"{folder}: cannot be",
           "    except OSError as error:\n        return None\n"
           "        raise LocalError(f\"{folder}: cannot be", ("tests/room/test_roots.py",)),
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
    Mutant("a part of a scan is taken for what the index has", "state_scan.py",
           "        if rows != part:\n", "        if len(rows) != len(part):\n",
           ("tests/room/test_state_scan.py"
            "::test_in_parts_a_scan_finds_what_it_finds_as_a_whole",)),
    Mutant("a page with a byte that is no text is read in part", "remotes/flywheel_slim.py",
           "    if not body.isascii():\n", "    if False:\n",
           ("tests/remotes/test_slim_pages.py",)),
    Mutant("a file without a size is listed", "remotes/flywheel_slim.py",
           "_Size = Annotated[int, msgspec.Meta(ge=0)]\n", "_Size = int\n",
           ("tests/remotes/test_slim_pages.py",)),
    Mutant("a folder that cannot be read is empty", "scanner.py",
           "        why = f\"the folder cannot be opened",
           "        return [], nowhere\n"
           "        why = f\"the folder cannot be opened",
           ("tests/room/test_scanner.py",)),
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
           "        if self._spare < 0:\n", "        if False:\n",
           (f"{FETCH[0]}::test_members_without_number_are_read_past_for_a_while_only",),
           hangs=True),
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
           "self._left = 0", PROMISES),
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
           "            round_.answers = await self._answer(key, list(round_.questions))\n",
           "            self._open[key] = round_\n"
           "            round_.answers = await self._answer(key, list(round_.questions))\n"
           "            del self._open[key]\n",
           ("tests/remotes/test_rounds.py"
            "::test_no_answer_is_of_a_request_from_before_the_question",)),
    Mutant("a run forgets what it did", "recorder.py",
           "            await self._state.call(State.record, outcomes, self._told)\n",
           "            pass\n",
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
