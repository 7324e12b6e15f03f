"""Every answer's headers, the log's one line a request, and the figures."""

import re

import pytest

LINE = r"id=[0-9a-f]{16} method=(\w+) route=(\S+) status=(\d+) ms=[\d.]+ in=(\d+) out=(\d+)"


def test_a_request_is_one_line_without_what_it_holds(client, photos, caplog):
    with caplog.at_level("INFO", "elasticface.service"):
        files = {"photo": ("Ada Lovelace.png", photos["a"])}
        answer = client.post("/v1/detect", files=files, headers={"X-Request-Id": "Ada\tforged"})
        client.get("/people/Ada?x=Ada")
        client.request("ADA", "/healthz?name=Ada")
        client.get("/v1/service?Ada=Ada")
    assert len(caplog.messages) == 4
    assert "Ada" not in caplog.text
    assert "ADA" not in caplog.text
    found = [re.fullmatch(LINE, line).groups() for line in caplog.messages]
    assert found[0][:3] == ("POST", "/v1/detect", "200")
    assert int(found[0][3]) > len(photos["a"])
    assert int(found[0][4]) == len(answer.content)
    assert found[1][:3] == ("GET", "-", "404")
    assert found[2][0] == "other"
    assert answer.headers["x-request-id"] in caplog.messages[0]


@pytest.mark.parametrize("path", ["/healthz", "/docs", "/openapi.json", "/nothing", "/metrics", "/page/nothing.js"])
def test_security_headers_are_on_every_answer(client, path):
    headers = client.get(path, headers={"Origin": "https://example.org"}).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'; base-uri 'none'")
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("path", "route", "status"),
    [
        *(
            (path, path, 200)
            for path in ("/", "/healthz", "/readyz", "/docs", "/openapi.json", "/metrics", "/v1/service")
        ),
        *(("/page/app.js", "/page/{name}", 200), ("/nothing", "-", 404), ("/v1/verify", "/v1/verify", 405)),
    ],
)
def test_head_is_answered_as_get_without_the_body(client, caplog, path, route, status):
    with caplog.at_level("INFO", "elasticface.service"):
        answers = client.head(path), client.get(path)
    assert [answer.status_code for answer in answers] == [status, status]
    assert answers[0].content == b""
    head, get = ({key: value for key, value in answer.headers.items() if key != "x-request-id"} for answer in answers)
    assert head.keys() == get.keys()
    assert path == "/metrics" or head == get  # which counts these two requests
    assert re.fullmatch(LINE, caplog.messages[0]).groups() == ("HEAD", route, str(status), "0", "0")


def test_other_pages_are_not_let_in(client):
    headers = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    answer = client.options("/v1/verify", headers=headers)
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_figures_count_requests_by_route(client, photos):
    client.post("/v1/embed", files={"photos": photos["a"]})
    client.get("/secret-path")
    text = client.get("/metrics").text
    assert re.search(r'elasticface_requests_total\{method="POST",route="/v1/embed",status="200"\} \d', text)
    assert "elasticface_batch_faces_bucket" in text
    assert "elasticface_requests_at_work 0.0" in text
    assert "secret-path" not in text


def test_the_page_of_the_api_lists_every_route_and_loads_nothing(client):
    page = client.get("/docs")
    for path in client.get("/openapi.json").json()["paths"]:
        assert path in page.text
    assert "first" in page.text
    assert not re.search(r"<script|src=|@import|url\(|https?://(?!127\.0\.0\.1)", page.text)
    assert 'href="openapi.json"' in page.text  # below a path of a proxy, too
    assert "style-src 'sha256-" in page.headers["content-security-policy"]
