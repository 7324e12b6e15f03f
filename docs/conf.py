"""The pages of this folder as a site: ``make docs``. On GitHub the same files are read as they are."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import SphinxError

from elasticface import __version__
from elasticface.model import Card, Preprocessing
from elasticface.model.calibration import Calibration, Conditions, LikelihoodRatio, OperatingPoint

ROOT = Path(__file__).resolve().parents[1]

project = "elasticface"
author = "The elasticface authors"
copyright = "The elasticface authors, Apache-2.0"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["images"]
highlight_language = "text"  # code without a language is what one types into a terminal
default_role = "code"  # `x` in a docstring

myst_heading_anchors = 4  # as on GitHub
myst_disable_syntax = ["myst_line_comment"]  # a line that begins with "%" is text, as on GitHub

html_theme = "furo"
html_title = f"elasticface {release}"
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["site.css"]

autodoc_default_options = {"members": True, "exclude-members": "extra_repr, get_extra_state, set_extra_state"}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Every name of ours that a docstring refers to must be there. Those of torch and NumPy cannot be looked up offline.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!elasticface\b).*"),
    (r"py:.*", r"elasticface\.(benchmarks|report)\..*"),  # what there is of them to read is results.json and a page
    (r"py:mod", r".*"),  # modules have no pages, packages have
]
nitpick_ignore = [  # what one is given and passes on
    ("py:class", "elasticface.training.processes.World"),
    ("py:class", "elasticface.training.guard.Outcome"),
    ("py:class", "elasticface.model.checkpoint_folder.Validation"),
    ("py:class", "elasticface.data.formats.encoded.EncodedImages"),
    ("py:class", "elasticface.data.images.photos.Photos"),
]

# Names that are imported where they are first used are not found by looking at a package: they are imported here.
PACKAGES = [import_module(f"elasticface.{page.stem}") for page in Path(__file__).parent.glob("api/[!i]*.md")]
for _module in [import_module("elasticface"), *PACKAGES]:
    for _name in getattr(_module, "__all__", ()):
        getattr(_module, _name)

# Of a value's type and range, as msgspec checks it, the type.
for _class in (Calibration, Conditions, LikelihoodRatio, OperatingPoint, Card, Preprocessing):
    for _annotated in (_class, _class.__init__):
        _annotated.__annotations__ = get_type_hints(_annotated)

# Pages that are made of files above this folder, and where links to those lead.
MADE_OF = {"index": "README.md", "contributing": "CONTRIBUTING.md", "changelog": "CHANGELOG.md"}
PAGES = {ROOT / source: f"/{page}.md" for page, source in MADE_OF.items()}
LOADED = re.compile(
    r"""<(?:script|link|img|iframe|source|video|audio|embed|object)\b[^>]*?\b(?:src|href|data|srcset)\s*=\s*["']?(?:https?:)?//[^>]*>"""
    r"""|url\(\s*["']?(?:https?:)?//[^)]*\)|@import\s+["'](?:https?:)?//[^;]*""",
    re.IGNORECASE,
)
LINK = re.compile(r"(!?\[[^\]]*\])\(([^)#\s:]+)(#[^)\s]*)?\)")


def read(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the file that a page is made of before it, and lead links and images to their pages or files."""
    text, folder = source[0], (ROOT / "docs" / page).parent
    if page in MADE_OF:
        made_of = ROOT / MADE_OF[page]
        app.env.note_dependency(str(made_of))
        text, folder = f"{made_of.read_text()}\n{text}", ROOT

    def link(found: re.Match[str]) -> str:
        words, path, place = found.groups()
        target = (folder / path).resolve()
        if target in PAGES:
            return f"{words}({PAGES[target]}{place or ''})"
        if target.is_relative_to(ROOT / "docs"):
            return f"{words}(/{target.relative_to(ROOT / 'docs')}{place or ''})"
        if target.is_file():
            return f"{{download}}`{words[1:-1]} </{Path('..') / target.relative_to(ROOT)}>`"
        return found[0]

    source[0] = LINK.sub(link, text)


def sign(_app: Sphinx, _what: str, _name: str, _object: Any, _options: Any, signature: str, result: str) -> Any:
    """A dataclass's list by default is no Python that Sphinx could read."""
    return signature and signature.replace("<factory>", "..."), result


def check_names(_app: Sphinx, env: BuildEnvironment) -> None:
    """Every public name has its entry."""
    there = env.domaindata["py"]["objects"]
    names = [f"{module.__name__}.{name}" for module in PACKAGES for name in getattr(module, "__all__", ())]
    if missing := [name for name in names if name not in there]:
        raise SphinxError(f"not in the reference: {', '.join(missing)}")


def check_hosts(app: Sphinx, error: Exception | None) -> None:
    """A page loads nothing from another host."""
    for path in [] if error else [*app.outdir.rglob("*.html"), *app.outdir.rglob("*.css")]:
        if found := LOADED.search(path.read_text("utf-8")):
            raise SphinxError(f"{path}: loads from another host: {found[0]}")


def setup(app: Sphinx) -> None:
    """Sphinx calls it."""
    app.connect("env-check-consistency", check_names)
    app.connect("build-finished", check_hosts)
    app.connect("autodoc-process-signature", sign)
    app.connect("source-read", read)
