from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fwsync.errors import UsageError
from fwsync.sandbox.faults.reading import read_script
from fwsync.sandbox.faults.register import MAX_PATHS, Faults
from fwsync.sandbox.faults.script import Action, Asked, Hits, Match, Rule, parse_rules, path_matches

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
KEYS = [*Rule.model_fields, *Match.model_fields, *Action.model_fields, *Hits.model_fields, "from"]


def nearly(keys: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with the keys that a rule has, and anything in them."""
    return st.dictionaries(st.sampled_from(keys), JSON, max_size=4)


NEARLY_RULES = st.fixed_dictionaries(
    {"action": nearly([*Action.model_fields, "nonsense"]) | JSON},
    optional={
        "match": nearly([*Match.model_fields, "nonsense"]) | JSON,
        "id": st.text(max_size=5),
        "nonsense": JSON,
    },
)


def get(path: str = "/files", method: str = "GET", **query: str) -> Asked:
    return Asked(method, path, query)


def pattern_of_fires(rule: dict[str, Any], asked: list[Asked]) -> list[bool]:
    faults = Faults()
    faults.add(rule)
    return [faults.meet(one) is not None for one in asked]


# ------------------------------------------------------------------------------------ parsing


@given(JSON | NEARLY_RULES | st.lists(NEARLY_RULES, max_size=3))
@example({"action": {"status": 200, "headers": {"\ud800": "x"}}})
@example({"action": {"status": 200, "headers": {"X": "a\r\nb"}}})
@example({"action": {"delay_s": float("nan")}})
@example({"match": {"seed": 10**400}, "action": {"reset": True}})
@example({"match": {1: 2}, "action": {"reset": True}})
@example([[["x"]]])
def test_a_script_is_read_or_refused(told: Any) -> None:
    faults = Faults()
    try:
        names = faults.add(told)
    except UsageError:
        names = []

    assert [one["id"] for one in faults.report()] == names
    json.dumps(faults.report())
    faults.meet(get())


@given(NEARLY_RULES)
def test_a_rule_that_was_read_says_the_same_when_it_is_written(told: dict[str, Any]) -> None:
    try:
        [rule] = parse_rules(told)
    except UsageError:
        return
    again = rule.model_dump(mode="json", by_alias=True, exclude_unset=True)

    assert parse_rules(again) == (rule,)


@pytest.mark.parametrize(
    ("rule", "key"),
    [
        ({"action": {"dely_s": 1}}, "rules[0].action.dely_s: there is no such key"),
        ({"match": {"hits": {"nht": 3}}, "action": {"reset": True}}, "rules[0].match.hits.nht"),
        ({"action": {"status": "503"}}, "rules[0].action.status"),
        ({"action": {"status": 100}}, "rules[0].action.status"),
        ({"action": {"delay_s": -1}}, "rules[0].action.delay_s"),
        ({"action": {"add_member": {"kind": "dragon"}}}, "rules[0].action.add_member[0].kind"),
        ({"action": {"drop_member": 0}}, "rules[0].action.drop_member[0]"),
        ({"action": {"headers": {"Content-Length": "1"}, "status": 200}}, "action.headers"),
        ({"action": {"headers": {"X": "a\r\nY: b"}, "status": 200}}, "action.headers"),
        ({"action": {}}, "nothing would happen"),
        ({"action": {"when": "after", "cut_at": 3}}, "when goes with"),
        ({"action": {"reset": True, "status": 200}}, "reset gives no answer"),
        ({"action": {"body": "x"}}, "body goes with status"),
        ({"action": {"stall_at": 1}}, "stall_at and stall_s go together"),
        ({"action": {"cut_with": "end", "reset": True}}, "cut_with needs"),
        ({"match": {"probability": 1.5}, "action": {"reset": True}}, "rules[0].match.probability"),
        ([{}], "rules[0].action: is missing"),
        ("status", "a script is a list of rules"),
        (None, "a script is a list of rules"),
        ([1], "rules[0]: a table of keys is needed"),
        ({"rules": [1]}, "rules[0]: a table of keys is needed"),
        ({"rule": [{"action": {"reset": True}}]}, "rule: there is no such key; a script has rules"),
        ({"actoin": {"reset": True}}, "actoin: there is no such key"),
        ([{"actoin": {"reset": True}}], "rules[0].actoin: there is no such key"),
        ([{"id": "a b", "action": {"reset": True}}], "rules[0].id: letters, digits and _ . -"),
        ([{"match": {"seed": "1"}, "action": {"reset": True}}], ".seed: a whole number is needed"),
        ({"action": {"status": 700}}, "rules[0].action.status: must be 599 or less"),
        ([{"id": "a", "action": {"reset": True}}] * 2, "two rules have the id 'a'"),
        ([{"action": {"reset": True}}] * 1001, "at most 1000 rules"),
        (
            {"match": {"method": ["GET", "GTE"]}, "action": {"reset": True}},
            "rules[0].match.method: 'GTE' is none of *, ",
        ),
        ({"match": {"method": "get"}, "action": {"reset": True}}, "'get' is none of *, "),
    ],
)
def test_what_cannot_be_played_is_named(rule: Any, key: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_rules(rule)

    assert key in caught.value.message


def test_nothing_is_added_when_one_of_several_is_refused() -> None:
    faults = Faults()
    faults.add({"id": "a", "action": {"reset": True}})

    with pytest.raises(UsageError):
        faults.add([{"action": {"reset": True}}, {"id": "a", "action": {"reset": True}}])

    assert [one["id"] for one in faults.report()] == ["a"]


def test_a_drawn_id_is_never_one_that_was_given() -> None:
    faults = Faults()

    names = faults.add([{"action": {"reset": True}}, {"id": "fault-1", "action": {"reset": True}}])

    assert names == ["fault-2", "fault-1"]


# ----------------------------------------------------------------------------------- matching


@pytest.mark.parametrize(
    ("pattern", "path", "meant"),
    [
        ("/acquisitions/*/files", "/acquisitions/1/files", True),
        ("/acquisitions/*/files", "/acquisitions/1/2/files", False),
        ("/acquisitions/*/files", "/acquisitions/1/files/a", False),
        ("/acquisitions/**", "/acquisitions/1/files/a", True),
        ("/acquisitions/**", "/acquisitions", True),
        ("**/files", "/acquisitions/1/files", True),
        ("**/files/*.dcm", "/acquisitions/1/files/a.dcm", True),
        ("/**/files/**/x", "/a/files/b/files/c/x", True),
        ("/**/files/**/x", "/a/files/b/files/c/y", False),
        ("**", "/anything/at/all", True),
        ("/files", "/Files", False),
        ("/files/*", "/files/a%2Fb", True),
        ("/fw.s3.*/**", "/fw.s3.test/blob/1", True),
    ],
)
def test_patterns_of_paths(pattern: str, path: str, meant: bool) -> None:
    assert path_matches(pattern, path) is meant


@given(st.lists(st.sampled_from(["a", "b", "*", "**"]), min_size=1, max_size=6), st.data())
def test_a_pattern_is_for_what_it_spells(steps: list[str], data: st.DataObject) -> None:
    words = st.text(string.ascii_letters, min_size=1, max_size=3)
    path: list[str] = []
    for step in steps:
        if step == "**":
            path += data.draw(st.lists(words, max_size=3))
        else:
            path.append(data.draw(words) if step == "*" else step)
    if not path:
        path = [data.draw(words)]

    assert path_matches("/" + "/".join(steps), "/" + "/".join(path))


def test_a_pattern_with_many_stars_takes_no_time() -> None:
    path = "/".join(["a"] * 400)

    assert not path_matches("**/a/" * 150 + "b", path)
    assert not path_matches("*a" * 200 + "b", "a" * 4000)


@pytest.mark.parametrize(
    ("match", "asked", "meant"),
    [
        ({}, get(), True),
        ({"method": "POST"}, get(), False),
        ({"method": ["HEAD", "GET"]}, get(), True),
        ({"path": ["/a", "/files"]}, get(), True),
        ({"query": {"ticket": "*"}}, get(ticket="x"), True),
        ({"query": {"ticket": "*"}}, get(), False),
        ({"query": {"ticket": None}}, get(), True),
        ({"query": {"ticket": None}}, get(ticket="x"), False),
        ({"caller": "user"}, Asked("GET", "/", caller=("user", "a@b")), True),
        ({"caller": "a@*"}, Asked("GET", "/", caller=("user", "a@b")), True),
        ({"caller": "device"}, Asked("GET", "/", caller=("user", "a@b")), False),
    ],
)
def test_who_is_meant(match: dict[str, Any], asked: Asked, meant: bool) -> None:
    fires = pattern_of_fires({"match": match, "action": {"reset": True}}, [asked])

    assert fires == [meant]


@pytest.mark.parametrize(
    ("hits", "fires"),
    [
        ({"nth": 3}, [3]),
        ({"nth": [1, 4]}, [1, 4]),
        ({"every": 2}, [2, 4, 6]),
        ({"first": 2}, [1, 2]),
        ({"from": 5}, [5, 6]),
        ({"from": 3, "first": 5, "every": 2}, [4]),
    ],
)
def test_hits_say_which(hits: dict[str, Any], fires: list[int]) -> None:
    got = pattern_of_fires({"match": {"hits": hits}, "action": {"reset": True}}, [get()] * 6)

    assert [number for number, one in enumerate(got, 1) if one] == fires


def test_requests_of_other_kinds_are_not_counted() -> None:
    rule = {"match": {"path": "/a", "hits": {"nth": 2}}, "action": {"reset": True}}

    assert pattern_of_fires(rule, [get("/a"), get("/b"), get("/a")]) == [False, False, True]


def test_each_path_can_be_counted_by_itself() -> None:
    rule = {"match": {"hits": {"first": 1, "each_path": True}}, "action": {"reset": True}}
    paths = [get("/a"), get("/b"), get("/a"), get("/b")]

    assert pattern_of_fires(rule, paths) == [True, True, False, False]


def test_paths_that_are_counted_do_not_pile_up() -> None:
    faults = Faults()
    faults.add({"match": {"hits": {"nth": 2, "each_path": True}}, "action": {"reset": True}})
    for number in range(MAX_PATHS + 10):
        faults.meet(get(f"/{number}"))
    [armed] = faults

    assert len(armed._paths) == MAX_PATHS


def test_times_is_an_end() -> None:
    rule = {"match": {"times": 2}, "action": {"reset": True}}

    assert pattern_of_fires(rule, [get()] * 4) == [True, True, False, False]


@given(st.integers(), st.floats(0, 1), st.integers(1, 50))
def test_the_same_seed_gives_the_same_faults(seed: int, probability: float, asked: int) -> None:
    rule = {"match": {"probability": probability, "seed": seed}, "action": {"reset": True}}

    assert pattern_of_fires(rule, [get()] * asked) == pattern_of_fires(rule, [get()] * asked)


def test_dice_are_of_one_rule_alone() -> None:
    dice = {"match": {"probability": 0.5, "seed": 4}, "action": {"reset": True}}
    alone, beside = Faults(), Faults()
    alone.add({"id": "dice", **dice})
    beside.add([{"id": "other", **dice}, {"id": "dice", **dice}])
    for _ in range(50):
        alone.meet(get())
        beside.meet(get())

    assert alone.fired("dice") == beside.fired("dice")
    assert 10 < alone.fired("dice") < 40


def test_another_seed_gives_other_faults() -> None:
    def fires(seed: int) -> list[bool]:
        rule = {"match": {"probability": 0.5, "seed": seed}, "action": {"reset": True}}
        return pattern_of_fires(rule, [get()] * 64)

    assert fires(1) != fires(2)


def test_actions_of_several_rules_are_put_together_and_the_first_holds() -> None:
    faults = Faults()
    faults.add(
        [
            {"id": "a", "action": {"delay_s": 2, "status": 503}},
            {"id": "b", "match": {"path": "/other"}, "action": {"flip_at": 1}},
            {"id": "c", "action": {"status": 404, "cut_at": 7}},
        ]
    )
    fault = faults.meet(get())

    assert fault is not None
    assert fault.ids == ("a", "c")
    assert fault.action.model_dump(exclude_unset=True) == {
        "delay_s": 2,
        "status": 503,
        "cut_at": 7,
    }


# -------------------------------------------------------------------------------------- files


def test_a_script_may_be_json_or_toml(tmp_path: Path) -> None:
    as_json, as_toml = tmp_path / "bad.json", tmp_path / "bad.toml"
    as_json.write_text(
        '[{"id": "x", "match": {"method": "POST", "hits": {"from": 3}},'
        ' "action": {"reset": true, "when": "after"}}]'
    )
    as_toml.write_text(
        '[[rules]]\nid = "x"\nmatch = { method = "POST", hits = { from = 3 } }\n'
        'action = { reset = true, when = "after" }\n'
    )

    assert read_script(as_json) == read_script(as_toml)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", b"[\n{,", "a.json:2: no JSON"),
        ("a.json", b"[" * 100_000, "a.json: no JSON that can be read"),
        ("a.json", b"\xff", "a.json: the script is not UTF-8"),
        ("a.json", b'[{"action": {"statsu": 1}}]', "a.json: rules[0].action.statsu"),
        ("a.toml", b"[[rules]\n", "a.toml: no TOML"),
        (
            "a.toml",
            b"[[rules]]\naction.reset = true\n\n[[rules]]\naction.rest = true\n",
            "a.toml:5: rules[1].action.rest: there is no such key",
        ),
        (
            "a.toml",
            b"[[rules]]\n# a rest = 1 is no key\n[rules.action]\nreset = true\n'rest' = 1\n",
            "a.toml:5: rules[0].action.rest: there is no such key",
        ),
        (
            "a.toml",
            b"\n[[rules]]\nid = 'a'\n",
            "a.toml: in the rule that begins at line 2: rules[0].action: is missing",
        ),
        ("a.toml", b"when = 1979-05-27\n", "a.toml: "),
        ("none.json", None, "none.json: the script cannot be read"),
    ],
)
def test_a_file_that_cannot_be_played_is_named(
    tmp_path: Path, name: str, text: bytes | None, said: str
) -> None:
    if text is not None:
        (tmp_path / name).write_bytes(text)

    with pytest.raises(UsageError) as caught:
        read_script(tmp_path / name)

    assert said in caught.value.message
    assert caught.value.hint


@given(
    st.binary(max_size=60) | st.text(max_size=60).map(str.encode), st.sampled_from(["j", "toml"])
)
def test_any_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"script.{suffix}"
    path.write_bytes(content)
    said = ""
    try:
        read_script(path)
    except UsageError as error:
        said = error.message

    assert not said or str(path) in said
