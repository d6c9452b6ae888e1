"""The rows of the checklist, by section: name, routes, and what holds.

Sources: SDK 23, CLI 18.5.1, core18, core19, as the docstrings of the sandbox's rooms cite them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Line = tuple[str, str, str]

LOGIN: Final[list[Line]] = [
    ("config", "GET /config", "site and features are public, and follow the switches"),
    ("version", "GET /version", "the release and the number of the database"),
    ("auth-status", "GET /auth/status", "who asks: a user, an admin or a device, and their roles"),
    ("users-self", "GET /users/self | GET /users/self/info",
     "the user without other people's keys; 400 for nobody"),
    ("users", "GET /users | POST /users | GET /users/{id} | PUT /users/{id} | DELETE /users/{id}",
     "users are made, read, changed and removed by admins"),
    ("users-key",
     "POST /users/self/key | DELETE /users/self/key/{id} | POST /sandbox/users/{id}/key",
     "a user draws a key of their own, which opens the API, and drops it"),
    ("roles", "GET /roles | GET /roles/{id}", "what a role allows"),
    ("settings",
     "GET /site/settings | GET /groups/{id}/settings | GET /projects/{id}/settings",
     "the profile of a site, a group and a project: empty, or 404 while the switch is off"),
    ("auth-schemes", "", "`scitran-user` and `Bearer`, the key with or without its host; 401"),
    ("auth-device", "", "a device's key is a device, in either scheme"),
    ("auth-drone", "", "the site's secret with method and name; 401 wrong, 400 incomplete"),
]  # fmt: skip

PATHS: Final[list[Line]] = [
    ("lookup", "POST /lookup",
     "labels lead to a container, with `container_type` and `node_type`; the oldest wins; 404"),
    ("lookup-id", "POST /lookup | POST /resolve", "`<id:…>` in the place of a label"),
    ("lookup-file", "POST /lookup | POST /resolve",
     "`files/<name>`, and a hint in the 404 without the word"),
    ("lookup-analysis", "POST /lookup | POST /resolve", "`analyses/<label>`, and files below it"),
    ("lookup-root", "POST /lookup | POST /resolve", "`[\"\"]` and `[]` are the root: the groups"),
    ("resolve", "POST /resolve", "the way down, node by node, and the children of the last"),
]  # fmt: skip

CONTAINERS: Final[list[Line]] = [
    ("containers-create", "POST /{cont}",
     "every level answers its `_id`; 404 without a parent, 400 for a body that is wrong"),
    ("groups-create", "POST /groups", "an upsert: 200 the first time, 201 later; ids are slugs"),
    ("labels-equal", "POST /{cont}", "which levels refuse a label that is there already, and how"),
    ("sessions-subject", "POST /sessions", "a subject in the body is found or made"),
    ("containers-get", "GET /{cont}/{id}",
     "the whole container with parents; `/containers/{id}` says `container_type`"),
    ("containers-change", "PUT /{cont}/{id}", "a partial change; 400 for an empty or unknown one"),
    ("containers-move", "PUT /{cont}/{id}", "a new parent in the body moves what is below too"),
    ("containers-delete", "DELETE /{cont}/{id} | DELETE /{cont}",
     "a container and what is below, or a list of ids; counts in the answer"),
    ("timestamps", "POST /{cont} | PUT /{cont}/{id}",
     "times with an offset are kept as UTC, the zone beside them"),
    ("lists-children",
     "GET /groups/{id}/projects | GET /projects/{id}/subjects | GET /projects/{id}/sessions"
     " | GET /projects/{id}/acquisitions | GET /subjects/{id}/sessions"
     " | GET /sessions/{id}/acquisitions",
     "what is below a container; plain lists, empty ones too"),
    ("lists-top", "GET /{cont}", "every container of a kind that the caller may see"),
    ("lists-filter", "GET /{cont} | GET /files",
     "every operator and kind of value, quoting, escaped commas, dotted keys, nulls, dates"),
    ("lists-sort", "GET /{cont}", "by any keys, up and down"),
    ("lists-pages", "GET /{cont}", "`limit`, `skip` and `page`; 422 where they contradict"),
    ("lists-after-id", "GET /{cont}", "`after_id` visits everything once, and ends"),
    ("lists-page-object", "GET /{cont} | GET /files", "`{total, count, results}` when asked for"),
    ("lists-scale", "GET /{cont} | GET /files",
     "a million entries are listed in pages at a steady cost"),
    ("permissions",
     "GET /{cont}/{id}/permissions | POST /{cont}/{id}/permissions"
     " | PUT /{cont}/{id}/permissions | GET /{cont}/{id}/permissions/{user}"
     " | PUT /{cont}/{id}/permissions/{user} | DELETE /{cont}/{id}/permissions/{user}",
     "granted, changed and taken, at once"),
    ("permissions-ro", "", "who may only read gets 403 for every change"),
    ("permissions-rw", "", "who may write makes and fills what is below, and no more"),
    ("permissions-none", "", "who was granted nothing sees nothing"),
    ("permissions-cli", "GET /groups/{id} | GET /roles/{id}",
     "the CLI's own test: `access` on the group, `actions` of the roles on a project"),
    ("uids", "POST /uids", "which uids exist, in all or in some projects"),
    ("uids-projects", "POST /uids/projects", "the same, project by project"),
    ("upsert-hierarchy", "POST /projects/{id}/upsert-hierarchy",
     "each level found, made, changed or left, and which it was"),
    ("catalog", "GET /projects/catalog-list", "projects to choose from, always in a page object"),
    ("tree", "POST /tree | GET /tree/graph", "the tree in one request, fields chosen"),
    ("collections",
     "GET /collections/{id}/sessions | GET /collections/{id}/acquisitions | PUT /collections/{id}"
     " | GET /collections/curators",
     "acquisitions of any project, put together and taken out"),
]  # fmt: skip

ANALYSES: Final[list[Line]] = [
    ("analyses-create", "POST /{cont}/{id}/analyses",
     "an analysis on any level, its inputs being files of any container"),
    ("analyses-get",
     "GET /analyses/{id} | GET /{cont}/{id}/analyses | GET /{cont}/{id}/{level}/analyses",
     "as a container, and in the lists of its parent"),
    ("analyses-inputs", "GET /analyses/{id}/input_files/{name}/info",
     "an input stays the version it was"),
    ("analyses-outputs", "POST /{cont}/{id}/files", "files of its own, uploaded and read back"),
    ("analyses-nested",
     "GET /{cont}/{id}/analyses/{aid} | PUT /{cont}/{id}/analyses/{aid}"
     " | DELETE /{cont}/{id}/analyses/{aid} | POST /{cont}/{id}/analyses/{aid}/files"
     " | GET /{cont}/{id}/analyses/{aid}/files/{name}"
     " | HEAD /{cont}/{id}/analyses/{aid}/files/{name}"
     " | DELETE /{cont}/{id}/analyses/{aid}/files/{name}"
     " | POST /{cont}/{id}/analyses/{aid}/notes"
     " | DELETE /{cont}/{id}/analyses/{aid}/notes/{note}",
     "the same by way of the parent, and 404 by way of another one"),
    ("analyses-delete", "DELETE /{cont}/{id}", "it goes, its inputs stay"),
]  # fmt: skip

METADATA: Final[list[Line]] = [
    ("info", "PATCH /{cont}/{id}/info", "set, delete, replace; mixing them is 400"),
    ("tags",
     "GET /{cont}/{id}/tags | POST /{cont}/{id}/tags | PATCH /{cont}/{id}/tags"
     " | DELETE /{cont}/{id}/tags | GET /{cont}/{id}/tags/{tag} | PUT /{cont}/{id}/tags/{tag}"
     " | DELETE /{cont}/{id}/tags/{tag}",
     "added, renamed, removed, several at once; 409 for one that is there"),
    ("notes",
     "GET /{cont}/{id}/notes | POST /{cont}/{id}/notes"
     " | GET /{cont}/{id}/notes/{note} | PUT /{cont}/{id}/notes/{note}"
     " | DELETE /{cont}/{id}/notes/{note}",
     "the answer is the whole note"),
]  # fmt: skip

UPLOADS: Final[list[Line]] = [
    ("upload-form", "POST /{cont}/{id}/files", "a form with one file answers its entry"),
    ("upload-several", "POST /{cont}/{id}/files", "a form with several files"),
    ("upload-metadata", "POST /{cont}/{id}/files",
     "type, info, tags, `size` and `zip_member_count` come with the file; unknown keys are 400"),
    ("upload-preserve", "POST /{cont}/{id}/files", "`preserve_metadata=true` keeps what was there"),
    ("upload-broken", "POST /{cont}/{id}/files",
     "a body that is broken or too large is a 4xx, and leaves nothing"),
    ("signed-ticket", "POST /{cont}/{id}/files", "an empty ticket answers ticket, URLs, headers"),
    ("signed-put", "",
     "the URLs take bytes with a length and without a key; several are joined in their order"),
    ("signed-finalize", "POST /{cont}/{id}/files",
     "the blob is verified: an error when it is missing or of another size"),
    ("signed-direct",
     "POST /upload/signed-url | PUT /upload/fs-file | POST /upload/complete-s3-multipart"
     " | POST /upload/complete-azure-multipart | POST /upload/signed-url/cleanup",
     "managed storage: a URL, the bytes, and then the entry by `POST /files`"),
    ("storage-files", "POST /storage/files | DELETE /storage/files/{id}",
     "managed storage as the CLI's HTTP client uses it"),
    ("stores", "", "the dialects of S3, Azure and GCS judge what they signed"),
    ("upload-label", "POST /upload/label", "placed by labels; what is named nowhere is dropped"),
    ("upload-uid", "POST /upload/uid", "placed by uids inside the project"),
    ("upload-uid-match", "POST /upload/uid-match", "placed only where the uids exist; 404"),
    ("upload-reaper", "POST /upload/reaper", "a uid anywhere wins"),
    ("upload-signed-placement",
     "POST /upload/label | POST /upload/uid | POST /upload/reaper",
     "the same by signed URLs"),
]  # fmt: skip

FILES: Final[list[Line]] = [
    ("file-download", "GET /{cont}/{id}/files/{name}",
     "the bytes, as an attachment with a length; 404 for none"),
    ("file-head", "HEAD /{cont}/{id}/files/{name} | HEAD /files/{id}/download",
     "what GET would say"),
    ("file-ticket", "GET /{cont}/{id}/files/{name}",
     "a ticket reads one file without a key, and nothing else"),
    ("file-range", "GET /{cont}/{id}/files/{name} | GET /files/{id}/download",
     "the table of ranges: 206, 416, whole, several"),
    ("file-view", "GET /{cont}/{id}/files/{name}", "`view=true` tells the true type"),
    ("file-hash", "GET /{cont}/{id}/files/{name}", "`hash=` that differs is 409"),
    ("file-version", "GET /{cont}/{id}/files/{name}", "`version=` reads an older one"),
    ("file-zip", "GET /{cont}/{id}/files/{name}",
     "`info=true` lists the members, `member=` reads one; 400 where there is none"),
    ("file-info", "GET /{cont}/{id}/files/{name}/info", "the entry, whole"),
    ("file-change", "PUT /{cont}/{id}/files/{name}", "type and modality; no new version"),
    ("file-info-change", "PATCH /{cont}/{id}/files/{name}/info", "set, delete, replace"),
    ("file-classification", "PATCH /{cont}/{id}/files/{name}/classification",
     "add, delete, replace"),
    ("file-tags-by-name",
     "POST /{cont}/{id}/files/{name}/tags | DELETE /{cont}/{id}/files/{name}/tags/{tag}"
     " | PUT /{cont}/{id}/files/{name}/tags/{tag} | GET /{cont}/{id}/files/{name}/tags"
     " | GET /{cont}/{id}/files/{name}/tags/{tag}",
     "tags of a file by its container"),
    ("file-delete", "DELETE /{cont}/{id}/files/{name}", "gone for readers, kept in the record"),
    ("files-list", "GET /files", "always the page object; pages by `file_id`"),
    ("files-get", "GET /files/{id}", "an entry, of any version"),
    ("files-download", "GET /files/{id}/download", "the bytes of any version"),
    ("files-versions", "GET /files/{id}/versions", "every version, who wrote it and when"),
    ("files-signed-url", "GET /files/{id}/signed_url | POST /files/{id}/ticket",
     "a way to the bytes without a key"),
    ("files-zip", "GET /files/{id}/zip_info | GET /files/{id}/zip_member/{member}",
     "members of a zip, by the file's id"),
    ("files-tags",
     "GET /files/{id}/tags | PUT /files/{id}/tags | PATCH /files/{id}/tags"
     " | DELETE /files/{id}/tags",
     "tags of a file by its id"),
    ("files-info",
     "GET /files/{id}/info | PUT /files/{id}/info | PATCH /files/{id}/info",
     "info of a file by its id"),
    ("files-change",
     "PUT /files/{id} | PUT /files/{id}/classification | PATCH /files/{id}/classification",
     "type, modality and classification by the file's id"),
    ("files-delete", "DELETE /files/{id} | DELETE /files", "one, one version, or a list"),
    ("files-move", "POST /files/{id}/move", "into another container, under another name"),
    ("files-restore", "POST /files/{id}/restore", "an older version becomes the newest"),
    ("files-upsert", "POST /files | POST /projects/{id}/upsert-file",
     "created, updated, ignored or conflict, and which it was"),
    ("delete-reason", "DELETE /{cont}/{id} | DELETE /{cont}/{id}/files/{name} | DELETE /files/{id}",
     "required and kept where the site has an audit trail"),
]  # fmt: skip

ARCHIVES: Final[list[Line]] = [
    ("download-ticket", "POST /download", "ticket, file name, count and size; 404 for nothing"),
    ("download-classic", "POST /download | GET /download", "paths by labels below the prefix"),
    ("download-full", "POST /download | GET /download",
     "paths by levels, with sidecars and analyses where asked for"),
    ("download-bulk", "POST /download | GET /download", "named files, by the ids of containers"),
    ("download-filters", "POST /download",
     "by type and tag of files and containers, in and out; an empty filter passes all"),
    ("download-tar", "GET /download", "a plain stream: order, modes, times, end blocks"),
    ("download-zip", "GET /download", "the same as a zip"),
    ("download-missing", "GET /download", "an unreadable file becomes a member that says so"),
    ("download-scale", "GET /download", "50 000 files stream at once, in flat memory"),
    ("download-targets", "POST /download/targets", "files and sidecars, a line of JSON each"),
    ("download-summary", "POST /download/summary", "count and size by type"),
]  # fmt: skip

PACKFILES: Final[list[Line]] = [
    ("packfile-start", "POST /projects/{id}/packfile-start", "a token, to who may write"),
    ("packfile-add", "POST /projects/{id}/packfile", "files under a token; the last of a name"),
    ("packfile-end", "GET /projects/{id}/packfile-end | POST /projects/{id}/packfile-end",
     "events: progress for each file, then the result; GET and POST alike"),
    ("packfile-zip", "GET /projects/{id}/packfile-end",
     "the zip's name, members and times; placed by labels"),
    ("packfile-errors",
     "POST /projects/{id}/packfile-start | POST /projects/{id}/packfile"
     " | GET /projects/{id}/packfile-end",
     "no token, another's token, no metadata, no files, another project"),
    ("packfile-clean", "POST /clean-packfiles", "idle tokens go with their files"),
]  # fmt: skip

DEVICES: Final[list[Line]] = [
    ("devices-create", "POST /devices", "an admin makes one, and sees its key"),
    ("devices-secret", "GET /devices/self", "one that knows the site's secret registers itself"),
    ("devices-list", "GET /devices", "all, filtered and sorted, without keys unless joined"),
    ("devices-status", "GET /devices/status", "ok, missing, error or unknown"),
    ("devices-self", "GET /devices/self | PUT /devices/self",
     "the own entry; a sign of life sets the time and the errors; the type is set once"),
    ("devices-change", "GET /devices/{id} | PUT /devices/{id} | DELETE /devices/{id}",
     "read, disabled and removed by admins"),
    ("devices-keys", "POST /devices/{id}/key | DELETE /devices/{id}/key/{key}",
     "further keys, and their end"),
]  # fmt: skip

ERRORS: Final[list[Line]] = [
    ("error-shape", "", "`status_code`, `message` and `request_id`, whatever was wrong; never 500"),
]  # fmt: skip

SANDBOX: Final[list[Line]] = [
    ("sandbox-welcome", "GET /", "who this is, for somebody who opens the address in a browser"),
    ("sandbox-record", "GET /sandbox/record", "what is stored, deleted things too"),
    ("sandbox-requests", "GET /sandbox/requests | DELETE /sandbox/requests",
     "what was asked, to be counted"),
    ("sandbox-switches", "GET /sandbox/switches | PATCH /sandbox/switches",
     "features that are changed at run time"),
    ("sandbox-faults",
     "GET /sandbox/faults | PUT /sandbox/faults | POST /sandbox/faults | DELETE /sandbox/faults"
     " | DELETE /sandbox/faults/{id}",
     "a script of faults for requests that match"),
    ("sandbox-core-2018", "", "`--compat core-2018`: the older server's answers"),
]  # fmt: skip

SECTIONS: Final[Mapping[str, list[Line]]] = {
    "Login and start-up": LOGIN,
    "Paths": PATHS,
    "Containers": CONTAINERS,
    "Analyses": ANALYSES,
    "Metadata": METADATA,
    "Uploads": UPLOADS,
    "Files": FILES,
    "Archives": ARCHIVES,
    "Packfiles": PACKFILES,
    "Devices": DEVICES,
    "Errors": ERRORS,
    "The sandbox itself": SANDBOX,
}
