"""The large products of the margin softmax, e·Wᵀ, P·W and Pᵀ·e, in float32 or with shorter operands.

A bfloat16 number has 8 bits of a float32's 24, a TF32 number 11. Their products are exact in float32 and are added up
in float32, so that only the operands are rounded. What that does depends on the product:

    P·W, Pᵀ·e   Each term is off by a share of 2⁻⁷ at most (TF32: 2⁻⁹), at random: so are the gradients, as a whole.
                The operands are rounded once.
    e·Wᵀ        A logit is s·cos θ, and e^logit what is added up. Operands rounded once move a logit by some
                thousandths, and the mean loss by a share of 10⁻⁵ to 10⁻³, the more the smaller it is. So both are
                split, x = hi + lo, and e·w = hi·hi + lo·hi + hi·lo is one product of three times the length. That is
                as good as float32.

docs/heads.md has the figures.
"""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
from torch import Tensor

HeadProducts = Literal["float32", "bfloat16", "tf32"]

_TF32_BITS_CUT = 13  # of the 23 after the point that a float32 stores
_FIRST_CAPABILITY = 8  # of NVIDIA's GPUs that have bfloat16 and TF32

_flag = threading.Lock()


class Products:
    """How the products of one head are made; as they are given with "float32"."""

    def __init__(self, kind: HeadProducts, device: torch.device) -> None:
        self.kind, self.device = kind, device

    @property
    def _splits(self) -> bool:
        """Whether e·Wᵀ is made of split operands. A CPU makes it in float32: torch has no other product of that sum."""
        return self.kind != "float32" and self.device.type == "cuda"

    def embeddings(self, rows: Tensor) -> Tensor:
        """[B, D] e as :meth:`logits` takes it, for all chunks."""
        if not self._splits:
            return rows
        high, low = self._halves(rows)
        return torch.cat([high, low, high], 1)

    def logits(self, embeddings: Tensor, centres: Tensor, out: Tensor) -> Tensor:
        """e·Wᵀ of what :meth:`embeddings` gave and [k, D] centres, written to ``out`` [B, k]."""
        if not self._splits:
            return self._float32_product(embeddings, centres.T, out)
        high, low = self._halves(centres)
        return self.product(embeddings, torch.cat([high, high, low], 1).T, out)

    def rounded(self, matrix: Tensor) -> Tensor:
        """A matrix as an operand of :meth:`product`."""
        if self.kind != "bfloat16":
            return matrix  # a tensor core rounds to TF32 itself
        half = matrix.bfloat16()
        return half if self.device.type == "cuda" or cpu_has_bfloat16() else half.float()

    def product(self, a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
        """a·b of operands that are :meth:`rounded`, in float32, written to ``out`` if given."""
        if a.dtype != torch.bfloat16:
            return self._float32_product(a, b, out)
        if self.device.type == "cuda":
            return torch.mm(a, b, out_dtype=torch.float32, out=out)
        # Torch's product for a CPU adds up in float32, too, and rounds the sum.
        return torch.mm(a, b).float() if out is None else out.copy_(torch.mm(a, b))

    def add_product_(self, total: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """total += a·b of operands that are :meth:`rounded`."""
        if self.kind != "float32":
            return total.add_(self.product(a, b))
        with self._precision():
            return total.addmm_(a, b)

    def _float32_product(self, a: Tensor, b: Tensor, out: Tensor | None) -> Tensor:
        with self._precision():
            return torch.mm(a, b, out=out)

    def _precision(self) -> AbstractContextManager[None]:
        """What a GPU does with float32 operands in here, whatever torch is set to."""
        if self.device.type != "cuda":
            return nullcontext()
        return _matmul_precision("tf32" if self.kind == "tf32" else "ieee")

    def _halves(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """hi and lo, as operands, whose sum is a float32 but for its last bits."""
        high = _rounded_to_tf32(rows) if self.kind == "tf32" else self.rounded(rows)
        return high, self.rounded(rows - high)


def problem_with(kind: HeadProducts, device: torch.device, dtype: torch.dtype = torch.float32) -> str:
    """Why a head cannot make its products so; "" if it can.

    Args:
        kind: what is asked for.
        device: of embeddings and centres.
        dtype: what the head computes in.
    """
    if kind == "float32":
        return ""
    if dtype == torch.float64:
        return f'head_products="{kind}" goes with float32: give no float64, or head_products="float32"'
    if kind == "tf32" and device.type != "cuda":
        return f'head_products="tf32" needs an NVIDIA GPU, not {device.type}: use "float32" or "bfloat16"'
    if device.type == "cuda" and torch.cuda.get_device_capability(device)[0] < _FIRST_CAPABILITY:
        return f'head_products="{kind}" needs a GPU of compute capability {_FIRST_CAPABILITY} or more: use "float32"'
    return ""


def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 numbers itself, which is faster than float32."""
    built_in = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(built_in and torch.cpu._is_avx512_bf16_supported())


@contextmanager
def _matmul_precision(kind: Literal["ieee", "tf32"]) -> Iterator[None]:
    """Products of float32 tensors on a GPU are made in float32 ("ieee") or in TF32 in here.

    Torch's setting is one of the whole process. It is held for as long as a product is queued, by one thread at a time,
    so that every thread finds and leaves what was set before.
    """
    matmul = torch.backends.cuda.matmul
    with _flag:
        before = matmul.fp32_precision
        matmul.fp32_precision = kind
        try:
            yield
        finally:
            matmul.fp32_precision = before


def _rounded_to_tf32(rows: Tensor) -> Tensor:
    """The nearest TF32 number, as a float32; halves go away from 0."""
    half = 1 << (_TF32_BITS_CUT - 1)
    return ((rows.contiguous().view(torch.int32) + half) & (-1 << _TF32_BITS_CUT)).view(torch.float32)
