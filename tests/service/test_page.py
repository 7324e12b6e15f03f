"""The page in a real Chromium: what a person sees, hears and presses. Skipped, with the reason, where there is none."""

import json
import re
import shutil
import signal
from itertools import count
from urllib.parse import parse_qs, urlsplit

import embedded
import httpx
import pytest
from album import NOBODY
from gallery_requests import create, enrol, outcomes
from served import started

import elasticface

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'elasticface[dev]'")
axe = pytest.importorskip("axe_playwright_python.base", reason="needs axe-playwright-python")
expect = playwright.expect

HOSTILE = '<img src=x onerror="window.hit = 1">'
LOADS = count()
COLLECTIONS = "**/v1/collections"
WAIT = 20_000  # ms: two cores may have much else to do
THRESHOLDS = elasticface.load("default").card.calibration
A, B, STRANGER = "people/person 0/0.png", "people/person 0/1.png", "people/person 2/0.png"


def shown(fmr):
    """The default model's threshold for a false match rate, as the page writes it."""
    return f"{THRESHOLDS.threshold(fmr).threshold:.3f}"


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs a Chromium: apt-get install chromium")
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", *camera])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def service(browser, place, album, tmp_path_factory):
    """Address, key and log of a service in whose collection `friends` Ada and Bo are."""
    database, folder = place / "page", tmp_path_factory.mktemp("page")
    embedded.opened(database).close()
    with started(folder, "--database", database, "--pixels", "3000000") as (process, address, key):
        with httpx.Client(base_url=address, headers={"X-API-Key": key}, timeout=60) as client:
            for name in ("friends", "others"):
                assert create(client, name).status_code == 201
            for person, photo in (("Ada Lind", A), ("Bo Chen", "people/person 1/0.png")):
                assert outcomes(enrol(client, person, (album / photo).read_bytes())) == ["enrolled"]
        yield address, key, folder / "log"
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@pytest.fixture(scope="module")
def window(browser, service):
    """One tab for all: one of its own costs each test three times what loading the page anew does."""
    context = browser.new_context(base_url=service[0], reduced_motion="reduce")
    context.set_default_timeout(WAIT)
    expect.set_options(timeout=WAIT)
    return context.new_page()


@pytest.fixture
def tab(window, service):
    """An empty tab, in which nothing may go wrong unseen, and which asks no other host for anything."""
    said, hosts = [], set()
    listeners = {
        "console": lambda message: said.append((message.type, message.text)),
        "weberror": lambda error: said.append(("error", str(error.error))),
        "request": lambda request: hosts.add(urlsplit(request.url).netloc),
    }
    for event, listener in listeners.items():
        window.context.on(event, listener)
    yield window
    window.unroute_all()
    window.evaluate("stop()")  # whatever is under way
    window.evaluate("sessionStorage.clear()")
    for event, listener in listeners.items():
        window.context.remove_listener(event, listener)
    # Of an answer that is an error the browser says so by itself.
    wrong = [text for kind, text in said if kind in ("error", "warning") and "Failed to load resource" not in text]
    assert not wrong  # no script failed, and nothing went against the content policy
    assert hosts - {""} <= {urlsplit(service[0]).netloc}  # "" is of blob: and data:


def load(tab, address):
    """Load the page anew: browsers do not where the fragment alone is another one."""
    path, hash, fragment = address.partition("#")
    tab.goto(f"{path}?{next(LOADS)}{hash}{fragment}")


@pytest.fixture
def page(tab, service):
    """The page, with the key and a collection."""
    load(tab, f"/#key={service[1]}")
    expect(tab.locator("#search .about")).to_contain_text("in friends")  # the collections were read: all is there
    return tab


def part(page, name):
    page.get_by_role("tab", name=name).click()
    return page.get_by_role("tabpanel", name=name)


def said(panel):
    """Where a part's answer is told to screen readers."""
    return panel.locator(".answer [role=status]")


def choose(panel, name, photos):
    panel.get_by_role("group", name=name, exact=True).locator("input").set_input_files(photos)


def search(page, photo):
    panel = part(page, "Search")
    choose(panel, "Photo", photo)
    panel.get_by_role("button", name="Search").click()
    return panel


def enrolled(page, person, photos):
    panel = part(page, "Enrol")
    panel.get_by_label("Name").fill(person)
    choose(panel, "Photos of this person", photos)
    panel.get_by_role("button", name="Enrol", exact=True).click()
    expect(panel.get_by_role("progressbar")).to_have_js_property("value", len(photos))
    return panel


def paste(page, *names):
    page.evaluate(
        """names => {
        const clipboardData = new DataTransfer();
        for (const name of names) clipboardData.items.add(new File(["x"], name));
        document.dispatchEvent(new ClipboardEvent("paste", { clipboardData }));
    }""",
        names,
    )


def held(page, url, method="GET"):
    """Requests for `url` from now on, as they come; none is answered unless the test does so."""
    waiting = []
    page.route(url, lambda route: waiting.append(route) if route.request.method == method else route.fallback())
    return waiting


