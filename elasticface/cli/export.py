"""`elasticface export`: a model as one .onnx file that says all about itself."""

from typing import Literal

from jsonargparse import Namespace

from elasticface.cli.parser import Parser
from elasticface.training.config import Backbone

HELP = "a model -> one .onnx file, in int8 too"

DESCRIPTION = """Write a model as one .onnx file, for phones, servers and other languages.

MODEL is a run folder, a model folder, an .onnx embedder or a weights file (.pth, with --backbone). OUT.onnx takes
float32 [batch, 3, size, size] and gives embeddings [batch, D]; its metadata say how images are preprocessed, how the
model was trained and what wrote the file, so that every command takes OUT.onnx without further options. Before it gets
its name, ONNX Runtime is compared with the network. With --int8 it is a quarter of the size; thresholds must then be
calibrated anew."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("model", type=str, help="run folder, model folder, .onnx or .pth")
    parser.add_argument("out", type=str, help="the file to write, which ends in .onnx")
    parser.add_argument(
        "--int8",
        type=str | None,
        default=None,
        help="quantise; ranges from rendered faces, or from a folder, set or pack of aligned faces",
    )
    parser.add_argument("--opset", type=int | None, default=None, help="version of ONNX's operators; torch's default")
    parser.add_argument("--overwrite", action="store_true", help="take the place of a file that is there")
    parser.add_argument("--backbone", type=Backbone | None, default=None, help="architecture of a .pth")
    parser.add_argument("--output", type=str | None, default=None, help="of an .onnx: name of the embedding")
    parser.add_argument("--size", type=int | None, default=None, help="of an .onnx or .pth: input side in pixels")
    parser.add_argument("--channels", type=Literal["RGB", "BGR"] | None, default=None, help="likewise: order")
    parser.add_argument("--scale", type=float | None, default=None, help="likewise: (x / scale - mean) / std")
    parser.add_argument("--mean", type=list[float] | None, default=None, help="likewise, e.g. 0.485,0.456,0.406")
    parser.add_argument("--std", type=list[float] | None, default=None, help="likewise, e.g. 0.229,0.224,0.225")


def run(options: Namespace) -> None:
    """Do it, and say what was written."""
    from elasticface.model import export, load

    names = ("size", "channels", "scale", "mean", "std")
    preprocessing = {name: options[name] for name in names if options[name] is not None}
    encoder = load(options.model, options.backbone, output=options.output, **preprocessing)
    made = export(encoder, options.out, int8=options.int8, opset=options.opset, overwrite=options.overwrite)
    print(*made.lines(), made.path, sep="\n")
