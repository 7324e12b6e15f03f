"""Fuzz the service: ``python tests/fuzz/service.py --requests 100000``; ``--help`` lists the options.

`elasticface serve`, with a database of its own, runs as a process and is sent changed requests on connections of their
own. It ends with 1 where one is answered with 500, with what is no HTTP, or with a traceback, where a connection stays
open without an answer, where the service ends, where its log has a traceback or a fault of the service, or where its
memory grows.
"""

import secrets
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli
from mutations import mutated

from elasticface.base import environment, keyed
from elasticface.base.files import write_json
from elasticface.data.images.decoding import encode
from elasticface.data.synthetic.source import SyntheticFaces

WORDS = (
    b"\r\n\r\n --b --b-- boundary= Content-Length: Content-Disposition: form-data; name= filename= photo first fmr "
    b"faces X-API-Key: Transfer-Encoding: chunked Expect: 100-continue multipart/form-data IHDR IDAT IEND ftypheic "
    b"photos person name aggregation keep_faces fpir most crops yes mean /v1/collections /people /faces /search "
    b"GET DELETE ?after= &most= %00 %2f %ff .. ' \" ; -- 9223372036854775807 9223372036854775808 -1 \xe2\x80\xae \0"
).split(b" ")
_FORMS = {
    "/v1/detect": ("photo",),
    "/v1/verify": ("first", "second"),
    "/v1/embed": ("photos", "photos"),
    "/v1/collections/friends/faces": ("photos", "photos"),
    "/v1/collections/friends/search": ("photo",),
    "/v1/collections": (),
}
_FIELDS = {
    "/v1/collections/friends/faces": {"person": "Ann", "faces": "largest", "crops": "yes"},
    "/v1/collections/friends/search": {"fpir": "0.1", "most": "3", "crops": "yes"},
    "/v1/collections": {"name": "friends", "aggregation": "best", "keep_faces": "yes"},
}
_ASKED = (
    "GET /v1/service",
    "GET /v1/collections",
    "GET /v1/collections/friends",
    "GET /v1/collections/friends/people?after=0&most=10",
    "GET /v1/collections/friends/people/1/faces?after=0&most=10",
    "DELETE /v1/collections/friends/people/1",
    "DELETE /v1/collections/others",
)
_BIG = (b"A" * 20_000, b"--b\r\nA: b\r\n" * 500)
_PATIENCE = 20.0  # seconds that an answer may take


def bombs(jpeg: bytes) -> tuple[bytes, ...]:
    """Photos that claim 60,000 × 60,000 pixels or more, and one that is small and inflates to 64 MiB.

    Args:
        jpeg: a photo, whose header is changed.
    """
    frame = jpeg.index(b"\xff\xc0") + 5  # where it says its size
    file_type = struct.pack(">L", 20) + b"ftypheic\0\0\0\0mif1"
    return (
        png(60_000, 60_000, zlib.compress(bytes(1000))),
        png(100, 100, zlib.compress(bytes(1 << 26))),
        jpeg[:frame] + struct.pack(">HH", 65_000, 65_000) + jpeg[frame + 4 :],
        b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + 2 * (60_000).to_bytes(3, "little"),
        file_type + struct.pack(">L", 20) + b"ispe" + struct.pack(">LLL", 0, 60_000, 60_000),
    )


def png(width: int, height: int, rows: bytes) -> bytes:
    """A PNG of RGB with a size and rows that need not agree."""
    header = struct.pack(">LLBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    )


def whole(path: str, key: str, photo: bytes) -> bytes:
    """A request as it should be."""
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in _FIELDS.get(path, {}).items()
    ]
    parts += [
        f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="a"\r\n\r\n'.encode() + photo + b"\r\n"
        for name in _FORMS[path]
    ]
    body = b"".join(parts) + b"--b--\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: s\r\nX-API-Key: {key}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


def asked(line: str, key: str) -> bytes:
    """A request without a body."""
    return f"{line} HTTP/1.1\r\nHost: s\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n".encode()


def in_chunks(line: str, key: str) -> bytes:
    """A request whose body comes in chunks, whether it may have one or not."""
    head = f"{line} HTTP/1.1\r\nHost: s\r\nX-API-Key: {key}\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + b"4\r\n--b\r\n2\r\n--\r\n0\r\n\r\n"