def until(page, true):
    """Wait; playwright's own `wait_for_function` goes against the content policy."""
    for _ in range(WAIT // 20):
        if true():
            return
        page.wait_for_timeout(20)
    raise AssertionError("it does not come to be")


def busy(kind):
    """An answer after which the page may ask again."""
    problem = {"type": f"urn:elasticface:problem:{kind}", "detail": f"the service says {kind}"}
    return {"status": 503, "headers": {"Retry-After": "0.05"}, "json": problem}


def test_the_key_is_entered_once_kept_in_the_tab_and_forgotten(tab, service):
    load(tab, "/")
    field = tab.get_by_label("API key", exact=True)
    expect(field).to_be_focused()
    expect(field).to_have_attribute("type", "password")
    field.fill("wrong")
    tab.keyboard.press("Enter")
    refused = re.compile(r"not that of this service \(request id [0-9a-f]{16}\)")
    expect(tab.get_by_role("alert")).to_have_text(refused)
    expect(field).to_have_accessible_description(refused)
    expect(field).to_have_attribute("aria-invalid", "true")
    waiting = held(tab, "**/v1/service")
    for key in ("another", service[1]):
        field.fill(key)
        tab.get_by_role("button", name="Open").click()
    until(tab, lambda: len(waiting) == 2)
    waiting[1].continue_()
    expect(tab.get_by_role("tab", name="Search")).to_be_focused()
    with tab.expect_response("**/v1/service"):
        waiting[0].continue_()  # the refusal of a key that is not the tab's any more
    tab.unroute_all()
    tab.reload()
    expect(tab.get_by_role("tab", name="Search")).to_be_visible()
    kept = "[localStorage.length, document.cookie, Object.values(sessionStorage).length]"
    until(tab, lambda: tab.evaluate(kept) == [0, "", 2])  # the key, and which collection, once they are listed
    tab.get_by_role("button", name="Forget the key").click()
    expect(field).to_be_visible()
    assert tab.evaluate(kept) == [0, "", 0]


def test_a_browser_that_refuses_to_keep_anything_has_the_key_until_the_page_is_left(window, service):
    page = window.context.new_page()
    refused = "() => { throw new DOMException('access is denied', 'SecurityError') }"
    page.add_init_script(f"Object.defineProperty(window, 'sessionStorage', {{ get: {refused} }})")
    load(page, "/")
    expect(page.get_by_text("This browser lets pages keep nothing")).to_be_visible()
    page.get_by_label("API key", exact=True).fill(service[1])
    page.get_by_role("button", name="Open").click()
    page.get_by_label("Collection", exact=True).select_option("others")
    expect(page.locator("#search .about")).to_have_text("Nobody is enrolled in others yet.")
    page.get_by_role("button", name="Forget the key").click()
    expect(page.get_by_label("API key", exact=True)).to_be_focused()
    page.close()


def test_a_key_in_the_fragment_is_taken_and_leaves_the_address_bar(tab, service):
    _, key, log = service
    before = tab.evaluate("history.length")
    load(tab, f"/#key={key}")
    expect(tab.get_by_role("tab", name="Search")).to_be_visible()
    assert tab.url.partition("#") == (tab.url, "", "")
    assert tab.evaluate("history.length") <= before + 1  # the page: the address with the key is not beside it
    assert key not in log.read_text()


def test_somebody_is_found_with_face_and_rate_and_a_stranger_is_nobody(page, album):
    panel = search(page, album / B)
    expect(said(panel)).to_contain_text("This is probably Ada Lind.")
    expect(said(panel)).to_contain_text(re.compile(rf"Similarity 0\.\d{{3}}; the threshold is {shown(1e-3)}\."))
    expect(said(panel)).to_contain_text("about 1\N{NO-BREAK SPACE}in\N{NO-BREAK SPACE}500 would be taken for somebody")
    expect(panel.get_by_role("img", name="the face that was searched for")).to_have_js_property("naturalWidth", 112)
    expect(panel.get_by_role("row", name=re.compile("Ada Lind"))).to_contain_text("at most 1")
    search(page, album / STRANGER)
    expect(said(panel)).to_contain_text("Nobody of the 2 people here, as far as photos tell.")
    expect(said(panel)).to_contain_text("This threshold misses about")


def test_two_photos_are_compared_beside_both_faces(page, album):
    panel = part(page, "Compare")
    choose(panel, "First photo", album / A)
    panel.get_by_role("button", name="Compare").click()
    second = panel.get_by_role("group", name="Second photo")
    expect(second.locator("input")).to_have_accessible_description("Second photo: missing; choose one")
    expect(second.locator("input")).to_have_attribute("aria-invalid", "true")
    before = second.get_by_role("alert").evaluate_handle("problem => problem.firstChild")
    panel.get_by_role("button", name="Compare").click()
    until(page, lambda: not before.evaluate("text => text.isConnected"))  # said again: it is heard again
    expect(second.get_by_role("alert")).to_have_text("Second photo: missing; choose one")
    choose(panel, "Second photo", album / B)
    panel.get_by_role("button", name="Compare").click()
    expect(said(panel)).to_contain_text("This is probably one person.")
    expect(panel.locator(".answer img")).to_have_count(2)
    choose(panel, "Second photo", album / "two.png")
    panel.get_by_label("Of several faces").select_option("the most central")
    panel.get_by_label("Strangers matched").select_option("0.1")
    panel.get_by_role("button", name="Compare").click()
    expect(said(panel)).to_contain_text("The second photo has 2 faces; the most central one was taken.")
    expect(said(panel)).to_contain_text(f"the threshold is {shown(0.1)}")


def test_a_collection_is_made_a_person_enrolled_photo_by_photo_and_removed(page, album):
    page.get_by_role("button", name="New collection").click()
    dialog = page.get_by_role("dialog", name="New collection")
    dialog.get_by_label("Name").fill("friends")
    dialog.get_by_role("button", name="Make it").click()
    expect(dialog.get_by_role("alert")).to_contain_text("there is a collection of this name already")
    dialog.get_by_label("Name").fill("own")
    dialog.get_by_role("button", name="Make it").click()
    expect(page.get_by_label("Collection", exact=True)).to_have_value("own")
    expect(page.locator("#news")).to_have_text("Collection own.")  # which screen readers are told
    page.route("**/faces", lambda route: route.abort(), times=1)
    panel = part(page, "Enrol")
    panel.get_by_label("Name").fill("Cleo Day")
    choose(panel, "Photos of this person", [album / A, album / "two.png"])
    panel.get_by_role("button", name="Enrol", exact=True).click()
    expect(panel.locator(".answer [role=alert]")).to_contain_text("the service does not answer")
    expect(said(panel)).to_have_text("Photos of Cleo Day, for own.Nobody: 0 new faces, 2 left.")
    expect(panel.get_by_text("2 photos chosen")).to_be_visible()
    panel.get_by_role("button", name="Clear").click()
    panel = enrolled(page, "Cleo Day", [album / A, album / "two.png", album / NOBODY, album / A])
    expect(said(panel)).to_contain_text("Cleo Day: 1 new face, 1 here already, 2 photos not enrolled.")
    outcomes = panel.get_by_role("listitem")
    told = ["Enrolled.", "Not enrolled: 2 faces", "Not enrolled: no face", "Is here already."]
    expect(outcomes).to_contain_text(told)
    for one, crops in enumerate((1, 1, 0, 1)):  # whether the photo has a face
        expect(outcomes.nth(one).locator("img")).to_have_count(crops)
    panel = part(page, "People")
    expect(panel.get_by_role("status")).to_have_text("1 person, 1 face.")
    panel.get_by_role("button", name="Remove Cleo Day").click()
    dialog = page.get_by_role("alertdialog", name="Remove Cleo Day?")
    expect(dialog).to_contain_text("cannot be undone")
    expect(dialog.get_by_role("button", name="Keep")).to_be_focused()
    page.keyboard.press("Escape")
    expect(panel.get_by_role("row", name=re.compile("Cleo Day"))).to_be_visible()
    panel.get_by_role("button", name="Remove Cleo Day").click()
    dialog.get_by_role("button", name="Remove for good").click()
    told = "Cleo Day is removed from own; the embeddings are erased from the files. Nobody is enrolled here yet."
    expect(panel.get_by_role("status")).to_have_text(told)
    expect(panel).to_be_focused()  # there is no other row
    search(page, album / A)
    expect(page.get_by_text("Nobody is enrolled here yet.").first).to_be_visible()


def test_faces_are_kept_where_that_was_chosen_and_shown_beside_answers(page, album):
    found = "the most similar enrolled face of Ada Lind"
    panel = search(page, album / B)  # in friends, which keeps none
    expect(said(panel)).to_contain_text("This is probably Ada Lind.")
    expect(panel.locator(".answer img")).to_have_count(1)
    expect(part(page, "Enrol").locator(".about")).to_contain_text("for friends. They themselves are not kept.")
    ada = part(page, "People").get_by_role("row", name=re.compile("Ada Lind"))
    expect(ada.get_by_role("cell").first).to_have_text("1")
    expect(ada.get_by_role("button")).to_have_count(1)  # Remove
    page.get_by_role("button", name="New collection").click()
    dialog = page.get_by_role("dialog", name="New collection")
    dialog.get_by_label("Name").fill("pictured")
    keep = dialog.get_by_role("checkbox", name="Keep the aligned faces, to show them beside answers")
    expect(keep).to_have_accessible_description("Otherwise photos are not kept at all, only embeddings.")
    expect(keep).not_to_be_checked()
    keep.check()
    dialog.get_by_role("button", name="Make it").click()
    expect(page.locator("#enrol .about")).to_have_text(
        "Photos of one person, for pictured. They themselves are not kept, but the aligned faces are."
    )
    expect(page.get_by_label("Collection", exact=True)).to_have_value("pictured")
    enrolled(page, "Ada Lind", [album / A, album / B])
    panel = search(page, album / B)
    expect(panel.locator(".about")).to_have_text(
        "One of the 1 person in pictured, or nobody. Their faces are kept, and shown."
    )
    expect(said(panel)).to_contain_text("This is probably Ada Lind.")
    sought, kept = said(panel).get_by_role("img").all()
    expect(kept).to_have_accessible_name(found)
    assert sought.get_attribute("src") == kept.get_attribute("src")  # the very photo, not the person's first one
    expect(panel.get_by_role("table").get_by_role("img", name=found)).to_have_js_property("naturalWidth", 112)
    page.evaluate(axe.AXE_SCRIPT)
    accessible(page, LIGHT)
    search(page, album / STRANGER)
    expect(said(panel)).to_contain_text("Not the one person here")
    expect(said(panel).get_by_role("img")).to_have_count(1)
    expect(panel.get_by_role("table").get_by_role("img", name=found)).to_be_visible()
    accessible(page, DARK, runOnly=["color-contrast"])
    panel = part(page, "People")
    panel.get_by_role("button", name="2 faces of Ada Lind").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Faces of Ada Lind")
    faces = dialog.get_by_role("listitem")
    expect(faces).to_have_count(2)
    for number in (1, 2):
        face = dialog.get_by_role("img", name=f"face {number} of Ada Lind")
        expect(face).to_have_js_property("naturalWidth", 112)
    expect(faces.first).to_have_text(re.compile(r"^[0-9a-f]{16}\d+ \w+ \d{4}, \d\d:\d\d$"))
    expect(dialog.get_by_role("status")).to_have_text("2 faces.")
    accessible(page, DARK, runOnly=["color-contrast"])
    accessible(page, LIGHT)
    page.set_viewport_size({"width": 1280, "height": 720})
    page.keyboard.press("Escape")
    expect(panel.get_by_role("button", name="2 faces of Ada Lind")).to_be_focused()
    panel.get_by_role("button", name="Remove Ada Lind").click()
    page.get_by_role("button", name="Remove for good").click()
    told = "Ada Lind is removed from pictured; the embeddings and faces are erased from the files."
    expect(panel.get_by_role("status")).to_contain_text(told)


def test_faces_of_a_person_come_page_by_page_and_late_ones_not_at_all(page, service):
    def keeping(route):
        answer = route.fetch().json()
        for one in answer["collections"]:
            one["keeps_faces"] = True
        route.fulfill(json=answer)

    def answer(route, *photos, next=None):
        some = {"box": [], "score": None, "enrolled": "2026-11-29T20:15:31Z", "crop": None}
        faces = [{"id": number, "photo": photo, **some} for number, photo in enumerate(photos, 1)]
        route.fulfill(json={"faces": faces, "next": next})

    def shows(name):
        panel.get_by_role("button", name=f"1 face of {name}").click()
        return page.get_by_role("dialog", name=f"Faces of {name}")

    page.route(COLLECTIONS, keeping)
    load(page, f"/#key={service[1]}")
    waiting = held(page, "**/faces?*")
    panel = part(page, "People")
    dialog = shows("Ada Lind")
    expect(dialog.get_by_role("group", name="Faces of Ada Lind")).to_be_focused()
    expect(dialog.get_by_role("status")).to_have_text("The faces are being read …")
    until(page, lambda: len(waiting) == 1)
    waiting[0].fulfill(status=500, json={"detail": "the service fails"})
    expect(dialog.get_by_role("alert")).to_have_text("The service fails.")
    dialog.get_by_role("button", name="Try again").focus()
    page.keyboard.press("Enter")
    until(page, lambda: len(waiting) == 2)
    answer(waiting[1], HOSTILE, next=7)
    expect(dialog.get_by_role("alert")).to_have_count(0)
    expect(dialog.get_by_role("status")).to_have_text("1 face shown; there are more.")
    more = dialog.get_by_role("button", name="Show more")
    expect(more).to_be_focused()
    page.keyboard.press("Enter")
    until(page, lambda: len(waiting) == 3)
    after = [parse_qs(urlsplit(route.request.url).query)["after"] for route in waiting]
    assert after == [["0"], ["0"], ["7"]]
    answer(waiting[2], "second.jpg")
    faces = page.get_by_role("dialog").get_by_role("listitem")
    since = "29 Nov 2026, "
    expect(faces).to_contain_text([f"not kept{HOSTILE}{since}", f"not keptsecond.jpg{since}"])
    expect(faces).to_have_count(2)
    expect(dialog.get_by_role("group", name="Faces of Ada Lind")).to_be_focused()  # the button has gone
    expect(more).to_have_count(0)
    page.keyboard.press("Escape")
    dialog = shows("Bo Chen")
    expect(faces).to_have_count(0)
    dialog.get_by_role("button", name="Close").click()
    expect(panel.get_by_role("button", name="1 face of Bo Chen")).to_be_focused()
    shows("Ada Lind")
    until(page, lambda: len(waiting) == 5)
    with page.expect_response("**/faces?*"):
        answer(waiting[3], "bo.jpg", "bo too.jpg")
    answer(waiting[4], "ada.jpg")
    expect(faces.last).to_contain_text("ada.jpg")
    expect(faces).to_have_count(1)
    assert page.evaluate("window.hit") is None


def test_photos_go_to_the_collection_that_is_shown_whatever_answers_late(page, album, service):
    box, news = page.get_by_label("Collection", exact=True), page.locator("#news")
    every = httpx.get(f"{service[0]}/v1/collections", headers={"X-API-Key": service[1]}).json()["collections"]
    rest = [one for one in every if one["name"] != "friends"]
    expect(said(search(page, album / B))).to_contain_text("This is probably Ada Lind.")
    reading, enrolling = held(page, COLLECTIONS), held(page, "**/faces", "POST")
    box.select_option("others")
    expect(page.locator("#search .about")).to_have_text("Nobody is enrolled in others yet.")
    expect(said(page.locator("#search"))).to_contain_text("The answer appears here")  # not that of friends
    expect(news).to_have_text("Collection others.")
    panel = part(page, "Enrol")
    expect(panel.locator(".about")).to_contain_text("for others.")
    panel.get_by_label("Name").fill("Eve")
    choose(panel, "Photos of this person", album / A)
    panel.get_by_role("button", name="Enrol", exact=True).click()
    until(page, lambda: len(enrolling) == 1)
    box.select_option("friends")  # while it runs
    assert enrolling[0].request.url.endswith("/v1/collections/others/faces")
    enrolling[0].abort()
    expect(said(panel)).to_contain_text("Photos of Eve, for others.")
    until(page, lambda: len(reading) == 3)
    reading[0].fulfill(json={"collections": []})  # an answer that two others have overtaken
    reading[2].fulfill(json={"collections": every})
    reading[1].fulfill(json={"collections": rest})
    expect(panel.locator(".about")).to_contain_text("for friends.")
    expect(box).to_have_value("friends")
    panel = part(page, "People")  # which reads anew: friends was removed elsewhere
    until(page, lambda: len(reading) == 4)
    reading[3].fulfill(json={"collections": rest})
    gone = "The collection friends is gone: choose another one, above."
    expect(panel.locator(".unusable")).to_have_text(gone)
    expect(news).to_have_text(gone)
    expect(box.locator("option:checked")).to_have_text("choose one")
    expect(panel.get_by_role("table")).to_have_count(0)
    expect(page.locator("#enrol form")).to_have_js_property("inert", True)


def test_the_page_opens_while_the_database_does_not_answer(tab, service):
    waiting = held(tab, COLLECTIONS)
    load(tab, f"/#key={service[1]}")
    panel, notice = tab.get_by_role("tabpanel", name="Search"), tab.locator("#notice [role=status]")
    expect(panel.locator(".unusable")).to_have_text("The collections are being read …")
    for again in [" It is tried again."] * 4 + [""]:
        until(tab, lambda: waiting)
        waiting.pop().fulfill(**busy("no-database"))
        expect(notice).to_have_text(f"The service says no-database.{again}")
    expect(panel.locator(".unusable")).to_have_text("The collections could not be read.")
    expect(part(tab, "Compare").get_by_role("button", name="Compare")).to_be_enabled()
    tab.unroute_all()
    tab.get_by_role("button", name="Try again").focus()
    tab.keyboard.press("Enter")
    expect(tab.get_by_label("Collection", exact=True)).to_be_focused()
    expect(notice).to_be_empty()
    expect(part(tab, "Search").locator(".about")).to_contain_text("people in friends")


def test_a_removal_is_not_sent_twice_and_the_list_says_what_became_of_it(page, album, service):
    page.get_by_label("Collection", exact=True).select_option("others")
    with httpx.Client(base_url=service[0], headers={"X-API-Key": service[1]}, timeout=60) as elsewhere:
        photo = (album / A).read_bytes()
        assert outcomes(enrol(elsewhere, "Zoe", photo, where="/v1/collections/others")) == ["enrolled"]
    panel = part(page, "People")
    expect(panel.get_by_role("status")).to_have_text("1 person, 1 face.")
    removing = held(page, "**/people/*", "DELETE")

    def remove():
        panel.get_by_role("button", name="Remove Zoe").click()
        page.get_by_role("button", name="Remove for good").click()

    remove()
    for kind in ("queue-full", "no-database"):  # the first one has done nothing
        until(page, lambda: removing)
        removing.pop().fulfill(**busy(kind))
    expect(panel.get_by_role("alert")).to_have_text("Removing Zoe from others: the service says no-database")
    expect(panel).to_be_focused()
    expect(panel.get_by_role("row")).to_have_count(2)  # read anew
    page.unroute_all()
    page.route(COLLECTIONS, lambda route: route.fulfill(json={"collections": []}))  # removed elsewhere meanwhile
    remove()
    told = "Zoe is removed from others; the embeddings are erased from the files."
    expect(panel.get_by_role("status")).to_have_text(told)
    expect(panel.locator(".unusable")).to_contain_text("There is no collection yet")
    assert removing == []


def test_a_list_of_people_that_cannot_be_read_is_tried_again(page):
    waiting = held(page, "**/people?*")
    panel = part(page, "People")
    until(page, lambda: len(waiting) == 1)
    expect(panel.get_by_role("status")).to_have_text("The list is being read …")
    waiting[0].fulfill(status=500, json={"detail": "the service fails"})
    expect(panel.get_by_role("alert")).to_have_text("The service fails.")
    again = panel.get_by_role("button", name="Try again")
    again.focus()
    page.unroute_all()
    page.keyboard.press("Enter")
    expect(panel.get_by_role("button", name="Remove Ada Lind")).to_be_focused()
    expect(panel.get_by_role("alert")).to_have_count(0)
    expect(again).to_have_count(0)


def test_people_are_found_by_name_among_those_that_are_not_shown_yet(page):
    asked = []

    def listed(route):
        query = {name: int(value) for name, (value,) in parse_qs(urlsplit(route.request.url).query).items()}
        asked.append(route.request.url)
        first, last = query["after"] + 1, min(query["after"] + query["most"], 2500)
        names = {7: "Zoë Björk", 2400: "Zoe Björkman"}
        some = {"faces": 1, "enrolled": "2026-11-29T20:15:31Z"}
        people = [{"id": number, "name": names.get(number, "Ann"), **some} for number in range(first, last + 1)]
        route.fulfill(json={"people": people, "next": last if last < 2500 else None})

    page.route("**/people?*", listed)
    panel = part(page, "People")
    rows = panel.locator("tbody").get_by_role("row")
    expect(rows).to_have_count(100)
    panel.get_by_label("Find a name").fill(" bjork")
    expect(rows).to_have_count(2)
    expect(panel.get_by_role("status")).to_contain_text("; 2 found.")
    assert len(asked) == 1 + 3
    assert "jork" not in "".join(asked)  # proxies log addresses
    panel.get_by_label("Find a name").fill("ann")
    expect(rows).to_have_count(999)
    expect(panel.get_by_role("status")).to_contain_text("; 999 found so far.")
    panel.get_by_role("button", name="Show more").click()
    expect(rows).to_have_count(1999)
    page.get_by_label("Collection", exact=True).select_option("others")
    expect(panel.get_by_label("Find a name")).to_have_value("")
    expect(rows).to_have_count(100)


def test_a_key_that_is_refused_is_asked_for_before_any_dialog(page, service):
    page.get_by_role("button", name="New collection").click()
    dialog = page.get_by_role("dialog", name="New collection")
    making = held(page, COLLECTIONS, "POST")
    dialog.get_by_role("button", name="Make it").click()
    until(page, lambda: len(making) == 1)
    making[0].fulfill(**busy("no-database"))
    expect(dialog.get_by_role("alert")).to_have_text("the service says no-database")
    dialog.get_by_role("button", name="Make it").click()
    until(page, lambda: len(making) == 2)
    making[1].fulfill(status=401, json={"detail": "another key"})
    expect(dialog).to_have_count(0)
    expect(page.get_by_label("API key", exact=True)).to_be_focused()
    page.keyboard.type(service[1])
    page.keyboard.press("Enter")
    page.get_by_role("button", name="New collection").click()
    expect(dialog.get_by_role("alert")).to_have_count(0)
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="New collection")).to_be_focused()


