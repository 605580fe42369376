"""Checkpoints as files that are whole or not there."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from snowmap.files import write_whole


class WholeFiles(TorchCheckpointIO):
    """Writes beside the checkpoint that it replaces, then renames.

    Lightning's own way writes to the folder for temporary files and moves the file from there, which on another disk
    copies it over the last good checkpoint: a process that is killed meanwhile leaves neither.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write one checkpoint.

        Raises:
            WriteError: When there is no room; the older file stays.
        """
        save_whole(checkpoint, Path(path))


def save_whole(content: Any, path: Path) -> Path:
    """`torch.save`, whole or not at all.

    Raises:
        WriteError: When it cannot be written; an older file stays.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return write_whole(path, buffer.getbuffer())