def answered(address: tuple[str, int], request: bytes, soon: float) -> str:
    """The status that comes back, or what is wrong with it; "closed" where the service hangs up."""
    found = bytearray()
    try:
        with socket.create_connection(address, _PATIENCE) as connection:
            connection.sendall(request)
            connection.settimeout(soon)
            try:
                found += connection.recv(1 << 16)
            except TimeoutError:  # it waits for more, or is at work: the client leaves
                connection.shutdown(socket.SHUT_WR)
            connection.settimeout(_PATIENCE)
            while more := connection.recv(1 << 16):
                found += more
    except (ConnectionResetError, BrokenPipeError):
        pass
    except TimeoutError:
        return "finding: no answer"
    if not found:
        return "closed"
    if not found.startswith(b"HTTP/1.1 ") or b"Traceback" in found or b'.py"' in found:
        return f"finding: {bytes(found[:200])!r}"
    status = found[9:12].decode("latin-1")
    return f"finding: {status}" if status == "500" else status


def main(
    requests: int = 10_000,
    seed: int = 0,
    clients: int = 16,
    growth: int = 16,
    soon: float = 3.0,
    database: Path | None = None,
    out: Path | None = None,
) -> None:
    """Changed requests for a service.

    Args:
        requests: in all.
        seed: of the changes.
        clients: threads that send them.
        growth: MiB that the service may have more at the end than after half of the requests, when what is loaded at
            first use is there: a leak of 350 bytes a request exceeds the default in 100,000.
        database: folder of the galleries' database; one of its own, where none is given.
        soon: seconds without an answer after which a client has had enough.
        out: JSON file for the settings, the answers, and the service's memory.
    """
    settings = {"requests": requests, "seed": seed, "clients": clients, "soon": soon}
    face = SyntheticFaces(identities=1, images=1, appearance="frozen", cache=False)[0][0]
    photos = [encode(face, ".png"), encode(face, ".jpg")]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        keys = str(folder / f"keys-{secrets.token_hex(4)}")
        folder.chmod(0o711)  # the database's system user may enter it
        options = ("--key-folder", keys, "--database", database or folder / "db", "--upload-seconds", "5")
        command = [sys.executable, "-m", "elasticface", "serve", "--port", "0", *options]
        with open(folder / "log", "w") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        key = process.stdout.readline().rpartition(": ")[2].strip()
        host, port = process.stdout.readline().strip().removeprefix("http://").split(":")
        address = host, int(port)
        valid = [whole(path, key, photo) for path in _FORMS for photo in photos]
        valid += [whole("/v1/embed", key, photo) for photo in bombs(photos[1])]
        valid += [asked(line, key) for line in _ASKED]
        valid += [in_chunks(line, key) for line in ("HEAD /healthz", "GET /v1/service", "POST /v1/detect")]
        first = whole("/v1/collections", key, b"")
        if not any(answered(address, first, _PATIENCE) in ("201", "409") for _ in range(20)):  # the database starts
            sys.exit("no collection could be made; see the service's log")
        counts: Counter[str] = Counter()
        memories: list[int] = []  # MiB after each tenth
        numbers, taking = iter(range(requests)), threading.Lock()

        def send() -> None:
            while True:
                with taking:
                    number = next(numbers, None)
                if number is None or process.poll() is not None:
                    return
                rng = keyed.generator(seed, "fuzz service", number)
                request = mutated(valid[number % len(valid)], [*valid, *_BIG], WORDS, rng)
                answer = answered(address, request, soon)
                with taking:
                    counts[answer] += 1
                    if answer.startswith("finding"):
                        print(f"{number}: {answer}")
                    if counts.total() % max(requests // 10, 1) == 0:
                        memories.append(memory(process.pid))
                        print(f"{counts.total():,} requests, {memories[-1]:,} MiB")

        threads = [threading.Thread(target=send) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ended = process.poll()
        process.terminate()
        process.wait()
        print(*(f"{answer}: {count:,}" for answer, count in sorted(counts.items())), sep="\n")
        told = (folder / "log").read_text("utf-8", "replace")
        faults = [line for line in told.splitlines() if "Traceback" in line or "failed=" in line]
        print(*faults[:20], sep="\n")
    found = {"answers": dict(counts), "faults": faults, "ended": ended, "memory_mib": memories}
    if out is not None:
        write_json(out, {"environment": environment.describe(), "settings": settings, **found})
    if wrong := judged(found, growth):
        sys.exit(wrong)


def judged(found: dict[str, Any], growth: int) -> str | None:
    """What is wrong with the service, by what the run has found; None: nothing."""
    if found["ended"] is not None:
        return f"the service ended with {found['ended']}"
    if found["faults"] or any(answer.startswith("finding") for answer in found["answers"]):
        return "findings; see above"
    memories = found["memory_mib"]
    more = memories[-1] - memories[(len(memories) - 1) // 2]
    return f"the service's memory grew by {more} MiB, more than {growth}" if more > growth else None


def memory(process: int) -> int:
    """MiB that are resident."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) // 256


if __name__ == "__main__":
    auto_cli(main)
