"""Writes breathing.json: streams on a regular 10 Hz clock, and the period that they share. Run: python3 breathing.py (NumPy,
SciPy).

Independent of the Rust code: whole-array arithmetic from the text of `dsp::breathing::RateFinder`, in float64, with the
band from scipy.signal.butter.
"""

import json
from pathlib import Path

import numpy as np
from scipy import signal

RATE, LOW, HIGH = 10.0, 0.045, 0.7


def find(streams):
    n = len(streams)
    x = np.arange(n) - (n - 1) / 2
    y = streams - streams.mean(axis=0)
    y = y - np.outer(x, (x @ y) / (x @ x))
    length = 2 ** int(np.ceil(np.log2(2 * n)))
    energy = (y**2).sum(axis=0)
    phi = np.clip((y[1:] * y[:-1]).sum(axis=0) / energy, 0, 0.98)
    weight = phi / (1 - phi)
    f = np.fft.rfftfreq(length, 1 / RATE)
    sos = signal.butter(4, [LOW, HIGH], btype="bandpass", output="sos", fs=RATE)
    gain = np.abs(signal.sosfreqz(sos, f, fs=RATE)[1]) ** 2
    spectrum = np.abs(np.fft.rfft(y, length, axis=0)) ** 2
    within = 2 * (spectrum * gain[:, None]).sum(axis=0) / length
    q = (spectrum * (weight / within)).sum(axis=1) / weight.sum()
    biased = np.fft.irfft(q * gain)[:n]
    unbiased = biased * n / (n - np.arange(n))
    lags = range(17, int(min(200, n / 3)) + 1)
    peaks = [i for i in lags if biased[i] > max(0, biased[i - 1]) and biased[i] >= biased[i + 1]]
    highest = max(biased[i] for i in peaks)
    first = next(i for i in peaks if biased[i] >= 0.8 * highest)

    def top(i):
        a, b, c = unbiased[i - 1 : i + 2]
        return i + 0.5 * (a - c) / (a - 2 * b + c)

    period, m = top(first), 1
    while True:
        k, around = round((m + 1) * period), max(2, int(0.2 * period))
        if k + around >= 0.8 * n:
            break
        k = k - around + int(np.argmax(unbiased[k - around : k + around + 1]))
        if not (unbiased[k] > unbiased[k - 1] and unbiased[k] >= unbiased[k + 1] and unbiased[k] >= 0.3 * unbiased[first]):
            break
        m += 1
        period = top(k) / m
    f0, half = RATE / period, 1.2 * RATE / n
    near = lambda times: np.abs(f - times * f0) < half
    band, line = (f >= LOW) & (f <= 0.75), near(1) | near(2)
    above = (f > 0.75) & (f < 2.5)
    beyond = q[above & ~line & ~near(3)].mean() - q[f > 3].mean()
    return {
        "period_s": period / RATE,
        "peak": unbiased[first],
        "snr_db": 10 * np.log10(q[band & line].sum() / q[band & ~line].sum()),
        "excess": beyond * above.sum() / q[band].sum(),
        "variance": (within * 1 / n).mean(),
    }


rng = np.random.default_rng(7)
cases = []
for bpm, seconds, noise, count in ((14.6, 30, 0.5, 6), (4.0, 60, 0.3, 4), (28.7, 45, 0.8, 9), (8.2, 41.3, 1.0, 5)):
    n = int(seconds * 10)
    t = np.arange(n) / 10
    phase = 2 * np.pi * bpm / 60 * t
    breath = np.sin(phase) + 0.3 * np.sin(2 * phase + 0.5)
    strength = rng.normal(size=count)
    streams = np.outer(breath, strength) + noise * rng.normal(size=(n, count)) + np.outer(t, 0.05 * rng.normal(size=count)) + 3
    streams = np.round(streams, 4)
    cases.append({"ticks": n, "streams": streams.T.ravel().tolist(), **{k: float(v) for k, v in find(streams).items()}})
Path(__file__).with_name("breathing.json").write_text(json.dumps(cases) + "\n")
