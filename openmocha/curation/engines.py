"""Where the work runs: one process, all cores of this machine, or a Ray cluster.

    for result in run(engine, function, items): ...

The function is a pure one of its item (a path and settings), so all engines give the same results,
in any order. A worker that dies takes nothing with it: its item is tried again, three times in all.
"""

import ctypes
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
TRIES = 3
PR_SET_PDEATHSIG = 1  # of Linux


@dataclass(frozen=True)
class Engine:
    """kind: "one" (this process), "cores" (`workers` processes of this machine) or "ray"
    (`workers` actors; `address` of a cluster, or None for one on this machine; `gpus` for each)."""

    kind: str = "cores"
    workers: int = 1
    address: str | None = None
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("one", "cores", "ray"):
            raise ValueError(f"engine is {self.kind!r}; expected one, cores or ray")
        if self.workers < 1:
            raise ValueError(f"workers is {self.workers}; expected 1 or more")


def run(
    engine: Engine, function: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[tuple[Item, Result | None]]:
    """Each item with its result, as they are done; None for an item whose worker died every time.

    Exceptions of the function are the caller's: it shall return what it has to say of an item.
    """
    if engine.kind == "ray":
        yield from _on_ray(engine, function, items)
    elif engine.kind == "one" or len(items) < 2:
        for item in items:
            with one_thread():
                result = function(item)
            yield item, result
    else:
        yield from _on_cores(engine.workers, function, items)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch and OpenCV on one thread, as in the worker processes: with more, sums have other last
    digits, and the engines would not agree."""
    import cv2
    import torch

    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])


# --- cores ---------------------------------------------------------------------------------------


def _on_cores(
    workers: int, function: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[tuple[Item, Result | None]]:
    """A pool that is built anew when one of its processes dies."""
    waiting = [(item, 1) for item in reversed(items)]
    suspects: list[tuple[Item, int]] = []
    while waiting or suspects:
        # Nobody knows whose work broke a pool: those that were at work go on alone, one by one.
        alone = not waiting
        queue = suspects if alone else waiting
        running: dict[Future[Result], tuple[Item, int]] = {}
        context = get_context("spawn")  # forking beside the threads of torch or FFmpeg can hang
        with ProcessPoolExecutor(1 if alone else workers, context, _start) as pool:
            try:
                while queue or running:
                    while queue and len(running) < (1 if alone else 2 * workers):
                        running[pool.submit(function, queue[-1][0])] = queue[-1]
                        queue.pop()  # only now: a broken pool takes nothing
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        result = future.result()
                        item, _ = running.pop(future)
                        yield item, result
            except BrokenProcessPool:
                for item, tries in running.values():
                    if tries < TRIES:
                        suspects.append((item, tries + 1))
                    else:
                        yield item, None


def _start() -> None:
    """The processes are the parallelism: libraries shall not add threads of their own. And where
    the driver is killed, its workers go with it."""
    import cv2

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    os.environ["OMP_NUM_THREADS"] = "1"  # torch reads it when it is first imported
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    cv2.setNumThreads(1)
    os.nice(5)


# --- Ray -----------------------------------------------------------------------------------------


def _on_ray(
    engine: Engine, function: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[tuple[Item, Result | None]]:
    """Ray Data with one item per block (a dead worker costs its whole block) and paths, never
    pixels, between the processes."""
    import ray

    if not ray.is_initialized():
        ray.init(address=engine.address, include_dashboard=False, log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # items whose worker dies every time are missing, not fatal
    numbered = [{"number": i} for i in range(len(items))]
    if not numbered:
        return
    dataset = ray.data.from_items(numbered, override_num_blocks=len(numbered)).map_batches(
        _RayWorker,
        fn_constructor_args=(function, ray.put(list(items))),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=engine.workers),
        num_gpus=engine.gpus or None,  # of each actor; a share where several use one
    )
    missing = set(range(len(items)))
    for row in dataset.iter_rows():
        missing.discard(int(row["number"]))
        yield items[int(row["number"])], pickle.loads(row["result"])
    for number in sorted(missing):
        yield items[number], None


class _RayWorker:
    """An actor: what the function loads on its first call stays loaded."""

    def __init__(self, function: Callable[[Any], Any], items: Any) -> None:
        import ray

        _start()
        self.function = function
        self.items = ray.get(items)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        results = [self.function(self.items[int(n)]) for n in batch["number"]]
        return {"number": batch["number"], "result": [pickle.dumps(r) for r in results]}
