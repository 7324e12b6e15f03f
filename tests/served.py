"""`elasticface serve` as a process of its own, for tests."""

import contextlib
import subprocess
import sys

from command_line import ENVIRONMENT


@contextlib.contextmanager
def started(folder, *options):
    """A service on a free port: the process, its address, and its key."""
    command = [sys.executable, "-m", "elasticface", "serve", "--port", "0", "--key-folder", folder / "keys", *options]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=ENVIRONMENT)
    try:
        key = process.stdout.readline().rpartition(": ")[2].strip()
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), (folder / "log").read_text()
        yield process, address, key
    finally:
        process.kill()
        process.communicate()
