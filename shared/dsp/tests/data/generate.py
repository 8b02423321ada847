"""Writes vectors.json: inputs and the values that NumPy and SciPy give for them. Run: python3 generate.py (NumPy, SciPy)."""

import json
from pathlib import Path

import numpy as np

rng = np.random.default_rng(20240607)


def rounded(array, digits=6):
    return np.round(np.asarray(array, dtype=float), digits).tolist()


def normalise(samples):
    power = np.abs(samples) ** 2
    mean = power.mean(axis=1, keepdims=True)
    return power / mean, 0.5 * np.log(mean[:, 0])


def first_lag(rows, ok):
    deviation = rows - rows.mean(axis=0)
    variance = (deviation**2).mean(axis=0)
    covariance = (deviation[1:][ok] * deviation[:-1][ok]).mean(axis=0)
    beside = (deviation[:, 2:] * deviation[:, :-2]).mean(axis=0)
    neighbour = (beside / np.sqrt(variance[2:] * variance[:-2])).mean()
    return (covariance / variance).mean(), variance.mean(), covariance.mean(), neighbour


def hampel(values, half, k):
    out = values.copy()
    for i in range(len(values)):
        window = values[max(0, i - half) : i + half + 1]
        median = np.median(window)
        deviation = 1.4826 * np.median(np.abs(window - median))
        if abs(values[i] - median) > k * deviation:
            out[i] = median
    return out


frames, width = 60, 6
time = np.sort(np.round(np.arange(frames) * 10_000 + rng.uniform(-800, 800, frames)).astype(int))
time[40:] += 45_000  # a gap: no pair across it
path = 1 + 0.4 * np.cos(2 * np.pi * 1.3 * time[:, None] / 1e6 + np.arange(width))
noise = rng.normal(0, 0.05, (frames, width, 2)).view(np.complex128)[..., 0]
samples = np.round(30 * (path * np.exp(1j * rng.uniform(0, 2 * np.pi, (frames, 1))) + noise))
rows, log_rms = normalise(samples)
interval = np.diff(time)
phi, variance, covariance, neighbour = first_lag(rows, interval <= 2.5 * np.median(interval))
difference = ((rows[1:] - rows[:-1]) ** 2).mean(axis=1)[interval <= 2.5 * np.median(interval)]
spiky = rounded(np.sin(np.arange(40) / 5) + rng.normal(0, 0.02, 40) + (rng.random(40) < 0.1) * 3)

vectors = {
    "times_us": time.tolist(),
    "width": width,
    "re": samples.real.astype(int).ravel().tolist(),
    "im": samples.imag.astype(int).ravel().tolist(),
    "log_rms": rounded(log_rms),
    "first_row": rounded(rows[0]),
    "phi": phi,
    "variance": variance,
    "covariance": covariance,
    "neighbour": neighbour,
    # The middle of an even number of values is the upper one in the period, the mean of both in the evenness.
    "period_us": int(np.sort(interval)[len(interval) // 2]),
    "evenness": float(np.median(difference) / difference.mean()),
    "regular": rounded(np.interp(time[0] + 10_000 * np.arange(30), time[:40], rows[:40, 2])),
    "spiky": spiky,
    "hampel": rounded(hampel(np.array(spiky), 3, 3.0)),
}
Path(__file__).with_name("vectors.json").write_text(json.dumps(vectors) + "\n")
