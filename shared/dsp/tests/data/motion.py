"""Windows and what `dsp::motion` must make of them, by NumPy: the floor of rounding, frames in bursts, and what lasts.

`python3 motion.py` writes motion.json.
"""

import json
from pathlib import Path

import numpy as np

rng = np.random.default_rng(20261130)
WIDTH = 6
LEAST = 0.01**2


def centred(rows):
    return rows - rows.mean(axis=0)


def pairs(time, longest):
    return np.diff(time) <= longest


def phi(time, rows, rounding):
    """First-lag autocorrelation, less what rounding can make coherent."""
    ok = pairs(time, 2.5 * np.median(np.diff(time)))
    change = np.median(((rows[1:] - rows[:-1]) ** 2).mean(axis=1)[ok])
    floor = rounding * np.exp(-change / (2 * rounding)) + LEAST
    x = centred(rows)
    covariance = (x[1:] * x[:-1])[ok].mean(axis=0)
    covariance = np.where(covariance > 0, np.maximum(covariance - floor, 0), covariance)
    return float((covariance / (x**2).mean(axis=0)).mean())


def neighbour(rows):
    """Correlation of subcarriers two columns apart, less LEAST."""
    x = centred(rows)
    variance = (x**2).mean(axis=0)
    covariance = (x[:, 2:] * x[:, :-2]).mean(axis=0)
    covariance = np.where(covariance > 0, np.maximum(covariance - LEAST, 0), covariance)
    return float((covariance / np.sqrt(variance[2:] * variance[:-2])).mean())


def rounded(noise):
    """A constant channel whose phase turns, of 12 units, with a slow change of 4 % and receiver noise of `noise` units."""
    time = np.arange(120) * 10_000
    turn = 0.003 * np.arange(120)[:, None] + 0.4 * np.arange(WIDTH)
    size = 12 * (1 + 0.04 * np.sin(2 * np.pi * 0.7 * time[:, None] / 1e6 + 0.5 * np.arange(WIDTH)))
    parts = [size * f(turn) + noise * rng.normal(size=turn.shape) for f in (np.cos, np.sin)]
    power = sum(np.round(part) ** 2 for part in parts)
    mean = power.mean(axis=1, keepdims=True)
    rows = np.round(power / mean, 5)
    rounding = float((1 / mean).mean() / 3)
    return {
        "noise": noise,
        "times_us": time.tolist(),
        "rows": rows.ravel().tolist(),
        "rounding": rounding,
        "phi": phi(time, rows, rounding),
    }


def bursts():
    """18 bursts of six frames, with one state of the receiver each."""
    time, rows = [], []
    for burst in range(18):
        state = 0.08 * rng.normal(size=WIDTH)
        for frame in range(6):
            time.append(burst * 110_000 + frame * 500)
            rows.append(1 + state + 0.04 * rng.normal(size=WIDTH))
    time, rows = np.array(time), np.round(rows, 5)
    interval = np.diff(time)
    means = rows.reshape(18, 6, WIDTH).mean(axis=1)
    return {
        "times_us": time.tolist(),
        "rows": rows.ravel().tolist(),
        "followed": float(interval[interval <= 1e6 / (0.98 * 25)].sum() / interval.sum()),
        "period_us": float(np.median(np.diff(time.reshape(18, 6).mean(axis=1)))),
        "neighbour": neighbour(means),
        "statistic": max(neighbour(means), 0) ** 3,
    }


def lasting():
    own = np.concatenate([0.12 * rng.normal(size=8), 0.12 + 0.03 * rng.normal(size=12), 0.7 + 0.1 * rng.normal(size=6)])
    judged = own.copy()
    for window in range(3, len(own)):
        least = own[window - 3 : window + 1].min()
        if least > 0:
            judged[window] = max(own[window], 1 - (1 - least) ** 2)
    return {"own": own.tolist(), "judged": judged.tolist()}


vectors = {"rounded": [rounded(noise) for noise in (0.05, 0.2, 0.4, 0.8)], "bursts": bursts(), "lasting": lasting()}
Path(__file__).with_name("motion.json").write_text(json.dumps(vectors) + "\n")
