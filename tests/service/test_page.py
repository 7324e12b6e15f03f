"""The page in a real Chromium: what a person sees, hears and presses. Skipped, with the reason, where there is none."""

import contextlib
import re
import shutil
import signal
from urllib.parse import urlsplit

import embedded
import httpx
import pytest
from album import NOBODY
from gallery_requests import create, enrol, outcomes
from served import started

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'elasticface[dev]'")
axe = pytest.importorskip("axe_playwright_python.base", reason="needs axe-playwright-python")
expect = playwright.expect

HOSTILE = '<img src=x onerror="window.hit = 1">'
WAIT = 20_000  # ms: two cores may have much else to do
A, B, STRANGER = "people/person 0/0.png", "people/person 0/1.png", "people/person 2/0.png"


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
            assert create(client, "friends").status_code == 201
            for person, photo in (("Ada Lind", A), ("Bo Chen", "people/person 1/0.png")):
                assert outcomes(enrol(client, person, (album / photo).read_bytes())) == ["enrolled"]
        yield address, key, folder / "log"
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@contextlib.contextmanager
def watched(browser, address, **options):
    """A tab of its own, in which nothing may go wrong unseen, and which asks no other host for anything."""
    context = browser.new_context(base_url=address, **options)
    context.set_default_timeout(WAIT)
    expect.set_options(timeout=WAIT)
    said, hosts = [], set()
    context.on("console", lambda message: said.append((message.type, message.text)))
    context.on("weberror", lambda error: said.append(("error", str(error.error))))
    context.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    yield context.new_page()
    context.close()
    # Of an answer that is an error the browser says so by itself.
    wrong = [text for kind, text in said if kind in ("error", "warning") and "Failed to load resource" not in text]
    assert not wrong  # no script failed, and nothing went against the content policy
    assert hosts - {""} <= {urlsplit(address).netloc}  # "" is of blob: and data:


@pytest.fixture
def tab(browser, service):
    with watched(browser, service[0]) as page:
        yield page


@pytest.fixture
def page(tab, service):
    """The page, with the key."""
    tab.goto(f"/#key={service[1]}")
    expect(tab.get_by_role("tab", name="Search")).to_be_visible()
    return tab


def part(page, name):
    page.get_by_role("tab", name=name).click()
    return page.get_by_role("tabpanel", name=name)


def said(panel):
    """Where a part's answer is told to screen readers."""
    return panel.locator(".answer [role=status]")


def search(page, photo):
    panel = part(page, "Search")
    panel.get_by_label("Photo").set_input_files(photo)
    panel.get_by_role("button", name="Search").click()
    return panel


def enrolled(page, person, photos):
    panel = part(page, "Enrol")
    panel.get_by_label("Name").fill(person)
    panel.get_by_label("Photos of this person").set_input_files(photos)
    panel.get_by_role("button", name="Enrol", exact=True).click()
    expect(panel.get_by_role("progressbar")).to_have_js_property("value", len(photos))
    return panel


def test_the_key_is_entered_once_kept_in_the_tab_and_forgotten(tab, service):
    tab.goto("/")
    field = tab.get_by_label("API key", exact=True)
    expect(field).to_be_focused()
    expect(field).to_have_attribute("type", "password")
    field.fill("wrong")
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("alert")).to_have_text(re.compile(r"not that of this service \(request id [0-9a-f]{16}\)"))
    field.fill(service[1])
    tab.get_by_role("button", name="Open").click()
    expect(tab.get_by_role("tab", name="Search")).to_be_focused()
    tab.reload()
    expect(tab.get_by_role("tab", name="Search")).to_be_visible()
    kept = "[localStorage.length, document.cookie, Object.values(sessionStorage).length]"
    assert tab.evaluate(kept) == [0, "", 2]  # the key, and which collection
    tab.get_by_role("button", name="Forget the key").click()
    expect(field).to_be_visible()
    assert tab.evaluate(kept) == [0, "", 0]


def test_a_key_in_the_fragment_is_taken_and_leaves_the_address_bar(page, service):
    address, key, log = service
    assert page.url == f"{address}/"
    assert page.evaluate("history.length") <= 2  # the empty tab and the page: the address with the key is none of them
    assert key not in log.read_text()


def test_somebody_is_found_with_face_and_rate_and_a_stranger_is_nobody(page, album):
    panel = search(page, album / B)
    expect(said(panel)).to_contain_text("This is probably Ada Lind.")
    expect(said(panel)).to_contain_text(re.compile(r"Similarity 0\.\d{3}; the threshold is 0\.646\."))
    expect(said(panel)).to_contain_text("about 1\N{NO-BREAK SPACE}in\N{NO-BREAK SPACE}500 would be taken for somebody")
    expect(panel.get_by_role("img", name="the face that was searched for")).to_have_js_property("naturalWidth", 112)
    expect(panel.get_by_role("row", name=re.compile("Ada Lind"))).to_contain_text("at most 1")
    search(page, album / STRANGER)
    expect(said(panel)).to_contain_text("Nobody of the 2 people here, as far as photos tell.")
    expect(said(panel)).to_contain_text("reach this threshold; the others are missed")


