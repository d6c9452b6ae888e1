"""The official SDK at the door."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fwsync.sandbox import TlsSettings
from tests.conformance.place import Place
from tests.conformance.sdk.process import FlowFailed, Sdk
from tests.house.house import Ground, grounded

USER = "user@sandbox.local"


@pytest.mark.row("auth-status", "users-self", "version", "auth-schemes")
def test_the_sdk_learns_who_it_is(sdk: Sdk, nobody: Sdk) -> None:
    admin, user = sdk("login.who"), nobody("login.who")

    assert "user" == admin["status"]["origin"]["type"]
    assert "admin@sandbox.local" == admin["status"]["origin"]["id"] == admin["self"]["id"]
    assert admin["status"]["user_is_admin"] is True
    assert admin["status"]["is_device"] is False
    assert "site_admin" in admin["status"]["roles"]
    assert [USER, USER] == [user["status"]["origin"]["id"], user["self"]["email"]]
    assert user["status"]["user_is_admin"] is False
    assert "site_admin" not in user["self"]["roles"]
    assert admin["version"]["database"] is not None


@pytest.mark.row("config", "sandbox-switches")
def test_the_configuration_follows_the_switches(
    sdk: Sdk, ground: Ground, switch: Callable[..., None]
) -> None:
    before = sdk("login.config")
    switch(signed_url=False, audit_trail=True)
    after = sdk("login.config")

    assert f"{ground.sandbox.url}/api" == before["site"]["api_url"].rstrip("/")
    assert int(before["site"]["upload_maximum_bytes"]) > 1 << 30
    assert (True, False) == (before["features"]["signed_url"], before["features"]["audit_trail"])
    assert (False, True) == (after["features"]["signed_url"], after["features"]["audit_trail"])


def test_the_key_that_the_cli_saved_is_found(sdk: Sdk) -> None:
    assert "admin@sandbox.local" == sdk.with_key("")("login.saved_key", key=sdk.key)


@pytest.mark.row("auth-schemes", "error-shape")
@pytest.mark.parametrize("length", [20, 57])
def test_a_wrong_key_is_refused_in_either_scheme(sdk: Sdk, length: int) -> None:
    host = sdk.key.rpartition(":")[0]

    refused = sdk.with_key("")("login.refused", key=f"{host}:{'x' * length}")

    assert 401 == refused["status"]
    assert "key" in refused["reason"].lower()


@pytest.mark.row("auth-drone", "devices-secret")
def test_a_device_registers_by_the_secret(sdk: Sdk, ground: Ground) -> None:
    door = {"host": "127.0.0.1", "port": ground.port}
    secret = ground.sandbox.device_secret

    once = sdk.with_key("")("login.drone", secret=secret, method="reaper", name="3T east", **door)
    again = sdk.with_key("")("login.drone", secret=secret, method="reaper", name="3T east", **door)
    refused = sdk.with_key("")("login.drone_refused", secret="wrong", **door)

    assert once["status"]["is_device"] is True
    assert "device" == once["status"]["origin"]["type"]
    assert once["device"]["id"] == once["status"]["origin"]["id"] == again["device"]["id"]
    assert once["device"]["key"]
    assert ("reaper", "3T east") == (once["device"]["method"], once["device"]["label"])
    assert 401 == refused["status"]


@pytest.mark.row("roles")
def test_roles_say_what_they_allow(sdk: Sdk) -> None:
    seen = sdk("login.roles")

    assert seen["all"][0] == seen["one"]
    write = {"files_create_upload", "containers_create_hierarchy"}
    writing = [one for one in seen["all"] if write <= set(one["actions"])]
    reading = [one for one in seen["all"] if one not in writing]
    assert writing
    assert reading
    assert [] == [one["label"] for one in reading if write & set(one["actions"])]


@pytest.mark.row("users")
def test_a_user_comes_and_goes(sdk: Sdk) -> None:
    seen = sdk("login.users", email="nora@example.org")

    assert "nora@example.org" == seen["made"]
    assert ("Nora", "New") == (seen["found"]["firstname"], seen["found"]["lastname"])
    assert "Nina" == seen["changed"]["firstname"]
    assert "nora@example.org" not in seen["after"]
    assert USER in seen["after"]


@pytest.mark.row("users-key")
def test_a_user_draws_a_key_and_drops_it(nobody: Sdk) -> None:
    seen = nobody("login.own_key", host=nobody.key.rpartition(":")[0] + ":")

    assert "laptop" == seen["made"]["label"]
    assert USER == seen["by it"]
    assert 401 == seen["after"]["status"]


@pytest.mark.row("permissions-none", "lists-top")
def test_only_an_admin_may_ask_for_everything(sdk: Sdk, nobody: Sdk, place: Place) -> None:
    door = sdk.with_key("")

    assert place.project in door("login.everything", key=sdk.key)
    with pytest.raises(FlowFailed) as met:
        door("login.everything", key=nobody.key)
    assert 403 == met.value.status


@pytest.mark.row("settings")
def test_settings_of_site_and_project_can_be_read(
    sdk: Sdk, place: Place, switch: Callable[..., None]
) -> None:
    switch(deid_profile=True)

    seen = sdk("login.settings", project=place.project)

    assert {None} == {one["deid_profile"] for one in seen.values()}


def test_a_site_with_a_certificate_of_its_own_is_reached(sdk: Sdk, tmp_path: Path) -> None:
    with grounded(tmp_path, tls=TlsSettings()) as site:
        key, ca_file = site.sandbox.api_key, site.sandbox.ca_file
        try:
            seen = sdk.with_key("")("login.over_tls", key=key, ca_file=ca_file)
        finally:
            sdk.driver.stop()  # it would keep the connection open, and a farewell takes two

    assert "__force_insecure" not in key
    assert "admin@sandbox.local" == seen
