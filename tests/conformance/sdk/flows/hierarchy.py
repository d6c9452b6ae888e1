"""Groups, projects, subjects, sessions and acquisitions: made, found, changed, moved, deleted."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import flywheel

from tests.conformance.sdk.flows.refusals import refusal


def grow(fw: Any, group: str) -> Any:
    """A tree as the SDK's own documentation grows it."""
    group_id = fw.add_group(flywheel.Group(id=group, label="Neuro"))
    top = fw.get(group_id)
    project = top.add_project(label="Growth", description="made by the SDK", info={"site": 7})
    subject = project.add_subject(label="anx_s1", sex="female", cohort="Study")
    session = subject.add_session(label="visit", age=flywheel.util.years_to_seconds(30))
    acquisition = session.add_acquisition(label="Localizer", uid="1.2.840.1")
    other = project.add_session(label="extra", subject={"code": "anx_s2"})
    return {
        "project": project.reload(),
        "subject": subject,
        "session": session,
        "acquisition": acquisition,
        "other": other,
        "kinds": [
            type(fw.get(one.id)).__name__ for one in (top, project, subject, session, acquisition)
        ],
        "age": session.age_years,
    }


def lookup(fw: Any, path: str) -> Any:
    """The one thing at a path."""
    found = fw.lookup(path)
    return {"type": found.container_type, "found": found}


def resolve(fw: Any, path: str) -> Any:
    """The way down a path, and the children of its end."""
    found = fw.resolve(path)

    def told(nodes: Any) -> list[Any]:
        known = [(one.container_type, one.to_dict()) for one in nodes]
        return [
            [kind, *filter(None, map(node.get, ("id", "label", "name")))] for kind, node in known
        ]

    return {"path": told(found.path), "children": told(found.children)}


def find(fw: Any, project: str) -> Any:
    """Every way to find sessions of a project that has ses-00 … ses-11."""
    sessions = fw.get(project).sessions

    def labels(found: Any) -> list[str]:
        return [one.label for one in found]

    def refused(act: Any) -> str:
        try:
            act()
        except ValueError as error:
            return str(error)
        return ""

    first_id = sessions.find_first("label=ses-00").id
    return {
        "all": labels(sessions()),
        "none": sessions.find("label=absent"),
        "equal": labels(sessions.find("label=ses-03")),
        "not": labels(sessions.find("label!=ses-03", "label=~^ses")),
        "two": labels(sessions.find("label>ses-02", "label<=ses-05")),
        "match": labels(sessions.find("label=~^ses-0[12]$")),
        "in": labels(sessions.find("label=|[ses-01,ses-07,absent]")),
        "not in": labels(sessions.find("label!=|[ses-01,ses-07]")),
        "quoted": labels(sessions.find('label="with, comma"')),
        "escaped": labels(sessions.find("label=with\\, comma")),
        "created": labels(sessions.find("created>2020-01-01"))
        == labels(sessions.find("created<2120-01-01T00:00:00+00:00")),
        "info": labels(sessions.find("info.score>=7", "info.kind=odd")),
        "null": labels(sessions.find("info.kind=null")),
        "subject": labels(sessions.find("subject.code=sub-01", "label=ses-01")),
        "parent": labels(sessions.find(f"parents.project={project}", "label=ses-01")),
        "tags": labels(sessions.find("tags=seen")),
        "after": labels(sessions.find(f"_id>{first_id}", limit=2)),
        "sorted": labels(sessions.find("label=~^ses", sort="label:desc", limit=3)),
        "two keys": labels(sessions.find("label=~^ses", sort="info.kind:asc,label:desc", limit=7)),
        "page": labels(sessions.find("label=~^ses", sort="label:asc", limit=5, page=2)),
        "skip": labels(sessions.find("label=~^ses", sort="label:asc", limit=3, skip=4)),
        "first": sessions.find_first("label=~^ses", sort="label:desc").label,
        "no first": sessions.find_first("label=absent"),
        "one": sessions.find_one("label=ses-04").label,
        "many": refused(lambda: sessions.find_one("label=~^ses")),
        "zero": refused(lambda: sessions.find_one("label=absent")),
        "iter": labels(sessions.iter(limit=5)),
        "iter_find": labels(sessions.iter_find("label=~^ses", limit=5)),
        "iter sorted": labels(sessions.iter_find("label=~^ses", sort="label:desc", limit=5)),
    }