def test_two_photos_are_compared_beside_both_faces(page, album):
    panel = part(page, "Compare")
    panel.get_by_label("First photo").set_input_files(album / A)
    panel.get_by_role("button", name="Compare").click()
    expect(panel.get_by_text("Second photo: missing; choose one")).to_be_visible()
    panel.get_by_label("Second photo").set_input_files(album / B)
    panel.get_by_role("button", name="Compare").click()
    expect(said(panel)).to_contain_text("This is probably one person.")
    expect(panel.locator(".answer img")).to_have_count(2)
    panel.get_by_label("Second photo").set_input_files(album / "two.png")
    panel.get_by_label("Of several faces").select_option("the most central")
    panel.get_by_label("Strangers matched").select_option("0.1")
    panel.get_by_role("button", name="Compare").click()
    expect(said(panel)).to_contain_text("The second photo has 2 faces; the most central one was taken.")
    expect(said(panel)).to_contain_text("the threshold is 0.417")


def test_a_collection_is_made_a_person_enrolled_photo_by_photo_and_removed(page, album):
    page.get_by_role("button", name="New collection").click()
    dialog = page.get_by_role("dialog", name="New collection")
    dialog.get_by_label("Name").fill("friends")
    dialog.get_by_role("button", name="Make it").click()
    expect(dialog.get_by_role("alert")).to_contain_text("there is a collection of this name already")
    dialog.get_by_label("Name").fill("own")
    dialog.get_by_role("button", name="Make it").click()
    expect(page.get_by_label("Collection", exact=True)).to_have_value("own")
    page.route("**/faces", lambda route: route.abort(), times=1)
    panel = part(page, "Enrol")
    panel.get_by_label("Name").fill("Cleo Day")
    panel.get_by_label("Photos of this person").set_input_files([album / A, album / "two.png"])
    panel.get_by_role("button", name="Enrol", exact=True).click()
    expect(panel.locator(".answer [role=alert]")).to_contain_text("the service does not answer")
    expect(said(panel)).to_have_text("Nobody: 0 new faces, 2 left.")
    expect(panel.get_by_text("2 photos chosen")).to_be_visible()
    panel.get_by_role("button", name="Clear").click()
    panel = enrolled(page, "Cleo Day", [album / A, album / "two.png", album / NOBODY, album / A])
    expect(said(panel)).to_have_text("Cleo Day: 1 new face, 1 here already, 2 photos not enrolled.")
    outcomes = panel.get_by_role("listitem")
    told = ["Enrolled.", "Not enrolled: 2 faces", "Not enrolled: no face", "Is here already."]
    expect(outcomes).to_contain_text(told)
    expect(outcomes.nth(0).locator("img")).to_have_count(1)
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
    expect(panel.get_by_role("status")).to_contain_text("the embeddings are erased from the files. Nobody is enrolled")
    search(page, album / A)
    expect(page.get_by_text("Nobody is enrolled here yet.").first).to_be_visible()


def test_a_hostile_name_is_shown_as_it_is_spelt(page, album):
    enrolled(page, HOSTILE, [album / STRANGER])
    panel = search(page, album / STRANGER)
    expect(said(panel)).to_contain_text(f"This is probably {HOSTILE}.")
    panel = part(page, "People")
    panel.get_by_role("button", name=f"Remove {HOSTILE}").click()
    expect(page.get_by_role("heading", name=f"Remove {HOSTILE}?")).to_be_visible()
    page.get_by_role("button", name="Remove for good").click()
    expect(panel.get_by_role("status")).to_contain_text("Removed")
    assert page.evaluate("window.hit") is None
    assert page.locator("bdi img").count() == 0


def test_an_error_of_the_service_is_shown_in_its_words_with_its_id(page, album):
    panel = search(page, album / NOBODY)
    told = re.compile(r"^photo: no face was found in 240x200 pixels; .* \(request id [0-9a-f]{16}\)$")
    expect(panel.locator(".answer [role=alert]")).to_have_text(told)
    page.route("**/search", lambda route: route.abort())
    search(page, album / A)
    expect(panel.locator(".answer [role=alert]")).to_contain_text("the service does not answer")


def test_a_photo_beyond_the_limits_is_refused_in_the_page(page, tmp_path):
    from elasticface.data.images.decoding import encode, np

    asked = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    large = tmp_path / "large.png"
    large.write_bytes(encode(np.zeros((1600, 2000, 3), np.uint8), ".png"))
    panel = search(page, large)
    expect(panel.get_by_text("photo: 2000x1600 pixels, more than 3,000,000 in all; shrink it")).to_be_visible()
    large.write_bytes(bytes((16 << 20) + 1))
    panel.get_by_label("Photo").set_input_files(large)
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
    tab.goto("/")
    keys.type(service[1])
    keys.press("Enter")
    expect(tab.get_by_role("tab", name="Search")).to_be_focused()
    panel = tab.get_by_role("tabpanel", name="Search")
    with tab.expect_file_chooser() as chooser:  # some time before the key: the browser has to know of it first
        focus(tab, panel.get_by_label("Photo"))
        keys.press("Space")
    chooser.value.set_files(album / B)
    focus(tab, panel.get_by_role("button", name="Search"))
    keys.press("Enter")
    expect(said(panel)).to_contain_text("This is probably Ada Lind.")
    keys.press("Shift+Tab")
    while not tab.get_by_role("tab", name="Search").evaluate("element => element === document.activeElement"):
        keys.press("Shift+Tab")
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


