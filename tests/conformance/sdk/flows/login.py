"""Who one is, and what the site is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import flywheel

from tests.conformance.sdk.flows.refusals import refusal


def who(fw: Any) -> Any:
    """What the three questions of the start answer."""
    return {
        "status": fw.get_auth_status(),
        "self": fw.get_current_user(),
        "version": fw.get_version(),
    }


def config(fw: Any) -> Any:
    """The public configuration."""
    return fw.get_config()


def saved_key(_: None, key: str) -> Any:
    """A client without an argument reads what the CLI's login wrote."""
    file = Path.home() / ".config/flywheel/user.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"key": key, "root": False}), encoding="utf-8")
    try:
        return flywheel.Client().get_current_user().id
    finally:
        file.unlink()


def refused(_: None, key: str) -> Any:
    """A key that is wrong: the exception that the SDK makes of the answer."""
    return refusal(flywheel.Client, key)


def drone(_: None, host: str, port: int, secret: str, method: str, name: str) -> Any:
    """A device that knows the site's secret: what it is told, and its own entry."""
    fw = flywheel.create_drone_client(
        host, secret, method, name, port=port, disable_auth_check=True, _force_insecure=True
    )
    return {"status": fw.get_auth_status(), "device": fw.get_current_device()}


def drone_refused(_: None, host: str, port: int, secret: str) -> Any:
    """What a device with the wrong secret is told."""
    who = (host, secret, "reaper", "scanner")
    return refusal(flywheel.create_drone_client, *who, port=port, _force_insecure=True)


def roles(fw: Any) -> Any:
    """Every role, and one of them by its id."""
    every = fw.get_all_roles()
    return {"all": every, "one": fw.get_role(every[0].id)}


def users(fw: Any, email: str) -> Any:
    """A user is added, found, changed and removed."""
    made = fw.add_user(_id=email, email=email, firstname="Nora", lastname="New", roles=["user"])
    found = fw.users.find_first(f"email={email}")
    fw.modify_user(email, {"firstname": "Nina"})
    changed = fw.get_user(email)
    fw.delete_user(email)
    after = [user.id for user in fw.users()]
    return {"made": made, "found": found, "changed": changed, "after": after}


def own_key(fw: Any, host: str) -> Any:
    """A user draws another key, works with it, and drops it.

    Args:
        host: what stands before the key in a key that the SDK takes.
    """
    made = fw.generate_user_key({"label": "laptop"})
    key = host + made.unencrypted_secret
    by_it = flywheel.Client(key).get_current_user().id
    fw.delete_user_key(made.key)
    return {"made": made, "by it": by_it, "after": refusal(flywheel.Client, key)}


def everything(_: None, key: str) -> Any:
    """What a client sees that asks for more than its user was given."""
    return [one.id for one in flywheel.Client(key, exhaustive=True).projects.find()]


def settings(fw: Any, project: str) -> Any:
    """The settings of the site and of a project."""
    return {"site": fw.get_site_settings(), "project": fw.get_project_settings(project)}


def over_tls(_: None, key: str, ca_file: str) -> Any:
    """Who one is on a site with a certificate of its own."""
    os.environ["FW_SSL_CERT_FILE"] = ca_file
    try:
        return flywheel.Client(key).get_current_user().id
    finally:
        del os.environ["FW_SSL_CERT_FILE"]
