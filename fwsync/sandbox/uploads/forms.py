"""The form of an upload: file parts go to blobs as they come, the metadata is read.

Its one rule: when :meth:`Form.read` returns, every byte is in its place or in memory; when it
raises, nothing is left of a part that was not complete.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from fwsync.sandbox.formats.multipart import FormParser, Part, PartEnd, boundary_of, file_name
from fwsync.sandbox.kept import catalog, metadata
from fwsync.sandbox.kept.blobs import KEEP_IN_MEMORY, Incoming
from fwsync.sandbox.kept.catalog import Arrival
from fwsync.sandbox.problems import ApiError, invalid, refuse_others
from fwsync.sandbox.site import Call, read_json

Json = dict[str, Any]

_KNOWN_METADATA = {*catalog.METADATA, "name", "type", "mimetype", "size", "hash", "measurements"}
MAX_FIELD = 16 << 20  # bytes of the fields of a form that are not files


class Parts(ABC):
    """The parts of a form as they come: a file goes to a blob, the field ``metadata`` is kept.

    Whoever reads a form says what begins with a part, and what a complete one is good for.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._blob: Incoming | None = None
        self._name = ""
        self._field: list[bytes] | None = None
        self._field_size = 0

    @abstractmethod
    def begin(self, part: Part) -> None:
        """A part begins: call :meth:`expect_file`, :meth:`expect_metadata`, or neither."""

    @abstractmethod
    async def take_file(self, name: str, blob: Incoming) -> None:
        """All bytes of a file have come."""

    @abstractmethod
    def take_metadata(self, text: bytes) -> None:
        """The metadata have come."""

    def expect_file(self, name: str) -> None:
        """What comes now is a file."""
        self._name = name
        self._blob = self._call.site.blobs.incoming()

    def expect_metadata(self) -> None:
        """What comes now are the metadata."""
        self._field = []

    async def take(self, event: Part | PartEnd | bytes) -> None:
        """The next event of the parser.

        Raises:
            ApiError: 413.
        """
        if isinstance(event, bytes):
            await self._data(event)
        elif isinstance(event, PartEnd):
            await self._end()
        else:
            self.begin(event)

    def abandon(self) -> None:
        """Forget the part that was not complete."""
        if self._blob is not None:
            self._blob.abandon()

    async def _data(self, data: bytes) -> None:
        if self._blob is not None:
            await self._blob.write(data)
            if self._blob.size > self._call.site.settings.max_upload:
                raise ApiError(413, f"{self._name}: larger than this site takes")
            return
        self._field_size += len(data)
        if self._field_size > MAX_FIELD:
            raise ApiError(413, "the fields of the form are too large")
        if self._field is not None:
            self._field.append(data)

    async def _end(self) -> None:
        if self._blob is not None:
            await self.take_file(self._name, self._blob)
            self._blob = None
        elif self._field is not None:
            self.take_metadata(b"".join(self._field))
            self._field = None


class Form(Parts):
    """A form, as far as it was read.

    Args:
        check: is shown the metadata as soon as they are complete, whether files came before or
            not, and raises what the client is to be told about them.
    """

    def __init__(self, call: Call, check: Callable[[Json], object]) -> None:
        super().__init__(call)
        self._check = check
        self._held = 0  # bytes of small files
        #: In the order of their coming; a name may stand there twice.
        self.arrivals: list[Arrival] = []
        #: ``None``: there was no such field.
        self.metadata: Json | None = None

    async def read(self) -> None:
        """Read the whole request.

        Raises:
            ApiError: 400, 413, and what the check raises.
        """
        request = self._call.request
        parser = FormParser(boundary_of(request.headers.get("Content-Type", "")))
        try:
            while data := await request.content.readany():
                for event in parser.feed(data):
                    await self.take(event)
            parser.finish()
        except web.RequestPayloadError as error:
            raise invalid("the body cannot be read to its end") from error
        finally:
            self.abandon()

    def begin(self, part: Part) -> None:
        """A file has a name; of the fields only the metadata are wanted."""
        if part.filename is not None:
            self.expect_file(file_name(part.filename))
        elif part.name == "metadata":
            self.expect_metadata()

    async def take_file(self, name: str, blob: Incoming) -> None:
        """In its place; or, a small one, left to the thread that will record it.

        That thread writes one after the other, so there it must not be flushed, nor much.
        """
        self._held += blob.size
        at_once = blob.in_memory and self._held < KEEP_IN_MEMORY
        stays = at_once and not self._call.site.blobs.durable
        self.arrivals.append(Arrival(name, blob if stays else await blob.seal(), {}))

    def take_metadata(self, text: bytes) -> None:
        """Read and checked at once."""
        self.metadata = read_metadata(text)
        self._check(self.metadata)


def read_metadata(text: bytes | str) -> Json:
    """The JSON object that a ``metadata`` field holds; empty, or null, stands for ``{}``.

    Raises:
        ApiError: 400, it is none.
    """
    try:
        told = read_json(text or b"{}")
    except (ValueError, RecursionError) as error:
        raise invalid("metadata is not valid JSON") from error
    if told is None:
        return {}
    if not isinstance(told, dict):
        raise invalid("metadata must be a JSON object")
    return told


def check_metadata(told: Json) -> None:
    """What an upload says of its file.

    Raises:
        ApiError: 400, a field is unknown, or has the wrong type.
    """
    refuse_others(told, _KNOWN_METADATA)
    for name, read in _CHECKS.items():
        if told.get(name) is not None:
            read(told[name], name)


def _count(value: object, name: str) -> None:
    if type(value) is not int or value < 0:
        raise invalid(f"{name} has the wrong type: it is a whole number")


def _info(value: object, name: str) -> None:
    if not isinstance(value, dict):
        raise invalid(f"{name} has the wrong type: it is an object")
    metadata.clean_keys(value)


_CHECKS: Final[dict[str, Callable[[Any, str], object]]] = {
    "info": _info,
    "tags": lambda value, _: metadata.tags(value),
    "classification": metadata.classification,
    "type": metadata.optional_text,
    "mimetype": metadata.optional_text,
    "modality": metadata.optional_text,
    "name": metadata.optional_text,
    "client_hash": metadata.optional_text,
    "zip_member_count": _count,
}
