"""What a client may not do with galleries, and what several of them do at once: each is answered, nothing is half."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from gallery_requests import FRIENDS, create, enrol, faces, people, search
from service_problems import problem

from elasticface.gallery.gallery import Gallery
from elasticface.gallery.removal import Removal
from elasticface.service.app import create_app
from elasticface.service.forms import Form
from elasticface.service.gate import OPEN
from elasticface.service.keys import new_key
from elasticface.service.problems import Problem
from elasticface.service.routes import collections as routes
from elasticface.service.routes.gallery import in_form

SQL = ("Robert'); DROP TABLE elasticface.face; --", "%s", "$1", "' OR 1=1", "\\", "{0}", "</script><b>&")
JOINED = ("می\u200cترا", "ශ\u0dca\u200dරී")  # Persian and Sinhala are not written without


def counted(database):
    """What the collection says of itself, and what is there."""
    with database.transaction() as cursor:
        cursor.execute("SELECT people, faces FROM collection WHERE name = 'friends'")
        said = cursor.fetchone()
        cursor.execute(
            "SELECT (SELECT count(*) FROM person JOIN collection AS c ON c.id = collection WHERE c.name = 'friends'), "
            "(SELECT count(*) FROM face JOIN collection AS c ON c.id = collection WHERE c.name = 'friends')"
        )
        there = cursor.fetchone()
    assert said in (there, None)
    return there


def test_all_paths_need_the_key(friends):
    for method, path in (
        *(
            ("GET", path)
            for path in ("/v1/service", "/v1/collections", FRIENDS, f"{FRIENDS}/people", f"{FRIENDS}/people/1/faces")
        ),
        *(("POST", path) for path in ("/v1/collections", f"{FRIENDS}/faces", f"{FRIENDS}/search")),
        *(("DELETE", path) for path in (FRIENDS, f"{FRIENDS}/people/1")),
    ):
        problem(friends.request(method, path, headers={"X-API-Key": "wrong"}), 401, "wrong-key")
    assert friends.get(FRIENDS).status_code == 200


def test_without_a_gallery_there_is_none(client, photos):
    assert "--no-gallery" in problem(client.get("/v1/collections"), 404, "no-gallery")
    problem(search(client, photos["a"]), 404, "no-gallery")
    problem(client.delete(f"{FRIENDS}/people/1"), 404, "no-gallery")
    problem(faces(client, 1), 404, "no-gallery")


def test_numbers_out_of_bounds_and_those_of_other_collections(friends, database, photos):
    create(friends, "others")
    ann = enrol(friends, "Ann", photos["a"], where="/v1/collections/others").json()["person"]
    for number in (ann["id"], 2**63 - 1):
        problem(friends.delete(f"{FRIENDS}/people/{number}"), 404, "no-person")
        problem(faces(friends, number), 404, "no-person")
    for number in (2**63, 10**30, "9" * 5000, 0, -1, "x", "1.5", "1%00"):
        problem(friends.delete(f"{FRIENDS}/people/{number}"), 422, "wrong-value")
        problem(faces(friends, number), 422, "wrong-value")
    mine = f"/v1/collections/others/people/{ann['id']}/faces"
    for query in ("most=0", "most=101", "most=x", "after=-1", f"after={2**63}"):
        problem(friends.get(f"{mine}?{query}"), 422, "wrong-value")
    problem(friends.get(f"{mine}?crops=no"), 422, "unknown-field")
    assert len(friends.get(f"{mine}?most=100").json()["faces"]) == 1
    assert friends.get(f"{mine}?after={2**63 - 1}").json() == {"faces": [], "next": None}
    for query in ("most=0", "most=1001", "most=x", "after=-1", f"after={2**63}"):
        problem(friends.get(f"{FRIENDS}/people?{query}"), 422, "wrong-value")
    assert friends.get(f"{FRIENDS}/people?after={2**63 - 1}").json() == {"people": [], "next": None}
    for fields in ({"most": "0"}, {"most": "101"}, {"most": "1e2"}, {"most": "²"}, {"fpir": "0"}, {"fpir": "inf"}):
        problem(search(friends, photos["a"], **fields), 422, "wrong-value")
    assert [person["name"] for person in people(friends, "/v1/collections/others")["people"]] == ["Ann"]


def test_no_collection_has_such_a_name(friends, photos):
    for name in ("foes", "%00", "a%00b", "%0a", "x" * 300, "%ff", "%e2%80%ae", "'--", "%25s", ".%2e%00"):
        where = f"/v1/collections/{name}"
        for answer in (
            friends.get(where),
            friends.delete(where),
            friends.get(f"{where}/people"),
            faces(friends, 1, where),
        ):
            problem(answer, 404, "no-collection")
        problem(search(friends, photos["a"], where), 404, "no-collection")
        problem(enrol(friends, "Ann", photos["a"], where=where), 404, "no-collection")
    problem(friends.get("/v1/collections/a%2fb"), 404, "no-such-page")


@pytest.mark.parametrize(
    "name", ["", " ", "x" * 256, "é" * 128, "a\0b", "a\nb", "\x1b[2J", "a\u2028b", "\u202eAnn", "a\u2066b", b"\xff\xfe"]
)
def test_names_that_are_none_are_refused(friends, photos, name):
    problem(enrol(friends, name, photos["a"]), 422, "wrong-value")
    problem(create(friends, name), 422, "wrong-value")
    assert people(friends)["people"] == []


@pytest.mark.parametrize(
    "name",
    [f"Ann{unseen}Lee" for unseen in "\xad\u034f\u061c\u200b\u200c\u200d\u200e\u200f\u2060\u3164\ufe0f\ufeff\U000e0041"]
    + ["\u200fدانا", "دانا\u200c", "د\u200dانا", "ශ\u0dca\u200d", "\u200cدانا", "Ann \u200dLee"],
    ids=ascii,
)
def test_no_name_has_what_is_not_seen(name):
    for what in ("person", "collection"):
        with pytest.raises(Problem) as refused:
            in_form(Form(fields={what: name}), what, what)
        assert refused.value.detail == f"{what}: the name of a {what} must have no control or invisible characters"


def test_a_collection_that_could_not_stand_in_a_path_is_not_made(friends, database, encoder):
    for name in ("a/b", ".", ".."):
        assert "paths" in problem(create(friends, name), 422, "wrong-value")
    Gallery.create("a/b", encoder, database=database)
    one = friends.get("/v1/collections").json()["collections"][0]
    assert (one["usable"], one["reason"][:23]) == (False, "its name has a / or is ")


def test_names_are_data(friends, photos, monkeypatch):
    # Erasing takes a while, and is looked at elsewhere.
    monkeypatch.setattr("elasticface.service.galleries.removal.erase", lambda *_, shown: Removal(0, 0, erased=True))
    for name in (*SQL, *JOINED):
        assert enrol(friends, name, photos["a"]).json()["person"]["name"] == name
        (person,) = people(friends)["people"]
        assert person["name"] == search(friends, photos["a"]).json()["candidates"][0]["person"] == name
        assert friends.delete(f"{FRIENDS}/people/{person['id']}").json()["people"] == 1
    assert create(friends, "'; --").json()["name"] == "'; --"
    assert friends.delete("/v1/collections/'; --").status_code == 200


def test_missing_and_wrong_fields_are_refused_before_any_work(friends, photos):
    photo = ("photos", photos["a"])
    for files, kind in (
        ([photo], "no-field"),
        ([("person", (None, "Ann"))], "no-photo"),
        ([("person", (None, "Ann")), ("photos", (None, "/etc/passwd"))], "no-upload"),
        ([("person", (None, "Ann"))] * 2 + [photo], "repeated-field"),
        ([("person", (None, "Ann")), ("faces", (None, "all")), photo], "wrong-value"),
        ([("person", photos["a"]), photo], "wrong-value"),
        ([("person", (None, "Ann")), *[photo] * 33], "too-many-photos"),
        ([("person", (None, "Ann")), ("id", (None, "1")), photo], "unknown-field"),
    ):
        problem(friends.post(f"{FRIENDS}/faces", files=files), 422, kind)
    problem(friends.post("/v1/collections", files={"aggregation": (None, "best")}), 422, "no-field")
    for wrong in ({"aggregation": "median"}, {"keep_faces": "true"}, {"keep_faces": ""}):
        problem(create(friends, "x", **wrong), 422, "wrong-value")
    problem(friends.post("/v1/collections", data={"name": "x"}), 415, "no-form")
    assert [one["name"] for one in friends.get("/v1/collections").json()["collections"]] == ["friends"]


def test_there_are_only_so_many_collections(friends, monkeypatch):
    monkeypatch.setattr(routes, "MOST_COLLECTIONS", 1)
    problem(create(friends, "more"), 409, "too-many-collections")
    friends.delete(FRIENDS)
    assert create(friends, "more").status_code == 201


def test_clients_that_make_collections_at_once_make_no_more_than_one(friends, monkeypatch):
    monkeypatch.setattr(routes, "MOST_COLLECTIONS", 2)
    together, really = threading.Barrier(3), routes.collections.every

    def slow(database):
        found = really(database)
        time.sleep(0.3)
        return found

    monkeypatch.setattr(routes.collections, "every", slow)

    def making(name):
        together.wait(60)
        return create(friends, name).status_code

    with ThreadPoolExecutor(3) as threads:
        assert sorted(threads.map(making, "abc")) == [201, 409, 409]


def test_two_who_enrol_and_remove_the_same_person_at_once(friends, database, photos):
    several = threading.Barrier(4)

    def enrolling(photo):
        several.wait(60)
        return [enrol(friends, "Ann", photo).status_code for _ in range(6)]

    def removing(_):
        several.wait(60)
        found = []
        for _ in range(6):
            there = [person["id"] for person in people(friends)["people"]]
            found += [friends.delete(f"{FRIENDS}/people/{number}").status_code for number in there]
        return found

    with ThreadPoolExecutor(4) as threads:
        enrolled = [threads.submit(enrolling, photos[name]) for name in ("a", "b")]
        removed = [threads.submit(removing, None) for _ in range(2)]
        assert [status for one in enrolled for status in one.result()] == [200] * 12
        assert {status for one in removed for status in one.result()} <= {200, 404}
    there = counted(database)
    assert there in ((0, 0), (1, 1), (1, 2))
    assert len(people(friends)["people"]) == there[0]


def test_a_collection_that_is_dropped_while_people_are_enrolled(friends, database, photos):
    both = threading.Barrier(3)

    def enrolling(photo):
        both.wait(60)
        return [enrol(friends, "Ann", photo) for _ in range(8)]

    def dropping():
        both.wait(60)
        return [(friends.delete(FRIENDS), create(friends, "friends")) for _ in range(4)]

    with ThreadPoolExecutor(3) as threads:
        enrolled = [threads.submit(enrolling, photos[name]) for name in ("a", "b")]
        for dropped, made in threads.submit(dropping).result():
            assert (dropped.status_code, made.status_code) == (200, 201)
        for answer in (answer for one in enrolled for answer in one.result()):
            if answer.status_code != 200:
                problem(answer, 404, "no-collection")
    counted(database)
    assert friends.delete(FRIENDS).json()["erased"]
    with database.transaction() as cursor:
        assert cursor.execute("SELECT (SELECT count(*) FROM person), (SELECT count(*) FROM face)").fetchone() == (0, 0)


def test_a_client_that_leaves_has_everything_enrolled_or_nothing(database, encoder, photos, tmp_path, caplog):
    key, text = new_key(tmp_path / "keys")
    app = create_app(encoder, key, database=database.server.folder)
    gallery = Gallery.create("friends", encoder, database=database)
    parts = [b'--b\r\nContent-Disposition: form-data; name="person"\r\n\r\nAnn\r\n']
    for name in ("a", "b", "two"):
        head = b'--b\r\nContent-Disposition: form-data; name="photos"; filename="x"\r\n\r\n'
        parts.append(head + photos[name] + b"\r\n")
    body = b"".join([*parts, b"--b--\r\n"])
    path = f"{FRIENDS}/faces"
    headers = [(b"x-api-key", text.encode()), (b"content-type", b"multipart/form-data; boundary=b")]
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"headers": headers, "root_path": "", "scheme": "http", "server": ("s", 80), "http_version": "1.1"}

    async def leaving(seconds):
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive():
            if messages:
                return messages.pop()
            await asyncio.sleep(seconds)
            return {"type": "http.disconnect"}

        async def send(message):
            pass

        await app(dict(scope), receive, send)

    async def run():
        for seconds in (0, 0.02, 0.05, 0.1, 0.2, 0.4):
            await leaving(seconds)
            assert app.state.work._at_work == 0
        await leaving(60)  # this one stays

    with caplog.at_level("INFO", "elasticface.service"):
        asyncio.run(run())
    app.state.work.close()
    app.state.galleries.close()
    assert [person.faces for person in gallery.people()] == [2]
    assert counted(database) == (1, 2)
    assert "status=499" in caplog.text
    assert "status=200" in caplog.messages[-1]


def test_names_are_in_no_log_and_no_figure(friends, photos, caplog):
    with caplog.at_level("DEBUG"):
        create(friends, "secret-collection", keep_faces="yes")
        where = "/v1/collections/secret-collection"
        enrol(friends, "Ann Secret", photos["a"], photos["nobody"], where=where)
        search(friends, photos["a"], where=where, crops="yes")
        (ann,) = people(friends, where)["people"]
        assert faces(friends, ann["id"], where).json()["faces"][0]["crop"]
        friends.delete(f"{where}/people/{ann['id']}")
        friends.delete(where)
        friends.delete(where)
    lines = [record.getMessage() for record in caplog.records if record.name == "elasticface.service"]
    assert len(lines) == 8
    assert all(line.startswith("id=") and " route=/v1/collections" in line for line in lines)
    for text in (*lines, friends.get("/metrics").text):
        assert "ecret" not in text


def test_the_description_of_every_path_is_whole(friends):
    api = friends.get("/openapi.json").json()
    for path, methods in api["paths"].items():
        for method, route in methods.items():
            where = f"{method} {path}"
            assert len(route["description"]) > 10, where
            told = [*route.get("parameters", [])]
            for content in route.get("requestBody", {}).get("content", {}).values():
                assert list(route["requestBody"]["content"]) == ["multipart/form-data"], where
                told += content["schema"]["properties"].values()
            assert all(one.get("description") for one in told), where
            assert (
                ("401" in route["responses"]) == (route.get("security", api["security"]) != []) == (path not in OPEN)
            ), where
            assert {"400", "413", "500", "503"} <= {*route["responses"]}, where
            for status, answer in route["responses"].items():
                assert "X-Request-Id" in answer["headers"], where
                assert ("Retry-After" in answer["headers"]) == (status == "503"), where
            if path.startswith("/v1/collections"):
                assert {"401", "404", "422", "503"} <= {*route["responses"]}, where
                assert ("409" in route["responses"]) == (method == "post"), where
                problem_of = route["responses"]["422"]["content"]
                assert [*problem_of] == ["application/problem+json"], where
    (scheme,) = (api["components"]["securitySchemes"][name] for need in api["security"] for name in need)
    assert (scheme["in"], scheme["name"]) == ("header", "X-API-Key")
    page = friends.get("/docs").text
    for text in ("/v1/collections/{name}/people/{id}", "next, of the page before", "the person&#39;s number"):
        assert text in page
