"""The built-in sync handlers in the worker's own kind of process: a fork server's child."""

from __future__ import annotations

import base64
import io
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from PIL import Image
from pool_task import run

from dtq.blobs import BlobStore
from dtq.config import load_settings
from dtq.jobs import DataProcessing, ImageResize

MODULES = ["dtq_worker.handlers.data_processing", "dtq_worker.handlers.image_resize"]


def test_handlers_work_in_children_of_a_fork_server_that_has_them_loaded(tmp_path: Path) -> None:
    """DuckDB and the object store keep threads; none may be started before the fork."""
    settings = load_settings(bloburl=f"file://{tmp_path}")
    blobs = BlobStore.from_url(settings.bloburl)
    blobs.put("a.csv", b"x\n1\n2\n")
    buffer = io.BytesIO()
    Image.new("RGB", (40, 20), "red").save(buffer, "PNG")
    image = ImageResize.model_validate({"source": {"base64": base64.b64encode(buffer.getvalue()).decode()}, "width": 10})
    data = DataProcessing.model_validate({"sql": "SELECT sum(x) FROM t", "inputs": {"t": {"blob": "a.csv"}}})
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(MODULES)
    with ProcessPoolExecutor(max_workers=2, mp_context=context) as pool:
        futures = [
            pool.submit(run, settings, kind, payload.model_dump_json())
            for _ in range(4)
            for kind, payload in (("image", image), ("data", data))
        ]
        results = [future.result(60) for future in futures]
    assert [result.get("rows", result.get("width")) for result in results] == [10, [[3]]] * 4
    assert blobs.head(results[0]["blob"]).size > 0
