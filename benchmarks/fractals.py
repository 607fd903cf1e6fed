"""Fractals drawn per CPU-second on one thread: python -m benchmarks.fractals

In batches of 64 of 64 categories; the median over rounds.
"""

import time
from statistics import median

import numpy as np

from benchmarks.table import show
from data_prep.fractal import category, render

BATCH, BATCHES, ROUNDS = 64, 8, 9
SIZES = ((32, 2048), (32, 3072), (64, 8192), (224, 100_352))
"""Pixels of a side, points of an image: the default of 2,048 for 32 px, grown with the area, and more."""


def rate(size: int, points: int) -> float:
    systems = [category(0, k, size) for k in range(BATCH)]
    labels, rates = np.arange(BATCH), []
    count = max(1, BATCHES * 32 * 32 // size**2)
    for _ in range(ROUNDS):
        began = time.process_time()
        for k in range(count):
            render(systems, np.full(BATCH, k), labels, 0, size, points)
        rates.append(BATCH * count / (time.process_time() - began))
    return median(rates)


if __name__ == "__main__":
    rows = [[f"{size}", f"{points:,}", f"{rate(size, points):,.0f}"] for size, points in SIZES]
    show(["px", "points", "images per CPU-s"], rows)