def test_the_camera_gives_a_still_as_it_is(page):
    panel = part(page, "Search")
    panel.get_by_role("button", name="Use the camera").click()
    expect(page.locator("video")).to_have_js_property("readyState", 4)
    size = page.evaluate("[document.querySelector('video').videoWidth, document.querySelector('video').videoHeight]")
    page.get_by_role("button", name="Take the photo").click()
    taken = panel.locator(".view img")
    expect(taken).to_have_js_property("naturalWidth", size[0])
    expect(taken).to_have_js_property("naturalHeight", size[1])
    assert page.evaluate("document.querySelector('video').srcObject") is None
    page.evaluate("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })")
    panel.get_by_role("button", name="Use the camera").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("only to pages from https or localhost")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_service_without_a_gallery_compares_alone(tab, service):
    def without(route):
        route.fulfill(json=route.fetch().json() | {"gallery": False})

    tab.route("**/v1/service", without)
    tab.goto(f"/#key={service[1]}")
    expect(tab.get_by_role("tab")).to_have_text(["Compare"])
    expect(tab.get_by_role("tabpanel")).to_have_count(1)
    expect(tab.get_by_label("Collection", exact=True)).to_be_hidden()


def test_sentences_say_what_was_decided_and_what_was_not(page):
    words = "import('/page/words.js').then((words) => {})"
    assert page.evaluate(words.replace("{}", "[0.0061, 1e-6, 0.5, 0].map(words.oneIn)")) == [
        text.replace(" ", "\N{NO-BREAK SPACE}") for text in ("1 in 160", "1 in 1,000,000", "50 in 100", "none")
    ]
    answer = """{ person: null, unknown: null, people: 9, reason: 'the model is not calibrated: see `calibrate`',
        threshold: null, false_positive_rate: null, false_positive_interval: null, acceptance: null,
        candidates: [{ person: 'Ada', similarity: -0.0314 }] }"""
    found = page.evaluate(words.replace("{}", f"words.searched({answer})"))
    assert found["kind"] == "undecided"
    assert found["sentence"] == ["No decision."]
    assert found["more"][0] == ["The most similar is ", {"name": "Ada"}, ", with −0.031", "."]
    assert found["more"][1] == ["The model is not calibrated: see `calibrate`."]
    face = "{ box: [10, 10, 41.2, 60], score: 0.65, found: 3 }"
    remarks = " ".join(page.evaluate(words.replace("{}", f"words.remarks({face}, 'largest')")))
    assert "has 3 faces; the largest one was taken" in remarks
    assert "the face is 31 pixels wide" in remarks
    assert "not sure that this is a face (score 0.65)" in remarks
    answer = "{ same: false, similarity: 0.5, threshold: 0.6, fmr: 1e-3, fmr_interval: null, acceptance: 0.3, llr: 1 }"
    (unlike,) = page.evaluate(words.replace("{}", f"words.compared({answer})"))["sentence"]
    assert unlike == "Not similar enough to say that it is one person."


def accessible(page):
    """axe-core finds nothing; nor does it in the dark on a small telephone, where nothing is scrolled sideways."""
    looks = {("light", 1280): {"resultTypes": ["violations"]}, ("dark", 320): {"runOnly": ["color-contrast"]}}
    for (scheme, width), options in looks.items():
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        found = page.evaluate("options => axe.run(document, options)", options)["violations"]
        assert not [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_every_part_is_accessible(tab, service, album):
    tab.goto("/")
    tab.evaluate(axe.AXE_SCRIPT)
    accessible(tab)
    tab.get_by_label("API key", exact=True).fill(service[1])
    tab.get_by_role("button", name="Open").click()
    expect(said(search(tab, album / B))).to_contain_text("This is probably")
    accessible(tab)
    for name in ("Compare", "Enrol"):
        part(tab, name)
        accessible(tab)
    part(tab, "People").get_by_role("button", name="Remove Ada Lind").click()
    accessible(tab)
    tab.get_by_role("button", name="Keep").click()
    tab.get_by_role("button", name="New collection").click()
    accessible(tab)


def test_nothing_moves_for_those_who_want_no_motion(browser, service, album):
    with watched(browser, service[0], reduced_motion="reduce") as page:
        page.goto(f"/#key={service[1]}")
        expect(page.get_by_role("tab", name="Search")).to_be_visible()
        page.route("**/search", lambda route: None)  # it is waited for
        search(page, album / B)
        expect(page.get_by_text("Searching …")).to_be_visible()
        assert page.evaluate("document.getAnimations().length") == 0
