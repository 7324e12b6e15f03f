"""`elasticface evaluate`: its options and what it does."""

from pathlib import Path

from jsonargparse import Namespace

from elasticface.base import files
from elasticface.benchmarks.enrolment import Undetected
from elasticface.cli.models import MODEL_HELP, add_model_options, load_model
from elasticface.cli.parser import Parser

HELP = "a model on benchmarks -> figures and a report"

DESCRIPTION = """Measure a model the way the field does, and write results.json, report.html and scores/, for compare.

MODEL is a run folder, a model folder, an .onnx embedder or a weights file (.pth, with --backbone). A BENCHMARK is a
pack (lfw.bin, agedb_30.bin, …); a folder or an uncompressed tar with pairs.txt (LFW's format, or lines of
`path path 0|1`), pairs_CALFW.txt or pairs_CPLFW.txt (as their authors publish them), its photos aligned or with
landmarks5.csv beside it; the folder of CFP, likewise, which is measured as cfp_fp and cfp_ff; or a folder of IJB-B,
IJB-C or MegaFace, for which MODEL may also be ready-made features: a .npy with a row an image, or a folder of
MegaFace's matrix files. A stopped evaluation of these resumes with the embeddings in --features.

With --checkpoint best, last or STEP a checkpoint of a run is measured, while the run goes on, too, and the results are
in RUN/results-best, RUN/results-last or RUN/results-STEP.

A folder with results that are not measured again, of another benchmark or model, is refused.

No detector finds every face. --undetected says how a comparison counts that has a photo without a face, or a damaged
one: as a non-match at every threshold (reject, as NIST does); not at all (skip); or with the central square of the
photo for a face (centre, as in many public packs; a damaged photo has none, and is rejected). The number of such photos
and their rate are in the results and the report, and compare refuses to mix the three."""

UNDETECTED_HELP = "photos without a face, and damaged ones: their comparisons are non-matches, are left out, or centred"


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("model", type=str, help=MODEL_HELP)
    parser.add_argument(
        "benchmarks", type=str, nargs="+", help="packs, folders or tars with pairs.txt, CFP, IJB, MegaFace"
    )
    parser.add_argument("--out", type=str | None, default=None, help="folder for the results; in RUN, or ./results")
    parser.add_argument("--pairs", type=str | None, default=None, help="list of pairs, where it is not in BENCHMARK")
    parser.add_argument("--landmarks", type=str | None, default=None, help="CSV of five points a photo, likewise")
    parser.add_argument("--undetected", type=Undetected, default="reject", help=UNDETECTED_HELP)
    parser.add_argument("--features", type=str | None, default=None, help="folder for embeddings; OUT/features")
    parser.add_argument("--baseline", type=str | None, default=None, help="training faces; shows whitened PCA beside")
    parser.add_argument("--flip", type=bool, default=True, help="add the mirror image")
    parser.add_argument("--keep-norm", type=bool, default=True, help="IJB: an image counts by its norm")
    parser.add_argument("--weigh-by-detector-score", type=bool, default=True, help="IJB: and by that score")
    parser.add_argument("--suffix", type=str | None, default=None, help="MegaFace features: <image>_SUFFIX.bin")
    add_model_options(parser)


def run(options: Namespace) -> None:
    """Measure, print, and write what there is to be written."""
    from rich.console import Console

    from elasticface.base import progress
    from elasticface.benchmarks.ijb.protocol import TemplateOptions
    from elasticface.benchmarks.opening import Model, is_features, open_benchmarks
    from elasticface.benchmarks.pairwise.baseline import whitened_pca
    from elasticface.benchmarks.reading.features import FeatureFiles
    from elasticface.benchmarks.results import RESULTS
    from elasticface.data import open_dataset
    from elasticface.evaluation import check_folder, evaluate
    from elasticface.model.shipped import located
    from elasticface.report.files import REPORT
    from elasticface.report.terminal import terminal_notes, terminal_tables
    from elasticface.training.run_files import MODEL, read_metrics

    if options.checkpoint is None and is_features(options.model):
        models: list[Model] = [FeatureFiles(Path(options.model), options.suffix)]
    else:
        models = [load_model(options)]
    making = TemplateOptions(options.keep_norm, options.weigh_by_detector_score, options.flip)
    benchmarks = open_benchmarks(options.benchmarks, options.pairs, options.landmarks, making, options.undetected)
    model = located(options.model)
    run = model if (model / MODEL).is_dir() else None
    if options.checkpoint is not None:  # RUN's own results are those of its final model
        run = model / f"results-{options.checkpoint}"
    out = Path(options.out) if options.out else run or Path("results")
    files.check_writable(out)
    if options.baseline:
        models.append(whitened_pca(open_dataset(options.baseline)))
    check_folder(out, models, benchmarks, newest=options.out is None and options.checkpoint in ("best", "last"))
    features = Path(options.features) if options.features else None
    if features is not None:
        files.check_writable(features)
    results = evaluate(models, benchmarks, out, flip=options.flip, features=features, curves=read_metrics(model))
    Console().print(*terminal_tables(results), sep="\n")
    for note in terminal_notes(results):
        progress.say(f"note: {note}")
    print(f"{out / RESULTS}\n{out / REPORT}")
