"""The pictures of the page in docs/images, made anew: from the demo's rendered people, by the system's Chromium.

    python tools/page_pictures.py build/demo

Whoever is missing in the demo is rendered and enrolled first. The pictures are page-light.jpg, somebody found;
page-dark.jpg, two photos compared; and page-phone.jpg, nobody found beside who is enrolled, both as on a phone.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from jsonargparse import auto_cli
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, expect, sync_playwright

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.data.images.decoding import decode, encode

IMAGES = Path(__file__).parent.parent / "docs" / "images"
WIDE, PHONE = 1200, 390  # pixels
GAP = 24  # pixels between two pictures of a phone
FOUND, COMPARED, STRANGER, LAST = "Ganbold Tserendorj", "Eszter Halmágyi", "stranger 3", "Tane Whakatere"


def page_pictures(out: Path, images: Path = IMAGES) -> None:
    """Make the pictures.

    Args:
        out: folder of the demo (tools/demo.py).
        images: folder for the pictures.
    """
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise InputError("needs a Chromium: apt-get install chromium")
    tried = out / "photos-to-try"
    with served(out) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        with opened(browser, address, "light", WIDE) as page:
            search(page, tried / f"{FOUND}.jpg", FOUND)
            found = picture(page, 985)
        with opened(browser, address, "dark", WIDE) as page:
            page.get_by_role("tab", name="Compare").click()
            choose(page, "First photo", tried / f"{COMPARED}.jpg")
            choose(page, "Second photo", out / "people" / COMPARED / "3.jpg")
            page.get_by_role("button", name="Compare").click()
            expect(page.get_by_text("This is probably one person.")).to_be_visible()
            compared = picture(page, 720)
        with opened(browser, address, "light", PHONE) as page:
            search(page, tried / f"{STRANGER}.jpg", "Nobody of the 20 people here")
            nobody = picture(page, 1190)
        with opened(browser, address, "dark", PHONE) as page:
            page.get_by_role("tab", name="People").click()
            expect(page.get_by_role("button", name=f"Remove {LAST}")).to_be_visible()
            enrolled = picture(page, 1190)
        browser.close()
    between = np.full((len(nobody), GAP, 3), 255, np.uint8)
    phone = np.concatenate([nobody, between, enrolled], axis=1)
    for name, image in (("light", found), ("dark", compared), ("phone", phone)):
        files.write_bytes(images / f"page-{name}.jpg", encode(image, ".jpg"))


@contextmanager
def served(out: Path) -> Iterator[str]:
    """The address of the demo, with its key, once it is served."""
    command = [sys.executable, str(Path(__file__).with_name("demo.py")), str(out), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        lines = iter(process.stdout.readline, "")
        address = next((line.strip() for line in lines if line.startswith("http://")), None)
        if address is None:
            raise InputError("the demo does not start; what it says is above")
        yield address
    finally:
        process.terminate()
        process.wait()


@contextmanager
def opened(browser: Browser, address: str, colours: Literal["light", "dark"], width: int) -> Iterator[Page]:
    """The page in a window of its own."""
    context = browser.new_context(
        color_scheme=colours, viewport={"width": width, "height": 800}, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(address)
    expect(page.locator("#search .about")).to_contain_text("in demo")
    yield page
    context.close()


def choose(page: Page, field: str, photo: Path) -> None:
    """Choose a photo, and wait until it is seen."""
    group = page.get_by_role("group", name=field, exact=True)
    group.locator("input").set_input_files(photo)
    expect(group.locator(".view img")).to_be_visible()


def search(page: Page, photo: Path, answer: str) -> None:
    """Search for the person on a photo."""
    choose(page, "Photo", photo)
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator("#search .sentence")).to_contain_text(answer)


def picture(page: Page, height: int) -> NDArray[np.uint8]:
    """The page from its top, without a focus that would be seen: uint8 [height, width, 3] RGB."""
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    width = page.viewport_size["width"] if page.viewport_size else WIDE
    taken = page.screenshot(clip={"x": 0, "y": 0, "width": width, "height": height}, full_page=True)
    return decode(taken, "screenshot")


if __name__ == "__main__":
    try:
        auto_cli(page_pictures)
    except InputError as error:
        sys.exit(str(error))
