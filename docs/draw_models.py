"""Draws docs/pictures/*.svg, one diagram for each model: `python docs/draw_models.py`."""

import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT, ACROSS, DOWN, EDGE, LINE = 150, 58, 190, 82, 16, 15
COLOURS = {
    "seen": ("#dbe9f6", "#3b6ea5"),  # what a model is given
    "layer": ("#eceff1", "#607d8b"),  # what it learns
    "memory": ("#dcefe5", "#2e7d5b"),  # what it carries from window to window
    "rule": ("#fdeccf", "#b8791b"),  # what is physics or arithmetic, not learned
    "map": ("#ffffff", "#263238"),
}


class Box(NamedTuple):
    """A box at a place of the grid, its words line by line, and what it is (a key of `COLOURS`)."""

    column: float
    row: float
    words: str
    kind: str
    loop: str = ""


class Diagram(NamedTuple):
    """Boxes by name, and arrows between them: ``(from, to)`` or ``(from, to, words)``."""

    boxes: Mapping[str, Box]
    arrows: Sequence[tuple[str, ...]]


def chain(*boxes: Box, more: Mapping[str, Box] | None = None, arrows: Sequence[tuple[str, ...]] = ()) -> Diagram:
    """Boxes one behind the other, called 0, 1, 2, …; and further boxes and arrows."""
    names = [str(number) for number in range(len(boxes))]
    row = [(before, after) for before, after in pairwise(names)]
    return Diagram(dict(zip(names, boxes, strict=True)) | dict(more or {}), [*row, *arrows])


DIAGRAMS = {
    "unet": Diagram(
        {
            "x": Box(0, 0, "the target window\nbands, season sums", "seen"),
            "stack": Box(0, 1, "or, time=stack:\n6 windows at once", "seen"),
            "e1": Box(1, 0, "16 channels\nfull resolution", "layer"),
            "e2": Box(1, 1, "48\n1/2", "layer"),
            "e3": Box(1, 2, "96\n1/4", "layer"),
            "e4": Box(1.5, 3, "192\n1/8", "layer"),
            "d3": Box(2, 2, "96\n1/4", "layer"),
            "d2": Box(2, 1, "48\n1/2", "layer"),
            "d1": Box(2, 0, "16\nfull resolution", "layer"),
            "y": Box(3, 0, "map of the\ntarget window", "map"),
        },
        [("x", "e1"), ("stack", "e1"), ("e1", "e2"), ("e2", "e3"), ("e3", "e4"), ("e4", "d3"), ("d3", "d2"),
         ("d2", "d1"), ("e1", "d1"), ("e2", "d2"), ("e3", "d3"), ("d1", "y")],
    ),
    "convlstm": chain(
        Box(0, 0, "each window since\n1 September, alone", "seen"),
        Box(1, 0, "encoder\n24 · 48 · 96", "layer"),
        Box(2, 0, "2 × ConvLSTM, 96\nat 1/4 resolution", "memory", "to the next window"),
        Box(3, 0, "decoder\n96 · 48 · 24", "layer"),
        Box(4, 0, "map of\nevery window", "map"),
        arrows=[("1", "3", "fine detail of the same window")],
    ),
    "transformer": chain(
        Box(0, 0, "each window since\n1 September, alone", "seen"),
        Box(1, 0, "encoder\n24 · 48 · 96", "layer"),
        Box(2, 0, "attention to the past,\npixel by pixel, × 2", "memory"),
        Box(3, 0, "decoder\n96 · 48 · 24", "layer"),
        Box(4, 0, "map of\nevery window", "map"),
        more={"days": Box(2, 1, "day of the season", "seen")},
        arrows=[("1", "3", "fine detail, weighted by the attention"), ("days", "2")],
    ),
    "unet3d": chain(
        Box(0, 0, "8 windows\nas one volume", "seen"),
        Box(1, 0, "3 × 3 × 3 convolutions\n16 · 32 · 64", "layer"),
        Box(2, 0, "last window, and a\nweighted mean of all", "memory"),
        Box(3, 0, "2-D decoder\n128 · 64 · 32", "layer"),
        Box(4, 0, "map of the\nlast window", "map"),
    ),
    "massbalance": Diagram(
        {
            "phase": Box(0, 0, "unwrapped phase,\nincidence", "seen"),
            "bands": Box(0, 1, "terrain, weather,\ncoherence, intensity", "seen"),
            "pdd": Box(0, 2, "degree days", "seen"),
            "closed": Box(1, 0, "closed form:\nΔSWE of dry snow", "rule"),
            "net": Box(1, 1, "small U-Net\n8 · 16 · 24", "layer"),
            "factor": Box(1, 2, "melt: factor × degree\ndays, ≤ what lies there", "rule"),
            "add": Box(2, 0, "accumulation ≥ 0\ntrust × ΔSWE + rest", "rule"),
            "state": Box(3, 1, "SWE ← SWE\n+ accumulation − melt", "memory", "to the next window"),
            "swe": Box(4, 1, "SWE of every window,\nin mm or cm", "map"),
            "hs": Box(4, 2, "HS, by a learned\ndensity", "map"),
        },
        [("bands", "net"), ("phase", "closed"), ("pdd", "factor"), ("net", "add"), ("closed", "add"),
         ("add", "state"), ("factor", "state"), ("state", "swe"), ("swe", "hs"), ("net", "factor")],
    ),
    "climatology": chain(
        Box(0, 0, "training maps", "seen"),
        Box(1, 0, "per pixel, mean over\nthe same weeks", "memory"),
        Box(2, 0, "map", "map"),
    ),
    "persistence": chain(
        Box(0, 0, "training maps", "seen"),
        Box(1, 0, "the latest that ended\nbefore the window", "memory"),
        Box(2, 0, "map", "map"),
    ),
    "elevation": chain(
        Box(0, 0, "elevation, season,\nsummed degree days", "seen"),
        Box(1, 0, "polynomial,\nleast squares", "layer"),
        Box(2, 0, "map", "map"),
    ),
    "degree_day": chain(
        Box(0, 0, "temperature, degree\ndays, elevation", "seen"),
        Box(1, 0, "SWE ← SWE + snow\n− melt, 4 numbers", "rule", "to the next window"),
        Box(2, 0, "map", "map"),
    ),
    "insar_swe": chain(
        Box(0, 0, "unwrapped phase,\nincidence", "seen"),
        Box(1, 0, "closed form: ΔSWE,\nincoherent px from\nsurroundings", "rule"),
        Box(2, 0, "sum since\n1 September", "rule", "to the next window"),
        Box(3, 0, "map", "map"),
    ),
    "boosted_trees_no_sar": chain(
        Box(0, 0, "elevation, weather,\nsummed degree days,\nday of the year", "seen"),
        Box(1, 0, "boosted trees,\npixel by pixel", "layer"),
        Box(2, 0, "map", "map"),
    ),
    "boosted_trees": chain(
        Box(0, 0, "all bands, sums since\n1 September,\nday of the year", "seen"),
        Box(1, 0, "boosted trees,\npixel by pixel", "layer"),
        Box(2, 0, "map", "map"),
    ),
}  # fmt: skip


