"""A site that runs scitran/core of March 2018, the last open Flywheel, as a remote.

What is another there: subjects are no containers, but a code that a session carries; there is
no ``/lookup``, no list of files, no paging, no version and no signed address; a name that is
sent again is overwritten without a word, and labels are not unique.

Source of what is said of it here: *core18*, its behaviour on the wire, observed; and its
published source, scitran/core on GitHub, where this is named.
"""