def test_the_focus_stays_where_a_button_goes(page, album):
    enrolling = held(page, "**/faces", "POST")
    panel = part(page, "Enrol")
    group = panel.get_by_role("group", name="Photos of this person")
    button = panel.get_by_role("button", name="Enrol", exact=True)
    panel.get_by_label("Name").fill("Eve")
    choose(panel, "Photos of this person", [album / A, album / B])
    button.focus()
    for _ in range(2):
        page.keyboard.press("Enter")
    until(page, lambda: len(enrolling) == 1)
    expect(button).to_be_focused()
    expect(group).to_have_js_property("disabled", True)  # no photo is chosen that would be lost
    paste(page, "pasted")
    panel.get_by_role("button", name="Stop after this photo").focus()
    page.keyboard.press("Enter")
    photo = {"outcome": "already", "reason": None, "face": None}
    enrolling[0].fulfill(json={"person": None, "photos": [photo]})
    expect(button).to_be_focused()
    expect(group.get_by_role("status")).to_have_text("1 photo chosen")
    expect(said(panel)).to_contain_text("Eve: 0 new faces, 1 here already, 1 left.")
    expect(panel.get_by_role("log")).to_contain_text("Is here already.")
    assert len(enrolling) == 1
    names = iter(["Ann", "Ben"])

    def listed(route):
        person = {"id": 1, "name": next(names), "faces": 1, "enrolled": "2026-11-29T20:15:31Z"}
        route.fulfill(json={"people": [person], "next": 1 if person["name"] == "Ann" else None})

    page.route("**/people?*", listed)
    panel = part(page, "People")
    panel.get_by_role("button", name="Show more").focus()
    page.keyboard.press("Enter")
    expect(panel.get_by_role("button", name="Remove Ben")).to_be_focused()


