"""The parser of all commands: jsonargparse's, with values that :mod:`elasticface.base.values` reads."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

from jsonargparse import ActionYesNo, ArgumentParser, Namespace

from elasticface.base.errors import InputError
from elasticface.base.values import placeholder, read

_MISSING = "the following arguments are required: "


class _Help(argparse.HelpFormatter):
    """Defaults are shown where an option has one that says something, and the paragraphs of a description are kept."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Paragraphs stay paragraphs, and what has indented lines, such as a list, stays as it is."""
        fill = super()._fill_text
        parts = text.split("\n\n")
        return "\n\n".join(part if "\n  " in part else fill(part, width, indent) for part in parts)

    def _get_help_string(self, action: argparse.Action) -> str:
        told = action.help or ""
        silent = action.default in (None, argparse.SUPPRESS) or action.default is False
        return told if silent or not action.option_strings else f"{told} (default: {_written(action.default)})"


class Parser(ArgumentParser):
    """A parser whose options are named with dashes, and whose errors are an :class:`InputError`.

    Args:
        description: for the help.
        options: of jsonargparse's parser.
    """

    settings: Callable[[Namespace], dict[str, Any]] | None = None
    """From the options of the command line to what the file says that they name."""

    def __init__(self, description: str, **options: Any) -> None:
        super().__init__(description=description, formatter_class=_Help, allow_abbrev=False, **options)

    def add_argument(self, *names: str, **options: Any) -> argparse.Action:
        """As jsonargparse's, for the types that :func:`values.read` takes. A bool is a switch, which takes no value."""
        hint = options.pop("type", None)
        if hint == str | None:
            hint = str  # left out it is None; given it is the word, be it "null", which is a setting's alone
        if hasattr(options.get("action"), "_typehint"):  # how add_class_arguments gives most hints
            hint = options.pop("action")._typehint
        if options.get("help") is not argparse.SUPPRESS:  # jsonargparse's own, which it looks for by their names
            names = tuple(name.replace("_", "-") for name in names if not name.endswith("+"))
        if hint is bool:
            options["action"] = ActionYesNo(no_prefix="no-")
        elif hint is not None:
            options = {"metavar": placeholder(hint), **options, "type": partial(read, hint=hint, name=names[0])}
        action: argparse.Action = super().add_argument(*names, **options)
        return action

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Namespace | None = None, **others: Any
    ) -> Namespace:
        """As jsonargparse's; what a file says goes over the defaults and under the options, wherever it is named."""
        options = super().parse_args(args, namespace, **others)
        if self.settings is not None:
            namespace = Namespace(self.settings(options))  # type: ignore[no-untyped-call]
            options = super().parse_args(args, namespace, **others)
        return options

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise ``ex``, or what is behind it, as an InputError of one line."""
        for error in (ex, ex and ex.__cause__, ex and ex.__context__):
            if isinstance(error, InputError):
                raise error
        message = message.replace("ignored explicit argument", "takes no value, got")
        start, _, missing = message.partition(_MISSING)
        if missing:
            message = f"{start}{_MISSING}{', '.join(map(self._as_typed, missing.split(', ')))}"
        raise InputError(f"{' '.join(message.split())} (see {self.prog} --help)") from ex

    def _as_typed(self, name: str) -> str:
        """An argument that jsonargparse calls "train.out" as one types it: "--out"."""
        parser: ArgumentParser = self
        *commands, last = name.split(".")
        for command in commands:
            parser = parser._subcommands_action._name_parser_map[command]  # type: ignore[union-attr]
        found = next((action for action in parser._actions if action.dest == last), None)
        return found.option_strings[0] if found and found.option_strings else last


def _written(default: Any) -> str:
    """As one writes it on the command line."""
    if isinstance(default, list):
        return ",".join(f"{value:g}" for value in default)
    return "true" if default is True else str(default)
