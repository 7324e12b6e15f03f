"""Forms that nobody's program sends: each is answered, with an answer or with a problem."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from service_problems import problem

NAMES = st.sampled_from(
    ["photo", "photos", "first", "second", "fmr", "faces", "person", "name", "most", "crops", "", "\0", "photo[]"]
) | st.text(max_size=9)
VALUES = st.sampled_from([b"", b"1e-3", b"nan", b"all", b"/etc/passwd", b"--b", b"\r\n--b", b"\xff\xd8\xff"])
LINES = st.sampled_from(
    [
        b"Content-Type: image/png",
        b"Content-Transfer-Encoding: base64",
        b"Content-Disposition: form-data",
        b": ",
        b"A" * 5000 + b": b",
        b"\0",
        b"Content-Disposition: form-data; name*=UTF-8''photo",
    ]
)


@st.composite
def parts(draw, photo):
    name = draw(NAMES).encode("utf-8", "replace")
    file = draw(st.sampled_from([b"", b'; filename="a.png"', b"; filename=", b'; filename="../../a"']))
    lines = [b'Content-Disposition: form-data; name="' + name + b'"' + file, *draw(st.lists(LINES, max_size=2))]
    content = draw(VALUES | st.binary(max_size=60) | st.just(photo[:200]))
    return (
        draw(st.sampled_from([b"--b\r\n", b"--b", b"\r\n--b\r\n", b"--c\r\n"]))
        + b"\r\n".join(lines)
        + b"\r\n\r\n"
        + content
    )


ROUTES = st.sampled_from(["/v1/detect", "/v1/verify", "/v1/embed"])
TYPES = st.sampled_from(
    [
        "multipart/form-data; boundary=b",
        'multipart/form-data; boundary="b"',
        "multipart/form-data; boundary=",
        "x/y",
        "b;" * 99,
    ]
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), path=st.sampled_from(["", "/friends/faces", "/friends/search"]))
def test_every_form_of_a_gallery_is_answered(friends, photos, data, path):
    body = b"\r\n".join(data.draw(st.lists(parts(photos["a"]), max_size=4))) + b"\r\n--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = friends.post(f"/v1/collections{path}", content=body, headers=headers)
    if answer.status_code not in (200, 201):
        problem(answer, answer.status_code, answer.json()["type"].rpartition(":")[2])
        assert answer.status_code in (400, 409, 422)
    assert friends.app.state.work._at_work == 0


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), path=ROUTES, kind=TYPES, end=st.sampled_from([b"\r\n--b--\r\n", b"--b--", b""]))
def test_every_form_is_answered(client, photos, data, path, kind, end):
    body = b"\r\n".join(data.draw(st.lists(parts(photos["a"]), max_size=4))) + end
    answer = client.post(path, content=body, headers={"Content-Type": kind})
    if answer.status_code != 200:
        problem(answer, answer.status_code, answer.json()["type"].rpartition(":")[2])
        assert answer.status_code in (400, 415, 422)
    assert client.app.state.work._at_work == 0


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), cut=st.booleans())
def test_every_damaged_photo_is_answered(client, photos, at, byte, cut):
    photo = bytearray(photos["a"])
    place = int(at * len(photo))
    photo[place] = byte
    answer = client.post("/v1/embed", files={"photos": bytes(photo[:place] if cut else photo)})
    assert answer.status_code == 200
    assert len(answer.json()["photos"]) == 1
