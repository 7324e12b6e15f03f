"""`elasticface calibrate`: its options and what it does."""

import os
from pathlib import Path

from jsonargparse import Namespace

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.benchmarks.enrolment import Undetected
from elasticface.cli.evaluate import UNDETECTED_HELP
from elasticface.cli.models import MODEL_HELP, add_model_options, load_model
from elasticface.cli.parser import Parser

HELP = "a model on people it has not seen -> thresholds with their false match rates"

DESCRIPTION = """Measure what a model's similarities mean, thresholds and a likelihood ratio; keep it with the model.

MODEL is a run folder, a model folder, an .onnx embedder or a weights file (.pth, with --backbone). A BENCHMARK is a
pack, photos with a list of pairs, or CFP, as evaluate takes them; or a folder or an uncompressed tar of people,
<person>/<photo>, whose photos are compared all with all, five of each person: with --all-pairs, even where there is a
list of pairs. Several are taken together; they should have no one in common, and no one that the model was trained on.

For each false match rate: the threshold, the rate that was observed and its 95 % interval over people, and the share of
genuine comparisons that are accepted. A rate that takes more people than there are is refused (rule of three). Where
metadata.csv says sex, age, ancestry or the like, the rates of each group follow.

The result is in MODEL's model.json, or, for a file, beside it in MODEL.calibration.json, such as
net.onnx.calibration.json. It holds for the detector, the alignment, the mirror image, the precision and the very model
that it was measured with."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("model", type=str, help=MODEL_HELP)
    parser.add_argument("benchmarks", type=str, nargs="+", help="packs, photos with pairs.txt, CFP, folders of people")
    parser.add_argument("--fmr", type=list[float] | None, default=None, help="rates; 1e-1 to 1e-6 that the data allow")
    parser.add_argument(
        "--detector", type=str | None, default=None, help="what found the faces, where align.json does not say it"
    )
    parser.add_argument("--all-pairs", action="store_true", help="compare all photos of people; pass over pairs.txt")
    parser.add_argument(
        "--most-photos", type=int, default=5, help="of a person in a folder that are compared; 0 for all"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--pairs", type=str | None, default=None, help="list of pairs, where it is not in BENCHMARK")
    parser.add_argument("--landmarks", type=str | None, default=None, help="CSV of five points a photo, likewise")
    parser.add_argument("--undetected", type=Undetected, default="reject", help=UNDETECTED_HELP)
    parser.add_argument("--flip", type=bool, default=True, help="add the mirror image")
    add_model_options(parser, checkpoint=False)  # the result is kept with the final model


def run(options: Namespace) -> None:
    """Measure, keep, and print."""
    import json
    from dataclasses import asdict

    from rich.console import Console

    from elasticface.base import progress
    from elasticface.model.calibration import UNKNOWN_DETECTOR
    from elasticface.model.storing import place_of, store_calibration
    from elasticface.recognition.calibration import measure
    from elasticface.recognition.comparable import open_comparable
    from elasticface.recognition.found_by import detector_of, named_detector
    from elasticface.recognition.shown import lines, tables

    if len({os.path.realpath(path) for path in options.benchmarks}) < len(options.benchmarks):
        raise InputError("a benchmark is given twice")
    if options.most_photos < 0:
        raise InputError(f"--most-photos must be 0 or more, not {options.most_photos}")
    encoder = load_model(options)
    place = place_of(options.model)
    files.check_writable(place.parent, place.name)
    benchmarks = [
        one
        for path in options.benchmarks
        for one in open_comparable(
            path, options.pairs, options.landmarks, options.all_pairs, options.undetected, options.most_photos
        )
    ]
    given = options.detector
    detector = detector_of([Path(path) for path in options.benchmarks]) if given is None else named_detector(given)
    measured = measure(encoder, benchmarks, options.fmr, detector=detector, flip=options.flip)
    store_calibration(options.model, measured.calibration)
    if options.json:
        found = {"calibration": asdict(measured.calibration), "groups": list(map(asdict, measured.differentials))}
        print(json.dumps({**found, "notes": measured.notes, "file": str(place)}, indent=2, allow_nan=False))
        return
    console = Console()
    console.print(*tables(measured), sep="\n")
    console.print(*lines(measured), sep="\n", markup=False, highlight=False, soft_wrap=True)
    for note in measured.notes:
        progress.say(f"note: {note}")
    if given is not None:
        progress.say(f"note: the calibration is for faces that {files.printable(detector)} found, as --detector says")
    if not options.flip:
        progress.say(
            "note: --no-flip: verify, find, gallery and serve add the mirror image and will not use this calibration; "
            "it is for embeddings of `embed --no-flip`"
        )
    if detector == UNKNOWN_DETECTOR:
        progress.say(
            "note: what found the faces is not known, so verify and find will not use this calibration; "
            "say it with --detector, such as --detector yunet"
        )
    print(place)
