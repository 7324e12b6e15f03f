"""`elasticface gallery`: people enrolled, searched, listed, removed, exported and imported by the command line."""

import builtins
import json
import signal
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from album import NOBODY
from calibrated import calibrated
from command_line import done, refused, run
from jsonargparse import Namespace
from unit_vectors import made_up

from elasticface.cli.gallery import people
from elasticface.data.images import decoding
from elasticface.gallery import removal, search
from elasticface.gallery.database import Database
from elasticface.gallery.gallery import Gallery
from elasticface.model.loading import load

if TYPE_CHECKING:
    from elasticface.model.encoder import FaceEncoder


def test_from_photos_to_an_answer_and_out_again(album: Path, model: Path, database: Database) -> None:
    assert database.server is not None
    place = database.server.folder  # of a server that runs meanwhile: the commands neither start nor stop it
    there = ("--database", place)
    assert "no collection 'people'; there is none" in refused("gallery", "people", *there)
    out = done("gallery", "create", *there, "--model", model)
    assert out == f"collection people for the model small, in {place}\n"
    assert "there is a collection 'people' already" in refused("gallery", "create", *there, "--model", model)
    out = done("gallery", "enrol", album / "people", *there, "--model", model, "--workers", "1", "--report", "r.csv")
    assert out.splitlines() == ["faces enrolled: 6", "in the collection people: 3 people, 6 faces", "r.csv"]
    assert len(Path("r.csv").read_text().splitlines()) == 7
    ann = ("gallery", "enrol", album / "two.png", *there, "--model", model, "--person", "Ann")
    assert refused(*ann).endswith("two.png: 2 faces are in it; cut one out, or have the largest taken (faces: largest)")
    told = json.loads(done("gallery", "enrol", album / "people", *there, "--model", model, "--json"))
    assert told.pop("already") == [f"person {n}/{photo}.png" for n in range(3) for photo in range(2)]
    assert told == {"enrolled": [], "refused": {}, "left_out": {}, "collection": "people", "people": 3, "faces": 6}
    assert "say whose with --person" in refused("gallery", "enrol", album / "two.png", *there, "--model", model)
    Path("people.tar.gz").write_bytes(b"\x1f\x8b")
    told = refused("gallery", "enrol", "people.tar.gz", *there, "--model", model)
    assert "people.tar.gz: compressed with gzip" in told
    photo = album / "people/person 1/1.png"
    lines = done("gallery", "search", photo, *there, "--model", model).splitlines()
    assert lines[:2] == [
        "no decision: the model is not calibrated: see `elasticface calibrate`",
        "search: exact; a person's similarity is that of the most similar face",
    ]
    assert lines[2].startswith("1. person 1  similarity ")
    assert lines[2].endswith("person 1/1.png")
    told = json.loads(done("gallery", "search", photo, *there, "--model", model, "--json", "--most", "2"))
    assert (told["person"], told["unknown"], told["search"], len(told["candidates"])) == (None, None, "exact", 2)
    assert "is another model" in refused("gallery", "search", photo, *there)  # the default model
    assert "no face was found" in refused("gallery", "search", album / NOBODY, *there, "--model", model)
    assert f"give {album}/people" in refused("gallery", "enrol", album, *there, "--model", model)
    people = json.loads(done("gallery", "people", *there, "--json"))
    assert [(person["name"], person["faces"]) for person in people] == [(f"person {n}", 2) for n in range(3)]
    done("gallery", "export", "out", *there)
    assert "holds something already" in refused("gallery", "export", "out", *there)
    out = done("gallery", "remove", "person 1", *there)
    assert out.startswith("people removed: 1 (2 faces)\n  person 1 (number ")
    assert "nobody named 'person 1'" in refused("gallery", "remove", "person 1", *there)
    assert done("gallery", "people", *there).splitlines()[-1] == "people: 2"
    out = done("gallery", "import", "out", *there)
    assert "faces enrolled: 2" in out
    assert "in the collection people: 3 people, 6 faces" in out
    assert "measured with 6 of its own 6 vectors" in done("gallery", "reindex", *there)
    assert "3 people, 6 faces" in done("gallery", "stats", *there)
    (stats,) = json.loads(done("gallery", "stats", *there, "--json"))
    assert (stats["people"], stats["faces"], stats["recall"]["searches"]) == (3, 6, 6)
    assert "every search is exact" in done("gallery", "reindex", "--drop", *there)
    assert done("gallery", "stats", "--audit", *there).splitlines()[0] == "time,role,action,collection,person,faces"
    assert "give one of them" in refused("gallery", "remove", "x", "--everyone", *there)
    assert "leave --no-erase out" in refused("gallery", "remove", "--everyone", "--no-erase", *there)
    assert done("gallery", "remove", "--everyone", *there) == "people removed: 3 (6 faces)\n"
    assert done("gallery", "remove", *there) == "people removed: 0 (0 faces)\n"  # after a kill it would erase them
    assert "no collection yet" in done("gallery", "stats", *there)


