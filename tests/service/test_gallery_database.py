"""The service and its database: opened when it is needed, and what clients are told while it does not answer."""

import builtins
import os
import signal
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gallery_requests import FRIENDS, create, enrol, outcomes, people, search
from service_problems import problem

from elasticface.gallery import removal, server
from elasticface.gallery.gallery import Gallery
from elasticface.model.encoder import FaceEncoder
from elasticface.service.limits import Limits
from elasticface.service.routes import people as people_routes

psycopg = pytest.importorskip("psycopg", reason="needs the database: pip install 'elasticface[gallery]'")


def unavailable(answer):
    detail = problem(answer, 503, "no-database")
    assert answer.headers["retry-after"] == "5"
    return detail


def test_the_database_is_opened_by_the_first_request_that_needs_it(enrolling, photos, place):
    client = enrolling(place=place / "lazy")
    assert client.get("/v1/service").json()["gallery"]
    assert client.get("/readyz").status_code == 200
    assert client.post("/v1/detect", files={"photo": photos["a"]}).status_code == 200
    assert not (place / "lazy").exists()
    with ThreadPoolExecutor(4) as threads:  # opened once, by whom ever
        answers = [*threads.map(lambda _: client.get("/v1/collections").json(), range(4))]
    assert answers == [{"collections": []}] * 4
    assert client.get("/readyz").status_code == 200
    client.app.state.work.close()
    client.app.state.galleries.close()
    assert not (place / "lazy/data/postmaster.pid").exists()


@pytest.mark.parametrize("address", ["postgresql://user:hidden@127.0.0.1:1/secret", "mysql://hidden/secret"])
def test_a_database_that_does_not_answer_is_said_without_where_it_is(enrolling, photos, address, caplog):
    client = enrolling(place=address)
    with caplog.at_level("INFO", "elasticface.service"):
        for answer in (client.get("/v1/collections"), search(client, photos["a"]), enrol(client, "Ann", photos["a"])):
            assert "try again" in unavailable(answer)
            for word in ("hidden", "secret", "127.0.0.1", "mysql"):
                assert word not in answer.text
        problem(client.get("/readyz"), 503, "not-ready")
    told = [line for line in caplog.messages if line.startswith("database=")]
    assert len(told) == 4
    assert all(len(line.splitlines()) == 1 for line in told)
    assert "user:" not in caplog.text
    assert client.post("/v1/detect", files={"photo": photos["a"]}).status_code == 200
    assert client.get("/healthz").status_code == 200


def test_connections_that_the_server_has_ended_are_made_anew(friends, database, photos):
    with ThreadPoolExecutor(4) as threads:  # each thread has one
        assert set(threads.map(lambda _: enrol(friends, "Ann", photos["a"]).status_code, range(8))) == {200}
    with database.no_transaction() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    for _ in range(8):
        assert outcomes(enrol(friends, "Ann", photos["a"])) == ["already"]


