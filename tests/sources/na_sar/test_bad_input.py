"""What `python train.py experiment=na_sar_pretraining` says of shards that are not as they should be."""

import contextlib
import json
import shutil
import tarfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pyarrow.parquet as pq
import pytest

from snowmap.sources.na_sar import stream
from tests.commands import fail, succeed
from tests.shards import FAULTS, write_shards

SMALL = (
    "experiment=na_sar_pretraining",
    "model.channels=[8,16]",
    "pretraining.width=8",
    "data.batch_size=8",
    "data.workers=0",
    "data.time=1",
    "data.bands=[co_pol,coherence,elevation]",
    "trainer.max_epochs=1",
    "trainer.enable_progress_bar=false",
    "logger=none",
    "pretraining.probe=0",
)
"""A run that a test can wait for."""

WHOLE = ("split.validation=0.3", "split.test=0.3", "split.buffer_km=0")
"""A split of few patches that leaves out none."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole") / "root"
    write_shards(root, shards=3, patches=6)
    return root


def pretrain(root, run, *words):
    """Pre-train a small net; the record of the run and its log."""
    succeed("train.py", *SMALL, f"data.root={root}", f"hydra.run.dir={run}", *words)
    return json.loads((run / "run.json").read_text()), (run / "run.log").read_text()


@contextlib.contextmanager
def served(folder, breaks):
    """A folder over HTTP, whose files named in `breaks` stop in the middle as many times as it says."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format, *arguments):
            pass

        def copyfile(self, source, outputfile):
            name = self.path.rpartition("/")[2]
            if breaks.get(name, 0):
                breaks[name] -= 1
                content = source.read()
                outputfile.write(content[: len(content) // 2])
                self.close_connection = True
            else:
                super().copyfile(source, outputfile)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_faulty_members_are_passed_over_named_and_counted(tmp_path):
    faults = dict(enumerate(name for name in FAULTS if name != "flipped"))  # in an array of the prime date
    write_shards(tmp_path / "root", shards=3, patches=12, faults=faults, leave_out=(10,), cut={2: 300_000})
    record, log = pretrain(tmp_path / "root", tmp_path / "run", "evaluate=test", *WHOLE)
    assert record["status"] == "finished"
    assert np.isfinite([*record["validation"]["masked"].values()]).all()
    lost = 36 - len(readable(tmp_path / "root"))
    for index in (*faults, 10):
        assert log.count(f": patch_{index:08d} ") == 1
    assert log.count("nasar-train-00002.tar is cut short or damaged") == 1
    assert f"{len(faults) + lost} patches could not be used, or only in part" in log


def readable(root):
    """Names of the members that tarfile can read, whatever they hold."""
    names = []
    for path in root.glob("data/*.tar"):
        with contextlib.suppress(tarfile.ReadError), tarfile.open(path) as tar:
            for member in tar:
                tar.extractfile(member).read()
                names.append(member.name)
    return names


def test_a_validation_without_a_valid_pixel_is_one_clear_error(tmp_path):
    write_shards(tmp_path / "root", shards=1, patches=6, faults=dict.fromkeys(range(6), "all_invalid"))
    error = fail("train.py", *SMALL, f"data.root={tmp_path}/root", f"hydra.run.dir={tmp_path}/run")
    assert error.startswith(
        "error: no pixel of the patches that are to be scored has a value, as `snowmap check` shows"
    )
    assert "\n" not in error.strip()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: (root / "metadata.parquet").unlink(), "metadata.parquet cannot be read"),
        (lambda root: shutil.rmtree(root / "data"), "has none of the 3 shards that metadata.parquet names"),
        (lambda root: renamed(root, "sample_key", "other_{}"), "is of other shards: "),
        (lambda root: renamed(root, "shard_path", "data/shard-{}.tar"), "has none of the 18 shards"),
        (lambda root: None, "split=geography leaves no sample for"),
    ],
)
def test_what_cannot_be_trained_on_is_one_clear_error(spoil, words, copy, tmp_path):
    spoil(copy)
    degrees = "90" if "geography" in words else "2"
    error = fail("train.py", *SMALL, f"data.root={copy}", f"hydra.run.dir={tmp_path}/run", f"split.degrees={degrees}")
    assert words in error
    assert "\n" not in error.strip()


def renamed(root, column, form):
    path = root / "metadata.parquet"
    table = pq.read_table(path)
    names = [form.format(row) for row in range(len(table))]
    pq.write_table(table.set_column(table.column_names.index(column), column, [names]), path)


def test_a_transfer_that_breaks_off_goes_on(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "PAUSE_S", 0.0)
    breaks = {f"nasar-train-{shard:05d}.tar": 2 for shard in range(3)}
    with served(whole, breaks) as url:
        record, log = pretrain(url, tmp_path / "run")
    assert set(breaks.values()) == {0}
    assert record["status"] == "finished"
    assert "could not be used" not in log


def test_a_url_that_always_fails_is_named(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "PAUSE_S", 0.0)
    with served(whole, {"nasar-train-00001.tar": 99}) as url:
        error = fail("train.py", *SMALL, f"data.root={url}", f"hydra.run.dir={tmp_path}/run", "data.retries=1")
    assert f"{url}/data/nasar-train-00001.tar could not be read to its end in 2 attempts: " in error
    assert "\n" not in error.strip()
