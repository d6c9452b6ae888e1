"""What the settings say of files: ``[[metadata]]``, and ``tags`` for all of them.

A table of rules, each for the files that its patterns match::

    tags = ["pilot"]

    [[metadata]]
    match = "*.nii.gz"
    modality = "MR"
    classification = { Intent = ["Structural"] }

All rules that match count, in order: the later one has the last word on a value, tags are
gathered, and ``info`` and ``classification`` are joined key by key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pathspec import GitIgnoreSpec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from fwsync.errors import UsageError, naming
from fwsync.filters import gitignore
from fwsync.metadata.shapes import Json, NotJson, clean_info, joined, tags_of


def _texts(value: object) -> object:
    """One text, or a list of them; in the environment, divided by commas."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]


class MetadataRule(BaseModel):
    """One table of ``[[metadata]]``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    match: Texts = Field(description="a pattern in gitignore syntax, or a list", min_length=1)
    type: str | None = Field(None, description="a file type, as nifti", min_length=1)
    modality: str | None = Field(None, description="a modality, as MR", min_length=1)
    tags: Texts = Field((), description="a tag, or a list of tags")
    classification: dict[str, Texts] = Field(
        default_factory=dict, description='lists by name: { Intent = ["Structural"] }'
    )
    info: dict[str, object] = Field(
        default_factory=dict, description="a table of what is to stand in info"
    )


@dataclass(frozen=True, slots=True)
class _Compiled:
    matches: GitIgnoreSpec
    says: Json


class MetadataRules:
    """What the settings say of a file.

    Args:
        rules: in order.
        tags: for every file.

    Raises:
        UsageError: a pattern is not valid, or a value cannot be sent.
    """

    def __init__(self, rules: Sequence[MetadataRule] = (), tags: Sequence[str] = ()) -> None:
        self._rules = [_compiled(rule, number) for number, rule in enumerate(rules, start=1)]
        try:
            self._tags: Json = {"tags": tags_of(tags)} if tags else {}
        except NotJson as error:
            raise UsageError(f"tags: {error}") from None

    def __bool__(self) -> bool:
        return bool(self._rules or self._tags)

    def of(self, path: str) -> dict[str, object]:
        """What is said of the file at a path below the root, as an upload's metadata."""
        said: dict[str, object] = dict(self._tags)
        for rule in self._rules:
            if rule.matches.match_file(path):
                said = joined(said, rule.says)
        return said


def _compiled(rule: MetadataRule, number: int) -> _Compiled:
    what = f"metadata rule {number}"
    for pattern in rule.match:
        with naming(f"{what}: match"):
            gitignore(pattern)
    says: dict[str, object] = {}
    try:
        if rule.info:
            says["info"] = clean_info(rule.info, f"{what}: info")
        if rule.tags:
            says["tags"] = tags_of(rule.tags, f"{what}: tags")
    except NotJson as error:
        raise UsageError(str(error), hint="write dates as text") from None
    if rule.type:
        says["type"] = rule.type
    if rule.modality:
        says["modality"] = rule.modality
    if rule.classification:
        says["classification"] = {name: list(some) for name, some in rule.classification.items()}
    return _Compiled(GitIgnoreSpec.from_lines(rule.match), says)
