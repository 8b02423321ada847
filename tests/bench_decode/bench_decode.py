"""Decoding speed of csi, csiread and CSIKit on the same files in the same run, as a table. Run by `make bench-decode`.

Every program reads the whole file and decodes all of it: a pass of csiread or CSIKit is its own `read`, with opening the
file (which is then in memory) and making the objects that a user would hold; a pass of ours decodes bytes already read.
The figure is the fastest of several passes. A program that does not know a format, or fails on the file, says so in its cell.
Nothing is compared but speed and the number of frames; that the values agree is what shared/csi/tests hold.
"""

import argparse
import contextlib
import hashlib
import importlib
import importlib.metadata
import io
import json
import os
import platform
import subprocess
import sys
import time
import tomllib
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MINIMUM_S, PASSES, OURS_PASSES = 1.0, 3, 50


def cases(csiread, reader):
    """Label, recording, how csiread reads it (None: it knows no such format), and the reader of CSIKit."""

    def counted(make, *read):
        def run(path):
            log = make(path)
            log.read(*read)
            return log.count

        return run

    def esp32(path):
        log = csiread.ESP32(path, if_report=False)
        log.read()
        return log.count

    def intel(nrx, ntx):
        return csiread and counted(lambda path: csiread.Intel(path, nrx, ntx, 0, False))

    def atheros(nrx, ntx, endian):
        return csiread and counted(lambda path: csiread.Atheros(path, nrx, ntx, 0, 56, False), endian)

    def nexmon(chip, width):
        return csiread and counted(lambda path: csiread.Nexmon(path, chip, width, False))

    def picoscenes(shape):
        return csiread and counted(lambda path: csiread.Picoscenes(path, {"CSI": shape}, False))

    def kit(name):
        cls = getattr(reader, name, None)
        return cls and (lambda path: len(cls().read_file(path).frames))

    csv, log = kit("CSVBeamformReader"), kit("IWLBeamformReader")
    pcap, pico, feit = kit("NEXBeamformReader"), kit("PicoScenesBeamformReader"), kit("FeitCSIBeamformReader")
    return [
        ("Espressif lines (CSIKit's)", "csikit-esp32-fast-100hz", csiread and esp32, csv),
        ("Espressif lines (csiread's)", "csiread-esp32-example", csiread and esp32, csv),
        ("Intel 5300 3x2", "csiread-intel-0x1-ap", intel(3, 2), log),
        ("Atheros 3x2, 56", "csiread-atheros-1", atheros(3, 2, "little"), kit("ATHBeamformReader")),
        ("Nexmon 43455c0, 20 MHz", "mspeelam-221237-b", nexmon("43455c0", 20), pcap),
        ("PicoScenes 5300", "csiread-picoscenes-iwl5300", picoscenes([30, 3, 2]), pico),
        ("PicoScenes QCA9300", "csiread-picoscenes-qca9300", picoscenes([56, 3, 1]), pico),
        ("PicoScenes AX200", "csikit-picoscenes-ax200", picoscenes([56, 2, 1]), pico),
        ("FeitCSI VHT80", "csikit-feitcsi-vht80", None, feit),
        ("FeitCSI HE80", "csikit-feitcsi-hesu80", None, feit),
    ]


def passes(run, path):
    """Frames, and the seconds of the fastest pass."""
    best, spent, done = float("inf"), 0.0, 0
    while done < PASSES or spent < MINIMUM_S:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start = time.perf_counter()
            frames = run(str(path))
            took = time.perf_counter() - start
        best, spent, done = min(best, took), spent + took, done + 1
        if spent > 20:
            break
    return frames, best


def ours(program, path):
    out = subprocess.run([program, str(path), str(OURS_PASSES)], check=True, capture_output=True, text=True).stdout
    found = json.loads(out)
    return found["frames"], min(found["seconds"])


def cell(frames, seconds):
    return f"{frames} frames, {frames / seconds:,.0f}/s, {seconds / frames * 1e9:,.0f} ns"


def theirs(run, path, our_ns):
    if run is None:
        return "not known", ""
    try:
        frames, seconds = passes(run, path)
    except (Exception, SystemExit) as error:  # it is theirs: whatever it raises is what there is to say
        return f"fails: {type(error).__name__}", ""
    if not frames:
        return "finds no frame", ""
    return cell(frames, seconds), f"{seconds / frames * 1e9 / our_ns:,.1f}"


def load(module, package):
    try:
        return importlib.import_module(module), importlib.metadata.version(package)
    except ImportError as error:
        print(f"SKIPPED {package}: {error}", file=sys.stderr)
        return None, "absent"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True, help="decode_speed of the csi crate, built with --release")
    arguments = parser.parse_args()
    recordings = Path(os.environ.get("FRESNEL_RECORDINGS", ROOT.parent / "shared/data"))
    listed = tomllib.loads((ROOT / "tests/recordings.toml").read_text())["recordings"]
    listed = {recording["name"]: recording for recording in listed}
    (csiread, csiread_version), (reader, kit_version) = load("csiread", "csiread"), load("CSIKit.reader", "CSIKit")
    numpy_version = load("numpy", "numpy")[1]
    rows = []
    for label, name, by_csiread, by_kit in cases(csiread, reader):
        path = recordings / listed[name]["path"]
        if not path.is_file():
            print(f"SKIPPED {label}: no {path}", file=sys.stderr)
            continue
        if hashlib.sha256(path.read_bytes()).hexdigest() != listed[name]["sha256"]:
            print(f"SKIPPED {label}: {path} is not the listed recording", file=sys.stderr)
            continue
        frames, seconds = ours(arguments.program, path)
        columns = [cell(frames, seconds)]
        for run in (by_csiread, by_kit):
            columns += theirs(run, path, seconds / frames * 1e9)
        rows.append([label, *columns])
        print(f"measured {label}", file=sys.stderr)
    if not rows:
        print("SKIPPED: none of the recordings is here (FRESNEL_RECORDINGS, or ../shared/data)")
        return
    print(
        f"csiread {csiread_version}, CSIKit {kit_version}, NumPy {numpy_version}, Python {platform.python_version()},"
        f" {os.cpu_count()} cores, {platform.machine()}\n"
    )
    print("| file | csi | csiread | times csi's | CSIKit | times csi's |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
