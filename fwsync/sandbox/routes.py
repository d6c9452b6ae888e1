"""The table of routes: which request goes to which handler, and who may ask.

A new route is a line here and a handler in its room; the sections are those of the API.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

from aiohttp import web

from fwsync.sandbox import inspection, startup
from fwsync.sandbox.archives import download, summary
from fwsync.sandbox.content import delivery, files, versions
from fwsync.sandbox.faults import desk
from fwsync.sandbox.hierarchy import (
    analyses,
    collections,
    containers,
    describe,
    lookup,
    moving,
    notes,
    removal,
    tags,
    treequery,
    uids,
)
from fwsync.sandbox.kept import tree
from fwsync.sandbox.people import devices, users
from fwsync.sandbox.site import Call
from fwsync.sandbox.uploads import container, managed, packfile, placement, upsert

Handler = Callable[[Call], Awaitable[web.StreamResponse]]
Guard = Literal["key", "ticket", "none"]


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the table.

    Args:
        path: below ``/api``, but for ``/`` and what begins with ``/sandbox/``; ``{cont}`` stands
            for each of ``kinds`` in turn.
        guard: a ``key`` is needed, or a ``ticket`` will do, or nothing is asked.
    """

    method: str
    path: str
    handler: Handler
    guard: Guard = "key"
    kinds: tuple[str, ...] = ()


ALL_KINDS: Final = (*tree.KINDS, "analysis", "collection")
WITH_FILES: Final = (*ALL_KINDS[1:], "")
WITH_ANALYSES: Final = (*tree.WITH_ANALYSES, "")
WITH_TAGS: Final = (*WITH_FILES, "group")
WITH_GRANTS: Final = ("group", "project")
WITH_PERMISSIONS: Final = (*WITH_GRANTS, "collection")

_ANALYSIS: Final = ("analysis",)
_COLLECTION: Final = ("collection",)
_BELOW: Final = "/{cont}/{id}/{level:subjects|sessions|acquisitions|all}/analyses"
_FILE: Final = "/{cont}/{id}/files/{name}"
_NESTED: Final = "/{cont}/{id}/analyses/{aid}"
_OUTPUT: Final = f"{_NESTED}/files/{{name}}"

