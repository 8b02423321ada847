"""How good held-out predictions are, with the simplest alternative beside them."""

import dataclasses
import math

import numpy as np
from scipy import stats
from sklearn.metrics import roc_auc_score

# Median over subcarriers of the standard deviation of gain-normalised amplitude in time.
BASELINE_FEATURE = "std_q50"


@dataclasses.dataclass
class Threshold:
    """The baseline: one threshold on one feature, the best on what it was fitted on."""

    column: int
    threshold: float

    @staticmethod
    def fit(names, windows):
        column = names.index(BASELINE_FEATURE)
        values = windows.features[:, column]
        candidates = np.unique(np.quantile(values, np.linspace(0, 1, 401)))
        scores = [balanced(windows.moving, values > t) for t in candidates]
        return Threshold(column, float(candidates[int(np.argmax(scores))]))

    def moving(self, features):
        return features[:, self.column] > self.threshold


def balanced(truth, decision):
    """Mean of recall on both classes; of the one class where only one is there."""
    recalls = [(decision[truth == side] == side).mean() for side in (False, True) if (truth == side).any()]
    return float(np.mean(recalls))


def interval(values):
    """95 % interval of the mean over groups (Student's t), held to 0..1."""
    values = np.asarray(values)
    if len(values) < 2:
        return None
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return [rounded(max(0.0, values.mean() - half)), rounded(min(1.0, values.mean() + half))]


def calibration_error(truth, probability, bins=10):
    """Expected calibration error: the mean gap between stated confidence and hits, over ten bins."""
    which = np.minimum((probability * bins).astype(int), bins - 1)
    gaps = [
        (which == b).mean() * abs(probability[which == b].mean() - truth[which == b].mean())
        for b in range(bins)
        if (which == b).any()
    ]
    return float(sum(gaps))


def rounded(value):
    return round(float(value), 4)


def held_out(windows, probability, baseline):
    """Metrics of predictions on windows that the predictor has not seen."""
    truth, decision = windows.moving, probability > 0.5
    both = bool(truth.any() and not truth.all())
    result = {
        "windows": len(truth),
        "groups": len(np.unique(windows.group)),
        "balanced_accuracy": rounded(balanced(truth, decision)),
        "baseline_balanced_accuracy": rounded(balanced(truth, baseline)),
        "accuracy": rounded((decision == truth).mean()),
        "baseline_accuracy": rounded((baseline == truth).mean()),
        "recall_moving": rounded(decision[truth].mean()),
        "baseline_recall_moving": rounded(baseline[truth].mean()),
        "false_moving": rounded(decision[~truth].mean()),
        "baseline_false_moving": rounded(baseline[~truth].mean()),
        "auc": rounded(roc_auc_score(truth, probability)) if both else None,
        "brier": rounded(((probability - truth) ** 2).mean()),
        "calibration_error": rounded(calibration_error(truth, probability)),
    }
    by_group = {}
    for group in np.unique(windows.group):
        inside = windows.group == group
        by_group[str(group)] = {
            "detail": str(windows.detail[inside][0]),
            "windows": int(inside.sum()),
            "balanced_accuracy": rounded(balanced(truth[inside], decision[inside])),
            "baseline_balanced_accuracy": rounded(balanced(truth[inside], baseline[inside])),
        }
    result["interval_95"] = interval([g["balanced_accuracy"] for g in by_group.values()])
    result["baseline_interval_95"] = interval([g["baseline_balanced_accuracy"] for g in by_group.values()])
    result["by_group"] = by_group
    result["by_detail"] = {
        str(detail): {
            "windows": int((windows.detail == detail).sum()),
            "share_moving": rounded(decision[windows.detail == detail].mean()),
            "baseline_share_moving": rounded(baseline[windows.detail == detail].mean()),
        }
        for detail in np.unique(windows.detail)
    }
    return result
