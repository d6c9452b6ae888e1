"""Which command has which of the options, and how it gets them.

The one rule: a flag that sets something for a run is one line of :data:`FLAGS`, named like
the setting it overrides, with the commands that have it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from typer.models import ArgumentInfo

from fwsync.errors import UsageError
from fwsync.model import ConflictPolicy
from fwsync.options import beside, deleting, finding, places, running, taking_part

_UP = frozenset({"push", "sync", "watch", "plan push", "plan sync", "explain"})
_DOWN = frozenset({"pull", "sync", "watch", "plan pull", "plan sync", "explain"})
_DOWN_ONLY = frozenset({"pull", "plan pull"})
_UP_ONLY = frozenset({"push", "watch", "plan push"})
_ONE_SHOT = frozenset({"push", "pull", "sync"})
_PLAN = frozenset({"plan push", "plan pull", "plan sync"})
_BOTH = _UP & _DOWN
_ALL = _UP | _DOWN
_LOOK = frozenset({"verify"})
_CLEAN = frozenset({"cleanup"})
_APPLY = frozenset({"apply"})
_DOCTOR = frozenset({"doctor"})
_WAITS = _ONE_SHOT | _PLAN | _LOOK | _CLEAN | _APPLY | _DOCTOR | {"explain"}
_CHOOSES = frozenset({"pull", "plan pull", "verify"})


@dataclass(frozen=True, slots=True)
class Flag:
    """An option that overrides a setting, or says something about one run."""

    setting: str  #: the field of :class:`fwsync.config.Settings`, without its unit
    option: Any  #: what the command line shows
    commands: frozenset[str]

    @property
    def default(self) -> object:
        """What stands for "not given"."""
        return False if self.option.__origin__ is bool else None


#: In the order of ``--help``, within each of its panels.
FLAGS = (
    Flag("create_project", places.CreateProject, _UP),
    Flag("layout", places.LayoutOption, _ALL | _LOOK | _DOCTOR),
    Flag("pack", places.Pack, _ALL | _DOCTOR),
    Flag("pack_folders", places.PackFolder, _ALL | _DOCTOR),
    Flag("pack_acquisitions", places.PackAcquisitions, _ALL | _DOCTOR),
    Flag("pack_compress", places.PackCompress, _UP | _LOOK | _DOCTOR),
    Flag("unpack", places.Unpack, _ALL | _DOCTOR),
    Flag("keep_zips", places.KeepZips, _ALL | _DOCTOR),
    Flag("regex", places.Regex, _UP_ONLY),
    Flag("scan", places.Scan, _UP_ONLY),
    Flag("subject", places.Subject, _UP_ONLY),
    Flag("session", places.SessionLabel, _UP_ONLY),
    Flag("acquisition", places.Acquisition, _UP_ONLY),
    Flag("no_subjects", places.NoSubjects, _ALL | _DOCTOR),
    Flag("no_sessions", places.NoSessions, _ALL | _DOCTOR),
    Flag("root_dirs", places.RootDirs, _ALL | _DOCTOR),
    Flag("rules_file", places.Rules, _UP_ONLY),
    Flag("ingest_template", places.IngestTemplate, _UP_ONLY),
    Flag("set_vars", places.SetVar, _UP_ONLY),
    Flag("routing", places.Routing, _UP_ONLY),
    Flag("unrouted", places.Unrouted, _UP_ONLY),
    Flag("include", taking_part.Include, _ALL | _LOOK | _DOCTOR),
    Flag("exclude", taking_part.Exclude, _ALL | _LOOK | _DOCTOR),
    Flag("filter_from", taking_part.FilterFrom, _ALL | _LOOK | _DOCTOR),
    Flag("hidden", taking_part.Hidden, _ALL | _LOOK | _DOCTOR),
    Flag("links", taking_part.LinksOption, frozenset({"push", "watch", "plan push"})),
    Flag("empty", taking_part.EmptyOption, _ALL),
    Flag("min_size", taking_part.MinSize, _ALL),
    Flag("max_size", taking_part.MaxSize, _ALL),
    Flag("min_age", taking_part.MinAge, _ALL),
    Flag("max_age", taking_part.MaxAge, _ALL),
    Flag("only_types", taking_part.Type, _CHOOSES),
    Flag("not_types", taking_part.NotType, _CHOOSES),
    Flag("only_tags", taking_part.Tag, _CHOOSES),
    Flag("not_tags", taking_part.NotTag, _CHOOSES),
    Flag("name_regex", taking_part.NameRegex, _CHOOSES),
    Flag("only_subjects", taking_part.OnlySubject, _CHOOSES),
    Flag("only_sessions", taking_part.OnlySession, _CHOOSES),
    Flag("only_acquisitions", taking_part.OnlyAcquisition, _CHOOSES),
    Flag("container_tags", taking_part.ContainerTag, _CHOOSES),
    Flag("not_container_tags", taking_part.NotContainerTag, _CHOOSES),
    Flag("mlsets", taking_part.MlSet, _CHOOSES),
    Flag("not_mlsets", taking_part.NotMlSet, _CHOOSES),
    Flag("modified_after", taking_part.ModifiedAfter, _CHOOSES),
    Flag("modified_before", taking_part.ModifiedBefore, _CHOOSES),
    Flag("where", taking_part.Where, _CHOOSES),
    Flag("detect_duplicates", taking_part.DetectDuplicates, _UP_ONLY),
    Flag("duplicate_codes", taking_part.DuplicateCodes, _UP_ONLY),
    Flag("duplicate_projects", taking_part.DuplicateProjects, _UP_ONLY),
    Flag("duplicates", taking_part.DuplicatesOption, _UP_ONLY),
    Flag("analyses", beside.AnalysesOption, _DOWN | _LOOK),
    Flag("metadata_files", beside.MetadataOption, _DOWN | _LOOK),
    Flag("conflict", deleting.Conflict, _ALL),
    Flag("existing", deleting.ExistingOption, _UP),
    Flag("delete", deleting.DeleteBoth, _BOTH),
    Flag("delete", deleting.DeleteHere, _DOWN_ONLY),
    Flag("delete_up", deleting.DeleteUp, _UP),
    Flag("delete_down", deleting.DeleteDown, _DOWN),
    Flag("max_delete", deleting.MaxDelete, _ALL),
    Flag("max_delete_container", deleting.MaxDeleteContainer, _ALL),
    Flag("accept_deletes", deleting.Accept, _ONE_SHOT | _APPLY),
    Flag("new_root", deleting.NewRoot, _ALL | _LOOK),
    Flag("settle", running.Settle, frozenset({"watch"})),
    Flag("rescan", running.Rescan, frozenset({"watch"})),
    Flag("transfers", running.Transfers, _ONE_SHOT | {"watch"} | _APPLY),
    Flag("fsync", running.Fsync, _ONE_SHOT & _DOWN | {"watch"} | _APPLY),
    Flag("deid_profile", running.DeidProfile, _UP_ONLY),
    Flag("route", running.Route, frozenset({"push", "sync", "watch"})),
    Flag("bwlimit", running.Bwlimit, _ONE_SHOT | {"watch"} | _APPLY),
    Flag("max_transfer", running.MaxTransfer, _ONE_SHOT | _APPLY),
    Flag("max_duration", running.MaxDuration, _ONE_SHOT | _APPLY),
    Flag("patience", running.Patience, _WAITS),
    Flag("audit_log", running.AuditLogFile, _ONE_SHOT | {"watch"} | _APPLY),
    Flag("state", finding.StateFile, _ALL | _LOOK | _CLEAN | _DOCTOR),
    Flag("api_key_file", finding.KeyFile, _ALL | _LOOK | _CLEAN | _APPLY | _DOCTOR),
)


_BOTH_WAYS = {"delete_up": True, "delete_down": True}
_EXISTING = {
    deleting.Existing.SKIP: ConflictPolicy.SKIP,
    deleting.Existing.REPLACE: ConflictPolicy.LOCAL,
    deleting.Existing.ERROR: ConflictPolicy.FAIL,
}


def taking_flags(command: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags that are listed for it.

    The decorated function takes ``flags``: those that were really given, by the names of
    the settings; only they override file and environment.
    """
    mine = [flag for flag in FLAGS if command in flag.commands]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        def called(**given: Any) -> None:
            values = {flag.setting: given.pop(flag.setting) for flag in mine}
            wanted = [flag for flag in mine if values[flag.setting] not in (flag.default, [])]
            told = {one.setting: values[one.setting] for one in wanted}
            function(**given, flags=_spelled(told, command))

        _show_as(called, function, mine)
        return called

    return decorate


