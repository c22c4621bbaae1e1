"""Takes pictures of the page that `seq2seq serve` shows, in headless Chromium: light and dark, wide and narrow.

    seq2seq serve --model runs/en-de &
    python scripts/bench/page_picture.py --text "Two young girls are playing with a red ball." --output docs/page.png

needs `pip install 'seq2seq[browser]'`, and Chromium with its driver (Debian: chromium, chromium-driver).
"""

from __future__ import annotations

import argparse
import io
import shutil
import time
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait


def browser(width: int, height: int, dark: bool, scale: float) -> webdriver.Chrome:
    """A headless Chromium whose window has this size in CSS pixels."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    return driver


def picture(
    url: str, text: str, model: str | None, view: str | None, size: tuple[int, int], dark: bool, scale: float
) -> bytes:
    """A PNG of the page after the text was typed and answered."""
    driver = browser(*size, dark, scale)
    try:
        driver.get(url)
        wait = WebDriverWait(driver, 20)
        wait.until(lambda d: d.find_elements(By.CSS_SELECTOR, "#models input"))
        if model:
            driver.find_element(By.CSS_SELECTOR, f'#models input[value="{model}"] + span').click()
        driver.find_element(By.ID, "source").send_keys(text)
        wait.until(lambda d: d.find_element(By.ID, "took").text)
        if view:
            driver.find_element(By.CSS_SELECTOR, f"#views input[value={view}] + span").click()
        driver.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
        time.sleep(0.5)  # transitions
        return driver.get_screenshot_as_png()
    finally:
        driver.quit()


def main() -> None:
    """Writes one picture, with few enough colours to be small."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000/")
    parser.add_argument("--text", required=True)
    parser.add_argument("--model", help="as in the page's choices: 'en de', or a classifier's name")
    parser.add_argument("--view", choices=("links", "map"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--size", type=int, nargs=2, default=(1080, 740), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--scale", type=float, default=1.5)
    parser.add_argument("--dark", action="store_true")
    given = parser.parse_args()
    png = picture(given.url, given.text, given.model, given.view, tuple(given.size), given.dark, given.scale)
    image = Image.open(io.BytesIO(png)).convert("RGB").quantize(255, dither=Image.Dither.NONE)
    image.save(given.output, optimize=True)
    print(f"{given.output}: {image.width} x {image.height}, {given.output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
