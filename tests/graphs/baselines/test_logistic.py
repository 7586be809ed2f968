from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_links import toy_sequence, weighted_snapshot

from graphs.baselines.degree_logistic import DegreeLogistic, degree_features
from graphs.baselines.feature_logistic import FeatureLogistic
from graphs.baselines.logistic import fit_logistic, mean_cross_entropy
from graphs.data.snapshots import SnapshotSequence

linear_model = pytest.importorskip("sklearn.linear_model")


def labelled_points(classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, 300)
    centres = rng.normal(size=(classes, 4))
    return centres[labels] + rng.normal(size=(300, 4)) * [1, 2, 3, 4], labels


@pytest.mark.parametrize(("classes", "share"), [(2, 2.0), (3, 1.0)])
def test_equals_sklearn(classes: int, share: float) -> None:
    """sklearn keeps one weight vector for two classes, whose penalty is half that of our two."""
    features, labels = labelled_points(classes)
    model = fit_logistic(features, labels, num_classes=classes, l2=0.01)
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    theirs = linear_model.LogisticRegression(C=share / (0.01 * 300), tol=1e-10, max_iter=10_000)
    expected = theirs.fit(standard, labels).predict_log_proba(standard)
    logits = model.logits(features)
    ours = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert ours == pytest.approx(expected, abs=1e-4)
    entropy = mean_cross_entropy(model, features, labels)
    assert entropy == pytest.approx(-expected[np.arange(300), labels].mean(), abs=1e-6)


def test_constant_features_and_absent_classes_do_no_harm() -> None:
    features, labels = labelled_points(2)
    constant = np.concatenate([features, np.full((300, 1), 7.0)], axis=1)
    model = fit_logistic(constant, labels, num_classes=3, l2=0.1)
    assert np.isfinite(model.logits(constant)).all()
    assert (model.logits(constant).argmax(axis=1) < 2).all()


def test_wrong_input_is_refused() -> None:
    features, labels = labelled_points(2)
    with pytest.raises(ValueError, match="no labelled item"):
        fit_logistic(features[:0], labels[:0], num_classes=2, l2=0.1)
    with pytest.raises(ValueError, match="l2 must be positive"):
        fit_logistic(features, labels, num_classes=2, l2=0.0)
    with pytest.raises(ValueError, match="did not converge"):
        fit_logistic(features, labels, num_classes=2, l2=1e-9, max_iterations=1)
    features[3, 1] = np.nan
    with pytest.raises(ValueError, match="features must be finite"):
        fit_logistic(features, labels, num_classes=2, l2=0.1)


def test_degrees_of_both_nodes() -> None:
    """Node 0 has targets 1, 2, 3; node 3 has sources 0 and 2."""
    snapshot = weighted_snapshot(4, [(0, 1), (0, 2), (0, 3), (0, 3), (2, 3)], directed=True)
    features = np.expm1(degree_features(snapshot))
    expected = [[3, 0, 0, 1], [3, 0, 1, 1], [3, 0, 0, 2], [1, 1, 0, 2]]
    assert features == pytest.approx(np.array(expected, float))


def test_degree_logistic_learns_from_training_steps_alone() -> None:
    """Class 1 where the source is busy; step 5 has the labels turned round and is not read."""
    sequence = toy_sequence(12, (30, 30, 30, 30, 30, 30))
    changed = []
    for step, snapshot in enumerate(sequence):
        busy = snapshot.out_degree[snapshot.edge_index[0]] > 4
        labels = busy.long() if step < 5 else 1 - busy.long()
        changed.append(replace(snapshot, edge_label=labels))
    sequence = replace(sequence, snapshots=tuple(changed))
    predictor = DegreeLogistic.fit(sequence, range(0, 4))
    right = predictor.logits(sequence[4]).argmax(dim=1) == sequence[4].edge_label
    assert float(right.double().mean()) > 0.95
    shorter = DegreeLogistic.fit(sequence[:4], range(0, 4))
    assert torch.equal(shorter.logits(sequence[4]), predictor.logits(sequence[4]))
    predictor.update(sequence[5])
    assert torch.equal(shorter.logits(sequence[4]), predictor.logits(sequence[4]))


def node_sequence() -> SnapshotSequence:
    """Feature 0 tells the class, 30 others are noise."""
    sequence, rng = toy_sequence(12, (3,) * 6), np.random.default_rng(0)
    changed = []
    for snapshot in sequence:
        labels = rng.integers(-1, 2, 12)
        x = rng.normal(size=(12, 31))
        x[:, 0] += 2 * labels
        changed.append(
            replace(snapshot, x=torch.from_numpy(x).float(), node_label=torch.from_numpy(labels))
        )
    return replace(sequence, snapshots=tuple(changed))


def test_feature_logistic_takes_the_penalty_of_lowest_validation_entropy() -> None:
    sequence = node_sequence()
    penalties = (1e-4, 1e-2, 1.0)
    chosen = FeatureLogistic.fit(
        sequence, range(0, 3), range(3, 5), num_classes=2, penalties=penalties
    )
    entropies = []
    for l2 in penalties:
        one = FeatureLogistic.fit(
            sequence, range(0, 3), range(3, 5), num_classes=2, penalties=(l2,)
        )
        log_p = torch.cat([one.logits(sequence[step]) for step in (3, 4)]).log_softmax(dim=1)
        labels = torch.cat([sequence[step].node_label for step in (3, 4)])
        entropies.append(-float(log_p[labels >= 0, labels[labels >= 0]].mean()))
    assert chosen.l2 == penalties[int(np.argmin(entropies))] > 1e-4
    assert chosen.logits(sequence[5]).shape == (12, 2)


def test_feature_logistic_names_what_is_missing() -> None:
    sequence = node_sequence()
    bare = replace(sequence, snapshots=(*sequence.snapshots[:5], replace(sequence[5], x=None)))
    with pytest.raises(ValueError, match="needs snapshots with x"):
        FeatureLogistic.fit(bare, range(0, 3), range(4, 6), num_classes=2)
    unlabelled = (*sequence.snapshots[:5], replace(sequence[5], node_label=None))
    with pytest.raises(ValueError, match=r"validation steps range\(5, 6\)"):
        bare = replace(sequence, snapshots=unlabelled)
        FeatureLogistic.fit(bare, range(0, 3), range(5, 6), num_classes=2)