def test_an_embedded_server_that_was_killed_is_started_again(enrolling, photos, place):
    client = enrolling(place=place / "dies")
    create(client, "friends")
    assert outcomes(enrol(client, "Ann", photos["a"])) == ["enrolled"]
    os.kill(int((place / "dies/data/postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    time.sleep(1)  # what serves the connections ends soon after
    assert people(client)["people"][0]["name"] == "Ann"
    assert client.get("/readyz").status_code == 200


def test_a_database_that_is_busy_for_too_long_keeps_neither_clients_nor_threads(enrolling, database, encoder, photos):
    Gallery.create("friends", encoder, database=database)
    client = enrolling(connections=1, database_seconds=0.5)
    with psycopg.connect(**database.address) as other:
        other.execute("LOCK TABLE elasticface.person")
        for answer in (enrol(client, "Ann", photos["a"]), client.get(f"{FRIENDS}/people")):
            unavailable(answer)
        assert client.app.state.work._at_work == 0
        other.rollback()
    for _ in range(600):  # the statement that was on its way is ended, and the thread is free again
        answer = enrol(client, "Ann", photos["a"])
        if answer.status_code == 200:
            break
        time.sleep(0.1)
    assert outcomes(answer) in (["enrolled"], ["already"])  # an earlier one may have been stored after its time


def test_a_computer_without_room_for_temporary_files_is_no_fault_of_the_service(enrolling, monkeypatch, place, caplog):
    client = enrolling(place=place / "no-tmp")
    with monkeypatch.context() as patched, caplog.at_level("INFO", "elasticface.service"):
        patched.setattr(tempfile, "TemporaryFile", lambda *_: Path("/nothing/there").read_text())
        unavailable(client.get("/v1/collections"))
        problem(client.get("/readyz"), 503, "not-ready")
    assert "database=[Errno 2] No such file or directory: '/nothing/there'" in caplog.messages
    assert client.get("/v1/collections").status_code == 200


def test_what_a_broken_model_makes_is_not_tried_again(friends, encoder, photos, monkeypatch, caplog):
    class Broken:
        def embed(self, faces, batch_size):
            return np.full((len(faces), encoder.card.embedding_size), np.nan, np.float32)

    monkeypatch.setattr(friends.app.state.work._batches, "_encoder", Broken())
    with caplog.at_level("INFO", "elasticface.service"):
        for answer in (enrol(friends, "Ann", photos["a"]), search(friends, photos["a"])):
            problem(answer, 500, "failure")
            assert "retry-after" not in answer.headers
    failed = [line for line in caplog.messages if "failed=InputError at " in line]
    assert len(failed) == 2
    assert not [line for line in caplog.messages if line.startswith("database=")]
    assert people(friends)["people"] == []


def test_a_model_whose_embeddings_are_too_long_has_no_collection(enrolling, encoder):
    client = enrolling(FaceEncoder(encoder.network, replace(encoder.card, embedding_size=4001)))
    assert "have 4,001 numbers; a collection takes 4,000" in problem(create(client, "friends"), 409, "other-model")


def test_what_is_not_installed_is_said(enrolling, photos, monkeypatch, place):
    without = enrolling(place=place / "none")
    monkeypatch.setattr(server, "WHEEL", "no_such_package")
    told = problem(without.get("/v1/collections"), 503, "no-gallery")
    assert "pip install 'elasticface[gallery]', or give --database" in told

    def importing(name, *arguments):
        if name.startswith("psycopg"):
            raise ImportError(name)
        return imported(name, *arguments)

    imported = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", importing)
    told = problem(enrolling(place="postgresql://x/y").get(FRIENDS), 503, "no-gallery")
    assert told == "galleries need a database: pip install 'elasticface[gallery]'"
    assert without.post("/v1/detect", files={"photo": photos["a"]}).status_code == 200


def test_removals_that_wait_at_one_time_are_erased_together(friends, photos, monkeypatch):
    for number, name in enumerate(("a", "b", "other")):
        enrol(friends, f"person {number}", photos[name])
    first, *others = people(friends)["people"]
    begun, go, erased = threading.Event(), threading.Event(), []
    really = removal.erase

    def slow(database, collection, shown):
        erased.append(collection.name)
        begun.set()
        assert go.wait(60)
        return really(database, collection, shown=shown)

    monkeypatch.setattr("elasticface.service.galleries.removal.erase", slow)
    with ThreadPoolExecutor(3) as threads:
        answers = [threads.submit(friends.delete, f"{FRIENDS}/people/{first['id']}")]
        assert begun.wait(60)
        answers += [threads.submit(friends.delete, f"{FRIENDS}/people/{one['id']}") for one in others]
        while friends.get(FRIENDS).json()["people"]:  # they are gone at once
            time.sleep(0.05)
        assert search(friends, photos["a"]).json()["candidates"] == []
        assert friends.app.state.work._at_work == 0
        time.sleep(0.2)
        go.set()
        assert [answer.result().json()["erased"] for answer in answers] == [True] * 3
    assert erased == ["friends"] * 2


def test_a_removal_that_cannot_be_erased_is_one_all_the_same(friends, photos, monkeypatch):
    enrol(friends, "Ann", photos["a"])
    (ann,) = people(friends)["people"]

    def failing(database, collection, shown):
        with database.no_transaction() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    monkeypatch.setattr("elasticface.service.galleries.removal.erase", failing)
    removed = friends.delete(f"{FRIENDS}/people/{ann['id']}").json()
    assert (removed["people"], removed["erased"]) == (1, False)
    assert removed["reason"].startswith("they are found no more, and not erased yet: the database does not answer")
    assert removed["reason"].endswith("without names erases them, and so does the next removal from the collection")
    assert people(friends)["people"] == []


def test_who_is_removed_too_slowly_is_erased_though_nobody_waits(enrolling, database, encoder, photos, monkeypatch):
    with Gallery.create("friends", encoder, database=database) as gallery:
        gallery.enrol("Ann", photos["a"])
        (ann,) = gallery.people()
    client = enrolling()
    assert client.get(FRIENDS).status_code == 200
    erased, really = threading.Event(), people_routes.delete

    def slow(database, *arguments):
        time.sleep(2)
        with database.no_transaction() as cursor:
            cursor.execute("SET statement_timeout = 0")  # it is the waiting that ends here
        return really(database, *arguments)

    monkeypatch.setattr(people_routes, "delete", slow)
    monkeypatch.setattr("elasticface.service.galleries.removal.erase", lambda *_, shown: erased.set())
    monkeypatch.setattr(client.app.state.galleries, "_limits", Limits(database_seconds=1))
    unavailable(client.delete(f"{FRIENDS}/people/{ann.id}"))
    assert erased.wait(60)
    assert gallery.people() == []
