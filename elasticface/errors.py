"""What goes wrong through no fault of the program."""


class InputError(ValueError):
    """The user's input is wrong: one line that says what, where, and how to mend it.

    The command line prints the message alone and exits with 2. Raise it for files, options and data that come from
    outside, never for a broken promise between our own functions.
    """
