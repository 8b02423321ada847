"""Windows of features and their labels, as the Rust code extracts them from the public recordings.

The features come from `cargo run -p dsp --example activity_features`, so that the model is trained on the very numbers it
is given when it runs. Labels come from the `labels.csv` beside each set of recordings.
"""

import csv
import dataclasses
import gzip
import hashlib
import pathlib
import subprocess

import numpy as np

IALR = "ialr-csi-motion-detection"
ESPECTRE = "francescopace-espectre"
THU4N = "thu4n-esp32-wifi-sensing"


@dataclasses.dataclass
class Windows:
    """Feature windows of one set of recordings: one row each."""

    features: np.ndarray
    moving: np.ndarray
    # What is left out together: a session, or a recording.
    group: np.ndarray
    # Finer name of what was done, for tables.
    detail: np.ndarray

    def where(self, mask):
        return Windows(self.features[mask], self.moving[mask], self.group[mask], self.detail[mask])


@dataclasses.dataclass
class Recording:
    path: str
    sha256: str


def recordings(root, name):
    """Files of one set with their labels, by path below `root`."""
    with open(root / name / "labels.csv", newline="") as file:
        return {f"{name}/{row['file']}": row for row in csv.DictReader(file)}


def digest(root, path):
    """SHA-256 of a recording, of what it unpacks to where it is compressed."""
    opener = gzip.open if path.endswith(".gz") else open
    with opener(root / path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def extract(root, paths, workspace):
    """Runs the Rust extractor; gives the feature names and, by path, (start_us, end_us, features)."""
    command = ["cargo", "run", "--quiet", "-p", "dsp", "--example", "activity_features", "--"]
    files = [str(root / path) for path in paths]
    text = subprocess.run(command + files, cwd=workspace, check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = csv.reader(text.splitlines())
    names = next(rows)[4:]
    windows = {path: [] for path in paths}
    by_file = dict(zip(files, paths))
    for row in rows:
        windows[by_file[row[0]]].append((int(row[2]), int(row[3]), [float(v) for v in row[4:]]))
    return names, windows


def settling(root, path):
    """Reception times of the frames marked as settling: the seconds right after somebody entered or left."""
    with gzip.open(root / path, "rt", newline="") as file:
        return np.array([int(row["host_unix_us"]) for row in csv.DictReader(file) if row["settling"] == "1"])


def stack(rows):
    features, moving, group, detail = zip(*rows)
    return Windows(np.array(features), np.array(moving), np.array(group), np.array(detail))


def ialr(root, labels, windows):
    """Empty room or one person moving; groups are sessions. Windows that touch a settling frame are left out."""
    rows = []
    for path, label in labels.items():
        unsettled = settling(root, path)
        for start, end, features in windows[path]:
            if not ((unsettled >= start) & (unsettled < end)).any():
                rows.append((features, label["label"] == "moving", label["session"], f"room {label['room']}"))
    return stack(rows)


def espectre(labels, windows):
    """Quiet or motion; groups are recordings. Of the long one the second half is motion; its turning point is left out."""
    rows = []
    for path, label in labels.items():
        begin = min((start for start, _, _ in windows[path]), default=0)
        for start, end, features in windows[path]:
            moving = label["label"] == "motion"
            if label["label"] == "quiet_then_motion":
                if start - begin < 30_000_000 < end - begin:
                    continue
                moving = start - begin >= 30_000_000
            detail = "motion" if moving else label["label"].removesuffix("_then_motion")
            rows.append((features, moving, path.rsplit("/", 1)[-1], detail))
    return stack(rows)


def thu4n(labels, windows):
    """No activity or one of six exercises; groups are recordings. Somebody is in the room in all of them."""
    rows = []
    for path, label in labels.items():
        for _, _, features in windows[path]:
            rows.append((features, label["activity"] != "no_activity", path.rsplit("/", 1)[-1], label["activity"]))
    return stack(rows)
