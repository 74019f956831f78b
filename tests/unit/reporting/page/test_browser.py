"""The page in a real browser: what scripts do, no request to any network, and a narrow screen."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_results import Fake

from harness.reporting.write import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PATIENCE = 180_000  # milliseconds; the page takes a minute where other tests have the cores


def patient(page: playwright.Page) -> playwright.Page:
    page.set_default_timeout(PATIENCE)
    return page


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(fake_page: Path) -> str:
    return fake_page.as_uri()


@pytest.fixture
def page(browser: playwright.Browser, address: str) -> Iterator[playwright.Page]:
    """The page, watched: nothing may be asked of a network, and the console stays empty."""
    opened = patient(browser.new_page(viewport={"width": 1200, "height": 900}))
    asked, told = [], []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: told.append(message.text))
    opened.on("pageerror", lambda error: told.append(str(error)))
    opened.goto(address)
    opened.wait_for_selector("html.ready", state="attached")
    yield opened
    assert told == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    opened.close()


def column(page: playwright.Page, table: str, index: int) -> list[str]:
    return page.eval_on_selector_all(
        f"#{table} tbody tr:not([hidden])", f"rows => rows.map(row => row.cells[{index}].textContent.trim())"
    )


def choose(part: playwright.Locator, label: str) -> None:
    part.locator("label").get_by_text(label, exact=True).click()


def test_a_heading_sorts_and_gives_the_order_back(page: playwright.Page) -> None:
    heading = page.locator("#table-dice thead tr.headings th", has_text="Mean")
    index = heading.evaluate("th => th.cellIndex")
    before = column(page, "table-dice", index)
    heading.locator("button").press("Enter")
    rising = [float(text.split()[0]) for text in column(page, "table-dice", index) if text[0].isdigit()]
    assert rising == sorted(rising) and len(rising) == len(before) - 1  # the empty arm goes last
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    heading.locator("button").click()
    assert column(page, "table-dice", index) == before


def test_metric_and_role_switch(page: playwright.Page) -> None:
    assert page.locator("#table-dice").is_visible() and not page.locator("#table-hd95").is_visible()
    choose(page.locator("#switches"), "HD95")
    assert not page.locator("#table-dice").is_visible() and page.locator("#table-hd95").is_visible()
    choose(page.locator("#switches"), "teacher")
    role = page.locator("#table-hd95 thead tr.headings th", has_text="Role").evaluate("th => th.cellIndex")
    assert set(column(page, "table-hd95", role)) == {"teacher"}


def test_words_filter_rows(page: playwright.Page) -> None:
    page.locator("#table-dice input[type=search]").fill("unetr teacher")
    shown = column(page, "table-dice", 1)
    assert set(shown) == {"UNETR"} and page.locator("#table-dice .matches").inner_text().startswith(
        str(len(shown))
    )


def test_a_number_leads_to_its_trials(page: playwright.Page) -> None:
    row = page.locator("#table-dice tbody tr").first
    trials = row.get_attribute("data-trials").split()
    row.locator("a").first.click()
    assert sorted(column(page, "table-trials", 0)) == sorted(trials) and len(trials) == 2
    page.locator("#table-trials input[type=search]").fill("unet")
    assert len(column(page, "table-trials", 0)) > 2


def test_the_slider_shows_other_slices_and_errors(page: playwright.Page) -> None:
    pixels = "canvas => canvas.toDataURL()"
    viewer = page.locator(".viewer")
    prediction = viewer.locator("canvas").nth(2)
    page.wait_for_selector(".viewer[data-slice]")
    slider = viewer.locator("input[type=range]")
    seen = {prediction.evaluate(pixels)}
    start = int(viewer.get_attribute("data-slice"))
    slider.press("ArrowRight")
    page.wait_for_selector(f'.viewer[data-slice="{start + 1}"]')
    seen.add(prediction.evaluate(pixels))
    choose(viewer, "errors")
    seen.add(prediction.evaluate(pixels))
    choose(viewer, "none")
    seen.add(prediction.evaluate(pixels))
    assert len(seen) == 4
    assert prediction.evaluate(pixels) == viewer.locator("canvas").nth(0).evaluate(pixels)


def test_errors_have_the_colours_of_the_key(page: playwright.Page) -> None:
    """A voxel that only the prediction has is extra: half of its gray, half of the key's colour."""
    page.wait_for_selector(".viewer[data-slice]")
    choose(page.locator(".viewer"), "errors")
    colours = page.evaluate(
        """() => {
            const [image, , prediction] = [...document.querySelectorAll('.viewer canvas')].map(canvas =>
                canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data);
            const found = new Set();
            for (let i = 0; i < image.length; i += 4)
                if (prediction[i] !== image[i] || prediction[i + 1] !== image[i] || prediction[i + 2] !== image[i])
                    found.add([0, 1, 2].map(c => Math.round((2 * prediction[i + c] - image[i]) / 8)).join());
            return [...found];
        }"""
    )
    key = {"255,0,255", "0,255,0", "0,0,255"}  # missed, extra, wrong label
    rounded = {",".join(str(round(int(part) / 8)) for part in colour.split(",")) for colour in key}
    near = [
        any(all(abs(int(a) - int(b)) <= 1 for a, b in zip(c.split(","), k.split(","), strict=True)) for k in rounded)
        for c in colours
    ]  # fmt: skip
    assert colours and all(near)