def test_kept_faces_come_out_as_pictures(album: Path, model: Path, database: Database) -> None:
    assert database.server is not None
    there = ("--database", database.server.folder)
    done("gallery", "create", *there, "--model", model, "--keep-faces")
    done("gallery", "enrol", album / "people", *there, "--model", model, "--workers", "1")
    assert "  the aligned faces are kept as pictures\n" in done("gallery", "stats", *there)
    first, last = done("gallery", "people", "person 1", *there, "--faces", "out").splitlines()
    assert first.startswith("person 1  faces 2  since ")
    assert last == "people: 1"
    assert "  pictures 2 in " in first
    pictures = list(Path(first.rpartition(" in ")[2]).iterdir())
    assert [decoding.decode(path.read_bytes(), "").shape for path in pictures] == [(112, 112, 3)] * 2
    assert sum(1 for path in Path("out").rglob("*") if path.is_file()) == 2
    told = json.loads(done("gallery", "people", *there, "--faces", "again", "--json"))
    assert [person["pictures"] for person in told] == [2, 2, 2]
    assert "nobody named 'Ann' is enrolled" in refused("gallery", "people", "Ann", *there)
    assert "holds something already" in refused("gallery", "people", *there, "--faces", "out")
    done("gallery", "create", *there, "--model", model, "--collection", "bare")
    told = refused("gallery", "people", *there, "--collection", "bare", "--faces", "bare")
    assert "keeps no faces; one made by elasticface gallery create --keep-faces does" in told


def test_a_removal_that_leaves_bytes_ends_with_1(
    encoder: "FaceEncoder", database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    psycopg = pytest.importorskip("psycopg")
    assert database.server is not None
    there = ("--database", database.server.folder)
    with Gallery.create("people", encoder, database=database) as gallery:
        gallery.enrol_embeddings(made_up(3, 1))
    monkeypatch.setattr(removal, "PATIENCE", 0.1)
    with psycopg.connect(**database.address) as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT 1")
        assert run("gallery", "remove", "person 0", "--no-erase", *there)[0] == 0
        code, out, err = run("gallery", "remove", "person 1", "--json", *there)
        assert (code, json.loads(out)["people"], json.loads(out)["erased"]) == (1, 1, False)
        assert err.endswith("elasticface: not all is erased from the files; the answer says what is left, and why\n")
        other.rollback()
    assert done("gallery", "remove", *there) == "people removed: 0 (0 faces)\n"
    told = refused("gallery", "remove", *there, "--collection", "poeple")
    assert "no collection 'poeple'; there are: people" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("create", "--database", "mysql://x"), "no PostgreSQL; give postgresql://… or a folder"),
        (("people", "--database", "postgresql://127.0.0.1:1/x"), "127.0.0.1/x: no connection to the database"),
        (("foo",), "invalid choice"),
        (("import", "out", "--collection", ""), "--collection must be text, got ''"),
        (("enrol", "people", "--report", ""), "--report must be text, got ''"),
        (("search",), "the following arguments are required: photo"),
    ],
)
def test_a_wrong_command_is_refused_in_one_line(words: tuple[str, ...], told: str) -> None:
    assert told in refused("gallery", *words)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *others: Any, **more: Any) -> Any:
        if name.split(".")[0] == "psycopg":
            raise ImportError(name)
        return imported(name, *others, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert refused("gallery", "people").endswith("galleries need a database: pip install 'elasticface[gallery]'")


def test_sigterm_stops_the_server_that_a_command_has_started(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def until_ended(options: Namespace) -> None:
        with closing(Database(options.database)):
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(people, "run", until_ended)
    before = signal.getsignal(signal.SIGTERM)
    code, _, err = run("gallery", "people", "--database", place / "ended")
    assert (code, err.splitlines()[-1]) == (143, "elasticface: stopped")
    assert signal.getsignal(signal.SIGTERM) == before
    assert (place / "ended/data").is_dir()
    assert not (place / "ended/data/postmaster.pid").exists()


def test_its_help_names_every_command() -> None:
    out = done("gallery", "--help")
    assert out == done("gallery")
    for command in "create enrol search people remove stats export import reindex".split():
        assert f"\n    {command} " in out
        assert "--database" in done("gallery", command, "--help")


def test_fpir_decides_who_is_named(
    album: Path, model: Path, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert database.server is not None
    encoder = load(model)
    calibrated(encoder, (1e-2, 0.9), (1e-4, 1.5)).save(tmp_path / "calibrated")
    there = ("--database", database.server.folder, "--model", tmp_path / "calibrated")
    done("gallery", "create", *there)
    done("gallery", "enrol", album / "people", *there, "--workers", "1")
    photo = album / "people/person 1/0.png"
    rates = {}
    for fpir in ("0.1", "0.01"):
        told = json.loads(done("gallery", "search", photo, *there, "--json", "--fpir", fpir))
        rates[fpir] = told["person"], told["unknown"], told["threshold"]
    assert rates == {"0.1": ("person 1", False, 0.9), "0.01": (None, True, 1.5)}
    assert done("gallery", "search", photo, *there, "--fpir", "0.01").startswith("unknown: nobody is at or above")
    assert "fpir" in refused("gallery", "search", photo, *there, "--fpir", "1")
    monkeypatch.setattr(search, "EXACT_UP_TO", 5)
    _, _, err = run("gallery", "enrol", album / "people", *there, "--workers", "1")
    assert "note: every search compares with 6 vectors; an index: elasticface gallery reindex" in err