def draw(diagram: Diagram) -> str:
    """The diagram as SVG on a white card, so that it reads on light and dark pages."""
    boxes = diagram.boxes.values()
    top = EDGE + (36 if any(_arched(diagram, arrow) for arrow in diagram.arrows) else 0)
    width = 2 * EDGE + max(box.column for box in boxes) * ACROSS + WIDTH
    height = top + EDGE + max(box.row * DOWN + HEIGHT + (22 if box.loop else 0) for box in boxes)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" font-family="Helvetica, Arial, sans-serif" font-size="12.5" text-anchor="middle">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#455a64"/></marker></defs>',
        f'<rect width="{width:g}" height="{height:g}" rx="8" fill="#ffffff"/>',
        *(_arrow(diagram, arrow, top) for arrow in diagram.arrows),
        *(_box(box, top) for box in boxes),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _corner(box: Box, top: float) -> tuple[float, float]:
    return EDGE + box.column * ACROSS, top + box.row * DOWN


def _arched(diagram: Diagram, arrow: Sequence[str]) -> bool:
    """Whether the arrow has to pass over the boxes between its ends."""
    a, b = (diagram.boxes[name] for name in arrow[:2])
    return a.row == b.row and b.column - a.column > 1


def _arrow(diagram: Diagram, arrow: Sequence[str], top: float) -> str:
    a, b = (diagram.boxes[name] for name in arrow[:2])
    (x1, y1), (x2, y2) = _corner(a, top), _corner(b, top)
    words = escape(arrow[2]) if len(arrow) > 2 else ""
    if _arched(diagram, arrow):
        x1, x2, high = x1 + WIDTH * 0.7, x2 + WIDTH * 0.3, top - 22
        path = f"M{x1:g} {y1:g} V{high:g} H{x2:g} V{y2:g}"
        return _line(path) + _words((x1 + x2) / 2, high - 5, words)
    if b.column - a.column >= 0.9:
        path = f"M{x1 + WIDTH:g} {y1 + HEIGHT / 2:g} L{x2:g} {y2 + HEIGHT / 2:g}"
        return _line(path) + _words((x1 + WIDTH + x2) / 2 + 14, (y1 + y2 + HEIGHT) / 2 - 6, words)
    down = y2 > y1
    start, end = (y1 + HEIGHT, y2) if down else (y1, y2 + HEIGHT)
    return _line(f"M{x1 + WIDTH / 2:g} {start:g} L{x2 + WIDTH / 2:g} {end:g}")


def _box(box: Box, top: float) -> str:
    x, y = _corner(box, top)
    fill, edge = COLOURS[box.kind]
    shape = f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{fill}" stroke="{edge}"/>'
    lines = box.words.split("\n")
    first = y + HEIGHT / 2 - (len(lines) - 1) * LINE / 2 + 4
    shape += "".join(_words(x + WIDTH / 2, first + LINE * number, escape(line)) for number, line in enumerate(lines))
    if box.loop:
        left, right = x + WIDTH * 0.2, x + WIDTH * 0.8
        below = y + HEIGHT
        shape = _line(f"M{right:g} {below:g} v14 H{left:g} v-14") + shape
        shape += _words(x + WIDTH / 2, below + 27, escape(box.loop))
    return shape


def _line(path: str) -> str:
    return f'<path d="{path}" fill="none" stroke="#455a64" stroke-width="1.3" marker-end="url(#tip)"/>'


def _words(x: float, y: float, words: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" fill="#263238">{words}</text>' if words else ""


def main(folder: Path) -> None:
    """Write every diagram."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, diagram in DIAGRAMS.items():
        (folder / f"{name}.svg").write_text(draw(diagram), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pictures")
