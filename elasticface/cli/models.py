"""What the commands that take a model share: its options, and opening it."""

from typing import TYPE_CHECKING, Literal

from jsonargparse import Namespace

from elasticface.cli.parser import Parser

if TYPE_CHECKING:
    from elasticface.model.encoder import FaceEncoder

MODEL_HELP = "default (comes with the package), run folder, model folder, .onnx, or weights (.pth, .safetensors, …)"

_PREPROCESSING = ("size", "channels", "scale", "mean", "std")


def add_model_options(parser: Parser, checkpoint: bool = True) -> None:
    """What a model that does not describe itself needs, which checkpoint of a run it is, and where it runs.

    Args:
        parser: of the command.
        checkpoint: whether a checkpoint will do for the command; else it takes no such option.
    """
    if checkpoint:
        told = "of a run, instead of its final model: best (by validation), last, or a step"
        parser.add_argument("--checkpoint", type=str | None, default=None, metavar="{best,last,STEP}", help=told)
    parser.add_argument(
        "--backbone", type=str | None, default=None, help="architecture of weights, or your own package.module:function"
    )
    parser.add_argument("--embedding-size", type=int | None, default=None, help="of weights; 512")
    parser.add_argument("--device", type=str, default="cpu", help="cpu or cuda")
    parser.add_argument("--output", type=str | None, default=None, help="of an .onnx: name of the embedding")
    parser.add_argument("--size", type=int | None, default=None, help="of an .onnx or weights: input side in pixels")
    parser.add_argument("--channels", type=Literal["RGB", "BGR"] | None, default=None, help="likewise: order")
    parser.add_argument("--scale", type=float | None, default=None, help="likewise: (x / scale - mean) / std")
    parser.add_argument("--mean", type=list[float] | None, default=None, help="likewise, e.g. 0.485,0.456,0.406")
    parser.add_argument("--std", type=list[float] | None, default=None, help="likewise, e.g. 0.229,0.224,0.225")


def load_model(options: Namespace) -> "FaceEncoder":
    """The model that the options name.

    Raises:
        InputError: it cannot be opened.
    """
    from elasticface.model.loading import load

    preprocessing = {name: options[name] for name in _PREPROCESSING if options[name] is not None}
    return load(
        options.model,
        options.backbone,
        checkpoint=options.get("checkpoint"),
        device=options.device,
        embedding_size=options.embedding_size,
        output=options.output,
        **preprocessing,
    )
