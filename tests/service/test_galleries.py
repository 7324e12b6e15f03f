"""Collections over HTTP: people enrolled, searched, listed and removed, as the package itself does it."""

import base64
import re

import numpy as np
import pytest
from gallery_requests import FRIENDS, create, enrol, faces, outcomes, people, search
from service_problems import problem

from elasticface.data.images.decoding import decode, encode
from elasticface.faces import align_faces
from elasticface.gallery.gallery import Gallery
from elasticface.gallery.index import reindex
from elasticface.gallery.removal import Removal


def test_a_collection_is_made_shown_and_removed(friends):
    (one,) = friends.get("/v1/collections").json()["collections"]
    assert one == friends.get(FRIENDS).json()
    assert one == {
        **{"name": "friends", "model": "small", "aggregation": "best", "people": 0, "faces": 0, "search": "exact"},
        **{"usable": True, "reason": None, "keeps_faces": False},
    }
    problem(create(friends, " friends "), 409, "exists")
    means = {"name": (None, "Zoe\u0308's"), "aggregation": (None, "mean")}
    assert friends.post("/v1/collections", files=means).json()["aggregation"] == "mean"
    assert friends.get("/v1/collections/Zo\u00eb's").json()["name"] == "Zo\u00eb's"
    assert friends.delete("/v1/collections/Zo\u00eb's").json() == {
        **{"people": 0, "faces": 0, "erased": True, "reason": None},
    }
    problem(friends.get("/v1/collections/Zo\u00eb's"), 404, "no-collection")


def reduced(photo):
    return encode(np.ascontiguousarray(decode(photo, "photo")[::4, ::4]), ".png")


