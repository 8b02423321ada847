"""Writes phase.json: frames of three antennas of an Intel 5300, and their phases by NumPy. Run: python3 phase.py (NumPy).

Independent of the Rust code: np.unwrap over a phase that the true line was taken off, np.linalg.lstsq for the lines.
"""

import json
from pathlib import Path

import numpy as np

rng = np.random.default_rng(4)
index = np.array([*range(-28, -1, 2), -1, *range(1, 28, 2), 28])
antennas = 3


def wrap(angle):
    return angle - 2 * np.pi * np.round(angle / (2 * np.pi))


def unwrapped(samples, slope):
    """Phase over the index, given the slope within what np.unwrap bears."""
    return np.unwrap(np.angle(samples * np.exp(-1j * slope * index))) + slope * index


cases = []
for slope in (0.2, -1.3, 1.72):
    delays = rng.uniform(-0.05, 0.05, (antennas, 3, 1))
    weights = np.array([1.0, 0.3, 0.15])[None, :, None] * np.exp(1j * rng.uniform(0, 2 * np.pi, (antennas, 3, 1)))
    channel = 25 * (weights * np.exp(1j * delays * index)).sum(axis=1)
    samples = np.round(channel * np.exp(1j * (rng.uniform(-3, 3) + slope * index)), 4)
    phase = np.array([unwrapped(row, slope) for row in samples])
    line = np.stack([index, np.ones(30)], axis=1)
    each = np.array([row - line @ np.linalg.lstsq(line, row, rcond=None)[0] for row in phase])
    # One slope, three offsets.
    design = np.zeros((antennas * 30, 1 + antennas))
    design[:, 0] = np.tile(index, antennas)
    for antenna in range(antennas):
        design[antenna * 30 : (antenna + 1) * 30, 1 + antenna] = 1
    fit = np.linalg.lstsq(design, phase.ravel(), rcond=None)[0]
    keep = wrap(fit[1:] - fit[1])
    shared = phase - fit[0] * index - fit[1:, None] + keep[:, None]
    rms = np.sqrt((np.abs(samples) ** 2).mean(axis=1))
    product = samples[0] * samples[1].conj() / (rms[0] * rms[1])
    ratio = samples[0] / samples[1]
    numbers = lambda array: np.round(np.asarray(array), 7).ravel().tolist()
    cases.append(
        {
            "re": samples.real.ravel().tolist(),
            "im": samples.imag.ravel().tolist(),
            "each": numbers(each),
            "shared": numbers(shared),
            "ratio_re": numbers(ratio.real),
            "ratio_im": numbers(ratio.imag),
            "product_re": numbers(product.real),
            "product_im": numbers(product.imag),
        }
    )
vectors = {"subcarriers": index.tolist(), "antennas": antennas, "cases": cases}
Path(__file__).with_name("phase.json").write_text(json.dumps(vectors) + "\n")