def test_of_photos_that_are_looked_at_at_one_time_the_last_one_counts(page, album):
    hold = """() => {
        const Plain = Image;
        window.Image = function () {
            window.Image = Plain;
            const image = new Plain();
            return Object.defineProperty(image, "onload", { set: (done) => (window.late = done) });
        };
    }"""
    group = page.get_by_role("group", name="Photo", exact=True)
    for last, told in (lambda: choose(page, "Photo", album / B), "1.png"), (group.get_by_role("button").last.click, ""):
        page.evaluate(hold)
        choose(page, "Photo", album / A)
        until(page, lambda: page.evaluate("Boolean(window.late)"))
        last()
        expect(group.get_by_role("status")).to_have_text(told)
        page.evaluate("late(); late = null")
        page.wait_for_timeout(50)
        expect(group.get_by_role("status")).to_have_text(told)


def test_a_field_says_which_photo_it_has_to_those_who_come_back_to_it_too(page):
    field = page.get_by_role("group", name="Photo", exact=True).locator("input")
    paste(page, "a.jpg", "b.jpg")
    expect(field).to_have_accessible_description("a.jpg (of 2 photos the first alone is used)")
    paste(page, "c.jpg")
    expect(field).to_have_accessible_description("c.jpg")
    field = part(page, "Enrol").get_by_role("group", name="Photos of this person").locator("input")
    paste(page, "a.jpg", "b.jpg")
    expect(field).to_have_accessible_description("2 photos chosen")


