"""What the commands of a gallery share: where it is, which model it is of, opening it, and what was enrolled."""

import json
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from elasticface.cli.models import MODEL_HELP, add_model_options, load_model
from elasticface.cli.parser import Parser
from elasticface.cli.photos import add_finder_options, open_finder

if TYPE_CHECKING:
    from elasticface.gallery.enrolment import Enrolment
    from elasticface.gallery.gallery import Gallery
    from elasticface.gallery.stats import Stats


def add_database(parser: Parser) -> None:
    """The database."""
    parser.add_argument(
        "--database",
        type=str | None,
        default=None,
        help="folder of an embedded database, or postgresql://… (default: ~/.local/share/elasticface/gallery)",
    )


def add_place(parser: Parser) -> None:
    """The database and the collection in it."""
    add_database(parser)
    parser.add_argument("--collection", type=str, default="people", help="which people of the database")


def add_model(parser: Parser) -> None:
    """The model and the detector."""
    parser.add_argument("--model", type=str, default="default", help=MODEL_HELP)
    add_finder_options(parser)
    add_model_options(parser)


def open_gallery(options: Namespace, with_model: bool = False) -> "Gallery":
    """The gallery that the options name.

    Raises:
        InputError: no such database or collection; another model than that of the collection.
    """
    from elasticface.gallery.gallery import Gallery

    if with_model:
        encoder, finder = load_model(options), open_finder(options)
        return Gallery(options.collection, encoder, database=options.database, finder=finder)
    return Gallery(options.collection, database=options.database)


def print_enrolment(done: "Enrolment", found: "Stats", as_json: bool) -> None:
    """What became of every photo, and who is in the collection now."""
    from elasticface.base import progress
    from elasticface.base.files import printable

    name, people, faces = found.collection.name, found.collection.people, found.collection.faces
    if found.advice is not None:
        progress.say(f"note: {found.advice}")
    if as_json:
        print(json.dumps({**vars(done), "collection": name, "people": people, "faces": faces}))
        return
    print(*done.lines(), sep="\n")
    print(f"in the collection {printable(name)}: {people:,} people, {faces:,} faces")
