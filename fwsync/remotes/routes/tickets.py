"""A ticket for signed addresses: what the site answered, checked, and as a note for later.

Its rule: bytes go only where a ticket says so for this very name, and never in the clear where
the site itself is asked over TLS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from yarl import URL

from fwsync.errors import Garbled
from fwsync.ports import OpenUpload
from fwsync.remotes.flywheel_wire import text_of
from fwsync.remotes.routes.stores import Dialect, Part, Store, cut, place_of, store_of

#: What we say ourselves of each request, whatever the site says.
_OURS = frozenset({"host", "content-length", "transfer-encoding", "content-range", "connection"})


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right to put one file, and where its parts go."""

    id: str
    container: str  #: ``acquisitions/<id>``
    name: str  #: of the file on the server
    urls: tuple[str, ...] = field(repr=False)  #: secrets
    headers: Mapping[str, str]
    store: Store
    parts: tuple[Part, ...]

    @property
    def part_size(self) -> int:
        """Bytes of each part but the last."""
        return self.parts[0].size

    def url_at(self, offset: int) -> str:
        """Where the bytes from there on go, in a session."""
        return self.urls[min(offset // max(1, self.part_size), len(self.urls) - 1)]

    def continues(self, other: Ticket) -> bool:
        """Whether what was put by the other is there for this one, and in the same parts."""
        return (
            self.store == other.store
            and self.store.keeps_parts
            and self.parts == other.parts
            and [*map(place_of, self.urls)] == [*map(place_of, other.urls)]
        )

    def note(self) -> dict[str, object]:
        """What a later run needs to go on with it; the addresses only where it can."""
        told: dict[str, object] = {
            "ticket": self.id,
            "container": self.container,
            "name": self.name,
            "store": self.store.dialect.value,
            "size": sum(part.size for part in self.parts),
        }
        if not self.store.in_parts:
            return told
        told |= {"upload_id": self.store.upload_id, "part_size": self.part_size}
        if self.store.keeps_parts:
            told |= {"urls": list(self.urls), "headers": dict(self.headers)}
        return told


def ticket_of(
    answer: Mapping[str, object], container: str, name: str, size: int, site: URL, what: str
) -> Ticket:
    """The ticket in an answer.

    Args:
        answer: with ``ticket``, ``urls`` and ``headers``.
        container: ``acquisitions/<id>``.
        name: of the file; the addresses stand under it, and under no other.
        size: of the file, in bytes.
        site: whose answer it is.
        what: the request in words, for error texts.

    Raises:
        Garbled: a part of it is missing, or leads to where no file of ours may go.
    """
    id_ = text_of(answer, "ticket", what)
    urls = answer.get("urls")
    found = urls.get(name) if isinstance(urls, Mapping) else None
    listed = isinstance(found, list)
    several = found if isinstance(found, list) else [found]
    addresses = [url for url in several if isinstance(url, str) and url]
    if not addresses or len(addresses) < len(several):
        raise Garbled(f"{what}: the site gave a ticket, and no address for {name!r}")
    for url in addresses:
        _check_address(url, site, what)
    headers = _headers(answer.get("headers"), what)
    return _made(id_, container, name, size, addresses, headers, listed=listed, what=what)


def ticket_in(known: OpenUpload, size: int) -> Ticket | None:
    """The ticket of an upload that was begun; None: its note does not hold one to go on with.

    Args:
        known: of this very file.
        size: of the file, in bytes.
    """
    note = known.note
    id_, container, name = (note.get(key) for key in ("ticket", "container", "name"))
    if not (isinstance(id_, str) and isinstance(container, str) and isinstance(name, str)):
        return None
    urls, headers = note.get("urls"), note.get("headers")
    if note.get("size") != size:
        return None
    if note.get("sent") is True:  # in one piece: there is nothing to do but to redeem it
        dialect = next((one for one in Dialect if one == note.get("store")), None)
        if dialect is None:  # of another version of ours
            return None
        store = Store(dialect, in_parts=False)
        return Ticket(id_, container, name, (), {}, store, (Part(1, 0, size),))
    if not isinstance(urls, list) or not isinstance(headers, dict):
        return None
    try:
        return _made(id_, container, name, size, urls, headers, listed=True, what=name)
    except Garbled:
        return None


def _made(
    id_: str,
    container: str,
    name: str,
    size: int,
    urls: Sequence[str],
    headers: Mapping[str, str],
    *,
    listed: bool,
    what: str,
) -> Ticket:
    store = store_of(urls, headers, listed=listed)
    if store is None:
        raise Garbled(f"{what}: the site gave {len(urls)} addresses that cannot be parts of one")
    parts = cut(size, len(urls), store) if store.in_parts else [Part(1, 0, size)]
    return Ticket(id_, container, name, tuple(urls), headers, store, tuple(parts))


def _headers(told: object, what: str) -> dict[str, str]:
    """The headers for the store; null stands for none, as some sites send it."""
    if told is None:
        return {}
    if not isinstance(told, Mapping) or not all(isinstance(value, str) for value in told.values()):
        raise Garbled(f"{what}: expected an object of texts as 'headers'")
    return {str(name): value for name, value in told.items() if name.lower() not in _OURS}


def _check_address(url: str, site: URL, what: str) -> None:
    try:
        address = URL(url, encoded=True)
        _ = address.port  # one that is none shows only when it is asked for
        url.encode()
    except ValueError:
        address = URL()
    if address.scheme not in ("http", "https") or not address.host:
        raise Garbled(f"{what}: the site gave no address that can be asked")
    if (site.scheme, address.scheme) == ("https", "http"):
        raise Garbled(
            f"{what}: the site wants the file in the clear, by http",
            hint="the site's storage is not set up as it should be: tell its administrator",
        )