ROUTES: Final[tuple[Route, ...]] = (
    # login and start-up
    Route("GET", "/config", startup.config, guard="none"),
    Route("GET", "/version", startup.version, guard="none"),
    Route("GET", "/auth/status", startup.status, guard="none"),
    Route("GET", "/site/settings", startup.settings),
    Route("GET", "/{cont}/{id}/settings", startup.settings, kinds=WITH_GRANTS),
    # users
    Route("GET", "/users/self", users.myself, guard="none"),
    Route("GET", "/users/self/info", users.my_info),
    Route("POST", "/users/self/key", users.new_key),
    Route("DELETE", "/users/self/key/{key_id}", users.delete_key),
    Route("GET", "/users", users.top_list),
    Route("POST", "/users", users.create),
    Route("GET", "/users/{id}", users.get),
    Route("PUT", "/users/{id}", users.change),
    Route("DELETE", "/users/{id}", users.delete),
    # devices
    Route("GET", "/devices", devices.top_list),
    Route("POST", "/devices", devices.create),
    Route("GET", "/devices/status", devices.status),
    Route("GET", "/devices/self", devices.myself),
    Route("PUT", "/devices/self", devices.tell),
    Route("GET", "/devices/{id}", devices.get),
    Route("PUT", "/devices/{id}", devices.change),
    Route("DELETE", "/devices/{id}", devices.delete),
    Route("POST", "/devices/{id}/key", devices.new_key),
    Route("DELETE", "/devices/{id}/key/{key_id}", devices.delete_key),
    Route("GET", "/roles", startup.roles),
    Route("GET", "/roles/{id}", startup.role),
    # paths
    Route("POST", "/lookup", lookup.lookup),
    Route("POST", "/resolve", lookup.resolve),
    # containers
    Route("GET", "/{cont}", containers.top_list, kinds=ALL_KINDS),
    Route("POST", "/{cont}", containers.create, kinds=tree.KINDS),
    Route("DELETE", "/{cont}", removal.containers, kinds=ALL_KINDS),
    Route("GET", "/{cont}/{id}", containers.get, kinds=(*ALL_KINDS, "")),
    Route("PUT", "/{cont}/{id}", moving.change, kinds=(*tree.KINDS, "analysis", "")),
    Route("DELETE", "/{cont}/{id}", removal.container, kinds=(*ALL_KINDS, "")),
    Route("GET", "/groups/{id}/projects", containers.child_list, kinds=("group",)),
    Route("GET", "/projects/{id}/subjects", containers.child_list, kinds=("project",)),
    Route("GET", "/projects/{id}/sessions", containers.child_list, kinds=("project",)),
    Route("GET", "/projects/{id}/acquisitions", containers.child_list, kinds=("project",)),
    Route("GET", "/subjects/{id}/sessions", containers.child_list, kinds=("subject",)),
    Route("GET", "/sessions/{id}/acquisitions", containers.child_list, kinds=("session",)),
    Route("GET", "/{cont}/{id}/permissions", containers.permissions, kinds=WITH_PERMISSIONS),
    Route("POST", "/{cont}/{id}/permissions", containers.grant, kinds=WITH_PERMISSIONS),
    Route("PUT", "/{cont}/{id}/permissions", containers.grant, kinds=WITH_PERMISSIONS),
    Route("GET", "/{cont}/{id}/permissions/{user}", containers.permissions, kinds=WITH_PERMISSIONS),
    Route("PUT", "/{cont}/{id}/permissions/{user}", containers.grant, kinds=WITH_PERMISSIONS),
    Route("DELETE", "/{cont}/{id}/permissions/{user}", containers.revoke, kinds=WITH_PERMISSIONS),
    # analyses
    Route("GET", "/{cont}/{id}/analyses", analyses.child_list, kinds=WITH_ANALYSES),
    Route("POST", "/{cont}/{id}/analyses", analyses.create, kinds=WITH_ANALYSES),
    Route("GET", _BELOW, analyses.list_below, kinds=tree.KINDS),
    Route("GET", _NESTED, analyses.nested(containers.get), kinds=WITH_ANALYSES),
    Route("PUT", _NESTED, analyses.nested(moving.change), kinds=WITH_ANALYSES),
    Route("DELETE", _NESTED, analyses.nested(removal.container), kinds=WITH_ANALYSES),
    Route("POST", f"{_NESTED}/files", analyses.nested(container.upload), kinds=WITH_ANALYSES),
    Route("GET", _OUTPUT, analyses.nested(delivery.download), "ticket", WITH_ANALYSES),
    Route("HEAD", _OUTPUT, analyses.nested(delivery.download), "ticket", WITH_ANALYSES),
    Route("DELETE", _OUTPUT, analyses.nested(removal.file_by_name), kinds=WITH_ANALYSES),
    Route("GET", "/analyses/{id}/input_files/{name}/info", analyses.input_files, kinds=_ANALYSIS),
    # collections
    Route("GET", "/collections/curators", collections.curators),
    Route("POST", "/{cont}", collections.create, kinds=_COLLECTION),
    Route("PUT", "/{cont}/{id}", collections.change, kinds=_COLLECTION),
    Route("GET", "/{cont}/{id}/sessions", collections.sessions, kinds=_COLLECTION),
    Route("GET", "/{cont}/{id}/acquisitions", collections.acquisitions, kinds=_COLLECTION),
    # metadata of containers
    Route("GET", "/{cont}/{id}/tags", tags.listing, kinds=WITH_TAGS),
    Route("POST", "/{cont}/{id}/tags", tags.add, kinds=WITH_TAGS),
    Route("PATCH", "/{cont}/{id}/tags", tags.add_many, kinds=WITH_TAGS),
    Route("DELETE", "/{cont}/{id}/tags", tags.remove_many, kinds=WITH_TAGS),
    Route("GET", "/{cont}/{id}/tags/{tag}", tags.get, kinds=WITH_TAGS),
    Route("PUT", "/{cont}/{id}/tags/{tag}", tags.rename, kinds=WITH_TAGS),
    Route("DELETE", "/{cont}/{id}/tags/{tag}", tags.remove, kinds=WITH_TAGS),
    Route("GET", "/{cont}/{id}/notes", notes.listing, kinds=WITH_FILES),
    Route("POST", "/{cont}/{id}/notes", notes.add, kinds=WITH_FILES),
    Route("GET", "/{cont}/{id}/notes/{note}", notes.get, kinds=WITH_FILES),
    Route("PUT", "/{cont}/{id}/notes/{note}", notes.change, kinds=WITH_FILES),
    Route("DELETE", "/{cont}/{id}/notes/{note}", notes.remove, kinds=WITH_FILES),
    Route("PATCH", "/{cont}/{id}/info", describe.change_info, kinds=WITH_FILES),
    Route("POST", f"{_NESTED}/notes", analyses.nested(notes.add), kinds=WITH_ANALYSES),
    Route(
        "DELETE", f"{_NESTED}/notes/{{note}}", analyses.nested(notes.remove), kinds=WITH_ANALYSES
    ),
    # files of a container
    Route("POST", "/{cont}/{id}/files", container.upload, kinds=WITH_FILES),
    Route("GET", _FILE, delivery.download, "ticket", WITH_FILES),
    Route("HEAD", _FILE, delivery.download, "ticket", WITH_FILES),
    Route("PUT", _FILE, describe.change_type, kinds=WITH_FILES),
    Route("DELETE", _FILE, removal.file_by_name, kinds=WITH_FILES),
    Route("GET", f"{_FILE}/info", files.get, kinds=WITH_FILES),
    Route("PATCH", f"{_FILE}/info", describe.change_info, kinds=WITH_FILES),
    Route("PATCH", f"{_FILE}/classification", describe.change_classification, kinds=WITH_FILES),
    Route("GET", f"{_FILE}/tags", tags.listing, kinds=WITH_FILES),
    Route("POST", f"{_FILE}/tags", tags.add, kinds=WITH_FILES),
    Route("GET", f"{_FILE}/tags/{{tag}}", tags.get, kinds=WITH_FILES),
    Route("PUT", f"{_FILE}/tags/{{tag}}", tags.rename, kinds=WITH_FILES),
    Route("DELETE", f"{_FILE}/tags/{{tag}}", tags.remove, kinds=WITH_FILES),
    # files by id
    Route("GET", "/files", files.top_list),
    Route("DELETE", "/files", removal.files),
    Route("GET", "/files/{file_id}", files.get),
    Route("PUT", "/files/{file_id}", describe.change_type),
    Route("DELETE", "/files/{file_id}", removal.file),
    Route("GET", "/files/{file_id}/versions", versions.listing),
    Route("POST", "/files/{file_id}/restore", versions.restore),
    Route("POST", "/files/{file_id}/move", versions.move),
    Route("GET", "/files/{file_id}/download", delivery.download, guard="ticket"),
    Route("HEAD", "/files/{file_id}/download", delivery.download, guard="ticket"),
    Route("POST", "/files/{file_id}/ticket", delivery.ticket),
    Route("GET", "/files/{file_id}/zip_info", delivery.zip_info, guard="ticket"),
    Route("GET", "/files/{file_id}/zip_member/{member:.+}", delivery.zip_member, guard="ticket"),
    Route("GET", "/files/{file_id}/info", describe.info),
    Route("PUT", "/files/{file_id}/info", describe.replace_info),
    Route("PATCH", "/files/{file_id}/info", describe.merge_info),
    Route("PUT", "/files/{file_id}/classification", describe.change_classification),
    Route("PATCH", "/files/{file_id}/classification", describe.change_classification),
    Route("GET", "/files/{file_id}/tags", tags.listing),
    Route("PUT", "/files/{file_id}/tags", tags.replace),
    Route("PATCH", "/files/{file_id}/tags", tags.add_many),
    Route("DELETE", "/files/{file_id}/tags", tags.remove_many),
    Route("POST", "/files", managed.upsert),
    Route("GET", "/files/{file_id}/signed_url", delivery.signed_url),
    # branches
    Route("POST", "/projects/{id}/upsert-hierarchy", upsert.upsert, kinds=("project",)),
    Route("POST", "/projects/{id}/upsert-file", upsert.upsert_file, kinds=("project",)),
    # packfiles
    Route("POST", "/projects/{id}/packfile-start", packfile.start, kinds=("project",)),
    Route("POST", "/projects/{id}/packfile", packfile.add, kinds=("project",)),
    Route("GET", "/projects/{id}/packfile-end", packfile.end, kinds=("project",)),
    Route("POST", "/projects/{id}/packfile-end", packfile.end, kinds=("project",)),
    Route("POST", "/clean-packfiles", packfile.clean),
    # many containers at once
    Route("POST", "/uids", uids.exist),
    Route("POST", "/uids/projects", uids.by_project),
    Route("POST", "/tree", treequery.fetch),
    Route("GET", "/tree/graph", treequery.graph),
    Route("GET", "/projects/catalog-list", treequery.catalogue),
    # uploads that say where they belong
    Route("POST", "/upload/label", placement.by_label, guard="none"),
    Route("POST", "/upload/uid", placement.by_uid, guard="none"),
    Route("POST", "/upload/uid-match", placement.by_uid_match, guard="none"),
    Route("POST", "/upload/reaper", placement.by_reaper, guard="none"),
    Route("POST", "/upload/signed-url", managed.signed_url),
    Route("PUT", "/upload/fs-file", managed.put_file, guard="none"),
    Route("POST", "/upload/complete-s3-multipart", managed.complete_s3),
    Route("POST", "/upload/complete-azure-multipart", managed.complete_azure),
    Route("POST", "/upload/signed-url/cleanup", managed.cleanup),
    Route("POST", "/storage/files", managed.storage_file),
    Route("DELETE", "/storage/files/{id}", managed.delete_storage_file),
    # archives
    Route("POST", "/download", download.ticket),
    Route("GET", "/download", download.stream, guard="ticket"),
    Route("POST", "/download/targets", download.targets),
    Route("POST", "/download/summary", summary.summary),
    # not Flywheel: the sandbox looked at from outside
    Route("GET", "/", inspection.welcome, "none"),
    Route("GET", "/sandbox/requests", inspection.requests),
    Route("DELETE", "/sandbox/requests", inspection.reset),
    Route("GET", "/sandbox/record", inspection.record),
    Route("GET", "/sandbox/switches", inspection.switches),
    Route("PATCH", "/sandbox/switches", inspection.switches),
    Route("GET", "/sandbox/faults", desk.show),
    Route("POST", "/sandbox/faults", desk.add),
    Route("PUT", "/sandbox/faults", desk.replace),
    Route("DELETE", "/sandbox/faults", desk.clear),
    Route("DELETE", "/sandbox/faults/{id}", desk.remove),
    Route("POST", "/sandbox/users/{id}/key", users.key_for),
)
