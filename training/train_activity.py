"""Trains the activity model, measures it, and writes its package and the report on its accuracy.

    python training/train_activity.py --recordings ../shared/data

It trains on the recordings whose licence allows it (IALR, MIT) and only measures on the others. The same recordings, code
and package versions give the same bytes.
"""

import argparse
import hashlib
import json
import pathlib
import platform

import numpy as np
import onnxruntime
import sklearn

import activity_data as data
import activity_model
import activity_report
import measure

NAME = "activity-lr"
VERSION = "1.0.0"
SCHEMA = "activity-features/1"
WINDOW_S = 2.0
CLASSES = ["inactive", "moving"]
SEED = 20260101

LIMITS = [
    "'inactive' means that nobody moves: the rooms it was trained on were empty, and a still person cannot be told from an "
    "empty room by it.",
    "Trained on one person, one ESP32-S3 link and two rooms at 10 amplitude frames a second.",
    "Small movements (raising one arm while standing) are often taken for inactive; see the measurement on exercises.",
    "A fan, a pet or a swinging door moves too; it says nothing about who or what moves.",
    "Below 10 frames a second, and in windows of another length than 2 s, it was not measured; the signal service "
    "gives features from 8 frames a second on.",
    "Frames in shuffled order are recognised as such only from three frames per 100 ms on.",
]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=pathlib.Path, required=True, help="directory of the public recordings")
    parser.add_argument("--workspace", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent)
    return parser.parse_args()


def leave_one_session_out(names, windows):
    """Held-out probabilities of the model, and held-out decisions of the baseline."""
    probability = np.zeros(len(windows.moving))
    decision = np.zeros(len(windows.moving), dtype=bool)
    for session in np.unique(windows.group):
        held_out = windows.group == session
        seen = windows.where(~held_out)
        probability[held_out] = activity_model.fit(names, seen).moving(windows.features[held_out])
        baseline = measure.Threshold.fit(names, seen)
        decision[held_out] = baseline.moving(windows.features[held_out])
    return probability, decision


def self_test(names, model):
    """Inputs made up from round numbers, and the probabilities by NumPy: what the service checks when it loads."""
    rows = [
        np.zeros(len(names)),
        [0.01, 0.015, 0.02, 0.012, 0.02, 0.03, 0.005, 0.006, 0.02, 0.0, 0.1, 0.05, 0.08],
        [0.03, 0.05, 0.1, 0.03, 0.05, 0.1, 0.04, 0.035, 0.2, 0.1, 0.5, 0.4, 0.45],
        [0.06, 0.1, 0.2, 0.05, 0.09, 0.17, 0.12, 0.1, 0.5, 0.3, 0.9, 0.7, 0.85],
        [0.5, 0.8, 1.5, 0.4, 0.7, 1.2, 0.9, 0.8, 0.95, 0.9, 0.99, 0.95, 0.98],
    ]
    features = np.array(rows, dtype=np.float64)
    moving = model.moving(features)
    return {
        "tolerance": 1e-4,
        "inputs": features.tolist(),
        "outputs": [[round(float(1 - p), 7), round(float(p), 7)] for p in moving],
    }


def check(onnx_bytes, test):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
    (out,) = session.run(None, {"features": np.array(test["inputs"], dtype=np.float32)})
    worst = float(np.abs(out - np.array(test["outputs"])).max())
    if worst > test["tolerance"]:
        raise SystemExit(f"the ONNX graph differs from NumPy by {worst}")


def main():
    args = arguments()
    root = args.recordings.resolve()
    labels = {name: data.recordings(root, name) for name in (data.IALR, data.ESPECTRE, data.THU4N)}
    paths = [path for files in labels.values() for path in files]
    names, windows = data.extract(root, paths, args.workspace)

    trained_on = data.ialr(root, labels[data.IALR], windows)
    others = {
        data.ESPECTRE: data.espectre(labels[data.ESPECTRE], windows),
        data.THU4N: data.thu4n(labels[data.THU4N], windows),
    }

    probability, decision = leave_one_session_out(names, trained_on)
    metrics = {"leave_one_session_out": measure.held_out(trained_on, probability, decision)}
    model = activity_model.fit(names, trained_on)
    baseline = measure.Threshold.fit(names, trained_on)
    for name, unseen in others.items():
        metrics[name] = measure.held_out(unseen, model.moving(unseen.features), baseline.moving(unseen.features))

    test = self_test(names, model)
    onnx_bytes = activity_model.graph(model, NAME, VERSION).SerializeToString(deterministic=True)
    check(onnx_bytes, test)

    manifest = {
        "format": "fresnel-model/1",
        "name": NAME,
        "version": VERSION,
        "task": "activity",
        "licence": "Apache-2.0",
        "weights": {"file": "model.onnx", "sha256": hashlib.sha256(onnx_bytes).hexdigest(), "bytes": len(onnx_bytes)},
        "input": {"name": "features", "schema": SCHEMA, "features": names, "window_s": WINDOW_S},
        "output": {"name": "probabilities", "classes": CLASSES},
        "self_test": test,
        "provenance": {
            "recordings": [
                {"name": path, "sha256": data.digest(root, path), "windows": len(windows[path])}
                for path in labels[data.IALR]
            ],
            "origin": "github.com/IALR/csi-motion-detection at 6d11b162501effbdde290fe6fb5ff09a13cfedeb",
            "licence": "MIT",
            "windows": len(trained_on.moving),
            "measured_only": [data.ESPECTRE, data.THU4N],
            "command": "python training/train_activity.py --recordings ../shared/data",
            "seed": SEED,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scikit_learn": sklearn.__version__,
        },
        "model": {
            "kind": "logistic regression",
            "weights": {n: round(float(w), 4) for n, w in zip(names, model.weights) if w},
            "bias": round(model.bias, 4),
            "baseline": f"moving where {measure.BASELINE_FEATURE} > {baseline.threshold:.4f}",
        },
        "metrics": metrics,
        "limits": LIMITS,
    }
    package = args.workspace / "models" / "activity"
    package.mkdir(parents=True, exist_ok=True)
    (package / "model.onnx").write_bytes(onnx_bytes)
    (package / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    report = activity_report.text(manifest)
    (args.workspace / "docs" / "accuracy-activity.md").write_text(report)
    print(report)


if __name__ == "__main__":
    main()
