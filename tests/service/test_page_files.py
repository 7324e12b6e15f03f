"""What the page is made of, as it is sent: open, the same for everyone, and shut to everything else."""

import re
from pathlib import Path

import pytest

import elasticface


def test_the_page_is_open_and_admits_itself_alone(client):
    answer = client.get("/", headers={"X-API-Key": ""})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy
    assert "//" not in re.sub(r"\w+:(?!/)", "", policy)  # schemes, and no host
    assert not re.search(r"<style|<script>|\son\w+=|\sstyle=|https?://", answer.text)
    for part in re.findall(r'(?:src|href)="(page/[^"]+)"', answer.text):
        assert client.get(f"/{part}", headers={"X-API-Key": ""}).status_code == 200


@pytest.mark.parametrize(("name", "kind"), [("app.js", "text/javascript"), ("page.css", "text/css")])
def test_parts_of_the_page_have_their_types(client, name, kind):
    answer = client.get(f"/page/{name}")
    assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/page/", "/page/other.js", "/page/..%2fapp.py", "/page/%2e%2e/gate.py", "/page"])
def test_nothing_else_lies_beside_the_page(client, path):
    answer = client.get(path)
    assert answer.status_code in (401, 404)
    assert answer.headers["content-type"] == "application/problem+json"


def test_names_never_become_html(client):
    """Of all ways in which a script makes elements none takes HTML."""
    scripts = [path.name for path in Path(elasticface.__file__).with_name("service").joinpath("page").glob("*.js")]
    assert len(scripts) > 5
    for script in scripts:
        text = client.get(f"/page/{script}").text
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|localStorage", text)
