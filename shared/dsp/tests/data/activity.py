"""Writes activity.json: frames of four made-up links, and their activity features by NumPy.

Independent of the Rust code: whole-array arithmetic straight from the table in `dsp::activity`, in float64.
Run: python3 activity.py (NumPy 2)
"""

import json
import pathlib

import numpy as np

CELL_US = 100_000


def normalise(power, valid, blocks):
    out = np.zeros(power.shape)
    edges = [*blocks, power.shape[1]]
    for start, end in zip(edges, edges[1:]):
        block = slice(start, end)
        mean = power[:, block][:, valid[block]].mean(axis=1, keepdims=True)
        out[:, block] = np.sqrt(power[:, block] / mean)
    return out * valid


def coherent_share(y, cell, filled, counts, means, valid):
    if counts.mean() < 3:
        return 1.0
    inside = sum(((y[cell == i][:, valid] - m[valid]) ** 2).sum() for i, m in zip(filled, means))
    noise = inside / (counts - 1).sum() * (1 / counts).mean()
    between = means[:, valid].var(axis=0, ddof=1).sum()
    return float(np.clip(1 - noise / between, 0, 1))


def features(times_us, power, valid, blocks, start_us, end_us):
    y = normalise(power, valid, blocks)
    cell = times_us // CELL_US
    first, last = start_us // CELL_US, end_us // CELL_US
    filled = np.array([i for i in range(first, last) if (cell == i).any()])
    counts = np.array([(cell == i).sum() for i in filled])
    means = np.array([y[cell == i].mean(axis=0) for i in filled])

    coherent = coherent_share(y, cell, filled, counts, means, valid)
    block_of = np.searchsorted(blocks, np.arange(power.shape[1]), side="right")
    live = valid & (means.mean(axis=0) >= 0.2)
    block_of = block_of[live]
    z = means[:, live] / means[:, live].mean(axis=0) - 1

    def lagged(lag):
        at = [(i, int(np.flatnonzero(filled == c + lag)[0])) for i, c in enumerate(filled) if (filled == c + lag).any()]
        return np.array([z[j] - z[i] for i, j in at])

    def shared(x, lag):
        same = block_of[lag:] == block_of[:-lag]
        return (x[:, lag:] * x[:, :-lag])[:, same].mean()

    d = lagged(1)
    variance = (z**2).mean()
    root = np.sqrt(coherent)
    return [
        *(root * np.quantile(np.sqrt((z**2).mean(axis=0)), [0.1, 0.5, 0.9])),
        *(root * np.quantile(np.sqrt((d**2).mean(axis=0)), [0.1, 0.5, 0.9])),
        root * np.sqrt(max(0, shared(z, 2))),
        root * np.sqrt(max(0, shared(d, 2))),
        *(coherent * (1 - (lagged(lag) ** 2).mean() / (2 * variance)) for lag in (1, 2)),
        *(coherent * shared(z, lag) / variance for lag in (1, 4)),
        coherent * shared(d, 1) / (d**2).mean(),
    ]


