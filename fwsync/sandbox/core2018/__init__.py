"""The mode ``core-2018``: the sandbox as the open server of March 2018 was on the wire.

It has a table of routes and rooms of its own, over the records, blobs and tree of the others:
translation happens here, and the other rooms do not know of it. A site can be looked at in either
mode, one after the other, by ``PATCH /sandbox/switches``.

What a client meets here, and nowhere else: HEAD is 405; lists are whole; mistakes of the client
are 500 at times; a name uploaded again is overwritten without a word; a tar has no length, and the
end of the connection is its end. That a tar may end early, under status 200, is a matter of the
fault script: a rule that cuts the body of ``GET /download``.

Source: core18, observed. What it did in a race of two requests (two files of one name, two
sessions of one label) is not done here: it cannot be had every time.
"""

from fwsync.sandbox.core2018.asking import identify
from fwsync.sandbox.core2018.front import Front
from fwsync.sandbox.core2018.routes import ROUTES

__all__ = ["ROUTES", "Front", "identify"]
