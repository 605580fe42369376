"""Files of a sweep: whole or not there, and one line of explanation where they cannot be written."""

from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from snowmap.errors import SnowmapError
from snowmap.files import write_whole


def write_text(path: Path, text: str) -> None:
    """Write a file, or nothing.

    Raises:
        SnowmapError: When it cannot be written.
    """
    _write(path, text.encode())


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, or nothing.

    Raises:
        SnowmapError: When it cannot be written.
    """
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    _write(path, drawn.getvalue())


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise SnowmapError(f"{path} cannot be written ({error})") from error