def _spelled(flags: Mapping[str, Any], command: str) -> dict[str, Any]:
    """Words that stand for others: ``--delete``, ``--existing``.

    ``--delete`` is both of its halves, or the one that the command has, and ``--existing``
    another word for ``--conflict``.

    Raises:
        UsageError: it is given beside it.
    """
    told = dict(flags)
    existing = told.pop("existing", None)
    if existing is not None and "conflict" in told:
        raise UsageError("--existing: is another spelling of --conflict", hint="give one of them")
    if existing is not None:
        told["conflict"] = _EXISTING[existing]
    if told.pop("delete", False):
        told |= {"delete_down": True} if command in _DOWN_ONLY else _BOTH_WAYS
    return told


def _show_as(called: Callable[..., None], function: Callable[..., None], mine: list[Flag]) -> None:
    """Let the command-line library see the function's arguments, the flags, its own options."""
    hints = get_type_hints(function, include_extras=True)
    own = [
        one.replace(annotation=hints[one.name])
        for one in inspect.signature(function).parameters.values()
        if one.name != "flags"
    ]
    keyword = inspect.Parameter.KEYWORD_ONLY
    shared = [
        inspect.Parameter(one.setting, keyword, default=one.default, annotation=one.option)
        for one in mine
    ]
    at = sum(isinstance(one.annotation.__metadata__[0], ArgumentInfo) for one in own)
    own = [one.replace(kind=keyword) for one in own]
    signature = inspect.Signature([*own[:at], *shared, *own[at:]])
    called.__signature__ = signature  # type: ignore[attr-defined]  # inspect looks for it
    called.__annotations__ = {one.name: one.annotation for one in signature.parameters.values()}
    called.__name__ = function.__name__
    called.__doc__ = function.__doc__