def test_a_hostile_name_is_shown_as_it_is_spelt(page, album):
    enrolled(page, HOSTILE, [album / STRANGER])
    panel = search(page, album / STRANGER)
    expect(said(panel)).to_contain_text(f"This is probably {HOSTILE}.")
    panel = part(page, "People")
    panel.get_by_role("button", name=f"Remove {HOSTILE}").click()
    expect(page.get_by_role("heading", name=f"Remove {HOSTILE}?")).to_be_visible()
    page.get_by_role("button", name="Remove for good").click()
    expect(panel.get_by_role("status")).to_contain_text("is removed from friends")
    assert page.evaluate("window.hit") is None
    assert page.locator("bdi img").count() == 0


def test_an_error_of_the_service_is_shown_in_its_words_with_its_id(page, album):
    panel = search(page, album / NOBODY)
    told = re.compile(r"^photo: no face was found in 240x200 pixels; .* \(request id [0-9a-f]{16}\)$")
    expect(panel.locator(".answer [role=alert]")).to_have_text(told)
    page.route("**/search", lambda route: route.abort())
    search(page, album / A)
    expect(panel.locator(".answer [role=alert]")).to_contain_text("the service does not answer")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"status": 200, "body": "<!doctype html><title>Log in</title>"}, "a proxy may ask you to log in"),
        ({"status": 502, "body": "<html>Bad gateway</html>"}, "the service answered with status 502"),
        ({"status": 502, "json": None, "body": "null"}, "the service answered with status 502"),
        ({"status": 400, "json": {"detail": [{"loc": ["body"]}], "type": 7}}, "the service answered with status 400"),
    ],
)
def test_an_answer_that_is_not_the_services_is_told_in_plain_words(page, album, answer, told):
    page.route("**/search", lambda route: route.fulfill(**answer))
    panel = search(page, album / A)
    expect(panel.locator(".answer [role=alert]")).to_contain_text(told)
    expect(panel.locator(".answer [role=alert]")).not_to_contain_text("Error")


