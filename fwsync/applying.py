"""``fwsync apply``: a saved plan is carried out, step by step, as far as it still holds.

Its rule: the plan is made anew, and of it only those steps are done that the saved one has. So
each is checked twice: against what the saved plan saw, and by whoever carries it out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fwsync import policies, roots, saved_plans
from fwsync.approving import Approved
from fwsync.config import Recorded
from fwsync.errors import UsageError
from fwsync.model import Report
from fwsync.progress import NoProgress, Progress
from fwsync.runs import drive, recorded_cycle
from fwsync.saved_plans import RUNNING, SavedPlan
from fwsync.sessions import Flags, open_session, settings_of
from fwsync.threads import in_thread

COMMAND: Final = "apply"


def run(
    file: Path, flags: Flags, config: Path | None = None, *, progress: Progress | None = None
) -> Report:
    """Carry out a saved plan; blocks until it is over.

    What does not hold any more is left, and is a problem of the report; what is not in the
    plan is not done.

    Args:
        file: that ``fwsync plan … --out`` has written.
        flags: how the run works, and ``accept_deletes``: the plan's id, where a guard held it.
        config: the settings file; of it, and of the environment, only what says how a run
            works is taken. What is done is as the plan's own settings say.
        progress: is told what happens.

    Raises:
        UsageError: it is no plan, of another version, or for another root, site or project.
        FwsyncError: it could not start, or could not go on. What was done stays done.
    """
    return drive(_run(file, flags, config, progress or NoProgress()))


async def _run(file: Path, flags: Flags, config: Path | None, progress: Progress) -> Report:
    try:
        saved = await in_thread(saved_plans.read, file)
        await in_thread(_check_here, saved)
        told = await in_thread(_settings, saved, flags, config)
        approved = Approved(saved, flags.get("accept_deletes"), _again(file, flags, config))
        made = saved.made
        async with open_session(
            made.mode,
            made.root,
            made.target,
            told,
            None,
            progress=progress,
            command=COMMAND,
            approval=approved,
        ) as session:
            session.extras.chosen = approved
            return await recorded_cycle(session, COMMAND, is_part=True)
    finally:
        progress.close()


def _again(file: Path, flags: Flags, config: Path | None) -> tuple[str, ...]:
    """The command as words that can be given again, from wherever."""
    words = policies.words_of(settings_of(flags, config), flags, config)
    return (COMMAND, str(file.absolute()), *words)


def _settings(saved: SavedPlan, flags: Flags, config: Path | None) -> Recorded:
    """The plan's own settings, and how this run works by today's; blocks."""
    today: Mapping[str, Any] = settings_of(flags, config).given
    working = {name: today[name] for name in RUNNING & today.keys() if name != "project"}
    told: dict[str, object] = {**working, **saved.made.settings}
    if flags.get("accept_deletes") is not None:
        told["accept_deletes"] = flags["accept_deletes"]
    return Recorded(told)


def _check_here(saved: SavedPlan) -> None:
    """See that the root, and the files that settings name, are those of the plan; blocks.

    Raises:
        UsageError: they are not.
    """
    root = saved.made.root
    if saved.made.root_id:
        if not os.path.lexists(root):
            raise UsageError(
                f"{root}: there is no such directory, and the plan was made for it",
                hint="mount its disk or share, and apply the plan again; nothing was done",
            )
        if roots.root_id(root) != saved.made.root_id:
            raise UsageError(
                f"{root}: is another folder than the one that the plan was made for",
                hint="see that the right disk is mounted there, or make the plan again; "
                "nothing was done",
            )
    saved_plans.check_files(saved)
