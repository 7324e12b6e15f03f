"""The command line: one thin command per job. Heavy imports happen in the command that needs them.

Exit codes: 0 done; 2 the input is wrong, said in one line; 1 anything else.
"""

import dataclasses
import errno
import os
import sys
import typing
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ActionYesNo, ArgumentParser, Namespace

from elasticface.base import files
from elasticface.base.errors import InputError, Stopped
from elasticface.base.version import __version__
from elasticface.cli import compare, convert, evaluate, plan
from elasticface.training.config import RECIPES, TrainConfig

_QUICKSTART = """Train and judge a model on faces that are rendered on the spot: no data and no settings needed.

OUT gets people to train on and others to judge on, the run, results.json and report.html. Stopped, the same command
goes on."""

_SYNTHESIZE = """Render faces of people who never lived: to train on, to judge on, or to study what losses make of them.

OUT/person-000012/0003.jpg is an aligned 112x112 photo, OUT/metadata.csv says what is in every photo (pose, light,
expression, what covers the face), OUT/synthetic.json what it was made with. A photo depends on the seed, the person's
number and its own number, and on nothing else: the same command gives the same bytes on any number of processes, and
--first 500 after 500 identities gives other people. A stopped command goes on when it is given again.
--heterogeneity is σ of how unequally people vary: 0, all alike; 0.5, most from 0.4 to 2 times the average.
To train on such faces without a folder: elasticface train synthetic:identities=500,images=16 --out RUN"""

_ALIGN = """Warp photos onto the 112x112 template that face recognition models expect.

PHOTOS is a folder or an uncompressed tar; each photo with five points in FILE.csv becomes OUT/<its name>. The CSV has
the header file,score,x_leye,y_leye,x_reye,y_reye,x_nose,y_nose,x_lmouth,y_lmouth,x_rmouth,y_rmouth."""

_PACK = """Put a benchmark's pairs and aligned faces into one .bin, as the field passes benchmarks on.

DIR is a benchmark of pairs as evaluate takes it: a folder or an uncompressed tar with pairs.txt, or with CALFW's or
CPLFW's own list; CFP's own folder (OUT.bin is then called cfp_fp.bin or cfp_ff.bin); or another pack. Aligned JPEG and
PNG files go in as they are; photos with landmarks are aligned and stored as PNG. A model has the very same figures on
the pack as on DIR."""

_SPLIT = """Hold people out of a folder of identity folders, to judge a model on faces it has not seen.

OUT/train gets the images to train on, OUT/heldout those of the people held out, with a pairs.txt of ten folds."""

_TRAIN = """Train a model on aligned faces of labelled people, or on synthetic ones.

DATA is a folder of identity folders (<identity>/<image>); a folder with train.rec and train.idx, as MS1MV2, Glint360K
and CASIA-WebFace are passed on; a folder of WebDataset shards, or a pattern such as faces-{{000000..000579}}.tar; or
synthetic:identities=500,images=16 for faces rendered as they are read.
Settings come from --config, a YAML or the name of a recipe, and from the options below, which go over it. Recipes:
{recipes}.
RUN gets config.yaml, metrics.jsonl, checkpoints/ and model/. A run that was stopped goes on with --resume, bit for bit;
it needs no settings then, the run folder has them."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    from elasticface.base.progress import console

    def warn(message: Warning | str, *_: Any, **__: Any) -> None:
        console.print(f"warning: {message}", markup=False, soft_wrap=True)

    warnings.showwarning = warn
    parser, commands = _parser()
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given:
        parser.print_help()
        sys.exit(0)
    try:
        options = parser.parse_args(_with_settings(given))
        commands[options.command](options[options.command])
    except InputError as error:
        _fail("" if error.silent else str(error), 2)
    except Stopped as stopped:
        _fail("" if stopped.silent else str(stopped), stopped.exit_code)
    except KeyboardInterrupt:
        _fail("stopped", 1)
    except OSError as error:
        if error.errno in files.NO_ROOM:
            where = f"{error.filename}: " if error.filename else ""
            _fail(f"{where}{error.strerror}; make room and start it again; what goes on has --resume", 1)
        if error.errno in _WRONG_PATH and _is_named(error.filename, given):
            _fail(f"{files.printable(os.fsdecode(error.filename))}: {error.strerror}; give another path", 2)
        raise
    sys.exit(0)


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


class _Parser(ArgumentParser):
    """Usage errors in one line, as all other wrong input."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise InputError(f"{' '.join(message.split())} (see {self.prog} --help)") from ex


