"""`elasticface adapt`: its options and what it does."""

import os
from pathlib import Path

from jsonargparse import Namespace

from elasticface.base.errors import InputError
from elasticface.base.locks import new_folder
from elasticface.cli.models import add_model_options, load_model
from elasticface.cli.parser import Parser
from elasticface.cli.photos import add_finder_options, open_finder
from elasticface.faces.choice import Choice

HELP = "a model and a few photos of your own, without names -> the model adapted to them"

DESCRIPTION = """Adapt a model to the faces that it is to be used on, without labels and without training.

A model that was trained on rendered faces, such as `default`, or on photos of another kind maps all faces of a new kind
to one side, so that strangers look alike to it. Here the mean of its last batch norm becomes that of your photos and
their mirror images, which moves them back to the middle. Nobody on them needs to be named. 50 photos are enough, and 10
the least. What they have in common is removed, so they should be taken like those that the model is for, and show many
people, nobody many times. A model that was trained on photos like yours has little to gain. Do not adapt to a benchmark
that is to judge the model. With names, and some thousand photos, `train --init` gains far more.

MODEL is default, a run folder, a model folder or a weights file (.pth, with --backbone); an .onnx cannot be adapted,
but what it was exported from can. PHOTOS are folders or uncompressed tars of photos as a camera makes them, or of what
`elasticface align` has written; a landmarks5.csv beside them is used.

OUT gets another model, with another fingerprint: its embeddings are not to be compared with those of MODEL. Thresholds
of MODEL do not hold for it and are left out, so run `elasticface calibrate` again; galleries of MODEL refuse it, so
enrol their people again.

  elasticface adapt default photos/ --out adapted
  elasticface calibrate adapted faces/
  elasticface verify a.jpg b.jpg --model adapted"""

_MODEL_HELP = "default (comes with the package), run folder, model folder, or weights (.pth, .safetensors, …)"


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("model", type=str, help=_MODEL_HELP)
    parser.add_argument("photos", type=str, nargs="+", help="folders or uncompressed tars of photos")
    parser.add_argument("--out", type=str, required=True, help="new folder for the adapted model")
    parser.add_argument("--half", action="store_true", help="store matrices and kernels in float16, half as large")
    parser.add_argument("--aligned", action="store_true", help="the photos are aligned faces, whatever wrote them")
    parser.add_argument("--faces", type=Choice, default="largest", help="which face, where a photo has several")
    parser.add_argument("--workers", type=int, default=2, help="processes that look for faces")
    add_finder_options(parser)
    add_model_options(parser)


def run(options: Namespace) -> None:
    """Do it, and say what was made."""
    from elasticface.base import progress
    from elasticface.recognition.adapting import adapt_to_photos

    if len({os.path.realpath(path) for path in options.photos}) < len(options.photos):
        raise InputError("photos are given twice")
    if options.aligned and (options.detector is not None or options.smallest is not None):
        raise InputError("--aligned says that faces are not looked for; leave out --detector and --smallest")
    out = Path(options.out)
    with new_folder(out) as folder:
        adapted, taken = adapt_to_photos(
            load_model(options),
            options.photos,
            open_finder(options),
            faces=options.faces,
            aligned=options.aligned,
            workers=options.workers,
        )
        adapted.save(folder, half=options.half)
    print(*taken.lines(), sep="\n")
    progress.say(
        "note: another model than before: calibrate it (elasticface calibrate), and enrol the people of galleries again"
    )
    print(out)
