"""Where a local file goes: the way from a path on disk to a place on the platform.

The comparison of the two sides and the base knows one spelling only, the canonical path
of :class:`fwsync.layout.Layout`. A mapping stands in front of it: it turns the path that
is on disk into an address, for folders that were laid out by somebody else. Pure: a
mapping sees the path, what `stat` said, and a header that another room has read.

===================  ===================================================================
``placing``          the nouns: `Placed`, `Mapping`, and the door to header readers
``settings``         all of it as a table of settings, and `mapping_of`
``rules``            rules in order, the first that fits
``forms``            what a way of reading paths gives
``mirror``           the default layout and its longer forms
``chains``           templates of a fixed depth, there and back
``patterns``         templates of no fixed depth, and regular expressions
``bids``             the Brain Imaging Data Structure
``full``             the platform's full form
``twins``            paths of siblings with one label, in any layout
``scans``            labels from headers, by ``dicom``, ``series`` and ``routing``
``fwmeta``           rule files of fw-meta, in the languages of ``fwmeta_syntax``
``ingest_template``  templates of ``fw ingest template``
``packs``            which files of a container become one, and what it is called
``templates``        ``{subject}/{session}/{acquisition}/{file}`` and its relatives, read
``fields``           what can be known of a file, by name
``moments``          points in time as text, without a clock
``names``            the platform's own rule for names
``duplicates``       what is there twice
===================  ===================================================================
"""
