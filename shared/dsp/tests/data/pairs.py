"""Writes pairs.json: frames of three made-up links of several antennas, and what lies between these by NumPy.

Independent of the Rust code: whole-array arithmetic straight from the text of `dsp::activity::pairs`, in float64; singular values and
Fourier sums of the deviations themselves.
Run: python3 pairs.py (NumPy 2)
"""

import json
import pathlib

import numpy as np

CELL_US = 100_000
BANDS = 10


def course(times_us, frames, pairs, start_us, end_us):
    """`frames`: frame, antenna, subcarrier; complex."""
    rms = np.sqrt((np.abs(frames) ** 2).mean(axis=2))
    count = frames.shape[2]
    rank = np.arange(count) * BANDS // count
    cell = times_us // CELL_US
    filled = np.array([i for i in range(start_us // CELL_US, end_us // CELL_US) if (cell == i).any()])
    q = []
    for a, b in pairs:
        products = frames[:, a] * frames[:, b].conj() / (rms[:, a] * rms[:, b])[:, None]
        parts = np.array([products[:, rank == band].mean(axis=1) for band in range(BANDS)]).T
        q.append(np.array([parts[cell == i].mean(axis=0) for i in filled]))
    q = np.concatenate(q, axis=1)
    mean = q.mean(axis=0)
    z = q - mean
    cells, width = z.shape
    at = filled - filled[0]
    one = np.flatnonzero(np.diff(at) == 1)
    change = (np.abs(z[one + 1] - z[one]) ** 2).mean(axis=1)
    # Real and imaginary parts side by side: the Gram matrix of the real parts of the products.
    real = np.concatenate([z.real, z.imag], axis=1)
    values = np.linalg.svd(real, compute_uv=False) ** 2 / width
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (at + 1) / (at[-1] + 2))

    def power_at(hz):
        return (np.abs((hann * np.exp(-2j * np.pi * hz * at / 10)) @ real) ** 2).sum()

    bands = np.array([sum(power_at(step / 2) for step in steps) for steps in ((1, 2), (3, 4), (5, 6), (7, 8, 9, 10))])
    quarters = np.zeros(4)
    for early, energy in zip(one, change):
        quarters[min(3, 4 * at[early] // at[-1])] += energy
    quarter = max(cells // 4, 1)
    step = np.sqrt((np.abs(z[-quarter:].mean(axis=0) - z[:quarter].mean(axis=0)) ** 2).mean())
    variance = (np.abs(z) ** 2).mean()
    lags = []
    for lag in range(3, 11):
        early, late = np.nonzero(at[None, :] - at[:, None] == lag)
        lags.append(1 - (np.abs(z[late] - z[early]) ** 2).mean() / (2 * variance))
    profile = []
    for pair in range(len(pairs)):
        of_pair = mean[pair * BANDS : (pair + 1) * BANDS]
        profile += [*of_pair.real, *of_pair.imag]
    return [
        np.sqrt(variance),
        np.sqrt(change.mean()),
        *(values[:3] / values.sum()),
        values.sum() ** 2 / (values**2).sum() / cells,
        *(bands / bands.sum()),
        *(np.sort(quarters)[1:] / quarters.sum()),
        step,
        *lags,
    ], profile


def nine_digits(values):
    return [float(f"{value:.9g}") for value in values]


def case(rng, name, antennas, subcarriers, pairs, rate_hz, lost=0.0):
    """A static path and one that turns, another phase for all antennas and a gain for each in every frame, and noise."""
    frames = int(3 * rate_hz)
    times = (np.arange(frames) * 1e6 / rate_hz + rng.uniform(0, 2e4 / rate_hz, frames)).astype(np.int64)
    keep = rng.uniform(size=frames) >= lost
    tone = np.arange(subcarriers) * 0.05
    static = np.exp(1j * (rng.uniform(0, 6, antennas)[:, None] + rng.uniform(-1, 1, antennas)[:, None] * tone))
    turned = np.cumsum(rng.normal(size=frames)) * 0.2
    moving = 0.5 * np.exp(1j * (turned[:, None, None] * (1 + 0.1 * np.arange(antennas)[None, :, None]) + 2 * tone[None, None, :]))
    noise = 0.02 * (rng.normal(size=moving.shape) + 1j * rng.normal(size=moving.shape))
    common = np.exp(1j * rng.uniform(0, 6, (frames, 1, 1)))
    gain = rng.uniform(5, 40, (frames, antennas, 1))
    all_frames = np.round((static[None] + moving + noise) * common * gain, 2)[keep]
    times = times[keep]
    window = (500_000, 2_500_000)
    of_course, profile = course(times, all_frames, pairs, *window)
    flat = all_frames.reshape(len(times), -1)
    return {
        "name": name,
        "antennas": antennas,
        "subcarriers": subcarriers,
        "pairs": pairs,
        "times_us": times.tolist(),
        "re": [nine_digits(row) for row in flat.real],
        "im": [nine_digits(row) for row in flat.imag],
        "start_us": window[0],
        "end_us": window[1],
        "course": nine_digits(of_course),
        "profile": nine_digits(profile),
    }


def main():
    rng = np.random.default_rng(20261129)
    cases = [
        case(rng, "three antennas of 30 subcarriers at 20 Hz", 3, 30, [[0, 1], [1, 2], [0, 2]], 20),
        case(rng, "two antennas of 52 subcarriers at 33 Hz, a fifth lost", 2, 52, [[0, 1]], 33, lost=0.2),
        case(rng, "two antennas of 13 subcarriers at 12 Hz", 2, 13, [[0, 1]], 12),
    ]
    pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(cases) + "\n")


main()
