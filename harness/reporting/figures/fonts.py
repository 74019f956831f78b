"""The font of all figures: DejaVu Sans without what figures never show, since each PDF embeds a part of it.

Cutting that part out of the whole font takes as long as drawing the figure does.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib
from matplotlib.font_manager import fontManager

from harness.files.whole import whole

FAMILY = "Medctx Sans"  # a changed DejaVu must not keep its name
_CHARACTERS = (*range(0x20, 0x250), *range(0x370, 0x400), *range(0x2000, 0x2300))  # Latin, Greek, signs


@cache
def use_font() -> None:
    """Make the font known to matplotlib; it is cut once for each version of matplotlib, and lies in its cache."""
    for cut in ("", "-Bold"):
        path = Path(matplotlib.get_cachedir()) / f"medctx-{matplotlib.__version__}{cut}.ttf"
        if not path.is_file():
            _cut(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"DejaVuSans{cut}.ttf", path)
        fontManager.addfont(path)


def _cut(source: Path, target: Path) -> None:
    from fontTools import subset  # takes a while to import, and is needed once

    options = subset.Options(layout_features=[], name_IDs=["*"], glyph_names=True, drop_tables=["FFTM"])
    font = subset.load_font(str(source), options)
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=_CHARACTERS)
    cutter.subset(font)
    for record in font["name"].names:
        record.string = str(record).replace("DejaVu Sans", FAMILY).replace("DejaVu", "Medctx")
    with whole(target) as partial:
        font.save(partial)
