"""What is selected of the server's files, as settings say it: texts, not understood yet.

``subject``, ``session`` and ``acquisition`` are settings of their own: the labels that files get
on their way up. So what selects by labels is called otherwise here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from fwsync.setting_values import Patterns, parse_patterns

_GLOBS = "a label, or a pattern such as 'sub-0*', or a list of them"
_CONTAINER_TAG = 'a level and a tag, such as "session=baseline", or a list of them'
_MLSET = "Training, Testing, Validation or null, or a list of them"
DAY = 'a day or a time, like "2026-03-01" or "2026-03-01T12:00"'


def _one(value: object) -> object:
    """A list; a single text is one, commas and all: a regular expression may have some."""
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return [value]
    return parse_patterns(value)


def _text(value: object) -> object:
    """A text; TOML has days and times of its own."""
    return value.isoformat() if hasattr(value, "isoformat") else value


Moment = Annotated[str, BeforeValidator(_text), Field(min_length=1)]


class SelectionKeys(BaseModel):
    """What stands at the top of a settings file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    only_types: Patterns = Field((), description="a file type such as nifti, or a list of them")
    not_types: Patterns = Field((), description="a file type such as dicom, or a list of them")
    only_tags: Patterns = Field((), description="a tag, or a list of tags")
    not_tags: Patterns = Field((), description="a tag, or a list of tags")
    name_regex: Annotated[tuple[str, ...], BeforeValidator(_one)] = Field(
        (), description="a regular expression, or a list of them"
    )
    only_subjects: Patterns = Field((), description=_GLOBS)
    only_sessions: Patterns = Field((), description=_GLOBS)
    only_acquisitions: Patterns = Field((), description=_GLOBS)
    container_tags: Patterns = Field((), description=_CONTAINER_TAG)
    not_container_tags: Patterns = Field((), description=_CONTAINER_TAG)
    mlsets: Patterns = Field((), description=_MLSET)
    not_mlsets: Patterns = Field((), description=_MLSET)
    modified_after: Moment | None = Field(None, description=DAY)
    modified_before: Moment | None = Field(None, description=DAY)
    where: str | None = Field(
        None,
        description='a filter in the language of Flywheel, such as "type=nifti,size>1000000"',
        min_length=1,
    )

    @property
    def selecting(self) -> list[str]:
        """The names of those that select something."""
        return [name for name in SelectionKeys.model_fields if getattr(self, name)]
