"""A service with twenty people who never lived, to try its page.

    python tools/demo.py build/demo [--port 8000]

Photos of them are rendered and enrolled, all but one of each, into the collection `demo` of a database of its own,
which keeps their faces; then the service is started, and its page's address printed with the key in it. The photos that
were left out, and some of strangers, lie in OUT/photos-to-try. Stopped and started again it goes on with what is there,
and makes a new key.
"""

import dataclasses
import math
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import count, islice
from pathlib import Path

from jsonargparse import auto_cli

import elasticface
from elasticface.base import files, progress
from elasticface.base.errors import InputError, Stopped
from elasticface.data.images.alignment import SIZE
from elasticface.data.images.decoding import encode
from elasticface.data.synthetic.scene import Scene, Variation
from elasticface.data.synthetic.studio import Studio
from elasticface.gallery.collection import every
from elasticface.gallery.database import Database
from elasticface.model.encoder import FaceEncoder
from elasticface.service import Limits, create_app, listen, new_key
from elasticface.service import serve as serve_app

PEOPLE = (
    "Amara Okonjo-Reyes, Anouk Verstraelen, Bashir El Hamdani, Björn Ekholmsson, Chidi Nwachuku, Dagny Thorvaldsen, "
    "Eszter Halmágyi, Fionn Mac Aodhagáin, Ganbold Tserendorj, Ilse Brandhuber, Jacinta Moorthy, Kaito Shirogane, "
    "Leilani Kapaona, Mateus Albuquerque, Noor Rahimzada, Olumide Fashanu, Pilar Echeverría, Rukmini Deshpandey, "
    "Sólveig Arnarsdóttir, Tane Whakatere"
).split(", ")
STRANGERS = 5
PHOTOS = 5  # of each person, one of which is not enrolled
COLLECTION = "demo"
SEED = 17
SIDE = 480  # pixels
ZOOM = 0.6  # as wide as a portrait: the aligned picture's scale would show little beside the face
MOST_YAW = math.radians(35)


def demo(out: Path, port: int = 8000) -> None:
    """Make what is missing, and serve.

    Args:
        out: folder for photos, database and key.
        port: to listen at; 0 takes any free one.
    """
    with listen("127.0.0.1", port) as listening:  # first: a port that is taken is said before all the work
        render(out / "people", out / "photos-to-try")
        encoder = elasticface.load("default")
        enrol(out / "database", out / "people", encoder)
        serve(out, encoder, listening)


def render(enrolled: Path, left_out: Path) -> None:
    """Write the photos that are not there yet."""
    studio = Studio(SEED, Variation(heterogeneity=0.0, appearance="frozen"))
    names = [*PEOPLE, *(f"stranger {number}" for number in range(1, STRANGERS + 1))]
    for identity, name in enumerate(progress.track(names, "rendering people", len(names))):
        photos = 1 if name not in PEOPLE else PHOTOS
        for place, (photo, scene) in enumerate(islice(_scenes(studio, identity), photos)):
            path = left_out / f"{name}.jpg" if place == 0 else enrolled / name / f"{place}.jpg"
            if not path.exists():
                picture = studio.take(studio.sitter(identity), scene, photo, SIDE)
                files.write_bytes(path, encode(picture, ".jpg"))


def _scenes(studio: Studio, identity: int) -> Iterator[tuple[int, Scene]]:
    """Photos as people hand them in: the whole head, nothing before it, not turned away, and sharp."""
    for photo in count():
        scene = studio.scene(identity, photo)
        if scene.occlusion == "none" and abs(scene.yaw) < MOST_YAW and scene.quality.resolution == SIZE:
            yield photo, dataclasses.replace(scene, zoom=ZOOM)


def enrol(database: Path, people: Path, encoder: FaceEncoder) -> None:
    """Enrol the photos that are not there yet."""
    with closing(Database(database)) as opened:
        there = COLLECTION in [collection.name for collection in every(opened)]
        if there:
            gallery = elasticface.Gallery(COLLECTION, encoder, database=opened)
        else:
            gallery = elasticface.Gallery.create(COLLECTION, encoder, database=opened, keep_faces=True)
        print(*gallery.enrol_folder(people).lines(), sep="\n")


def serve(out: Path, encoder: FaceEncoder, listening: socket.socket) -> None:
    """Serve until it is stopped, with a new key."""
    key, text = new_key(out / "key")
    app = create_app(encoder, key, database=out / "database")
    print(f"photos to try: {(out / 'photos-to-try').resolve()}")
    print(f"http://127.0.0.1:{listening.getsockname()[1]}/#key={text}", flush=True)
    serve_app(app, listening, Limits())


if __name__ == "__main__":
    try:
        auto_cli(demo)
    except (InputError, Stopped) as error:
        sys.exit(str(error))
