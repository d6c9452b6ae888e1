"""What is said of files and containers besides their bytes and labels.

Pure: settings, sidecars and tables come in as values, and what is to be sent goes out.

=============  =========================================================================
``shapes``     which field belongs to which container, and what the platform takes
``rules``      ``[[metadata]]`` in the settings: patterns, and what they say
``sidecars``   ``NAME.flywheel.json``, read and written
``bids``       ``x.json`` beside ``x.nii.gz``, ``participants.tsv``, ``sessions.tsv``
``describe``   all of these together, for one file
=============  =========================================================================
"""