def test_nothing_scrolls_sideways_on_a_phone(browser: playwright.Browser, address: str) -> None:
    page = patient(browser.new_page(viewport={"width": 390, "height": 844}))
    page.goto(address)
    page.wait_for_selector("html.ready", state="attached")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.close()


def test_nothing_is_cut_in_print(browser: playwright.Browser, address: str) -> None:
    """On A4 within its margins, 190 mm, every table and figure has room."""
    page = patient(browser.new_page(viewport={"width": 718, "height": 900}))
    page.goto(address)
    page.wait_for_selector("html.ready", state="attached")
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.wait_for_timeout(200)
    rights = page.eval_on_selector_all(
        ".scroll table, .figures img", "parts => parts.map(part => part.getBoundingClientRect().right)"
    )
    assert len(rights) > 10 and max(rights) <= 719
    assert page.evaluate("document.documentElement.scrollWidth") == 718
    page.close()


def test_dark_mode_turns_the_colours_round(browser: playwright.Browser, address: str) -> None:
    levels = {}
    for scheme in ("light", "dark"):
        page = patient(browser.new_page(color_scheme=scheme))
        page.goto(address)
        colours = page.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )
        levels[scheme] = [int(colour[4:].split(",")[0]) for colour in colours]
        page.close()
    assert levels["light"][0] < levels["light"][1] and levels["dark"][0] > levels["dark"][1]


