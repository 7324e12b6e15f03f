"""The command line: one thin module a command.

A module has the command's HELP and DESCRIPTION, ``add_options`` and ``run``, which does what the command is for and
prints what came of it. ``run`` raises an InputError for options, data or a place that cannot be used.
"""
