"""How fast the service answers: requests one at a time and many at once, with batches of faces and without.

Run it as ``python benches/service.py PHOTOS``. `elasticface serve` runs as a process of its own, with the model that
comes with the package; the clients are threads of this one.
"""

import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from common import RESULTS, console, machine, markdown, rounded, run, save, status_bytes

from elasticface.base import progress
from elasticface.data.images.photos import Photos

OUT = RESULTS / "service.json"
SETTINGS = {"batches": (), "no batches": ("--batch", "1", "--batch-ms", "0")}


def bench(
    photos: Path,
    count: int = 40,
    requests: int = 100,
    clients: int = 8,
    repeats: int = 2,
    more: int = 10_000,
    out: Path = OUT,
) -> None:
    """Measure requests a second and how long one takes, of two photos compared; services with and without batches in
    turns. Then the memory that more requests leave the one with batches with.

    Args:
        photos: a folder or tar of photos with a face each.
        count: photos, spread evenly over all.
        requests: of a round.
        clients: at one time, beside one alone.
        repeats: rounds.
        more: requests after the rounds.
        out: JSON file for the figures; replaced if it is there.
    """
    source = Photos(photos)
    some = [source.read(name) for name in source.names[:: max(len(source) // count, 1)][:count]]
    found: dict[str, list[dict[str, float]]] = {f"{number} {name}": [] for name in SETTINGS for number in (1, clients)}
    with ExitStack() as stack:  # a service that nobody asks takes no time
        services = {name: stack.enter_context(served(*options)) for name, options in SETTINGS.items()}
        for _, client in services.values():
            load(client, some, clients, clients)  # what is loaded at first use
        for repeat in range(repeats):
            for name in list(services)[:: 1 if repeat % 2 else -1]:
                for number in (1, clients):
                    found[f"{number} {name}"].append(load(services[name][1], some, requests, number))
        memory = {name: status_bytes("VmHWM", process.pid) for name, (process, _) in services.items()}
        process, client = services["batches"]
        resident = {"0": status_bytes("VmRSS", process.pid)}
        for done in progress.track(range(requests, more + 1, requests), "more requests", more // requests):
            load(client, some, requests, clients)
            resident[str(done)] = status_bytes("VmRSS", process.pid)
    figures = {"photos": len(some), "requests": requests, "clients": clients, "memory": memory, "rounds": found}
    figures["resident"] = resident
    console.print(table(save(out, figures)))


@contextmanager
def served(*options: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """A service and a client of it."""
    with tempfile.TemporaryDirectory() as folder:
        keys = str(Path(folder, f"keys-{secrets.token_hex(4)}"))
        command = [sys.executable, "-m", "elasticface", "serve", "--port", "0", "--key-folder", keys, *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        key = process.stdout.readline().rpartition(": ")[2].strip()
        address = process.stdout.readline().strip()
        try:
            with httpx.Client(base_url=address, headers={"X-API-Key": key}, timeout=120) as client:
                yield process, client
        finally:
            process.terminate()
            process.wait()


def load(client: httpx.Client, photos: list[bytes], requests: int, clients: int) -> dict[str, float]:
    """Requests a second, and the seconds that one takes, by ``clients`` that ask again at once."""
    seconds: list[float] = []
    numbers = iter(range(requests))
    taking = threading.Lock()

    def ask() -> None:
        while True:
            with taking:
                number = next(numbers, None)
            if number is None:
                return
            pair = {"first": photos[number % len(photos)], "second": photos[(number * 7 + 1) % len(photos)]}
            start = time.perf_counter()
            answer = client.post("/v1/verify", files=pair)
            seconds.append(time.perf_counter() - start)
            if answer.status_code not in (200, 422):
                raise RuntimeError(answer.text)

    start = time.perf_counter()
    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = time.perf_counter() - start
    p50, p99 = np.percentile(seconds, (50, 99))
    return {"per_second": requests / total, "p50": float(p50), "p99": float(p99)}


def table(figures: dict[str, Any]) -> str:
    """As Markdown."""
    rows = []
    for name, rounds in figures["rounds"].items():
        clients, _, setting = name.partition(" ")
        best = {figure: np.median([one[figure] for one in rounds]) for figure in rounds[0]}
        memory = figures["memory"][setting] / 2**20
        rows.append(
            [
                clients,
                setting,
                rounded(best["per_second"]),
                *(rounded(1000 * best[name]) for name in ("p50", "p99")),
                rounded(memory),
            ]
        )
    columns = ["clients", "faces", "requests/s", "p50 ms", "p99 ms", "MiB"]
    told = (
        f"{markdown(columns, rows, texts=2)}\n\n`/v1/verify` of two photos, {figures['requests']:,} requests a round, "
        f"median of the rounds; the clients run on the same machine; MiB: peak of the service; "
        f"{machine(figures['environment'])}."
    )
    if "resident" in figures:
        (_, before), *_, (more, after) = figures["resident"].items()
        told += f" Resident before and after {int(more):,} more: {before / 2**20:.0f} and {after / 2**20:.0f} MiB."
    return told


if __name__ == "__main__":
    run(bench)
