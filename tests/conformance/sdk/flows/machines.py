"""Devices and packfiles."""

from __future__ import annotations

import json
from typing import Any

import flywheel

from tests.conformance.sdk.flows.refusals import refusal


def device(fw: Any, host: str) -> Any:
    """A device is made, works with its key, is given another, and goes.

    Args:
        host: what stands before the key in a key that the SDK takes.
    """
    made = fw.create_device({"label": "scanner 3", "type": "reaper"})
    listed = [one for one in fw.get_all_devices() if one.id == made.id]
    own = flywheel.Client(host + made.key, disable_auth_check=True)
    who = own.get_auth_status()
    own.update_device({"interval": 60, "version": "1.2", "errors": ["disk full"], "info": {"a": 1}})
    failing = fw.get_all_devices_status()[made.id]
    itself = own.get_current_device()  # any request is a sign of life, and clears the errors
    fine = fw.get_all_devices_status()[made.id]
    second = fw.generate_key(made.id, body={"label": "spare"})
    spare = flywheel.Client(host + second.unencrypted_secret, disable_auth_check=True)
    by_spare = spare.get_auth_status()
    fw.delete_device_key(made.id, second.key)
    ended = refusal(flywheel.Client, host + second.unencrypted_secret)
    fw.modify_device(made.id, {"disabled": True})
    disabled = fw.get_device(made.id)
    fw.delete_device(made.id)
    return {
        "made": made,
        "listed": listed,
        "who": who,
        "itself": itself,
        "failing": failing,
        "fine": fine,
        "second": second,
        "by spare": by_spare,
        "ended": ended,
        "disabled": disabled,
        "left": [one.id for one in fw.get_all_devices()],
    }


def packfile(fw: Any, project: str, contents: dict[str, bytes], metadata: dict[str, Any]) -> Any:
    """Files become one zip: the events of the end."""
    token = fw.start_project_packfile_upload(project)
    for name, content in contents.items():
        fw.project_packfile_upload(project, token, flywheel.FileSpec(name, content))
    answer = fw.end_project_packfile_upload(
        token, json.dumps(metadata), len(contents), project, _preload_content=False
    )
    return answer.content.decode()


def packfile_refused(fw: Any, project: str) -> Any:
    """A token that nobody was given."""
    file = flywheel.FileSpec("a", b"a")
    return refusal(fw.project_packfile_upload, project, "no-such-token", file)


def clean(fw: Any) -> Any:
    """Idle packfiles go."""
    return fw.clean_packfiles()
