"""Work dealt to processes."""

import os
import threading

import pytest
import torch

from snowmap.cluster import connect, deal
from snowmap.errors import SnowmapError


def work(common: int, piece: int) -> tuple[int, int, int]:
    if piece < 0:
        raise SnowmapError(f"no piece {piece}")
    return common + piece, os.getpid(), torch.get_num_threads()


def test_workers_give_what_one_process_gives_in_order():
    with connect() as nobody:
        known = [result for result, _, _ in deal(nobody, work, 10, range(20))]
    with connect(workers=2) as client:
        found = list(deal(client, work, 10, range(20)))
        trims = client.run(os.environ.get, "MALLOC_TRIM_THRESHOLD_")
        with pytest.raises(SnowmapError, match="no piece -1"):
            list(deal(client, work, 10, [3, -1, 4]))
    assert [result for result, _, _ in found] == known
    assert os.getpid() not in {process for _, process, _ in found}
    assert {threads for _, _, threads in found} == {1}
    assert {*trims.values()} == {None}  # with it, workers get all memory anew for every array


def test_what_is_no_cluster_is_one_line(monkeypatch):
    monkeypatch.setattr("snowmap.cluster.ANSWER_SECONDS", 1)
    nowhere, threads = "tcp://127.0.0.1:9", {*threading.enumerate()}
    with (
        pytest.raises(SnowmapError, match=rf"^--scheduler {nowhere}: no cluster with a worker[^\n]*$"),
        connect(scheduler=nowhere),
    ):
        pass
    assert not {*threading.enumerate()} - threads
    with pytest.raises(SnowmapError, match="give one of them"), connect(workers=1, scheduler=nowhere):
        pass
