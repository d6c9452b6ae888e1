"""The fault script: a bad network, played by the sandbox on request.

``script``    what a script can say: rules, read and matched; no I/O
``register``  the rules that are in force, and what each has counted
``play``      a rule that fires acts on one request and its answer
``wire``      the body of a request or an answer, spoilt on its way
``members``   an archive with members that are missing, or that nobody asked for
``past``      the records as they were some seconds ago
``reading``   a script from a file
``desk``      the routes that change the script at run time
"""
