"""Unpack a zip into the files that it is made of: all of them, or for now none.

The one rule: until every member lies complete, checked and durable in a folder aside, nothing
is visible; then a note says so, and from there on the work is finished whatever happens, by
the next run if need be. What is replaced, and what the zip has no longer, goes to the trash; a
file that is not what the plan saw is left alone and reported.

Everything here blocks: it is for a thread.

===========  ===============================================================================
``packs``    a zip becomes its members, or its members go: both begin with a folder aside
``finish``   what a note tells of is done, by the run that wrote it or by the next one
``aside``    the folder aside: the note in it, and the receipt that may remain of it
===========  ===============================================================================
"""