def test_a_photo_beyond_the_limits_is_refused_in_the_page(page, tmp_path):
    from elasticface.data.images.decoding import encode, np

    asked = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    large = tmp_path / "large.png"
    large.write_bytes(encode(np.zeros((1600, 2000, 3), np.uint8), ".png"))
    panel = search(page, large)
    expect(panel.get_by_text("photo: 2000x1600 pixels, more than 3,000,000 in all; shrink it")).to_be_visible()
    large.write_bytes(bytes((16 << 20) + 1))
    choose(panel, "Photo", large)
    expect(panel.get_by_text("photo: more than 16,777,216 bytes; shrink the photo")).to_be_visible()
    assert asked == []


def focus(page, wanted):
    """Go there by the Tab key alone; wherever one comes past, the focus is seen."""
    for _ in range(25):
        page.keyboard.press("Tab")
        shown = "document.activeElement.matches('body') ? '' : getComputedStyle(document.activeElement.closest('.drop')"
        assert page.evaluate(f"{shown} ?? document.activeElement).outlineStyle") != "none"
        if wanted.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"the Tab key does not come to {wanted}")


def test_everything_can_be_done_with_the_keyboard(tab, service, album):
    keys = tab.keyboard
    load(tab, "/")
    keys.type(service[1])
    keys.press("Enter")
    expect(tab.get_by_role("tab", name="Search")).to_be_focused()
    panel = tab.get_by_role("tabpanel", name="Search")
    with tab.expect_file_chooser() as chooser:  # some time before the key: the browser has to know of it first
        focus(tab, panel.get_by_role("group", name="Photo").locator("input"))
        keys.press("Space")
    chooser.value.set_files(album / B)
    focus(tab, panel.get_by_role("button", name="Search"))
    keys.press("Enter")
    expect(said(panel)).to_contain_text("This is probably Ada Lind.")
    keys.press("Shift+Tab")
    while not tab.get_by_role("tab", name="Search").evaluate("element => element === document.activeElement"):
        keys.press("Shift+Tab")
    for modifier in ("alt", "ctrl", "meta", "shift"):
        options = f"{{ key: 'ArrowLeft', {modifier}Key: true, bubbles: true, cancelable: true }}"
        pressed = f"new KeyboardEvent('keydown', {options})"
        assert tab.evaluate(f"document.activeElement.dispatchEvent({pressed})")  # the browser's own: Alt+Left goes back
    keys.press("End")
    expect(tab.get_by_role("tab", name="People")).to_be_focused()
    expect(tab.get_by_role("tab", name="People")).to_have_attribute("aria-selected", "true")
    remove = tab.get_by_role("button", name="Remove Bo Chen")
    expect(remove).to_be_visible()
    focus(tab, remove)
    keys.press("Enter")
    expect(tab.get_by_role("button", name="Keep")).to_be_focused()
    keys.press("Enter")
    expect(remove).to_be_focused()
    keys.press("Shift+Tab")
    focus(tab, remove)
    tab.get_by_role("tab", name="People").focus()
    keys.press("ArrowRight")
    expect(tab.get_by_role("tab", name="Search")).to_be_focused()


