"""Writes intel5300_scale.json: the scale of made-up 5300 records, computed apart from the decoder.

Follows get_scaled_csi of the Linux 802.11n CSI Tool step by step (total RSS, scale to the received power, thermal and
quantisation noise, division of power over transmit streams), in Python's double precision. Needs nothing but Python:
    python3 intel5300_scale.py > intel5300_scale.json
"""

import json
import math
import random


def dbinv(x):
    return 10 ** (x / 10)


def scale(record):
    total = sum(dbinv(r) for r in record["rssi"] if r != 0)
    rss = 10 * math.log10(total) - 44 - record["agc"]
    power = sum(abs(complex(*pair)) ** 2 for pair in record["csi"])
    ratio = dbinv(rss) / (power / 30)
    noise = -92 if record["noise"] == -127 else record["noise"]
    quantisation = ratio * record["n_rx"] * record["n_tx"]
    factor = math.sqrt(ratio / (dbinv(noise) + quantisation))
    return factor * {1: 1, 2: math.sqrt(2), 3: math.sqrt(dbinv(4.5))}[record["n_tx"]]


def main():
    random.seed(5300)
    records = []
    for n_rx in (1, 2, 3):
        for n_tx in (1, 2, 3):
            for noise in (-127, random.randint(-96, -60)):
                rssi = [random.randint(10, 60) if i < n_rx else 0 for i in range(3)]
                csi = [
                    [random.randint(-128, 127), random.randint(-128, 127)]
                    for _ in range(30 * n_rx * n_tx)
                ]
                record = dict(n_rx=n_rx, n_tx=n_tx, rssi=rssi, agc=random.randint(10, 50))
                record.update(noise=noise, csi=csi)
                record["scale"] = scale(record)
                records.append(record)
    print("[")
    print(",\n".join(json.dumps(record, separators=(",", ":")) for record in records))
    print("]")


main()
