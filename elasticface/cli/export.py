"""`elasticface export`: a model as one .onnx file that says all about itself."""

from jsonargparse import Namespace

from elasticface.cli.models import MODEL_HELP, add_model_options, load_model
from elasticface.cli.parser import Parser

HELP = "a model -> one .onnx file, in int8 too"

DESCRIPTION = """Write a model as one .onnx file, for phones, servers and other languages.

MODEL is a run folder (with --checkpoint, a checkpoint of the run), a model folder, an .onnx embedder or a weights file
(.pth, with --backbone). OUT.onnx takes float32 [batch, 3, size, size] and gives embeddings [batch, D]; an .onnx from
elsewhere takes what it took before. Metadata say how images are preprocessed, how the model was trained and what wrote
the file, so that every command takes OUT.onnx without further options. Before it gets its name, ONNX Runtime is
compared with the network.

With `--int8 rendered` it is a quarter to a third of the size; thresholds must then be calibrated anew."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("model", type=str, help=MODEL_HELP)
    parser.add_argument("out", type=str, help="the file to write, which ends in .onnx")
    parser.add_argument(
        "--int8",
        type=str | None,
        default=None,
        help="quantise, with ranges from these faces: rendered, or a folder, set or pack of aligned ones",
    )
    parser.add_argument("--opset", type=int | None, default=None, help="version of ONNX's operators; torch's default")
    parser.add_argument("--overwrite", action="store_true", help="take the place of a file that is there")
    add_model_options(parser)


def run(options: Namespace) -> None:
    """Do it, and say what was written."""
    from elasticface.model import export

    encoder = load_model(options)
    made = export(encoder, options.out, int8=options.int8, opset=options.opset, overwrite=options.overwrite)
    print(*made.lines(), made.path, sep="\n")