def test_each_photo_has_its_outcome_in_order(friends, photos, noise):
    sent = (photos["a"], noise, photos["two"], photos["nobody"], photos["a"], b"", reduced(photos["a"]))
    answer = enrol(friends, " Ann ", *sent, crops="yes")
    person, told = answer.json()["person"], answer.json()["photos"]
    assert (person["name"], person["faces"]) == ("Ann", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.*(Z|\+00:00)", person["enrolled"])
    assert outcomes(answer) == ["enrolled", "refused", "refused", "refused", "already", "refused", "refused"]
    assert [photo["reason"] for photo in told[:-1]] == [
        None,
        "not a JPEG, PNG, WebP or HEIC file; convert it to one of these",
        "2 faces are in it; cut one out, or have the largest taken (faces: largest)",
        "no face was found in it",
        None,
        "the file is empty",
    ]
    assert re.fullmatch(r"its face is \d\d pixels wide, less than 40", told[-1]["reason"])
    assert [photo["face"] and photo["face"]["found"] for photo in told] == [1, None, 2, None, 1, None, 1]
    for photo in told:  # the face is seen wherever there is one, that one can tell what is wrong with it
        assert photo["face"] is None or decode(base64.b64decode(photo["face"]["crop"]), "crop").shape == (112, 112, 3)
    again = enrol(friends, "Ann", photos["a"])
    assert outcomes(again) == ["already"]
    assert again.json()["photos"][0]["face"]["crop"] is None
    other = enrol(friends, "Bo", photos["a"]).json()
    assert other["person"] is None
    assert other["photos"][0]["reason"] == "the same face of the same photo is enrolled as Ann"
    assert enrol(friends, "Ann", photos["two"], faces="largest").json()["photos"][0]["face"]["found"] == 2
    assert friends.get(FRIENDS).json()["faces"] == 2


def test_what_is_enrolled_over_http_is_what_the_package_enrols(friends, database, encoder, photos):
    with Gallery.create("others", encoder, database=database) as gallery:
        for person, name in (("Ann", "a"), ("Bo", "other")):
            assert outcomes(enrol(friends, person, photos[name])) == ["enrolled"]
            assert gallery.enrol(person, photos[name]) is None
        expected = gallery.search(photos["b"], name="photo").as_json()
    answer = search(friends, photos["b"]).json()
    assert answer["face"].pop("crop") is None
    for one, other in zip(answer["candidates"], expected["candidates"], strict=True):
        assert one.pop("crop") is None
        assert one.pop("similarity") == pytest.approx(other.pop("similarity"), abs=1e-4)
        assert one.pop("id") in {person["id"] for person in people(friends)["people"]}
        assert re.fullmatch("[0-9a-f]{16}", one.pop("photo"))
        assert one.pop("face") != other.pop("face")  # each collection has faces of its own
        other.pop("id")
        other.pop("photo")
    assert answer == expected


@pytest.mark.parametrize(
    ("fpir", "unknown", "person"), [("0.5", False, "Ann"), ("0.0005", True, None), ("1e-6", None, None)]
)
def test_a_search_names_somebody_nobody_or_says_why_it_cannot(enrolling, calibrated, photos, fpir, unknown, person):
    client = enrolling(calibrated)
    create(client, "friends")
    enrol(client, "Ann", photos["a"])
    answer = search(client, photos["a"], fpir=fpir).json()
    assert (answer["unknown"], answer["person"]) == (unknown, person)
    assert (answer["reason"] is None) == (unknown is not None)
    assert answer["candidates"][0]["similarity"] == pytest.approx(1, abs=1e-3)
    figures = client.get("/metrics").text
    assert search(client, photos["a"], fpir=str(answer["lowest_fpir"])).json()["reason"] is None
    outcome = {False: "named", True: "unknown", None: "undecided"}[unknown]
    assert f'elasticface_searches_total{{outcome="{outcome}"}} 1.0' in figures
    assert 'elasticface_photos_enrolled_total{outcome="enrolled"} 1.0' in figures
    assert "Ann" not in figures


def test_an_approximate_search_says_what_it_is_worth(friends, database, photos, monkeypatch):
    for person, name in (("Ann", "a"), ("Bo", "other")):
        enrol(friends, person, photos[name])
    recall = reindex(database, "friends")
    assert search(friends, photos["b"]).json()["recall"] is None  # few enough for an exact search
    monkeypatch.setattr("elasticface.gallery.search.EXACT_UP_TO", 0)
    answer = search(friends, photos["b"]).json()
    assert answer["search"] == "approximate"
    assert answer["recall"]["interval"] == list(recall.interval)
    assert answer["candidates"][0]["person"] == "Ann"
    assert "recall" in friends.get(FRIENDS).json()["search"]


def test_a_search_of_an_empty_collection_and_one_with_few_candidates(friends, photos):
    assert search(friends, photos["a"]).json()["candidates"] == []
    for person, name in (("Ann", "a"), ("Bo", "other")):
        enrol(friends, person, photos[name])
    assert len(search(friends, photos["b"], most="1").json()["candidates"]) == 1
    problem(search(friends, photos["nobody"]), 422, "no-face")


def test_aligned_faces_come_with_the_answer_if_they_are_asked_for(friends, photos):
    def pixels(crop):
        return decode(base64.b64decode(crop), "crop")

    (expected,) = align_faces(photos["a"])
    answers = (
        enrol(friends, "Ann", photos["a"], crops="yes").json()["photos"][0]["face"],
        search(friends, photos["a"], crops="yes").json()["face"],
        friends.post("/v1/verify", files={"first": photos["a"], "second": photos["b"]}, data={"crops": "yes"}).json()[
            "faces"
        ][0],
    )
    for face in answers:
        np.testing.assert_array_equal(pixels(face["crop"]), expected)
    problem(search(friends, photos["a"], crops="maybe"), 422, "wrong-value")


@pytest.mark.parametrize("keep_faces", ["no", "yes", None])
def test_faces_are_shown_where_the_collection_was_made_to_keep_them(enrolling, photos, keep_faces):
    client, asked = enrolling(), {} if keep_faces is None else {"keep_faces": keep_faces}
    keeps = create(client, "friends", **asked).json()["keeps_faces"]
    assert keeps == client.get(FRIENDS).json()["keeps_faces"] == (keep_faces == "yes")
    for person, name in (("Ann", "a"), ("Ann", "b"), ("Bo", "other")):
        enrol(client, person, photos[name])
    expected = {name: align_faces(photos[name])[0] for name in ("a", "b", "other")}

    def shows(crop, name):
        if not keeps:
            return crop is None
        return np.array_equal(decode(base64.b64decode(crop), "crop"), expected[name])

    found = {}
    for person, names in zip(people(client)["people"], (("a", "b"), ("other",)), strict=True):
        told = faces(client, person["id"]).json()
        assert told["next"] is None
        for face, name in zip(told["faces"], names, strict=True):
            assert shows(face["crop"], name)
            assert re.fullmatch("[0-9a-f]{16}", face["photo"])
            assert len(face["box"]) == 4
            assert 0.5 < face["score"] <= 1
            found[name] = face["id"]
    candidates = search(client, photos["b"], crops="yes").json()["candidates"]
    for candidate, name in zip(candidates, ("b", "other"), strict=True):
        assert candidate["face"] == found[name]
        assert shows(candidate["crop"], name)
    assert {one["crop"] for one in search(client, photos["b"]).json()["candidates"]} == {None}  # it was not asked for


def test_faces_come_in_pages_and_those_of_embeddings_have_no_picture(enrolling, database):
    from unit_vectors import made_up

    client = enrolling()
    create(client, "friends", keep_faces="yes")
    Gallery("friends", database=database).enrol_embeddings(made_up(2, 7))
    (person,) = (person for person in people(client)["people"] if person["name"] == "person 1")
    whole = faces(client, person["id"]).json()
    assert whole["next"] is None
    assert {face["photo"] for face in whole["faces"]} == {f"1/{number}.jpg" for number in range(7)}
    for face in whole["faces"]:
        assert face | {"box": [], "score": None, "crop": None} == face
    found, after = [], 0
    while after is not None:
        page = faces(client, person["id"], after=after, most=3).json()
        found += page["faces"]
        after = page["next"]
        assert len(page["faces"]) == (3 if after else 1)
    assert found == whole["faces"]


def test_people_come_in_pages_by_number(friends, database):
    from unit_vectors import made_up

    Gallery("friends", database=database).enrol_embeddings(made_up(7, 2))
    everybody = people(friends)
    assert everybody["next"] is None
    assert len({person["id"] for person in everybody["people"]}) == 7
    assert all(person["faces"] == 2 for person in everybody["people"])
    found, after = [], 0
    while after is not None:
        page = people(friends, after=after, most=3)
        found += page["people"]
        after = page["next"]
        assert len(page["people"]) == (3 if after else 1)
    assert found == everybody["people"]
    assert people(friends, most=7)["next"] is None


def test_who_is_removed_is_gone_from_searches_and_files(friends, photos):
    enrol(friends, "Ann", photos["a"], photos["b"])
    ann = enrol(friends, "Bo", photos["other"]) and people(friends)["people"][0]
    removed = friends.delete(f"{FRIENDS}/people/{ann['id']}")
    assert removed.json() == {"people": 1, "faces": 2, "erased": True, "reason": None}
    assert [one["person"] for one in search(friends, photos["a"]).json()["candidates"]] == ["Bo"]
    problem(friends.delete(f"{FRIENDS}/people/{ann['id']}"), 404, "no-person")
    assert "elasticface_people_removed_total 1.0" in friends.get("/metrics").text
    again = enrol(friends, "Ann", photos["a"]).json()["person"]
    assert again["id"] != ann["id"]


def test_what_cannot_be_erased_yet_is_said(friends, photos, monkeypatch):
    enrol(friends, "Ann", photos["a"])
    (ann,) = people(friends)["people"]
    monkeypatch.setattr(
        "elasticface.service.galleries.removal.erase", lambda *_, shown: Removal(0, 0, erased=False, remains="why")
    )
    removed = friends.delete(f"{FRIENDS}/people/{ann['id']}").json()
    assert removed == {"people": 1, "faces": 1, "erased": False, "reason": "why"}


def test_a_collection_of_another_model_is_listed_and_not_used(friends, enrolling, calibrated, photos):
    from dataclasses import replace

    from elasticface.model.encoder import FaceEncoder, Preprocessing

    card = replace(calibrated.card, preprocessing=Preprocessing(scale=128.0))
    other = enrolling(FaceEncoder(calibrated.network, card))
    (one,) = other.get("/v1/collections").json()["collections"]
    assert one["usable"] is False
    assert "another preprocessing" in one["reason"]
    for answer in (search(other, photos["a"]), enrol(other, "Ann", photos["a"])):
        assert "their embeddings cannot be compared" in problem(answer, 409, "other-model")
    enrol(friends, "Ann", photos["a"])
    (ann,) = people(other)["people"]
    assert len(faces(other, ann["id"]).json()["faces"]) == 1
    assert other.delete(f"{FRIENDS}/people/{ann['id']}").json()["erased"] is True
    assert other.delete(FRIENDS).status_code == 200


def test_the_service_says_what_it_is(client, enrolling, calibrated):
    told = enrolling(calibrated, photos=7).get("/v1/service").json()
    assert (told["model"], told["calibrated"], told["fmrs"], told["gallery"]) == (
        "small",
        True,
        [1e-4, 1e-3, 0.1],
        True,
    )
    assert told["limits"] == {"photos": 7, "photo_bytes": 2**24, "request_bytes": 2**25, "pixels": 2**25}
    told = client.get("/v1/service").json()
    assert (told["calibrated"], told["fmrs"], told["gallery"]) == (False, [], False)
