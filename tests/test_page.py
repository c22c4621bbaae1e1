"""The page in headless Chromium: typed text is translated, alternatives and attention are shown, keys are enough."""

from __future__ import annotations

import shutil

import pytest
from models import TEXT, small_tokenizer, write_model
from servers import running
from test_server import Animals

from seq2seq import Translator
from seq2seq.config import SearchConfig
from seq2seq.serving.catalog import Catalog

selenium = pytest.importorskip("selenium", reason="no Selenium: pip install 'seq2seq[browser]'")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium with chromedriver on the path")


@pytest.fixture(scope="module")
def translator(tmp_path_factory) -> Translator:
    tokenizer = small_tokenizer()
    path = write_model(tmp_path_factory.mktemp("models") / "a", tokenizer, 0)
    return Translator.from_pretrained(path, device="cpu", precision="float32")


@pytest.fixture(scope="module")
def url(translator):
    models = Catalog(
        {("en", "fr"): translator, ("fr", "en"): translator}, {"animals": Animals()}, SearchConfig(max_length=8)
    )
    with running(models) as client:
        yield client.url


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


class Page:
    """The page, freshly opened, as a person sees it."""

    def __init__(self, driver, url: str, width: int = 1100, scheme: str = "light") -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver = driver
        driver.get(url)
        driver.execute_script("localStorage.clear()")
        driver.refresh()
        self.wait("return document.querySelectorAll('#models input').length === 3")

    def js(self, script: str):
        return self.driver.execute_script(script)

    def wait(self, script: str) -> None:
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.driver, 20, poll_frequency=0.05).until(lambda _: self.js(script))

    def press(self, *keys: str) -> None:
        self.driver.switch_to.active_element.send_keys(*keys)

    def texts(self, selector: str) -> list[str]:
        return self.js(f"return [...document.querySelectorAll('{selector}')].map(node => node.textContent.trim())")

    def translate(self, text: str) -> None:
        self.press(text)
        self.wait("return document.getElementById('took').textContent !== ''")


def test_typing_translates_and_shows_alternatives_and_attention(browser, url, translator):
    page = Page(browser, url)
    assert page.texts("#models span") == ["English → French", "French → English", "Label: animals"]
    page.translate(TEXT[0])  # the text has the focus from the start
    (best,) = translator.translate_detailed(TEXT[0], n_best=5, max_length=8, with_attention=True)
    squeezed = [" ".join(t.text.split()) for t in best]
    assert [" ".join(text.split()) for text in page.texts("#output p")] == squeezed[:1]
    assert [" ".join(text.split()) for text in page.texts("#options .text")] == squeezed
    assert page.texts(".links .words:first-child .word") == TEXT[0].split()
    assert page.js("return document.querySelectorAll('.links path').length") > 0
    page.js("document.querySelector('#views [value=map]').click()")
    rows = page.js("return [...document.querySelectorAll('.map tbody tr')].map(row => row.cells.length)")
    assert len(rows) >= 1 and set(rows) == {len(TEXT[0].split()) + 1}
    weights = page.js("return [...document.querySelectorAll('.map td')].map(td => +td.style.getPropertyValue('--w'))")
    assert all(0 <= weight <= 1 for weight in weights) and max(weights) > 0
    page.js("document.querySelectorAll('#options input')[1].click()")
    assert [" ".join(text.split()) for text in page.texts("#output p")] == squeezed[1:2]


def test_the_keyboard_is_enough(browser, url, translator):
    from selenium.webdriver.common.keys import Keys

    page = Page(browser, url)
    page.press(TEXT[1], Keys.CONTROL + Keys.ENTER)
    page.wait("return document.getElementById('took').textContent !== ''")
    seen = set()
    for _ in range(12):
        page.press(Keys.TAB)
        seen.add(page.js("const e = document.activeElement; return e.id || e.name || e.classList[0] || e.tagName"))
    assert {"clear", "swap", "copy", "option", "view", "word"} <= seen
    page.js("document.querySelector('#options input').focus()")
    page.press(Keys.ARROW_DOWN)
    (best,) = translator.translate(TEXT[1:2], n_best=5, max_length=8)
    assert " ".join(page.texts("#output p")[0].split()) == " ".join(best[1].split())
    page.js("document.querySelector('#models input').focus()")
    page.press(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    assert page.texts("#to") == ["Label"]


def test_labels(browser, url):
    page = Page(browser, url)
    page.js("document.querySelector('#models [value=animals]').click()")
    page.js("document.getElementById('source').focus()")
    page.translate("a small dog")
    assert page.texts(".labels li span:first-child") == ["dog", "cat", "none"]
    assert page.texts(".labels .figure") == ["100 %", "0.0 %", "0.0 %"]
    assert page.js("return document.getElementById('more').hidden")


def test_lines_are_kept_and_the_caret_says_which_is_shown(browser, url, translator):
    from selenium.webdriver.common.keys import Keys

    page = Page(browser, url)
    page.translate(f"{TEXT[0]}\n\n{TEXT[1]}")
    assert len(page.texts("#output p")) == 3 and page.texts("#output p")[1] == ""
    assert page.texts(".links .words:first-child .word") == TEXT[1].split()
    page.press(Keys.CONTROL + Keys.HOME)
    assert page.texts(".links .words:first-child .word") == TEXT[0].split()


def test_swapping_translates_back(browser, url):
    page = Page(browser, url)
    page.translate(TEXT[0])
    found = page.js("return text()")
    page.js("document.getElementById('swap').click()")
    assert page.js("return document.getElementById('source').value") == found
    assert page.texts("#from") == ["French"]


def test_a_problem_is_shown_in_words(browser, url):
    page = Page(browser, url)
    page.js("state.model.target = 'xx'")
    page.press("a")
    page.wait("return document.querySelector('.problem')")
    assert page.texts(".problem")[0].startswith("no model translates en → xx")


def test_a_narrow_screen_needs_no_sideways_scrolling(browser, url):
    page = Page(browser, url, width=360)
    page.translate(" ".join(TEXT))
    assert page.js("return document.documentElement.scrollWidth") <= 360
    assert page.js("return document.querySelector('#views :checked').value") == "map"
    top, below = page.js("return [...document.querySelectorAll('.side')].map(side => side.getBoundingClientRect().top)")
    assert below > top


def test_dark_mode_is_dark_and_legible(browser, url):
    def luminance(color: str) -> float:
        channels = [int(part) / 255 for part in color[4:-1].split(", ")]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for scheme in ("light", "dark"):
        page = Page(browser, url, scheme=scheme)
        colors = "const s = getComputedStyle({}); return s.{}"
        ground = luminance(page.js(colors.format("document.documentElement", "backgroundColor")))
        assert (ground < 0.05) == (scheme == "dark")
        for node in ("document.documentElement", "document.querySelector('footer')", "document.querySelector('h2')"):
            ink = luminance(page.js(colors.format(node, "color")))
            bright, dim = max(ink, ground), min(ink, ground)
            assert (bright + 0.05) / (dim + 0.05) >= 4.5, (scheme, node)  # WCAG 2, level AA


def test_nothing_is_asked_of_other_servers_and_nothing_is_complained_about(browser, url):
    import json

    browser.get_log("browser"), browser.get_log("performance")
    page = Page(browser, url)
    page.translate(TEXT[0])
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert asked and all(address.startswith((url, "data:")) for address in asked), asked
