"""`elasticface gallery create`: an empty collection, bound to a model."""

from typing import Literal

from jsonargparse import Namespace

from elasticface.cli.gallery.options import add_model, add_place
from elasticface.cli.models import load_model
from elasticface.cli.parser import Parser
from elasticface.cli.photos import open_finder

HELP = "an empty collection for the embeddings of a model"

DESCRIPTION = """Make an empty collection of people.

It is bound to the model, its preprocessing and the detector: embeddings of others are refused, for they cannot be
compared. --aggregation says what a person's similarity is: that of the most similar face (best), or that of the mean of
all faces (mean). Decisions need best: a calibration is of single faces.

Photos are not kept. With --keep-faces the aligned face of each one is, as a picture of the model's input size, so that
one can look at who was found (`gallery people --faces OUT`, and the page of `elasticface serve`)."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    add_place(parser)
    parser.add_argument(
        "--aggregation", type=Literal["best", "mean"], default="best", help="of several faces of a person"
    )
    parser.add_argument("--keep-faces", action="store_true", help="keep the aligned faces, to look at")
    add_model(parser)


def run(options: Namespace) -> None:
    """Do it, and say what was made."""
    from elasticface.base.files import printable
    from elasticface.gallery.gallery import Gallery

    with Gallery.create(
        options.collection,
        load_model(options),
        database=options.database,
        finder=open_finder(options),
        aggregation=options.aggregation,
        keep_faces=options.keep_faces,
    ) as gallery:
        model, place = printable(gallery.collection.model), gallery.database.shown
        print(f"collection {printable(gallery.name)} for the model {model}, in {place}")