def test_the_camera_gives_a_still_that_is_sent_as_it_is(page):
    page.evaluate(
        """() => {
        const open = MediaDevices.prototype.getUserMedia;
        MediaDevices.prototype.getUserMedia = async function (wanted) {
            await new Promise((resolve) => (window.begin = resolve));
            return (window.stream = await open.call(this, wanted));
        };
    }"""
    )
    panel, dialog = part(page, "Search"), page.get_by_role("dialog", name="Camera")
    ended = "window.stream.getTracks().every((track) => track.readyState === 'ended')"
    panel.get_by_role("button", name="Use the camera").click()
    take = dialog.get_by_role("button", name="Take the photo")
    expect(take).to_be_focused()
    page.keyboard.press("Enter")  # before there is anything to take
    page.evaluate("begin()")
    expect(take).not_to_have_attribute("aria-disabled", "true")
    size = page.evaluate("[document.querySelector('video').videoWidth, document.querySelector('video').videoHeight]")
    page.keyboard.press("Enter")
    taken = panel.locator(".view img")
    expect(taken).to_have_js_property("naturalWidth", size[0])
    expect(taken).to_have_js_property("naturalHeight", size[1])
    assert page.evaluate(ended)
    panel.get_by_role("button", name="Search").click()
    told = f"photo: no face was found in {size[0]}x{size[1]} pixels"  # of the browser's camera for tests, as it came
    expect(panel.locator(".answer [role=alert]")).to_contain_text(told)
    panel.get_by_role("button", name="Use the camera").click()
    dialog.get_by_role("button", name="Cancel").click()  # and the camera opens thereafter
    expect(dialog).to_have_count(0)
    page.evaluate("begin(); stream = null")
    until(page, lambda: page.evaluate(f"Boolean(window.stream && {ended})"))
    page.evaluate("void (HTMLCanvasElement.prototype.toBlob = (done) => done(null))")
    panel.get_by_role("button", name="Use the camera").click()
    page.evaluate("begin()")
    take.click()
    expect(dialog.get_by_role("alert")).to_contain_text("The camera cannot be used")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    assert page.evaluate(ended)
    page.keyboard.press("Escape")
    page.evaluate("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })")
    panel.get_by_role("button", name="Use the camera").click()
    expect(dialog.get_by_role("alert")).to_contain_text("only to pages from https or localhost")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_a_service_without_a_gallery_compares_alone(tab, service):
    def without(route):
        route.fulfill(json=route.fetch().json() | {"gallery": False})

    tab.route("**/v1/service", without)
    load(tab, f"/#key={service[1]}")
    expect(tab.get_by_role("tab")).to_have_text(["Compare"])
    expect(tab.get_by_role("tabpanel")).to_have_count(1)
    expect(tab.get_by_label("Collection", exact=True)).to_be_hidden()


def test_sentences_say_what_was_decided_and_what_was_not(tab):
    load(tab, "/page/icon.svg")  # nothing of the page but its address
    words = "import('/page/words.js').then((words) => {})"
    assert tab.evaluate(words.replace("{}", "[0.0061, 1e-6, 0.5, 0].map(words.oneIn)")) == [
        text.replace(" ", "\N{NO-BREAK SPACE}") for text in ("1 in 160", "1 in 1,000,000", "50 in 100", "none")
    ]
    answer = """{ person: null, unknown: null, people: 9, reason: 'the model is not calibrated: see `calibrate`',
        lowest_fpir: null, threshold: null, false_positive_rate: null, false_positive_interval: null, acceptance: null,
        candidates: [{ person: 'Ada', similarity: -0.0314 }] }"""
    found = tab.evaluate(words.replace("{}", f"words.searched({answer}, [0.01])"))
    assert found["kind"] == "undecided"
    assert found["sentence"] == ["No decision."]
    assert found["more"][0] == ["The most similar is ", {"name": "Ada"}, ", with −0.031", "."]
    assert found["more"][1] == ["The model is not calibrated: see `calibrate`."]
    face = "{ box: [10, 10, 41.2, 60], score: 0.65, found: 3 }"
    remarks = " ".join(tab.evaluate(words.replace("{}", f"words.remarks({face}, 'largest')")))
    assert "has 3 faces; the largest one was taken" in remarks
    assert "the face is 31 pixels wide" in remarks
    assert "not sure that this is a face (score 0.65)" in remarks


