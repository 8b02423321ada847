"""Writes movement.json: rows of six subcarriers, and what selection, components, Doppler spectrum, autocorrelation of power,
change point and drift are by NumPy and SciPy. Run: python3 movement.py (NumPy, SciPy).

Independent of the Rust code: whole-array arithmetic from the formulas in the doc comments, in float64.
"""

import json
from pathlib import Path

import numpy as np
from scipy import signal

rng = np.random.default_rng(8)
RATE, COUNT, WIDTH = 200.0, 400, 6
t = np.arange(COUNT) / RATE
angle = 2 * np.pi * (9 * t + 1.2 * np.sin(2 * np.pi * 0.7 * t))
strength = np.array([0.5, 0.3, 0.2, 0.1, 0.05, 0.0])
rows = 1 + strength * np.cos(angle[:, None] + np.arange(WIDTH) / 2) + 0.08 * rng.normal(size=(COUNT, WIDTH))
rows = np.round(rows, 4)
deviation = rows - rows.mean(axis=0)

# Weights: sums over all rows and pairs.
phi = np.clip((deviation[1:] * deviation[:-1]).mean(axis=0) / (deviation**2).mean(axis=0), 0, 0.98)
weights = phi / (1 - phi)
weights /= weights.sum()

# Components of an exponentially forgetting covariance, by its definition as a weighted sum over the past.
frames = 150.0
follow = np.maximum(1 / frames, 1 / np.arange(1, COUNT + 1))
share = np.array([follow[i] * np.prod(1 - follow[i + 1 :]) for i in range(COUNT)])
mean = share @ rows
covariance = (rows - mean).T @ ((rows - mean) * share[:, None])
values, vectors = np.linalg.eigh(covariance)
values, vectors = values[::-1], vectors[:, ::-1]
vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(WIDTH)])

# The last window of 0.5 s, padded to 128.
_, _, spectrum = signal.spectrogram(
    rows[-100:].T, RATE, window="hann", nperseg=100, noverlap=0, nfft=128, detrend="constant", scaling="spectrum"
)

# Weighted unbiased autocorrelation of power.
ticks = COUNT
energy = (deviation**2).sum(axis=0)
lagged = np.array([[(deviation[lag:, k] * deviation[: ticks - lag, k]).sum() for lag in range(60)] for k in range(WIDTH)])
of_energy = np.clip((deviation[1:] * deviation[:-1]).sum(axis=0) / energy, 0, 0.98)
weight = of_energy / (1 - of_energy)
autocorrelation = (weight / energy) @ lagged / weight.sum() * ticks / (ticks - np.arange(60))

# A level that jumps up by 1.5 at 120 and back at 200.
level = np.round(rng.normal(size=300) + 1.5 * ((np.arange(300) >= 120) & (np.arange(300) < 200)), 4)
up = down = 0.0
since_up = since_down = 0
alarms = []
for index, z in enumerate(level):
    up, down = max(0.0, up + z - 0.5), max(0.0, down - z - 0.5)
    since_up, since_down = (since_up + 1 if up > 0 else 0), (since_down + 1 if down > 0 else 0)
    if up > 4 or down > 4:
        alarms.append([index, 1 if up > 4 else -1, since_up if up > 4 else since_down])
        up = down = 0.0
        since_up = since_down = 0

drift, spread = level[0], 0.0
for count, x in enumerate(level[1:], start=2):
    a = min(1.0, max(0.5 / 20.0, 1 / count))
    reach = 3 * max(spread, 0.01)
    distance = min(1.2533 * abs(x - drift), reach + 0.01)
    drift += a * np.clip(x - drift, -reach, reach)
    spread += a * (distance - spread)

vectors = {
    "rate_hz": RATE,
    "width": WIDTH,
    "rows": rows.ravel().tolist(),
    "weights": weights.tolist(),
    "frames": frames,
    "variances": values.tolist(),
    "components": vectors.T.ravel().tolist(),
    "spectrum": spectrum[:, :, 0].mean(axis=0).tolist(),
    "autocorrelation": autocorrelation.tolist(),
    "level": level.tolist(),
    "alarms": [x for alarm in alarms for x in alarm],
    "drift": float(drift),
    "spread": float(spread),
}
Path(__file__).with_name("movement.json").write_text(json.dumps(vectors) + "\n")
print(alarms)
