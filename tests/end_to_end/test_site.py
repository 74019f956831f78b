"""``make docs``: a site whose links hold, with a page for every module, that needs no network."""

from __future__ import annotations

import os
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import harness
import methods

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the site as the Makefile builds it: links that lead nowhere are errors."""
    assert "mkdocs build --strict" in (ROOT / "Makefile").read_text()
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_every_module_has_a_page(site: Path) -> None:
    modules = [
        module.name
        for package in (harness, methods)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    assert len(modules) > 100
    shown = [name for name in modules if not any(part.startswith("_") for part in name.split("."))]
    pages = {name: site / "api" / f"{name.replace('.', '/')}.html" for name in shown}
    indices = {name: site / "api" / name.replace(".", "/") / "index.html" for name in shown}
    assert [name for name in shown if not pages[name].is_file() and not indices[name].is_file()] == []
    page = pages["harness.training.method"].read_text()
    assert "(B, C, D, H, W)" in page and "unlabelled_batch" in page and ":class:" not in page


@pytest.mark.slow
def test_the_gallery_has_every_figure_and_table_that_is_published(site: Path) -> None:
    text = (site / "gallery.html").read_text()
    titles = set(re.findall(r'<h3 id="[^"]*">([^<]*)', text))
    assert {"Gains over the baseline", "Ranks over patients", "Comparisons with Supervised"} <= titles
    assert {"Parallel coordinates", "What the searched parameters matter", "Not shown here"} <= titles | set(
        re.findall(r'<h2 id="[^"]*">([^<]*)', text)
    )
    assert text.count("Made-up numbers") == text.count('src="gallery/') == 3
    for image in re.findall(r'src="((?:results|gallery)/[^"]+)"', text):
        assert (site / image).is_file()
    for study in (ROOT / "results" / "published").iterdir():
        assert (site / "results" / "published" / study.name / "index.html").is_file()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_search_works_in_a_file_without_a_network(site: Path) -> None:
    from playwright.sync_api import sync_playwright

    asked: list[str] = []
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "data.html").as_uri())
        page.click("input.md-search__input")
        page.keyboard.type("EMA momentum")
        page.wait_for_selector(".md-search-result__link", timeout=20_000)
        assert "matching" in page.locator(".md-search-result__meta").inner_text()
        browser.close()
    assert [url for url in asked if not url.startswith(("file:", "data:", "about:"))] == []
