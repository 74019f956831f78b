"""Pages of the site that are made when it is built: start, published results, gallery, API reference."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "build" / "gallery"  # figures that are drawn for the gallery alone
PUBLISHED = ROOT / "results" / "published"
FIGURE = re.compile(r"^!\[(.+)\]\((figures/.+\.png)\)\n\n(\*\*.+)$", re.M)
TABLE = re.compile(r"^(\*\*(.+?)\.\*\*.*)\n\n((?:\|.*\n?)+)", re.M)
_NOT_SHOWN = """## Not shown here

- The overview of a dataset shows your images: `medctx data check NAME --figure overview.pdf` draws it.
- Tables that a study declares itself (`report.tables`), published numbers beside yours (`--reference`) and ensembles
  (`medctx ensemble STUDY`) look like the tables above. [The guide to the report](report.md) describes them.
"""
_ROWS = 8  # of a table in the gallery, two of them its head
_SHIM = "https://unpkg.com/iframe-worker/shim"  # what the theme names
_ROLE = re.compile(r":(?:class|func|mod|data|meth|attr|exc):<code>~?(.*?)</code>")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and what they show, to the files of the site."""
    for name, text in _pages():
        files.append(File.generated(config, name, content=text))
    for path in PUBLISHED.glob("*/figures/*.png"):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    for path in EXAMPLES.glob("*.png"):
        files.append(File.generated(config, f"gallery/{path.name}", abs_src_path=str(path)))
    return files


def on_post_page(html: str, page: Page, **_: object) -> str:
    """Take the script that lets search work in a file from the site itself."""
    return html.replace(_SHIM, page.url and "../" * page.url.count("/") + "file_worker.js")


def on_post_template(output_content: str, **_: object) -> str:
    """Likewise for the page that says that there is no such page."""
    return output_content.replace(_SHIM, "/file_worker.js")


def on_page_content(html: str, **_: object) -> str:
    """Show the cross-references of docstrings as the names that they mean."""
    return _ROLE.sub(r"<code>\1</code>", html)


def _pages() -> Iterator[tuple[str, str]]:
    yield "index.md", _from_root("README.md")
    yield "contributing.md", _from_root("CONTRIBUTING.md")
    yield "changelog.md", _from_root("CHANGELOG.md")
    yield "results/README.md", (ROOT / "results" / "README.md").read_text().replace("](../docs/", "](../")
    for path in sorted(PUBLISHED.rglob("*.md")):
        yield path.relative_to(ROOT).as_posix(), path.read_text().replace("](records)", "](../../README.md)")
    yield "gallery.md", _gallery()
    yield "notebook.md", _notebook()
    modules = dict(_modules())
    for name, summary in modules.items():
        yield f"api/{name.replace('.', '/')}.md", f"# {name}\n\n::: {name}\n"
        assert summary, f"{name} has no docstring"
    lines = (f"- [{name}]({name.replace('.', '/')}.md): {summary}" for name, summary in modules.items())
    yield "api/index.md", "# API reference\n\nOne page for each module.\n\n" + "\n".join(lines)


def _notebook() -> str:
    """Return the notebook as a page."""
    cells = json.loads((ROOT / "docs" / "notebook.ipynb").read_text())["cells"]
    texts = ((cell["cell_type"], "".join(cell["source"])) for cell in cells)
    shown = (f"```python\n{text}\n```" if kind == "code" else text for kind, text in texts)
    return "\n\n".join([*shown, "[As a notebook](notebook.ipynb)"])


def _from_root(name: str) -> str:
    """Return a page that lies beside docs/, with its links as they are within the site."""
    text = (
        (ROOT / name).read_text().replace("](docs/", "](").replace("](CONTRIBUTING.md", "](contributing.md")
    )
    return text.replace("](CHANGELOG.md", "](changelog.md").replace("](README.md", "](index.md")


def _modules() -> Iterator[tuple[str, str]]:
    """Yield each public module that has something to say, and the first line of its docstring."""
    for path in sorted(path for package in ("harness", "methods") for path in (ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(part.startswith("_") for part in parts):
            doc = ast.get_docstring(ast.parse(path.read_text())) or ""
            yield ".".join(parts), doc.split("\n\n")[0].replace("\n", " ")


def _gallery() -> str:
    """Return a page with each kind of figure and table once, from the first published study that has it."""
    figures: dict[str, str] = {}
    tables: dict[str, str] = {}
    for page in sorted(PUBLISHED.glob("*/README.md")):
        study, text = page.parent.name, page.read_text()
        made = f"[{study}](results/published/{study}/README.md): `medctx run {study}`"
        for title, image, caption in FIGURE.findall(text):
            shown = f"![{title}](results/published/{study}/{image})"
            figures.setdefault(_kind(title), f"### {_kind(title)}\n\n{made}\n\n{shown}\n\n{caption}\n")
        for table in sorted(page.parent.glob("tables/*.md")):
            for caption, title, rows in TABLE.findall(table.read_text()):
                head = "\n".join(rows.splitlines()[:_ROWS])
                tables.setdefault(table.stem, f"### {title}\n\n{made}\n\n{caption}\n\n{head}\n")
    intro = (
        "# Gallery\n\nEach kind of figure and table, from a published study. The command beside it makes it again; "
        "[the guide to the report](report.md) says what each one shows. Of long tables you see the first rows.\n"
    )
    drawn = [
        f"### {title}\n\n`{command}` makes one like it. **Made-up numbers:** no published study has this figure.\n\n"
        f"![{title}](gallery/{image})\n\n{caption}\n"
        for title, image, command, caption in _examples() if title not in figures
    ]  # fmt: skip
    return "\n".join(
        [intro, "## Figures\n", *figures.values(), *drawn, "## Tables\n", *tables.values(), _NOT_SHOWN]
    )


def _examples() -> list[tuple[str, str, str, str]]:
    """Return title, file, command and caption of the figures that no published study has, and draw them."""
    sys.path.insert(0, str(Path(__file__).parent))
    from gallery_examples import write_examples

    return list(write_examples(EXAMPLES))


def _kind(title: str) -> str:
    """Return a title without what changes from study to study."""
    return re.split(r", \d+ training| of | on ", title)[0]
