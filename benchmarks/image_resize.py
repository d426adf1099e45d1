"""A CPU-bound job: image_resize through one worker, against Pillow called in a loop by one process on each core.

    python benchmarks/image_resize.py [--images 600] [--rounds 3] [--side 2400]

Each image is a JPEG file of side x 3/4 side pixels, made 800 wide. The bare loop reads the file, calls ``Image.thumbnail``,
which does the same to the pixels as the handler, and writes the result. DTQ has its whole guarantee on: Valkey with
appendfsync always, and the clock runs from the submission until every job's row is in PostgreSQL. The processes of both
sides are warm. Rounds alternate; the median of each counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing.pool import Pool
from pathlib import Path

import uvloop
from PIL import Image
from program import launch, positive

from dtq.client import AsyncQueueClient, Job
from dtq.embedded import PostgresServer, ValkeyServer
from dtq.storage.migrate import migrate

WIDTH = 800
FILES = 8
"""Different source files, used in turn."""
CORES = os.cpu_count() or 1


def make_images(folder: Path, side: int) -> None:
    """JPEG files as a camera makes them: smooth areas with grain."""
    for number in range(FILES):
        smooth = Image.effect_mandelbrot((side, side * 3 // 4), (-2.2 + number / 10, -1.2, 0.8, 1.2), 60)
        grain = Image.effect_noise(smooth.size, 30)
        Image.merge("RGB", (smooth, Image.blend(smooth, grain, 0.2), grain)).save(folder / f"{number}.jpg", quality=88)


def bare(folder: str, number: int) -> None:
    """What a program without a queue does for one image."""
    with Image.open(f"{folder}/{number % FILES}.jpg") as image:
        image.thumbnail((WIDTH, WIDTH))
        image.save(f"{folder}/bare-{number}.jpg")


def bare_rate(pool: Pool, folder: Path, images: int) -> float:
    began = time.perf_counter()
    pool.starmap(bare, [(str(folder), number) for number in range(images)], chunksize=1)
    return images / (time.perf_counter() - began)


async def queued_rate(client: AsyncQueueClient, images: int) -> float:
    began = time.perf_counter()
    await client.submit_many(
        Job("image_resize", {"source": {"blob": f"{number % FILES}.jpg"}, "width": WIDTH}, timeout=600) for number in range(images)
    )
    while True:
        stats = await client.queue()
        left = stats.ready + stats.running + stats.outbox
        if left == 0:
            break
        await asyncio.sleep(left * 0.005)  # seldom while much is left: each look takes CPU that the images could use
    seconds = time.perf_counter() - began
    if stats.dead:
        raise SystemExit(f"{stats.dead} jobs have failed")
    return images / seconds


async def measure(url: str, pool: Pool, folder: Path, images: int, rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"bare": [], "dtq": []}
    async with AsyncQueueClient(url) as client:
        await queued_rate(client, CORES * 8)  # the worker has started its processes, and they have imported Pillow
        bare_rate(pool, folder, CORES * 8)
        for _ in range(rounds):
            found["bare"].append(bare_rate(pool, folder, images))
            found["dtq"].append(await queued_rate(client, images))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=positive, default=600)
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--side", type=positive, default=2400)
    parser.add_argument("--out", default="")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="dtq-bench-"))
    folder.chmod(0o755)
    blobs = folder / "blobs"
    blobs.mkdir()
    make_images(blobs, args.side)
    pool = multiprocessing.get_context("spawn").Pool(CORES)
    valkey, postgres = ValkeyServer(folder / "valkey", durable=True), PostgresServer(folder / "postgres")
    worker = None
    try:
        valkey.start()
        postgres.start()
        migrate(postgres.url)
        env = {**os.environ, "REDISADDR": valkey.url, "DATABASEURL": postgres.url, "BLOBURL": f"file://{blobs}", "LOGLEVEL": "WARNING"}
        worker = subprocess.Popen([sys.executable, "-m", "dtq_worker"], env=env)
        found = uvloop.run(measure(valkey.url, pool, blobs, args.images, args.rounds))
    finally:
        if worker is not None:
            worker.terminate()
            worker.wait()
        pool.terminate()
        postgres.stop()
        valkey.stop()
        shutil.rmtree(folder, ignore_errors=True)
    loop, queue = (statistics.median(found[name]) for name in ("bare", "dtq"))
    print(f"image_resize {queue:.1f} images/s, Pillow in a loop on {CORES} cores {loop:.1f}/s: {queue / loop:.2f}")
    if args.out:
        Path(args.out).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    launch(main)
