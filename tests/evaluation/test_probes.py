"""Linear probes of classes in order."""

import numpy as np
from sklearn.linear_model import RidgeClassifier

from snowmap.evaluation.probes import make_classifier


def test_classes_in_order_along_a_feature_are_all_found():
    """Least squares with a line for each class finds the outer ones alone."""
    random = np.random.default_rng(0)
    heights, others = random.uniform(0, 5, (2, 1000))
    x, other_x = (np.stack([each, random.normal(size=1000)], axis=1) for each in (heights, others))
    labels, expected = heights.astype(int), others.astype(int)
    assert np.mean(make_classifier(len(x)).fit(x, labels).predict(other_x) == expected) > 0.8
    assert np.mean(RidgeClassifier(class_weight="balanced").fit(x, labels).predict(other_x) == expected) < 0.6
