"""The table of routes of core18.

Every handler asks for itself who may: an answer to nobody is at times a 400, a 403 or a 404.
"""

from __future__ import annotations

from typing import Final

from fwsync.sandbox.core2018 import (
    analyses,
    containers,
    download,
    files,
    lists,
    packfiles,
    people,
    placement,
    resolve,
    startup,
)
from fwsync.sandbox.hierarchy import collections
from fwsync.sandbox.routes import Handler, Route

ID: Final = "{id:[0-9a-f]{24}}"
GROUP: Final = "{id:[0-9a-z][0-9a-z.@_-]{0,30}[0-9a-z]}"
NAME: Final = "{name:[^/]+}"
TAG: Final = "tags/{value:[^/]{1,32}}"
NOTE: Final = "notes/{note:[0-9a-f]{24}}"
ANALYSIS: Final = "analyses/{analysis:[0-9a-f]{24}}"
USER: Final = "permissions/{user:[^/]+}"
BELOW: Final = ("project", "session", "acquisition")
WITH_FILES: Final = (*BELOW, "collection")


def _open(method: str, path: str, handler: Handler, kinds: tuple[str, ...] = ()) -> Route:
    return Route(method, path, handler, guard="none", kinds=kinds)


def _both(method: str, path: str, handler: Handler, kinds: tuple[str, ...]) -> tuple[Route, ...]:
    """A route of the containers that have an id, and of groups, whose ids are words."""
    return (
        _open(method, f"/groups/{GROUP}{path}", handler, ("group",)),
        _open(method, f"/{{cont}}/{ID}{path}", handler, kinds),
    )


ROUTES: Final[tuple[Route, ...]] = (
    # start-up
    _open("GET", "", startup.root),
    _open("HEAD", "", startup.root),
    _open("GET", "/config", startup.config),
    _open("GET", "/version", startup.version),
    _open("GET", "/users/self", people.myself),
    _open("POST", "/users/self/key", people.new_key),
    _open("POST", "/users", people.create),
    _open("GET", "/devices", people.devices),
    _open("POST", "/devices", people.tell),
    _open("GET", "/devices/self", people.device),
    _open("GET", "/devices/status", people.statuses),
    _open("GET", "/devices/{id:[^/]+}", people.device),
    # containers
    _open("POST", "/{cont}", containers.create, ("group", *BELOW)),
    _open("GET", "/{cont}", containers.top_list, ("group", *WITH_FILES)),
    *_both("GET", "", containers.get, WITH_FILES),
    *_both("PUT", "", containers.change, BELOW),
    *_both("DELETE", "", containers.delete, WITH_FILES),
    _open("GET", f"/groups/{GROUP}/projects", containers.child_list, ("group",)),
    _open("GET", f"/projects/{ID}/sessions", containers.child_list, ("project",)),
    _open("GET", f"/projects/{ID}/acquisitions", containers.no_list),
    _open("GET", f"/sessions/{ID}/acquisitions", containers.child_list, ("session",)),
    _open("POST", f"/{{cont}}/{ID}/info", containers.change_info, WITH_FILES),
    # collections are made and changed as they are today: nobody does so without a key
    Route("POST", "/collections", collections.create),
    Route("PUT", f"/collections/{ID}", collections.change, kinds=("collection",)),
    # lists on a container
    *_both("POST", "/tags", lists.add_tag, WITH_FILES),
    *_both("GET", f"/{TAG}", lists.get_tag, WITH_FILES),
    *_both("PUT", f"/{TAG}", lists.rename_tag, WITH_FILES),
    *_both("DELETE", f"/{TAG}", lists.drop_tag, WITH_FILES),
    _open("POST", f"/{{cont}}/{ID}/notes", lists.add_note, WITH_FILES),
    _open("GET", f"/{{cont}}/{ID}/{NOTE}", lists.get_note, WITH_FILES),
    _open("PUT", f"/{{cont}}/{ID}/{NOTE}", lists.change_note, WITH_FILES),
    _open("DELETE", f"/{{cont}}/{ID}/{NOTE}", lists.drop_note, WITH_FILES),
    *_both("POST", "/permissions", lists.add_permission, ("project", "collection")),
    *_both("GET", f"/{USER}", lists.get_permission, ("project", "collection")),
    *_both("PUT", f"/{USER}", lists.change_permission, ("project", "collection")),
    *_both("DELETE", f"/{USER}", lists.drop_permission, ("project", "collection")),
    # files
    _open("POST", f"/{{cont}}/{ID}/files", files.upload, WITH_FILES),
    _open("GET", f"/{{cont}}/{ID}/files/{NAME}", files.download, WITH_FILES),
    _open("PUT", f"/{{cont}}/{ID}/files/{NAME}", files.change, WITH_FILES),
    _open("DELETE", f"/{{cont}}/{ID}/files/{NAME}", files.delete, WITH_FILES),
    _open("GET", f"/{{cont}}/{ID}/files/{NAME}/info", files.info, WITH_FILES),
    _open("POST", f"/{{cont}}/{ID}/files/{NAME}/info", files.change_info, WITH_FILES),
    _open(
        "POST",
        f"/{{cont}}/{ID}/files/{NAME}/classification",
        files.change_classification,
        WITH_FILES,
    ),
    # uploads that say where they belong, and many files at once
    _open("POST", "/upload/{strategy:label|uid|uid-match|reaper}", placement.upload),
    _open("POST", f"/projects/{ID}/packfile-start", packfiles.start),
    _open("POST", f"/{{cont}}/{ID}/packfile-start", packfiles.only_projects, WITH_FILES[1:]),
    _open("POST", f"/projects/{ID}/packfile", packfiles.add),
    _open("GET", f"/projects/{ID}/packfile-end", packfiles.end),
    _open("POST", f"/projects/{ID}/packfile-end", packfiles.end),
    _open("POST", "/clean-packfiles", packfiles.clean),
    # analyses
    _open("GET", f"/{{cont}}/{ID}/analyses", analyses.top_list, WITH_FILES),
    _open("GET", f"/{{cont}}/{ID}/{ANALYSIS}", analyses.get, WITH_FILES),
    _open("GET", f"/{{cont}}/{ID}/{ANALYSIS}/files", analyses.archive, WITH_FILES),
    _open("GET", f"/{{cont}}/{ID}/{ANALYSIS}/files/{NAME}", analyses.file, WITH_FILES),
    # paths and archives
    _open("POST", "/resolve", resolve.resolve),
    _open("POST", "/download", download.ticket),
    _open("GET", "/download", download.stream),
    _open("POST", "/download/summary", download.summary),
)
