"""Several at once: those who enrol, remove and drop take turns, and nobody finds half of what another one does."""

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unit_vectors import made_up, unit

from elasticface.base.errors import Stopped
from elasticface.data.images.photos import Photos
from elasticface.faces import FaceFinder
from elasticface.gallery import collection as collections
from elasticface.gallery import enrolment, index, people, removal, search, storing
from elasticface.gallery.collection import NoCollection
from elasticface.gallery.database import Database
from elasticface.gallery.gallery import Gallery
from elasticface.gallery.people import NoPerson
from elasticface.gallery.rules import Rules
from elasticface.gallery.storing import NewFace
from elasticface.model.encoder import FaceEncoder


def pausing(function: Callable[..., Any], begun: threading.Event, go: threading.Event) -> Callable[..., Any]:
    def paused(*arguments: Any, **keywords: Any) -> Any:
        begun.set()
        assert go.wait(60)
        return function(*arguments, **keywords)

    return paused


def test_who_drops_a_collection_waits_for_who_enrols_into_it(
    database: Database, encoder: FaceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = Gallery.create("friends", encoder, database=database)
    first, second = made_up(2, 1)
    gallery.enrol_embeddings([first])
    begun, go = threading.Event(), threading.Event()
    monkeypatch.setattr(storing, "_insert", pausing(storing._insert, begun, go))
    with ThreadPoolExecutor(2) as threads:
        # Of somebody who is there: no row is made that refers to the collection.
        enrolling = threads.submit(gallery.enrol_embeddings, [replace(second, person=first.person)])
        assert begun.wait(60)
        dropping = threads.submit(gallery.drop)
        time.sleep(0.3)
        go.set()
        assert enrolling.result(60) == [None]
        assert dropping.result(60).faces == 2
    with database.transaction() as cursor:
        assert cursor.execute("SELECT (SELECT count(*) FROM person), (SELECT count(*) FROM face)").fetchone() == (0, 0)


def test_who_enrols_into_or_searches_what_was_dropped_is_told(
    database: Database, encoder: FaceEncoder, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = Gallery.create("friends", encoder, database=database)
    gallery.enrol_embeddings(made_up(1, 1))
    before = gallery.collection
    begun, go = threading.Event(), threading.Event()
    monkeypatch.setattr(search, "nearest", pausing(search.nearest, begun, go))
    with ThreadPoolExecutor(1) as threads:
        searching = threads.submit(gallery.search_embeddings, made_up(1, 1)[0].embedding[None])
        assert begun.wait(60)
        removal.delete_collection(database, "friends")
        go.set()
        with pytest.raises(NoCollection, match="was removed meanwhile"):
            searching.result(60)
    with pytest.raises(NoCollection, match="was removed meanwhile"):
        storing.store(database, before, made_up(1, 1))
    with pytest.raises(NoCollection, match="was removed meanwhile"):
        enrolment.enrol_photos(database, before, Photos(album / "people"), encoder, FaceFinder(), Rules(), workers=1)
    Gallery.create("friends", encoder, database=database)
    with pytest.raises(NoCollection, match="was removed meanwhile"):  # another one has its name
        search.search(database, before, made_up(1, 1)[0].embedding[None])
    assert removal.erase(database, before).erased


def test_a_gallery_is_of_the_collection_that_it_opened_whatever_has_its_name_later(
    database: Database, encoder: FaceEncoder, other_encoder: FaceEncoder, tmp_path: Path
) -> None:
    gallery = Gallery.create("friends", encoder, database=database)
    gallery.enrol_embeddings(made_up(1, 1))
    removal.drop(database, "friends")
    Gallery.create("friends", other_encoder, database=database).enrol_embeddings(made_up(2, 1))
    for use in (
        lambda: gallery.enrol_embeddings(made_up(1, 1)),
        lambda: gallery.search_embeddings(made_up(1, 1)[0].embedding[None]),
        gallery.people,
        gallery.reindex,
        gallery.drop_index,
        lambda: gallery.remove("person 0"),
        lambda: gallery.export(tmp_path / "out"),
        gallery.drop,
    ):
        with pytest.raises(NoCollection, match="was removed meanwhile"):
            use()
    assert [one.people for one in collections.every(database)] == [2]
    assert not (tmp_path / "out").exists()


def test_who_enrols_and_searches_keeps_nobody_from_making_or_dropping_another_collection(
    database: Database, encoder: FaceEncoder
) -> None:
    gallery = Gallery.create("friends", encoder, database=database)
    gallery.enrol_embeddings(made_up(2, 1))
    with database.transaction() as cursor:
        collections.read(cursor, database, "friends", "FOR KEY SHARE")
        for table in ("person_1", "face_1"):
            cursor.execute(f"LOCK TABLE elasticface.{table} IN ROW EXCLUSIVE MODE")
        with ThreadPoolExecutor(1) as threads:
            threads.submit(Gallery.create, "others", encoder, database=database).result(30)
            threads.submit(removal.delete_collection, database, "others").result(30)


def test_two_who_make_an_index_at_once_take_turns(
    database: Database, encoder: FaceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = Gallery.create("friends", encoder, database=database)
    gallery.enrol_embeddings(made_up(20, 1))
    begun, go, built = threading.Event(), threading.Event(), []
    build = pausing(index._build, begun, go)
    monkeypatch.setattr(index, "_build", lambda *given: built.append(build(*given)))
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(gallery.reindex) for _ in range(2)]
        assert begun.wait(60)
        time.sleep(0.3)
        go.set()
        assert [one.result(60).searches for one in both] == [20, 20]
    assert len(built) == 2


def test_a_photo_whose_person_was_removed_meanwhile_is_enrolled(
    database: Database, encoder: FaceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = Gallery.create("friends", encoder, database=database)
    (face,) = made_up(1, 1)
    gallery.enrol_embeddings([face])
    whose = storing.people_on

    def removed_first(*given: Any) -> Any:
        with ThreadPoolExecutor(1) as threads:
            threads.submit(removal.delete, database, "friends", ["person 0"]).result(60)
        monkeypatch.setattr(storing, "people_on", whose)
        return whose(*given)

    monkeypatch.setattr(storing, "people_on", removed_first)
    assert gallery.enrol_embeddings([replace(face, person="Ann")]) == [None]
    assert [(person.name, person.faces) for person in gallery.people()] == [("Ann", 1)]


def test_the_connections_of_threads_that_have_ended_are_closed(database: Database) -> None:
    for _ in range(5):
        with ThreadPoolExecutor(1) as threads:
            threads.submit(collections.every, database).result(60)
    with database.transaction() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> ''")
        assert cursor.fetchone() <= (2,)


def test_the_same_photos_in_another_order_as_somebody_elses_do_not_block_each_other(
    database: Database, encoder: FaceEncoder
) -> None:
    gallery = Gallery.create("friends", encoder, database=database)
    vectors = unit(np.random.default_rng(0).normal(size=(300, 16)))
    both = threading.Barrier(2)

    def enrol(person: str, order: int) -> list[str | None]:
        faces = [NewFace(person, vector, str(number)) for number, vector in enumerate(vectors)][::order]
        both.wait(60)
        return gallery.enrol_embeddings(faces)

    with ThreadPoolExecutor(2) as threads:
        outcomes = [*threads.map(enrol, ("Ann", "Bo"), (1, -1))]
    assert sorted(outcome.count(None) for outcome in outcomes) == [0, 300]
    assert [person.faces for person in gallery.people()] == [300]


def test_people_are_removed_by_number_in_their_own_collection_alone(database: Database, encoder: FaceEncoder) -> None:
    friends = Gallery.create("friends", encoder, database=database)
    others = Gallery.create("others", encoder, database=database)
    for gallery in (friends, others):
        gallery.enrol_embeddings(made_up(3, 2))
    first, second, third = (person.id for person in friends.people())
    for wrong in (others.people()[0].id, people.LARGEST_ID, -1):
        with pytest.raises(NoPerson, match=f"nobody number {wrong} is enrolled, nor 1 others; nobody was removed"):
            friends.remove([first, wrong, "x"])
    removed = friends.remove([second, "person 2"])
    assert (removed.people, removed.faces, removed.erased) == (2, 4, True)
    assert removed.numbers == {"person 1": second, "person 2": third}
    assert len(others.people()) == 3
    assert people.page(database, "others", 0, 2)[1] == others.people()[1].id


def test_an_embedded_server_that_was_killed_is_started_again(place: Path, encoder: FaceEncoder) -> None:
    database = Database(place / "killed")
    Gallery.create("friends", encoder, database=database)
    os.kill(int((place / "killed/data/postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    time.sleep(1)  # what served the connection ends soon after
    with pytest.raises(Stopped, match="does not answer"):
        collections.every(database)
    assert [one.name for one in collections.every(database)] == ["friends"]
    database.close()
