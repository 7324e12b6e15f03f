"""The command line: one thin command per job. Heavy imports happen in the command that needs them.

Exit codes: 0 done; 2 the input is wrong, said in one line; 143 a command of a gallery was ended by SIGTERM; 1 anything
else.
"""

import contextlib
import errno
import io
import os
import select as polling
import signal
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from elasticface.base import files
from elasticface.base.errors import InputError, Stopped
from elasticface.base.interrupts import Terminated, ended_by_sigterm
from elasticface.base.version import __version__
from elasticface.cli import (
    adapt,
    align,
    calibrate,
    compare,
    convert,
    detect,
    embed,
    evaluate,
    export,
    find,
    gallery,
    pack,
    plan,
    quickstart,
    select,
    serve,
    split,
    synthesize,
    train,
    verify,
)
from elasticface.cli.parser import Parser

_WITH_PHOTOS = (detect, align, verify, find, embed, serve)
_WITH_MODELS = (synthesize, convert, split, pack, train, select, evaluate, compare, adapt, calibrate, export, plan)
GROUPS = {"gallery": gallery}
"""Commands that have commands of their own."""

COMMANDS = {
    **{module.__name__.rpartition(".")[2]: module for module in (quickstart, *_WITH_PHOTOS, *_WITH_MODELS)},
    **{f"{group} {name}": module for group, of in GROUPS.items() for name, module in of.COMMANDS.items()},
}
"""Every command, by the words that call it."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    from elasticface.base.progress import console

    def warn(message: Warning | str, *_: Any, **__: Any) -> None:
        console.print(f"warning: {message}", markup=False, soft_wrap=True)

    warnings.showwarning = warn
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # names that the terminal's encoding has no letters for
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) == 1 and given[0] in GROUPS:
        given.append("--help")
    parser = _parser(given)
    if not given:
        parser.print_help()
        sys.exit(0)
    try:
        options = parser.parse_args(given)
        command, chosen = options.command, options[options.command]
        ending: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if command in GROUPS:
            command, chosen = f"{command} {chosen.action}", chosen[chosen.action]
            ending = ended_by_sigterm(Terminated())  # which stops the embedded server, if no other program uses it
        with ending:
            COMMANDS[command].run(chosen)
        if sys.stdout is not None:
            sys.stdout.flush()  # what goes wrong with it is said below, and not by Python at its end
    except InputError as error:
        _fail("" if error.silent else str(error), 2)
    except Stopped as stopped:
        _fail("" if stopped.silent else str(stopped), stopped.exit_code)
    except Terminated:
        _fail("stopped", 128 + signal.SIGTERM)
    except KeyboardInterrupt:
        _fail("stopped", 1)
    except BrokenPipeError:
        if not _is_closed(sys.stdout):
            raise
        _fail("stdout was closed before all of it was written, as by `head`; the rest is left out", 1)
    except OSError as error:
        if error.errno in files.NO_ROOM:
            where = f"{error.filename}: " if error.filename else ""
            _fail(f"{where}{error.strerror}; make room and start it again, with --resume if it takes that", 1)
        if error.errno in _WRONG_PATH and _is_named(error.filename, given):
            _fail(f"{files.printable(os.fsdecode(error.filename))}: {error.strerror}; give another path", 2)
        raise
    sys.exit(0)


def _is_closed(stdout: Any) -> bool:
    """Whether nobody reads ``stdout`` any more. Then what is left of it goes nowhere."""
    try:
        descriptor = stdout.fileno()
    except (AttributeError, OSError):  # there is none, or it is no file
        return False
    asked = polling.poll()
    asked.register(descriptor, 0)
    if not any(event & (polling.POLLERR | polling.POLLHUP) for _, event in asked.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return True


_WRONG_PATH = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP),
    *(errno.EACCES, errno.EROFS, errno.EISDIR, errno.ENOTEMPTY),
)


def _is_named(path: Any, given: Sequence[str]) -> bool:
    """Whether one of the words ``given`` is ``path``, or is above or below it: then it is the user's, not ours."""
    if not isinstance(path, str | bytes):
        return False
    there = Path(os.path.abspath(os.fsdecode(path)))
    for word in given:
        named = Path(os.path.abspath(word.partition("=")[2] if word.startswith("--") and "=" in word else word))
        beside = named.parent == there.parent and files.is_temporary(there.name)  # what is to become ``named``
        if there.is_relative_to(named) or named.is_relative_to(there) or beside:
            return True
    return False


def parsers(commands: Iterable[str] = tuple(COMMANDS)) -> dict[str, Parser]:
    """Of every command, by the words that call it."""
    made = {name: Parser(COMMANDS[name].DESCRIPTION) for name in commands}
    for name, options in made.items():
        COMMANDS[name].add_options(options)
    return made


def _parser(given: Sequence[str]) -> Parser:
    """Of the command that comes first, or else of all: making all takes longer than some commands do."""
    parser = Parser("Train face recognition with elastic margins, and measure it.", prog="elasticface")
    parser.add_argument("--version", action="version", version=f"elasticface {__version__}")
    subcommands = parser.add_subcommands(dest="command", required=True)
    groups: dict[str, Any] = {}
    first, words = given[:1], " ".join(given[:2])
    wanted = [name for name in COMMANDS if name == words or name.split()[:1] == first]
    for name, options in parsers([words] if words in COMMANDS else wanted or COMMANDS).items():
        group, _, action = name.rpartition(" ")
        if group and group not in groups:
            of_group = Parser(GROUPS[group].DESCRIPTION)
            subcommands.add_subcommand(group, of_group, help=GROUPS[group].HELP)
            of_group.prog = f"{parser.prog} {group}"
            groups[group] = of_group.add_subcommands(dest="action", required=True)
        (groups[group] if group else subcommands).add_subcommand(action, options, help=COMMANDS[name].HELP)
        options.prog = f"{parser.prog} {name}"
    return parser


def _fail(message: str, code: int) -> NoReturn:
    if message:
        print(f"elasticface: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
