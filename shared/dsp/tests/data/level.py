"""Levels of windows and what `dsp::level` must make of them, by NumPy. `python3 level.py` writes level.json."""

import json
from pathlib import Path

import numpy as np

rng = np.random.default_rng(20261129)
COUNT, PERIOD_US = 180, 10_000


def centred(levels):
    middle = np.median(levels)
    limit = max(3 * 1.4826 * np.median(np.abs(levels - middle)), 1.5)
    cut = np.clip(levels - middle, -limit, limit)
    return cut - cut.mean()


def lag(time, values, seam=None):
    ok = np.diff(time) <= 2.5 * PERIOD_US
    if seam is not None:
        ok[seam - 1] = False
    return (values[1:] * values[:-1])[ok].mean(), int(ok.sum())


def step(values, least):
    """The place with the largest variance between its two sides, where that is more than `least`."""
    places = np.arange(1, len(values))
    sums = np.cumsum(values)[:-1]
    between = sums**2 / (places * (len(values) - places))
    best = int(np.argmax(between))
    return int(places[best]) if between[best] > least else None


def case(name, time, levels):
    values = centred(levels)
    variance = values.var()
    covariance, pairs = lag(time, values)
    place = step(values, 0.5 * variance)
    if place is not None:
        sides = np.concatenate([side - side.mean() for side in np.split(values, [place])])
        covariance = min(covariance, lag(time, sides, place)[0])
    beyond = max(covariance - max(0.25, 2 * variance / np.sqrt(pairs)), 0)
    return {
        "name": name,
        "times_us": time.tolist(),
        "levels_db": levels.astype(int).tolist(),
        "coherent_db2": covariance,
        "variance_db2": variance,
        "pairs": pairs,
        "evidence": beyond / (beyond + 0.25),
    }


time = np.arange(COUNT) * PERIOD_US + rng.integers(-900, 900, COUNT)
time[120:] += 60_000  # a gap: no pair across it
seconds = time / 1e6
# Movement that wanders, slower than what is looked for as a tone.
walk = np.convolve(rng.normal(0, 1, COUNT + 110), np.hanning(110) / 5, "valid")[:COUNT]
noise = rng.normal(0, 0.6, COUNT)
cases = [
    case("wander", time, np.round(-61 + 1.4 * walk + noise)),
    case("wander and outliers", time, np.round(-61 + 1.4 * walk + noise - 15 * (rng.random(COUNT) < 0.05))),
    case("step", time, np.round(-61 + noise + 5 * (seconds > 0.83))),
    case("noise", time, np.round(-61 + 3 * noise)),
    case("rounding", time, np.round(-60.5 + 0.05 * noise)),
]
Path(__file__).with_name("level.json").write_text(json.dumps(cases) + "\n")
for one in cases:
    print(one["name"], round(one["coherent_db2"], 3), round(one["variance_db2"], 3), round(one["evidence"], 3))
