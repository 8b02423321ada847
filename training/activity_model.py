"""The model: a logistic regression on log-scaled, standardised features, and its ONNX graph."""

import dataclasses

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression

# Amounts of change: compared by ratio, so their logarithm goes in. What lies below the floor is below the quantisation.
AMOUNTS = ("std_q10", "diff_q10", "smooth_std")
# Shares and correlations go in as they are.
SHARES = ("lag_1", "neighbour_1", "neighbour_4", "diff_neighbour_1")
FLOOR = 1e-3
# Standardised features are held to this many standard deviations: outside the trained range the model saturates.
LIMIT = 4.0
# Inverse regularisation of the logistic regression.
C = 0.1


@dataclasses.dataclass
class Model:
    names: list
    mean: np.ndarray
    deviation: np.ndarray
    weights: np.ndarray
    bias: float

    def standardised(self, features):
        return np.clip((scaled(self.names, features) - self.mean) / self.deviation, -LIMIT, LIMIT)

    def moving(self, features):
        """Probability of movement for each row."""
        return 1 / (1 + np.exp(-(self.standardised(features) @ self.weights + self.bias)))


def scaled(names, features):
    amounts = np.isin(names, AMOUNTS)
    return np.where(amounts, np.log(np.maximum(features, FLOOR)), features)


def fit(names, windows):
    """Fits on windows; every session counts the same, and so do both classes."""
    used = np.isin(names, AMOUNTS + SHARES)
    x = scaled(names, windows.features)
    model = Model(names, x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6), np.zeros(len(names)), 0.0)
    z = model.standardised(windows.features)[:, used]
    _, session, sizes = np.unique(windows.group, return_inverse=True, return_counts=True)
    weight = 1 / sizes[session]
    for moving in (False, True):
        weight[windows.moving == moving] /= weight[windows.moving == moving].sum()
    weight *= len(weight) / weight.sum()
    regression = LogisticRegression(C=C, max_iter=10_000, tol=1e-10).fit(z, windows.moving, sample_weight=weight)
    model.weights[used] = regression.coef_[0]
    model.bias = float(regression.intercept_[0])
    return model


def graph(model, name, version):
    """The model as ONNX: features [N, F] to probabilities [N, 2], inactive then moving. NaN in gives NaN out."""
    width = len(model.names)
    amounts = np.isin(model.names, AMOUNTS)

    def constant(name, value):
        return numpy_helper.from_array(np.asarray(value, dtype=np.float32), name)

    weights = np.zeros((width, 2))
    weights[:, 1] = model.weights
    nodes = [
        helper.make_node("Max", ["features", "floor"], ["floored"]),
        helper.make_node("Log", ["floored"], ["logarithm"]),
        helper.make_node("Mul", ["logarithm", "amounts"], ["log_amounts"]),
        helper.make_node("Mul", ["features", "shares"], ["plain_shares"]),
        helper.make_node("Add", ["log_amounts", "plain_shares"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "deviation"], ["standardised"]),
        helper.make_node("Clip", ["standardised", "low", "high"], ["limited"]),
        helper.make_node("Gemm", ["limited", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    constants = [
        constant("floor", FLOOR),
        constant("amounts", amounts),
        constant("shares", ~amounts),
        constant("mean", model.mean),
        constant("deviation", model.deviation),
        constant("low", -LIMIT),
        constant("high", LIMIT),
        constant("weights", weights),
        constant("bias", [0.0, model.bias]),
    ]
    inputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["windows", width])]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["windows", 2])]
    built = helper.make_model(
        helper.make_graph(nodes, name, inputs, outputs, constants),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=10,
        producer_name="fresnel training/train_activity.py",
        model_version=int(version.split(".")[0]),
    )
    onnx.checker.check_model(built, full_check=True)
    return built
