"""The page of an evaluation, which opens without a network, on a phone and on paper; each kind of target fills it."""

import base64
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from snowmap.baselines import label_of
from snowmap.data.cube import is_synthetic
from snowmap.evaluation.map_scores import ScoredMaps
from snowmap.files import write_whole
from snowmap.tables import number


def write_page(template: str, result: Mapping[str, Any], scene: ScoredMaps, path: Path, **filling: Any) -> Path:
    """Write the page.

    Args:
        template: That extends ``page.html.jinja``.
        result: What ``metrics.json`` holds, with its provenance.
        scene: The maps, and the Cube that was mapped.
        path: The file; replaced whole or not at all.
        filling: What the template shows beside.

    Returns:
        `path`.
    """
    environment = Environment(
        loader=PackageLoader("snowmap.evaluation", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"number": number, "share": _share, "volume": _volume, "label": label_of}
    provenance = result["provenance"]
    page = environment.get_template(template).render(
        origin=scene.cube.attrs.get("origin", ""),
        synthetic=is_synthetic(scene.cube),
        subset=provenance["subset"],
        windows=len(scene.windows),
        first=np.datetime_as_string(scene.maps["start"].values[0], "D"),
        last=np.datetime_as_string(scene.maps["end"].values[-1], "D"),
        provenance=_provenance_rows(provenance),
        model=_configured(provenance, "model").get("name", "model"),
        split=_configured(provenance, "split").get("name", ""),
        split_note=provenance.get("split_note", ""),
        chosen_by=provenance.get("chosen_by", ""),
        **filling,
    )
    return write_whole(path, page)


def svg(figure: Figure, words: str) -> Markup:
    """The figure as part of the page, with its text as text."""
    file = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif"}):
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None, "Title": words})  # as `as_png`: drawn once
    drawn = file.getvalue()
    return Markup(drawn[drawn.index("<svg") :])


def png(picture: bytes) -> str:
    """The picture as the address of an image."""
    return "data:image/png;base64," + base64.b64encode(picture).decode()


def _configured(provenance: Mapping[str, Any], group: str) -> Mapping[str, Any]:
    return provenance.get("config", {}).get(group, {})


def _provenance_rows(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the maps were made of, in words; what is not known is left out."""
    scored, subsets = provenance["scored_archive"], provenance.get("split", {}).items()
    split = " ".join(f"{key}={value}" for key, value in _configured(provenance, "split").items())
    metadata = {
        "checkpoint": provenance.get("checkpoint"),
        "archive": scored.get("archive"),
        "origin": scored.get("origin"),
        "fingerprint of its content": scored.get("fingerprint"),
        "trained on the fingerprint": provenance.get("archive", {}).get("fingerprint"),
        "split": f"{split}: " + ", ".join(f"{len(names)} {subset}" for subset, names in subsets) + " windows"
        if split
        else "",
        "epoch chosen by": provenance.get("chosen_by"),
        "model": json.dumps(_configured(provenance, "model")) if _configured(provenance, "model") else "",
        "seed": provenance.get("config", {}).get("seed"),
        "command": provenance.get("command"),
        "versions": ", ".join(f"{name} {number}" for name, number in provenance.get("versions", {}).items()),
        "git revision": provenance.get("git_revision"),
    }
    return [(key, str(value)) for key, value in metadata.items() if value not in (None, "")]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _volume(value: float | None) -> str:
    return "–" if value is None else f"{value / 1e6:+.1f}"
