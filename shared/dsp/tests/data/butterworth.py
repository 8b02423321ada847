"""Writes butterworth.json: filters and what they make of noise, by SciPy. Run: python3 butterworth.py (NumPy, SciPy)."""

import json
from pathlib import Path

import numpy as np
from scipy import signal

rng = np.random.default_rng(5)
filters = [
    (4, "bandpass", [0.1, 0.6], 20),
    (4, "bandpass", [0.1, 0.6], 100),
    (4, "bandpass", [2, 80], 1000),
    (3, "bandpass", [2, 30], 100),
    (3, "bandpass", [1, 45], 100),
    (4, "highpass", [2], 100),
    (5, "highpass", [0.5], 30),
    (2, "lowpass", [8], 100),
    (7, "lowpass", [3], 25),
]
cases = []
for order, kind, edges, rate in filters:
    values = np.round(3 + rng.normal(size=300).cumsum() / 4 + rng.normal(size=300), 3)
    sos = signal.butter(order, edges if len(edges) > 1 else edges[0], btype=kind, output="sos", fs=rate)
    frequencies = np.linspace(0.02, 0.45, 12) * rate
    cases.append(
        {
            "order": order,
            "kind": kind,
            "edges_hz": edges,
            "rate_hz": rate,
            "values": values.tolist(),
            "frequencies_hz": frequencies.tolist(),
            "power_gain": (np.abs(signal.sosfreqz(sos, frequencies, fs=rate)[1]) ** 2).tolist(),
            "from_rest": np.round(signal.sosfilt(sos, values), 7).tolist(),
            "settled": np.round(signal.sosfilt(sos, values, zi=signal.sosfilt_zi(sos) * values[0])[0], 7).tolist(),
        }
    )
Path(__file__).with_name("butterworth.json").write_text(json.dumps(cases) + "\n")