def _parser() -> tuple[ArgumentParser, dict[str, Callable[[Namespace], None]]]:
    parser = _Parser(prog="elasticface", description="Train face recognition with elastic margins, and measure it.")
    parser.add_argument("--version", action="version", version=f"elasticface {__version__}")
    subcommands = parser.add_subcommands(dest="command", required=True)

    quickstart = _Parser(description=_QUICKSTART)
    quickstart.add_argument("--out", type=str, default="quickstart", help="folder for everything")
    quickstart.add_argument("--small", action="store_true", help="fewer people and epochs: about a minute")
    quickstart.add_argument("--seed", type=int, default=0, help="of the people, the pairs and the training")
    quickstart.add_argument("--workers", type=int, default=2, help="processes that render")
    subcommands.add_subcommand("quickstart", quickstart, help="made-up faces -> a trained model and a report")

    synthesize = _Parser(description=_SYNTHESIZE)
    synthesize.add_argument("out", type=str | None, nargs="?", default=None, help="folder for the faces")
    synthesize.add_argument("--identities", type=int | None, default=None, help="how many people")
    synthesize.add_argument("--images-per-identity", type=int | None, default=None, help="photos of each")
    synthesize.add_argument("--heterogeneity", type=float, default=0.5, help="how unequally much people vary, 0 to 2")
    synthesize.add_argument("--seed", type=int, default=0, help="of everything")
    synthesize.add_argument("--first", type=int, default=0, help="number of the first person")
    synthesize.add_argument(
        "--appearance",
        type=typing.Literal["varying", "frozen", "redrawn"],
        default="varying",
        help="hair, glasses, beard, make-up: varying around a person's habits, frozen, or redrawn for every photo",
    )
    synthesize.add_argument("--workers", type=int, default=2, help="processes that render")
    synthesize.add_argument("--preview", type=str | None, default=None, help="PNG of what such faces look like")
    subcommands.add_subcommand("synthesize", synthesize, help="made-up faces, for training or tests")

    align = _Parser(description=_ALIGN)
    align.add_argument("photos", type=str, help="folder or uncompressed tar of photos")
    align.add_argument("out", type=str, help="folder for the aligned faces")
    align.add_argument("--landmarks", type=str, required=True, help="CSV of five points a photo")
    align.add_argument(
        "--identities", type=str | None, default=None, help="text file of the people to take, one a line"
    )
    align.add_argument("--size", type=int, default=112, help="side in pixels")
    align.add_argument("--format", type=typing.Literal["jpg", "png"], default="jpg", help="JPEG of quality 95, or PNG")
    align.add_argument("--workers", type=int, default=2, help="processes")
    align.add_argument("--resume", action="store_true", help="keep what is in OUT and add what is missing")
    subcommands.add_subcommand("align", align, help="photos + landmarks -> aligned faces")

    convert_parser = _Parser(description=convert.DESCRIPTION)
    convert.add_options(convert_parser)
    subcommands.add_subcommand("convert", convert_parser, help="a folder, RecordIO, shards -> another of them")

    split = _Parser(description=_SPLIT)
    split.add_argument("faces", type=str, help="folder of identity folders")
    split.add_argument("out", type=str, help="folder for train/ and heldout/")
    split.add_argument("--people", type=int, required=True, help="how many people to hold out")
    split.add_argument("--pairs", type=int, default=6000, help="how many pairs, half of them genuine")
    split.add_argument("--seed", type=int, default=0, help="of the choice")
    subcommands.add_subcommand("split", split, help="hold people out, with pairs to verify on")

    pack = _Parser(description=_PACK)
    pack.add_argument("dir", type=str, help="folder or tar with a list of pairs, CFP's folder, or a pack")
    pack.add_argument("out", type=str, help="the pack, a file that ends in .bin")
    pack.add_argument("--pairs", type=str | None, default=None, help="list of pairs, where it is not in DIR")
    pack.add_argument("--landmarks", type=str | None, default=None, help="CSV of five points a photo, likewise")
    pack.add_argument("--size", type=int, default=112, help="side of the faces in pixels")
    pack.add_argument("--overwrite", action="store_true", help="take the place of a file that is there")
    subcommands.add_subcommand("pack", pack, help="a benchmark -> one .bin file")

    train = _Parser(description=_TRAIN.format(recipes=", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))))
    train.add_argument("data", type=str, help="folder of identity folders, RecordIO, shards, or synthetic:…")
    train.add_argument("--out", type=str, required=True, help="the run folder")
    train.add_argument("--config", action="config", help="YAML of settings, or the name of a recipe")
    train.add_argument("--resume", action="store_true", help="go on from the newest good checkpoint in RUN")
    _add_settings(train)
    subcommands.add_subcommand("train", train, help="faces -> a trained model")

    evaluate_parser = _Parser(description=evaluate.DESCRIPTION)
    evaluate.add_options(evaluate_parser)
    subcommands.add_subcommand("evaluate", evaluate_parser, help="a model on benchmarks -> figures and a report")
    compare_parser = _Parser(description=compare.DESCRIPTION)
    compare.add_options(compare_parser)
    subcommands.add_subcommand("compare", compare_parser, help="results -> which model is ahead, and is it chance")
    plan_parser = _Parser(description=plan.DESCRIPTION)
    plan.add_options(plan_parser)
    subcommands.add_subcommand("plan", plan_parser, help="identities, GPUs -> memory, traffic and work of a run")
    return parser, {
        "quickstart": _quickstart,
        "synthesize": _synthesize,
        "align": _align,
        "convert": _convert,
        "split": _split,
        "pack": _pack,
        "train": _train,
        "evaluate": evaluate.run,
        "compare": _compare,
        "plan": _plan,
    }


def _add_settings(parser: ArgumentParser) -> None:
    """An option for every setting of a run: batch_size is --batch-size."""
    hints = typing.get_type_hints(TrainConfig)
    for setting in dataclasses.fields(TrainConfig):
        default = setting.default
        if default is dataclasses.MISSING:
            assert setting.default_factory is not dataclasses.MISSING
            default = setting.default_factory()
        kind = (
            {"action": ActionYesNo(no_prefix="no-"), "nargs": "?"}
            if hints[setting.name] is bool
            else {"type": hints[setting.name]}
        )
        name = f"--{setting.name.replace('_', '-')}"
        parser.add_argument(name, default=default, help=setting.metadata["help"], **kind)


def _with_settings(given: list[str]) -> list[str]:
    """The arguments of `train` as the parser needs them.

    --config comes first, so that the options go over it wherever they stand; a recipe's name becomes its path; a run to
    resume brings its own settings where none are given; a switch without a value gets one, lest it take the next word.
    """
    if given[:1] != ["train"]:
        return given
    hints = typing.get_type_hints(TrainConfig)
    switches = {f"--{no}{name.replace('_', '-')}" for name in hints if hints[name] is bool for no in ("", "no-")}
    words, given = given, []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        given += word.split("=", 1) if word.startswith("--") else [word]
        if word in switches and following not in ("true", "false", "yes", "no"):
            given.append("true")
    if "--config" in given[:-1]:
        at = given.index("--config")
        config = _config_file(given[at + 1])
        del given[at : at + 2]
    elif "--resume" in given and "--out" in given[:-1]:
        config = Path(given[given.index("--out") + 1]) / "config.yaml"
        if not config.is_file():
            return given
    else:
        return given
    return [given[0], "--config", str(config), *given[1:]]


def _config_file(name: str) -> Path:
    """The YAML that ``name`` is, or the recipe it names; one whose settings all exist."""
    from elasticface.training.run_files import read_config

    path, recipe = Path(name), RECIPES / f"{name}.yaml"
    if not path.is_file():
        if not recipe.is_file():
            recipes = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
            raise InputError(f"--config {name}: no such file, and no recipe; there are {recipes}")
        path = recipe
    known = {setting.name for setting in dataclasses.fields(TrainConfig)} | {"data", "out", "resume"}
    for key in read_config(path):
        if key not in known:
            raise InputError(f"{path}: no setting {key!r}; `elasticface train --help` names them all")
    return path


def _quickstart(options: Namespace) -> None:
    files.check_writable(Path(options.out))
    from elasticface.quickstart import FULL, SMALL, quickstart

    size = SMALL if options.small else FULL
    outcome = quickstart(Path(options.out), size, seed=options.seed, workers=options.workers)
    print("\n".join(outcome.lines()))


def _synthesize(options: Namespace) -> None:
    from elasticface.data.synthetic.scene import Variation
    from elasticface.data.synthetic.source import check_set

    if options.out is None and options.preview is None:
        raise InputError("synthesize needs OUT, a folder for the faces, or --preview FILE.png, or both")
    variation = Variation(options.heterogeneity, options.appearance)
    if options.preview is not None:
        check_set(1, 1, options.seed, variation, options.first)
        _check_preview(Path(options.preview))
    if options.out is not None:
        if options.identities is None or options.images_per_identity is None:
            raise InputError("synthesize OUT needs --identities and --images-per-identity")
        files.check_writable(Path(options.out))
        from elasticface.data.synthetic.write import write_faces

        summary = write_faces(
            Path(options.out),
            identities=options.identities,
            images_per_identity=options.images_per_identity,
            seed=options.seed,
            variation=variation,
            first=options.first,
            workers=options.workers,
        )
        print("\n".join(summary.lines()))
    if options.preview is not None:
        from elasticface.data.synthetic.preview import write_preview

        for path in write_preview(Path(options.preview), options.seed, variation, options.first):
            print(path)


def _align(options: Namespace) -> None:
    from elasticface.data.images.photos import Photos
    from elasticface.faces.align_folder import align_photos, read_identities
    from elasticface.faces.landmarks import read_landmarks

    summary = align_photos(
        Photos(options.photos),
        Path(options.out),
        read_landmarks(options.landmarks),
        size=options.size,
        format=options.format,
        workers=options.workers,
        only=read_identities(Path(options.identities)) if options.identities else None,
        resume=options.resume,
    )
    print("\n".join(summary.lines()))


def _convert(options: Namespace) -> None:
    convert.check(options)
    files.check_writable(Path(options.dst).parent)
    convert.run(options)


def _split(options: Namespace) -> None:
    from elasticface.data.prepare.split import split

    summary = split(
        Path(options.faces), Path(options.out), people=options.people, pairs=options.pairs, seed=options.seed
    )
    print("\n".join(summary.lines()))


def _pack(options: Namespace) -> None:
    from elasticface.benchmarks.opening import open_benchmark
    from elasticface.benchmarks.pairwise.lists import PairBenchmark
    from elasticface.benchmarks.pairwise.packing import check_out, choose, pack

    out = Path(options.out)
    check_out(out, options.overwrite)
    files.check_writable(out.parent, out.name)
    if not 1 <= options.size <= 4096:
        raise InputError(f"--size must be 1 to 4096, not {options.size}")
    found = open_benchmark(options.dir, options.pairs, options.landmarks)
    lists = [benchmark for benchmark in found if isinstance(benchmark, PairBenchmark)]
    if not lists:
        raise InputError(f"{options.dir}: {found[0].name} is no list of pairs of photos; a pack holds nothing else")
    benchmark = choose(lists, out)
    print("\n".join(pack(benchmark, out, options.size, options.overwrite).lines()))


def _train(options: Namespace) -> None:
    settings = {setting.name: options[setting.name] for setting in dataclasses.fields(TrainConfig)}
    config = TrainConfig(**settings)
    files.check_writable(Path(options.out))
    from elasticface.training.loop import train

    train(options.data, options.out, config, resume=options.resume)


def _compare(options: Namespace) -> None:
    compare.check(options)
    if options.out:
        files.check_writable(Path(options.out))
    compare.run(options)


def _plan(options: Namespace) -> None:
    if options.json:
        if Path(options.json).is_dir():
            raise InputError(f"--json {options.json}: a folder; give the name of a file")
        files.check_writable(Path(options.json).parent, Path(options.json).name)
    plan.run(options)


def _check_preview(path: Path) -> None:
    if path.suffix.lower() not in (".png", ".jpg") or path.is_dir():
        raise InputError(f"--preview {path}: not the name of a picture; give a file that ends in .png or .jpg")
    files.check_writable(path.parent, path.name)


def _fail(message: str, code: int) -> NoReturn:
    if message:
        print(f"elasticface: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
