"""Write reference.png, the picture that test_studio.py compares with; after a change of the renderer on purpose.

python tests/data/synthetic/make_reference.py
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files
from elasticface.data.images import decoding
from elasticface.data.synthetic.preview import contact_sheet
from elasticface.data.synthetic.studio import Studio

FILE = Path(__file__).with_name("reference.png")


def reference() -> NDArray[np.uint8]:
    """Four people, a row each, of two photos; uint8 RGB."""
    return contact_sheet(Studio(0), range(4), 2)


if __name__ == "__main__":
    files.write_bytes(FILE, decoding.encode(reference(), ".png"))
    print(FILE)
