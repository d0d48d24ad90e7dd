"""Train the example classifier and write `model.onnx`, `patients.csv` and `patients.npy`.

Data: Breast Cancer Wisconsin (Diagnostic), W. Wolberg, W. Street, O. Mangasarian, 1995, as
scikit-learn ships it: 569 patients, 30 measurements of cell nuclei each, malignant or benign. A
quarter of the patients is held out; the first twelve of those become the example's input.

Needs scikit-learn and skl2onnx, which sealserve itself does not:

    python -m venv /tmp/train && /tmp/train/bin/pip install scikit-learn skl2onnx onnxruntime
    /tmp/train/bin/python examples/breast_cancer/train.py
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).parent
SEED = 7
PATIENTS = 12


def main() -> None:
    data = load_breast_cancer()
    measurements = data.data.astype(np.float32)
    train_x, test_x, train_y, test_y = train_test_split(
        measurements, data.target, test_size=0.25, random_state=SEED, stratify=data.target
    )
    # The second layer holds 512 x 512 floats, exactly 1 MiB: the size from which on a tensor gets a
    # memory-backed file of its own when the sealed model is opened.
    classifier = MLPClassifier(hidden_layer_sizes=(512, 512), random_state=SEED, max_iter=300)
    pipeline = make_pipeline(StandardScaler(), classifier).fit(train_x, train_y)
    print(f"accuracy on held-out patients: {pipeline.score(test_x, test_y):.3f}")
    options = {id(pipeline): {"zipmap": False}}
    inputs = [("x", FloatTensorType([None, train_x.shape[1]]))]
    model = to_onnx(pipeline, initial_types=inputs, options=options, target_opset=17)
    (HERE / "model.onnx").write_bytes(model.SerializeToString())
    write_patients(HERE / "patients.csv", list(data.feature_names), test_x, test_y)
    np.save(HERE / "patients.npy", test_x[:PATIENTS])


def write_patients(path: Path, names: list[str], rows: np.ndarray, truth: np.ndarray) -> None:
    """One line a patient: the 30 measurements, then what the biopsy found."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*names, "diagnosis"])
        for row, benign in zip(rows[:PATIENTS], truth[:PATIENTS], strict=True):
            writer.writerow([*map(repr, row.tolist()), "benign" if benign else "malignant"])


if __name__ == "__main__":
    main()
