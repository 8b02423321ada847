"""The plain baseline for activities, on the recordings, cases and folds of `probe.rs`.

Run: `python3 plain.py FOLDER [PREFIX]` (NumPy 2, scikit-learn 1.9), where PREFIX limits the probes by the beginning of their key.

Reads what `cargo run --locked -p accuracy --example dump -- FOLDER` wrote, and nothing that the service computes: only which
windows of thu4n are samples is taken from there. Features of a case (a recording; of thu4n a window of 2 s), all from amplitude by
the frame's RMS for each antenna:

- of each valid subcarrier its mean, standard deviation, and mean absolute change from frame to frame; or ("over") the 10th, 50th and
  90th percentiles over subcarriers of the last two, which do not tie a case to its place;
- the spectrum of the first three principal components over 16 bands from 0 to half the frame rate, as shares, log;
- the energy profile: mean square change in 12 equal parts of the case, as shares, and its sum, log.

LR is scikit-learn's logistic regression on standardised features (C 0.1, balanced classes), ET 300 extra trees (balanced classes),
three seeds, their probabilities averaged. None of these constants was searched for. Figures go to activities.json beside this file.
"""

import csv
import json
import pathlib
import sys

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def recordings(folder):
    """Every recording of the list, with its frames and windows."""
    with open(folder / "recordings.csv", newline="") as file:
        for row in csv.DictReader(file):
            samples = int(row["samples"])
            frames = np.fromfile(folder / f"{row['name']}.f32", dtype="<f4").reshape(-1, samples + 1)
            valid = np.array([c == "1" for c in row["valid"]])
            antennas = samples // len(valid)
            row["times"] = frames[:, 0].astype(float)
            power = frames[:, 1:].reshape(-1, antennas, len(valid))[:, :, valid].astype(float)
            gain = power.mean(axis=2, keepdims=True)
            row["rows"] = np.sqrt(power / np.where(gain > 0, gain, 1.0)).reshape(len(frames), -1)
            row["windows"] = np.loadtxt(folder / f"{row['name']}.windows.csv", delimiter=",", ndmin=2)
            yield row


def features(rows, over):
    """Those of one case, from its normalised amplitudes, frames by subcarriers."""
    change = np.diff(rows, axis=0)
    statistics = [rows.mean(axis=0), rows.std(axis=0), np.abs(change).mean(axis=0)]
    if over:
        statistics = [np.log(np.percentile(of, [10, 50, 90]) + 1e-6) for of in statistics[1:]]
    centred = rows - rows.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    spectra = []
    for axis in axes[:3]:
        power = np.abs(np.fft.rfft((centred @ axis) * np.hanning(len(rows)))) ** 2
        bands = np.array([band.sum() for band in np.array_split(power, 16)])
        spectra.append(np.log(bands / bands.sum() + 1e-6))
    squares = (change**2).mean(axis=1)
    squares = np.repeat(squares, 12)  # so that a case of a few frames has twelve parts, too
    energy = np.array([part.mean() for part in np.array_split(squares, 12)])
    profile = [energy / energy.sum(), [np.log(energy.sum() + 1e-9)]]
    return np.concatenate(statistics + spectra + profile)


def classify(x, y, pairs):
    """What LR and ET say of each case, of each pair (which are tried, which are trained on)."""
    lr, et = np.empty_like(y), np.empty_like(y)
    for own, others in pairs:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000))
        lr[own] = model.fit(x[others], y[others]).predict(x[own])
        total = 0.0
        for seed in range(3):
            trees = ExtraTreesClassifier(300, class_weight="balanced", random_state=seed)
            total = total + trees.fit(x[others], y[others]).predict_proba(x[own])
        et[own] = trees.classes_[np.argmax(total, axis=1)]
    return {"LR": lr, "ET": et}


def main(folder, only=""):
    takes = list(recordings(pathlib.Path(folder)))
    beside = pathlib.Path(__file__).with_name("activities.json")
    figures = json.loads(beside.read_text()) if only else {}

    def probe(key, cases, y, folds, unseen=None):
        """`folds`: what is held out together. With `unseen` only these cases are tried, and only the others trained on, of another
        fold if folds are given."""
        if not key.startswith(only):
            return
        y, folds = np.array(y), np.array(folds)
        tried = np.ones(len(y), bool) if unseen is None else np.array(unseen)
        trained = tried if unseen is None else ~tried
        pairs = [(tried & (folds == fold), trained & (folds != fold)) for fold in np.unique(folds[tried])]
        for over in (False, True):
            x = np.array([features(rows, over) for rows in cases])
            for model, said in classify(x, y, pairs).items():
                model += " over" if over else " each"
                accuracy = float((said == y)[tried].mean())
                balanced = float(balanced_accuracy_score(y[tried], said[tried]))
                figures.setdefault(key, {})[model] = {"accuracy": round(accuracy, 4), "balanced": round(balanced, 4)}
                print(f"{key:26} {tried.sum():5} {model} accuracy {accuracy:.3f} balanced {balanced:.3f}", flush=True)

    still = {"no_activity", "lying", "sitting", "no_movement"}
    falls = lambda label: "fall" if label.startswith("fall") else "other"
    moving = lambda label: "still" if label in still else "moving"
    x, y, folds = [], [], []
    for take in (take for take in takes if take["set"] == "thu4n"):
        for begin, end, sample in take["windows"][:, :3]:
            inside = (take["times"] >= begin) & (take["times"] < end)
            if sample and inside.sum() >= 8:
                x.append(take["rows"][inside])
                y.append(take["label"])
                folds.append(take["session"])
    probe("probe.thu4n.active", x, [moving(label) for label in y], folds)
    probe("probe.thu4n.exercise", x, y, folds)
    for name, prefix in (("csi-har", "probe.csi_har"), ("fition", "probe.fition")):
        of_set = [take for take in takes if take["set"] == name]
        x = [take["rows"] for take in of_set]
        y = [take["label"] for take in of_set]
        sessions = [take["session"] for take in of_set]
        if name == "csi-har":
            probe(f"{prefix}.still", x, [moving(label) for label in y], sessions)
            probe(f"{prefix}.subject", x, y, sessions)
            probe(f"{prefix}.room", x, y, [take["room"] for take in of_set])
        else:
            probe(f"{prefix}.user", x, y, sessions)
        probe(f"{prefix}.fall", x, [falls(label) for label in y], sessions)
    for name in ("csi-har-unseen", "csi-har-unseen-more"):
        of_set = [take for take in takes if take["set"] in ("csi-har", name)]
        unseen = [take["set"] == name for take in of_set]
        if not any(unseen):
            continue
        prefix = "probe." + name.replace("-", "_")
        x = [take["rows"] for take in of_set]
        y = [take["label"] for take in of_set]
        if name == "csi-har-unseen":  # the other has nobody still
            probe(f"{prefix}.still", x, [moving(label) for label in y], unseen, unseen)
        probe(f"{prefix}.subject", x, y, unseen, unseen)
        probe(f"{prefix}.room", x, y, [take["room"] for take in of_set], unseen)
        probe(f"{prefix}.fall", x, [falls(label) for label in y], unseen, unseen)
    beside.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