def children(fw: Any, project: str) -> Any:
    """The finders of each level, from the top and from the parent."""
    top = fw.get(project)
    subject = top.subjects.find_one("label=sub-01")
    session = subject.sessions.find_one("label=ses-01")
    mine = f"parents.project={project}"
    return {
        "groups": [one.id for one in fw.groups.find("_id=lab")],
        "group": [one.id for one in fw.get("lab").projects.find(f"_id={project}")],
        "projects": [one.id for one in fw.projects.find(f"label={top.label}")],
        "subjects": [one.id for one in fw.subjects.find(mine)],
        "sessions": [one.id for one in fw.sessions.find(mine)],
        "acquisitions": [one.id for one in fw.acquisitions.find(mine)],
        "below": [
            subject.id,
            session.id,
            session.acquisitions.find_first("label=T1w").id,
            fw.get_project_acquisitions(project)[0].id,
        ],
        "upwards": [session.project, session.subject.id, session.group],
    }


def change(fw: Any, session: str) -> Any:
    """A session is changed, by words and by a dictionary."""
    one = fw.get(session)
    one.update(label="renamed", weight=61.5)
    one.update({"operator": "ann"})
    return one.reload()


def times(fw: Any, session: str, timestamp: str, timezone: str) -> Any:
    """A time with an offset, and the zone that it was said in."""
    one = fw.get(session)
    one.update(timestamp=datetime.fromisoformat(timestamp), timezone=timezone)
    found = one.reload()
    return {
        "timestamp": found.timestamp,
        "timezone": found.timezone,
        "local": found.local_timestamp,
        "created": found.created,
    }


def move(fw: Any, session: str, subject: str, acquisition: str) -> Any:
    """A session goes to another subject, and takes its acquisition along."""
    fw.get(session).update(subject={"_id": subject})
    return {"session": fw.get(session), "acquisition": fw.get(acquisition)}


def delete(fw: Any, session: str, acquisitions: list[str]) -> Any:
    """Acquisitions by a list of ids, then a session by its own."""
    several = fw.delete_acquisitions_by_ids(acquisitions)
    one = fw.delete_session(session)
    gone = [refusal(fw.get, any_one) for any_one in (session, *acquisitions)]
    return {"several": several, "one": one, "gone": gone}


def trees(fw: Any, project: str) -> Any:
    """The tree in one request, and what a tree can be asked for."""
    asked = {
        "projects": {
            "fields": ["label"],
            "filter": f"_id={project}",
            "subjects": {"fields": ["label"]},
        }
    }
    return {
        "tree": fw.fetch_tree(asked),
        "graph": fw.get_tree_graph(),
    }


def uids(fw: Any, body: dict[str, Any]) -> Any:
    """Which of some uids exist."""
    return fw.check_uids_exist(body)


def upsert(fw: Any, project: str, body: dict[str, Any]) -> Any:
    """Found or made, level by level."""
    return fw.upsert_project_hierarchy(project, body)


def collect(fw: Any, session: str, acquisition: str) -> Any:
    """A collection of a session, and of one more acquisition."""
    made = fw.add_collection({"label": "Best of", "description": "picked"})
    collection = fw.get_collection(made)
    collection.add_sessions(session)
    collection = collection.reload()
    after_session = [one.id for one in collection.acquisitions()]
    collection.add_acquisitions(acquisition)
    result = {
        "collection": collection,
        "after session": after_session,
        "acquisitions": [one.id for one in collection.acquisitions()],
        "sessions": [one.id for one in collection.sessions()],
        "member": fw.get(acquisition).collections,
        "found": [one.id for one in fw.collections.find("label=Best of")],
    }
    fw.delete_collection(made)
    return result | {"after": refusal(fw.get_collection, made)}


def grant(fw: Any, project: str, user: str, role: str) -> Any:
    """A role on a project is given, read and taken; an access on a group as well."""
    one = fw.get(project)
    one.add_permission({"_id": user, "role_ids": [role]})
    given = one.get_permission(user)
    group = fw.get(one.group)
    group.add_permission({"_id": user, "access": "ro"})
    access = group.get_permission(user)
    group.update_permission(user, {"access": "admin"})
    more = group.get_permission(user)
    group.delete_permission(user)
    one.delete_permission(user)
    return {
        "given": given,
        "access": access,
        "more": more,
        "left": [each.id for each in one.reload().permissions],
        "left in group": [each.id for each in group.reload().permissions],
    }


def catalog(fw: Any) -> Any:
    """Labels of the projects to choose from."""
    answer = fw.catalog_list(_preload_content=False)
    return answer.json()
