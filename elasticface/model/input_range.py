"""Whether a preprocessing is a likely one: a wrong one gives figures of 50 %, and no word."""

import warnings
from dataclasses import replace
from pathlib import Path

from elasticface.base.files import printable
from elasticface.model.encoder import Preprocessing

_USUAL = 4.0  # ImageNet's mean and std give -2.1 to 2.7, (x - 127.5) / 127.5 gives -1 to 1
_FAR = 8.0  # twice that
_LEAST_SPAN = 0.2  # from black to white; x / 255 has 1


def input_range(expects: Preprocessing) -> tuple[float, float]:
    """What a network sees of black and of white: the least and the largest over the channels."""
    ends = [
        (pixel / expects.scale - mean) / std
        for pixel in (0, 255)
        for mean, std in zip(expects.mean, expects.std, strict=True)
    ]
    return min(ends), max(ends)


def warn_if_unlikely(expects: Preprocessing, path: Path, stacklevel: int = 3) -> None:
    """Warn of inputs that leave [-4, 4] by far, or in which black is next to white, and say what may be meant."""
    if _is_likely(expects, _FAR):
        return
    low, high = input_range(expects)
    warnings.warn(
        f"{printable(path)}: the network sees values from {low:.4g} to {high:.4g}, where networks are trained on "
        f"values within [-4, 4] as a rule: the input is (x / scale - mean) / std, with scale {expects.scale:g}, mean "
        f"{_triple(expects.mean)}, std {_triple(expects.std)}. {_meant(expects)}",
        stacklevel=stacklevel,
    )


def warn_if_unstated(expects: Preprocessing, path: Path, stacklevel: int = 3) -> None:
    """Warn that nothing says what the input is, and of what it is taken for."""
    mean, std = _triple(expects.mean), _triple(expects.std)
    warnings.warn(
        f"{printable(path)}: nothing says how images are brought into it; taken for {expects.channels}, "
        f"(x / {expects.scale:g} - mean) / std, with mean {mean} and std {std}. See what its authors say, and "
        f"state it: with --mean {mean} --std {std}, or in {printable(path.with_suffix('.yaml').name)} beside it as "
        f"mean: [{mean}]",
        stacklevel=stacklevel,
    )


def _is_likely(expects: Preprocessing, bound: float) -> bool:
    low, high = input_range(expects)
    return -bound <= low and high <= bound and high - low >= _LEAST_SPAN


def _meant(expects: Preprocessing) -> str:
    """The first usual slip whose correction gives inputs within [-4, 4]."""
    centred = (127.5, 127.5, 127.5)
    for guess in (
        replace(expects, scale=1.0),  # mean and std of pixels
        replace(expects, scale=255.0),  # mean and std of x / 255
        replace(expects, scale=1.0, std=centred),  # the mean of pixels alone
        replace(expects, scale=255.0, std=(0.5, 0.5, 0.5)),
    ):
        if _is_likely(guess, _USUAL):
            options = f"--scale {guess.scale:g} --mean {_triple(guess.mean)} --std {_triple(guess.std)}"
            return f"Probably meant: {options}; right as it is only where the network itself scales its input"
    return "Right only where the network itself scales its input; else give --scale, --mean and --std anew"


def _triple(values: tuple[float, float, float]) -> str:
    return ",".join(f"{value:g}" for value in values)