def test_without_scripts_everything_stands_there(browser: playwright.Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = patient(context.new_page())
    page.goto(address)
    assert page.locator("#table-dice").is_visible() and page.locator("#table-hd95").is_visible()
    context.close()


def test_a_page_of_nothing_works_too(browser: playwright.Browser, tmp_path: Path, fake: Fake) -> None:
    page, told = patient(browser.new_page()), []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.goto(write_report(fake.study, tmp_path).page.as_uri())
    page.wait_for_selector("html.ready", state="attached")
    assert told == [] and "No answer yet" in page.locator(".answer").inner_text()
    page.close()


OVERLAPS = """() => {
    const shown = part => { const box = part.getBoundingClientRect(); return box.width && box.height ? box : null; };
    const parts = [...document.querySelectorAll(
        'header, .verdicts, section.table:not([hidden]), .figures figure, .viewer, summary, nav')];
    const boxes = parts.map(part => [part, shown(part)]).filter(([, box]) => box);
    const bad = [];
    for (const [i, [one, a]] of boxes.entries())
        for (const [other, b] of boxes.slice(i + 1))
            if (!one.contains(other) && !other.contains(one) && !one.matches('nav') && !other.matches('nav')
                && Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
                && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1)
                bad.push(`${one.id || one.className} over ${other.id || other.className}`);
    const width = document.documentElement.clientWidth;
    for (const [part, box] of boxes)
        if (box.right > width + 1 || box.left < -1) bad.push(`${part.id || part.className} is cut`);
    for (const box of document.querySelectorAll('.scroll'))
        if (shown(box) && box.scrollWidth > box.clientWidth + 1 && !box.classList.contains('more'))
            bad.push(`${box.parentElement.id} does not say that it scrolls`);
    for (const image of document.querySelectorAll('.figures img')) {
        const box = shown(image), own = image.closest('figure').getBoundingClientRect();
        const scrolls = image.closest('.scroll').classList.contains('more');
        if (box && box.right > own.right + 1 && !scrolls) bad.push(`${image.alt} is cut`);
    }
    for (const row of document.querySelectorAll('.verdicts li')) {
        const cells = [...row.children].map(cell => cell.getBoundingClientRect());
        for (let i = 1; i < cells.length; i++)
            if (cells[i].top < cells[i - 1].bottom - 2 && cells[i].left < cells[i - 1].right - 1)
                bad.push(`${row.textContent.trim()}: parts overlap`);
    }
    return bad;
}"""


@pytest.mark.parametrize("width", [1280, 800, 390])
def test_no_table_or_figure_is_cut_or_lies_over_its_neighbour(
    browser: playwright.Browser, address: str, width: int
) -> None:
    page = patient(browser.new_page(viewport={"width": width, "height": 900}))
    page.goto(address)
    page.wait_for_selector("html.ready", state="attached")
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    page.wait_for_timeout(200)  # until boxes that scroll have been measured
    assert page.evaluate(OVERLAPS) == []
    page.evaluate("document.querySelectorAll('.figures figure')[1].style.marginTop = '-200px'")
    assert page.evaluate(OVERLAPS) != []  # it can fail
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(browser: playwright.Browser, address: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    page = patient(browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme))
    page.goto(address)
    page.wait_for_selector("html.ready", state="attached")
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")

    def serious() -> list[str]:
        found = axe.Axe().run(page).response["violations"]
        return [
            f"{one['id']}: {one['help']}: {[node['target'] for node in one['nodes'][:3]]}"
            for one in found
            if one["impact"] in ("serious", "critical")
        ]

    assert serious() == []
    page.evaluate("document.querySelector('.figures img').removeAttribute('alt')")
    assert serious() != []  # it can fail
    page.close()


def test_sections_fold_and_links_open_them(page: playwright.Page) -> None:
    assert page.locator("#scores").get_attribute("open") is not None
    assert not page.locator("#table-cost table").is_visible()
    page.locator("nav a", has_text="Cost").click()
    assert page.locator("#table-cost table").is_visible()
    page.locator("#cost > summary").click()
    assert not page.locator("#table-cost table").is_visible()
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert (
        page.locator("#table-cost table").is_visible() and page.locator("#protocol table").first.is_visible()
    )
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("#cost").get_attribute("open") is None


def test_the_first_screen_has_answer_and_verdicts_and_the_contents_stay(page: playwright.Page) -> None:
    seen = "part => part.getBoundingClientRect().top < innerHeight && part.getBoundingClientRect().bottom > 0"
    for part in (".answer", ".verdicts", "#scores"):
        assert page.locator(part).evaluate(seen)
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    assert page.locator("nav").evaluate(seen)


def test_links_lead_to_the_files(page: playwright.Page, fake_page: Path) -> None:
    links = page.eval_on_selector_all(".files a", "links => links.map(link => link.getAttribute('href'))")
    assert len(links) > 30 and all((fake_page.parent / link).is_file() for link in links)