COMPARED = "similarity: 0.5, threshold: 0.6, fmr: 1e-3, fmr_interval: null, acceptance: 0.3, llr: 1"
UNDECIDED = "person: null, people: 1e5, reason: 'in its words', fpir: 0.01, comparisons: 2e5, candidates: []"
APPROXIMATE = (
    "search: 'approximate', aggregation: 'best', recall: { rate: 0.984, interval: [0.9687, 1], searches: 500 }"
)


@pytest.mark.parametrize(
    ("called", "told"),
    [
        (f"compared({{ {COMPARED}, same: false }})", "Not similar enough to say that it is one person."),
        (f"compared({{ {COMPARED}, same: false, llr: -1 }})", "These are probably two people."),
        (f"compared({{ {COMPARED}, same: true, llr: -1 }})", "Similar enough for this setting, but more like two peo"),
        (f"compared({{ {COMPARED}, same: true, llr: null }})", "This is probably one person."),
        (f"compared({{ {COMPARED}, same: false }})", "misses about 70 in 100 pairs of photos of one person."),
        (f"compared({{ {COMPARED}, same: false, acceptance: 0.9972 }})", "misses about 1 in 360 pairs"),
        (f"compared({{ {COMPARED}, same: false, acceptance: 0.004 }})", "misses about 99.6 in 100 pairs"),
        ("oneIn(0.99997)", "99.997 in 100"),
        ("oneIn(0.995)", "99.5 in 100"),
        ("oneIn(0.99)", "99 in 100"),
        ("oneIn(1)", "100 in 100"),
        (f"searched({{ {UNDECIDED}, lowest_fpir: null }}, [0.01])", "In its words."),
        (
            f"searched({{ {UNDECIDED}, lowest_fpir: 0.182 }}, [0.5, 0.2, 0.01])",
            "Among 200,000 faces the model’s strictest threshold names somebody for about 18 in 100 strangers: "
            "choose at most 20 in 100, or calibrate the model with more people.",
        ),
        (f"searched({{ {UNDECIDED}, lowest_fpir: 0.632 }}, [0.5, 0.01])", "63 in 100 strangers: calibrate the model"),
        (f"how({{ {APPROXIMATE} }})", "found the most similar in 98.4 % of 500 searches that measured it"),
        (f"how({{ {APPROXIMATE} }})", "(95 % interval: 96.9 % to 100 %)"),
    ],
)
def test_a_sentence_says_neither_more_nor_less_than_was_measured(tab, called, told):
    load(tab, "/page/icon.svg")
    found = tab.evaluate(f"import('/page/words.js').then((words) => words.{called})")
    assert told in json.dumps(found, ensure_ascii=False).replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize("acceptance", [0, 1])
def test_a_rate_that_too_few_pairs_have_measured_is_left_out(tab, acceptance):
    load(tab, "/page/icon.svg")
    answer = f"{{ {COMPARED}, same: false, acceptance: {acceptance} }}"
    found = tab.evaluate(f"import('/page/words.js').then((words) => words.compared({answer}))")
    assert "misses" not in str(found)


LIGHT, DARK = ("light", 1280), ("dark", 320)


def accessible(page, look, **options):
    """axe-core finds nothing, and nothing is scrolled sideways."""
    page.emulate_media(color_scheme=look[0])
    page.set_viewport_size({"width": look[1], "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    found = page.evaluate("options => axe.run(document, options)", options | {"resultTypes": ["violations"]})
    assert not [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]]


def test_every_part_is_accessible(tab, service, album):
    colours = {"runOnly": ["color-contrast"]}
    load(tab, "/")
    tab.evaluate(axe.AXE_SCRIPT)
    accessible(tab, LIGHT)
    tab.get_by_label("API key", exact=True).fill(service[1])
    tab.get_by_role("button", name="Open").click()
    expect(said(search(tab, album / B))).to_contain_text("This is probably")
    accessible(tab, LIGHT)
    for name in ("Compare", "Enrol"):
        part(tab, name)
        accessible(tab, LIGHT)
    panel = part(tab, "People")
    panel.get_by_role("button", name="Remove Ada Lind").click()
    accessible(tab, LIGHT)
    tab.get_by_role("button", name="Keep").click()
    tab.get_by_role("button", name="New collection").click()
    accessible(tab, DARK, **colours)
    tab.keyboard.press("Escape")
    # When somebody was enrolled, to the minute, is there for whoever has a telephone and no mouse.
    expect(panel.get_by_role("row", name=re.compile("Ada Lind")).get_by_role("cell").nth(1)).to_be_visible()
    expect(panel.locator("time").first).to_have_text(re.compile(r"^\d+ \w{3} \d{4}, \d\d:\d\d$"))
    tab.evaluate("for (const part of document.querySelectorAll('section')) part.hidden = false")  # all at once
    accessible(tab, DARK, **colours)
    tab.set_viewport_size({"width": 1280, "height": 720})
    tab.emulate_media(color_scheme="light")


def test_nothing_moves_for_those_who_want_no_motion(page, album):
    page.route("**/search", lambda route: None)  # it is waited for
    search(page, album / B)
    expect(page.get_by_text("Searching …")).to_be_visible()
    moving = "document.getAnimations().length"
    assert page.evaluate(moving) == 0
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate(moving) == 1
    page.emulate_media(reduced_motion="reduce")
