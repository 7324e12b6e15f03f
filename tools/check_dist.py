"""Try what `make dist` made: the wheel and the sdist, each in an empty environment.

    python tools/check_dist.py dist

Every file of the package must be in both; then the command line starts, and the model that comes with
the package loads and embeds a face, and the gallery and the service have what their extras bring.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TRY = """
import elasticface, numpy, pathlib, sys
folder = pathlib.Path(elasticface.__file__).parent
missing = [name for name in sys.stdin.read().split() if not (folder.parent / name).is_file()]
assert not missing, f"not in it: {missing}"
face = numpy.zeros((1, 112, 112, 3), numpy.uint8)
print(elasticface.__version__, elasticface.load("default").embed(face).shape, folder)
print(elasticface.detect(numpy.zeros((64, 64, 3), numpy.uint8)))
import elasticface.gallery.server, fastapi, pgvector, prometheus_client, psycopg, uvicorn
from elasticface.service import create_app
assert (elasticface.gallery.server.programs() / "postgres").is_file() and create_app
"""


def main(dist: str) -> None:
    """Install and try both; a step that fails ends it."""
    (wheel,) = Path(dist).glob("*.whl")
    (sdist,) = Path(dist).glob("*.tar.gz")
    files = "\n".join(package_files())
    for made in (wheel, sdist):
        with tempfile.TemporaryDirectory() as folder:
            venv.create(folder, with_pip=True)
            python = f"{folder}/bin/python"
            install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            pinned = ["-c", str(ROOT / "constraints.txt")]
            for what in ("torch==2.13.0", f"{made}[gallery,service]"):
                subprocess.run([*install, *pinned, what], check=True)
            print(made)
            for words in ([], ["gallery"], ["serve"]):
                command = [f"{folder}/bin/elasticface", *words, "--help"]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            subprocess.run([python, "-I", "-c", TRY], cwd=folder, check=True, input=files, text=True)


def package_files() -> list[str]:
    """Of the package in git; where there is no git, all that lie there."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "elasticface"]
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")
    found = (path.relative_to(ROOT) for path in (ROOT / "elasticface").rglob("*") if path.is_file())
    return [str(path) for path in found if "__pycache__" not in path.parts]


if __name__ == "__main__":
    main(*sys.argv[1:])