def course(times_us, power, valid, blocks, start_us, end_us):
    """The course and the profile of `dsp::activity::course`: singular values and Fourier sums of the deviations themselves."""
    y = normalise(power, valid, blocks)
    cell = times_us // CELL_US
    filled = np.array([i for i in range(start_us // CELL_US, end_us // CELL_US) if (cell == i).any()])
    means = np.array([y[cell == i].mean(axis=0) for i in filled])
    level = means.mean(axis=0)
    live = valid & (level >= 0.2)
    z = means[:, live] - level[live]
    cells, width = z.shape

    values = np.linalg.svd(z, compute_uv=False) ** 2 / width
    at = filled - filled[0]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (at + 1) / (at[-1] + 2))

    def power_at(hz):
        return (np.abs((hann * np.exp(-2j * np.pi * hz * at / 10)) @ z) ** 2).sum()

    bands = np.array([sum(power_at(step / 2) for step in steps) for steps in ((1, 2), (3, 4), (5, 6), (7, 8, 9, 10))])
    quarters = np.zeros(4)
    for early in range(cells - 1):
        if at[early + 1] - at[early] == 1:
            quarters[min(3, 4 * at[early] // at[-1])] += ((z[early + 1] - z[early]) ** 2).mean()
    quarter = max(cells // 4, 1)
    step = np.sqrt(((z[-quarter:].mean(axis=0) - z[:quarter].mean(axis=0)) ** 2).mean())
    counts = np.array([(cell == i).sum() for i in filled])
    coherent = coherent_share(y, cell, filled, counts, means, valid)
    lags = []
    for lag in range(3, 11):
        early, late = np.nonzero(at[None, :] - at[:, None] == lag)
        lags.append(coherent * (1 - ((z[late] - z[early]) ** 2).mean() / (2 * (z**2).mean())))
    profile = []
    for start, end in zip(blocks, [*blocks[1:], power.shape[1]]):
        of_block = level[start:end][valid[start:end]]
        rank = np.arange(len(of_block)) * 10 // len(of_block)
        profile += [np.log(of_block[rank == band].mean() + 0.05) for band in range(10)]
    values_of_course = [
        *(values[:3] / values.sum()),
        values.sum() ** 2 / (values**2).sum() / cells,
        *(bands / bands.sum()),
        *(np.sort(quarters)[1:] / quarters.sum()),
        step,
        *lags,
    ]
    return values_of_course, profile


def nine_digits(values):
    return [float(f"{value:.9g}") for value in values]


def case(rng, name, fields, rate_hz, motion, noise, lost=0.0, steps=False):
    """One link: `fields` training fields of 64 in FFT order, `motion` and `noise` relative to the mean amplitude."""
    index = np.r_[0:32, -32:0]
    subcarriers = np.tile(index, fields)
    valid = np.tile((index != 0) & (np.abs(index) <= 26), fields)
    blocks = [64 * f for f in range(fields)]
    frames = int(4 * rate_hz)
    times = (np.arange(frames) * 1e6 / rate_hz + rng.uniform(0, 2e4 / rate_hz, frames)).astype(np.int64)
    keep = rng.uniform(size=frames) >= lost
    slow = np.cumsum(rng.normal(size=(frames, 4)), axis=0) / np.sqrt(frames)
    shapes = np.cos(np.outer(np.arange(4) + 1, subcarriers) * 0.07 + rng.uniform(0, 6, (4, 1)))
    amplitude = 20 * (1 + 0.4 * np.sin(subcarriers * 0.15)) * (1 + motion * slow @ shapes + noise * rng.normal(size=(frames, 64 * fields)))
    if steps:
        amplitude[:, 64:] *= np.where(rng.uniform(size=(frames, 1)) < 0.5, 2.0, 1.0)
    power = (np.abs(amplitude) ** 2).astype(np.float32)[keep].astype(np.float64)
    times = times[keep]
    window = (500_000, 3_500_000)
    rounded = np.round(power, 2)
    of_course, profile = course(times, rounded, valid, blocks, *window)
    return {
        "name": name,
        "subcarriers": index.tolist() * fields,
        "valid": valid.tolist(),
        "times_us": times.tolist(),
        # Rounded so that the file stays small; the features are computed from the rounded numbers.
        "power": rounded.tolist(),
        "start_us": window[0],
        "end_us": window[1],
        "features": nine_digits(features(times, rounded, valid, blocks, *window)),
        "course": nine_digits(of_course),
        "profile": nine_digits(profile),
    }


rng = np.random.default_rng(20260101)
cases = [
    case(rng, "one field at 10 Hz, moving", 1, 10, 0.4, 0.02),
    case(rng, "two fields at 10 Hz, gain steps between them, still", 2, 10, 0.0, 0.03, steps=True),
    case(rng, "one field at 40 Hz, moving, a fifth of the frames lost", 1, 40, 0.3, 0.05, lost=0.2),
    case(rng, "one field at 40 Hz, noise alone", 1, 40, 0.0, 0.05),
]
path = pathlib.Path(__file__).with_name("activity.json")
path.write_text(json.dumps(cases, separators=(",", ":")).replace('},{"name"', '},\n{"name"') + "\n")
