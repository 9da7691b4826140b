"""Rates of the GPU kernels beside their goals and cuBLAS, in one run. Started by bench/gpu/run.sh.

Where there is no git checkout, COMMIT in the environment says which commit this is.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import os
import subprocess
import time
from functools import cache
from pathlib import Path

import numpy as np

from steppe import _device
from steppe.ot import _on_device, sliced_wasserstein_distance, sorted_targets

ROOT = Path(__file__).parents[2]


def seconds(run, wait=lambda: None, repeats=5):
    """The median of some runs after one to warm up; `wait` returns when the GPU is done."""
    run()
    wait()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


@cache
def normal(rows, columns, seed):
    return np.random.default_rng(seed).standard_normal((rows, columns), dtype=np.float32)


def cublas_rate(n, m, d, tf32):
    """Operations a second of the product alone, written out in blocks of rows. TF32 needs torch: None without it."""
    rows = min(n, 1 << 18)
    if importlib.util.find_spec("torch") is None:
        if tf32:
            return None
        x, y = _device.upload(normal(rows, d, 0)), _device.upload(normal(d, m, 1))
        product = _device.empty((m, rows), np.float32)
        return 2 * rows * m * d / seconds(lambda: _device.load().project(x, y, projected=product))
    import torch

    torch.backends.cuda.matmul.allow_tf32 = tf32
    x, y = torch.randn(rows, d, device="cuda"), torch.randn(d, m, device="cuda")
    product = torch.empty(rows, m, device="cuda")
    return 2 * rows * m * d / seconds(lambda: torch.mm(x, y, out=product), torch.cuda.synchronize)


def torch_matching(x, y):
    """Sorted matching as torch does it: two sorts and a scatter; None without torch."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    xs, ys = torch.from_numpy(x).cuda(), torch.from_numpy(y).cuda()

    def run():
        order = torch.sort(xs, dim=0, stable=True).indices
        return torch.empty_like(xs).scatter_(0, order, torch.sort(ys, dim=0).values)

    return seconds(run, torch.cuda.synchronize)


def cells(n, m, d, precision):
    x, sites = _device.upload(normal(n, d, 0)), normal(m, d, 1)
    took = seconds(
        lambda: _on_device.assign_cells(x, sites, cost="sqeuclidean", return_cost=False, precision=precision)
    )
    checked = seconds(lambda: _device.load().all_finite(x))
    rate, own = cublas_rate(n, m, d, precision == "tf32"), 2 * n * m * d / took
    share = "no torch" if rate is None else f"{100 * own / rate:.0f} % of {rate / 1e12:.0f}"
    goal = "40 %" if precision == "tf32" else "60 %"
    return (
        f"| assign_cells {precision}, n = {n}, m = {m}, d = {d} | {1e3 * took:.1f} ms, of which checks "
        f"{1e3 * checked:.1f} | {own / 1e12:.1f} TFLOP/s | {share} | {goal} |"
    )


def matching(b, p):
    x, y = normal(b, p, 0), normal(b, p, 1)
    xs, ys = _device.upload(x), _device.upload(y)
    took = seconds(lambda: sorted_targets(xs, ys))
    rival = torch_matching(x, y)
    beside = "no torch" if rival is None else f"torch {1e3 * rival:.1f} ms"
    return f"| sorted_targets, b = {b}, p = {p} | {1e3 * took:.1f} ms | {2 * b * p / took / 1e9:.1f} G keys/s | {beside} | 15 ms |"


def distances(n, d, p):
    x, y = _device.upload(normal(n, d, 0)), _device.upload(normal(n, d, 1))
    directions = _device.upload(normal(d, p, 2))
    took = seconds(lambda: sliced_wasserstein_distance(x, y, projections=directions, device="cuda"))
    return f"| sliced distances, n = {n}, d = {d}, p = {p} | {1e3 * took:.1f} ms | {2 * n * p / took / 1e9:.1f} G keys/s | | |"


def commit():
    done = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or os.environ.get("COMMIT", "unknown (no git checkout)")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--scale", type=int, default=1, help="divide the numbers of rows by this")
    arguments = parser.parse_args()
    facts = _device.load().device_facts()
    lines = [
        "# GPU",
        "",
        f"{datetime.date.today()}; {facts['name']}, {facts['multiprocessors']} multiprocessors, driver for CUDA "
        f"{facts['driver'] // 1000}.{facts['driver'] % 1000 // 10}; commit {commit()}. Medians of 5 with checks of the input, "
        "arrays on the GPU.",
        "",
        "| what | time | rate | beside | goal |",
        "|---|---|---|---|---|",
    ]
    rows = 4_000_000 // arguments.scale
    measures = [
        lambda: cells(rows, 4096, 128, "full"),
        lambda: cells(rows, 4096, 128, "tf32"),
        lambda: cells(rows, 16, 2, "full"),
        lambda: matching(16_384 // arguments.scale, 4000),
        lambda: distances(16_000 // arguments.scale, 128, 1000),
        lambda: distances(16_000 // arguments.scale, 2048, 1000),
    ]
    for measure in measures:
        lines.append(measure())
        print(lines[-1], flush=True)
        arguments.output.write_text("\n".join(lines) + "\n")  # what is there is kept if time runs out


if __name__ == "__main__":
    main()
