"""Losses, scores and maps of the head of classes, against closed forms, plain NumPy and torchmetrics."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from torchmetrics.functional.classification import (
    binary_accuracy,
    multiclass_calibration_error,
    multiclass_f1_score,
    multiclass_jaccard_index,
    multiclass_precision,
    multiclass_recall,
)

from snowmap.data.batch import CubeTensors
from snowmap.data.classes import class_scores
from snowmap.data.cube import target_attributes
from snowmap.errors import SnowmapError
from snowmap.tasks.class_head import ClassHead
from snowmap.tasks.class_losses import LOSSES
from snowmap.tasks.heads import build_head
from tests.class_cubes import glacier_cube
from tests.cubes import make_cube

THREE = {"cover": {"long_name": "cover", "flag_values": [3, 1, 7], "flag_meanings": "bare wet_snow ice"}}
TWO = {
    "glacier": {"long_name": "glacier", "flag_values": [0, 1], "flag_meanings": "other glacier", "ignore_index": 255}
}


def random_pixels(seed: int = 0, classes: int = 3, share: float = 0.7) -> tuple[torch.Tensor, ...]:
    """Logits (batch, class, y, x), truth (batch, y, x) and where it counts."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((2, classes, 5, 6), generator=generator, dtype=torch.float64)
    truth = torch.randint(classes, (2, 5, 6), generator=generator)
    return logits, truth, torch.rand((2, 5, 6), generator=generator) < share


def lovasz_of_numpy(probability: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    """Σ over sorted errors × what IoU loses when their pixels are added to the wrong ones, pixel by pixel."""
    losses, counted = [], []
    for cls in np.unique(truth):
        of_class = truth == cls
        errors = np.abs(of_class - probability[:, cls])
        wrong, before, loss = np.zeros(len(truth), bool), 0.0, 0.0
        for pixel in np.argsort(-errors, kind="stable"):
            wrong[pixel] = True
            lost = 1 - (of_class & ~wrong).sum() / (of_class | wrong).sum()
            loss, before = loss + errors[pixel] * (lost - before), lost
        losses.append(weights[cls] * loss)
        counted.append(weights[cls])
    return sum(losses) / sum(counted)


WEIGHTS = torch.tensor([1.0, 4.0, 0.5])


@given(seed=st.integers(0, 1000), smoothing=st.sampled_from([0.0, 0.1]))
def test_cross_entropy_is_that_of_pytorch_over_the_pixels_that_have_a_class(seed, smoothing):
    logits, truth, valid = random_pixels(seed)
    loss = LOSSES["cross_entropy"](logits, truth, valid, WEIGHTS, smoothing, 2.0)
    known = functional.cross_entropy(
        logits.movedim(1, -1)[valid], truth[valid], WEIGHTS.double(), label_smoothing=smoothing
    )
    assert loss.item() == pytest.approx(known.item(), rel=1e-6)
    assert LOSSES["focal"](logits, truth, valid, WEIGHTS, smoothing, 0.0).item() == pytest.approx(loss.item())


def test_focal_is_its_closed_form():
    logits, truth, valid = random_pixels()
    probability = logits.softmax(dim=1).gather(1, truth[:, None])[:, 0][valid].numpy()
    known = np.mean(-((1 - probability) ** 2) * np.log(probability))
    assert LOSSES["focal"](logits, truth, valid, torch.ones(3), 0.0, 2.0).item() == pytest.approx(known, rel=1e-6)


def test_dice_is_that_of_numpy():
    logits, truth, valid = random_pixels()
    p, t = logits.softmax(dim=1).movedim(1, -1)[valid].numpy(), np.eye(3)[truth[valid].numpy()]
    each = 1 - (2 * (p * t).sum(0) + 1) / (p.sum(0) + t.sum(0) + 1)
    known = (each * WEIGHTS.numpy()).sum() / WEIGHTS.sum().item()
    assert LOSSES["dice"](logits, truth, valid, WEIGHTS, 0.0, 2.0).item() == pytest.approx(known, rel=1e-5)


@given(seed=st.integers(0, 1000))
def test_lovasz_is_that_of_numpy_and_of_sure_maps_1_less_iou(seed):
    logits, truth, valid = random_pixels(seed)
    known = lovasz_of_numpy(logits.softmax(dim=1).movedim(1, -1)[valid].numpy(), truth[valid].numpy(), WEIGHTS.numpy())
    assert LOSSES["lovasz"](logits, truth, valid, WEIGHTS, 0.0, 2.0).item() == pytest.approx(known, rel=1e-5)
    sure = functional.one_hot(logits.argmax(dim=1), 3).movedim(-1, 1) * 1e4
    likeliest, seen = logits.argmax(dim=1)[valid], truth[valid].unique()
    iou = multiclass_jaccard_index(likeliest, truth[valid], 3, average=None)[seen].mean()
    found = LOSSES["lovasz"](sure.double(), truth, valid, torch.ones(3), 0.0, 2.0)
    assert found.item() == pytest.approx(1 - iou.item(), abs=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_what_has_no_class_reaches_no_gradient(loss, share):
    head = ClassHead(THREE, loss=loss, label_smoothing=0.0 if loss == "lovasz" else 0.1)
    generator = torch.Generator().manual_seed(1)
    outputs = torch.randn((2, 1, 3, 5, 6), generator=generator, requires_grad=True)
    y = torch.tensor([3.0, 1.0, 7.0])[torch.randint(3, (2, 1, 1, 5, 6), generator=generator)]
    valid = torch.rand(y.shape, generator=generator) < share
    y[~valid] = torch.nan
    value = head.loss(head.parameters_of(outputs), y, valid)
    value.backward()
    assert value.isfinite()
    gradient = outputs.grad.movedim(2, -1)
    assert (gradient[~valid[:, :, 0]] == 0).all()
    assert share == 0 or (gradient[valid[:, :, 0]] != 0).any(dim=-1).any()


@pytest.mark.parametrize("loss", LOSSES)
def test_each_loss_learns_the_classes(loss):
    generator = torch.Generator().manual_seed(2)
    truth = torch.randint(2, (1, 1, 1, 20, 20), generator=generator).float()
    head, scale = ClassHead(TWO, loss=loss), torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.Adam([scale], lr=0.1)
    for _ in range(60):
        outputs = torch.cat([-truth * scale[0] - scale[1], truth * scale[0]], dim=2)
        optimizer.zero_grad()
        head.loss(head.parameters_of(outputs), truth, torch.ones_like(truth).bool()).backward()
        optimizer.step()
    head.update(head.parameters_of(outputs.detach()), truth, torch.ones_like(truth).bool())
    assert head.scores()["iou"] == 1


def test_scores_are_those_of_numpy_and_torchmetrics_pooled_over_pixels():
    logits, truth, valid = random_pixels(share=0.8)
    head, values = ClassHead(THREE), torch.tensor([3.0, 1.0, 7.0])
    for part in (slice(0, 1), slice(1, 2)):
        y = values[truth[part]][:, None, None]
        head.update(logits[part].float()[None, :, None, None], y, valid[part][:, None, None])
    scores = head.scores()
    flat, observed = logits.movedim(1, -1)[valid].float(), truth[valid]
    likeliest = flat.argmax(dim=1)
    iou = [
        ((likeliest == c) & (observed == c)).sum().item() / ((likeliest == c) | (observed == c)).sum().item()
        for c in range(3)
    ]
    found = [scores[f"cover_iou_{word}"].item() for word in ("bare", "wet_snow", "ice")]
    assert found == pytest.approx(iou)
    assert scores["iou"].item() == pytest.approx(np.mean(iou))
    for name, score in (
        ("f1", multiclass_f1_score),
        ("precision", multiclass_precision),
        ("recall", multiclass_recall),
    ):
        known = score(likeliest, observed, 3, average="none")
        assert [scores[f"cover_{name}_{word}"].item() for word in ("bare", "wet_snow", "ice")] == pytest.approx(
            known.tolist()
        )
    one = binary_accuracy((likeliest == 2).int(), (observed == 2).int())
    assert scores["cover_accuracy_ice"].item() == pytest.approx(one.item())
    error = multiclass_calibration_error(flat.softmax(dim=1), observed, 3, n_bins=15)
    assert scores["cover_ece"].item() == pytest.approx(error.item(), abs=1e-6)
    assert not head.confusion.confmat.any()


def test_a_class_that_nobody_has_or_maps_has_no_score():
    scores = class_scores(np.array([[5, 0], [0, 0]]))
    assert scores["iou"][0] == scores["accuracy"][1] == 1
    assert np.isnan(scores["iou"][1])


def test_the_monitored_score_is_of_the_class_that_the_target_names():
    turned = {"glacier": {**TWO["glacier"], "flag_meanings": "glacier other"}}
    y = torch.tensor([0.0, 0, 0, 1]).view(1, 1, 1, 2, 2)
    outputs = torch.zeros(1, 1, 2, 2, 2)
    outputs[:, :, 0] = 1  # all are of the first class
    for attributes, iou in ((TWO, 0.25), (turned, 0.75)):
        head = ClassHead(attributes)
        head.update(head.parameters_of(outputs), y, torch.ones_like(y).bool())
        assert head.scores()["iou"] == iou


def test_epochs_of_a_rare_class_differ_though_none_of_its_pixels_is_likely():
    y = torch.tensor([0.0, 0, 0, 1]).view(1, 1, 1, 2, 2)
    rare = torch.log(torch.tensor([0.1, 0.1, 0.1, 0.3])).view(1, 1, 1, 2, 2)
    outputs = torch.cat([torch.log(1 - rare.exp()), rare], dim=2)
    head = ClassHead(TWO)
    for found, iou in ((outputs, 1.0), (outputs.flip(-1), 0.25)):
        head.update(head.parameters_of(found), y, torch.ones_like(y).bool())
        scores = head.scores()
        assert (scores["glacier_iou"], scores["iou"]) == (0, iou)
    assert not head.best_threshold.counts.any()


def test_members_average_probabilities_and_the_threshold_decides():
    outputs = torch.log(torch.tensor([[0.9, 0.1], [0.2, 0.8]])).view(1, 1, 4, 1, 1)  # of two members
    head = ClassHead(TWO, members=2)
    parameters = head.parameters_of(outputs)
    assert head.maps(parameters[:, 0]).flatten().tolist() == pytest.approx([0, 0.55, 0.45])
    head.calibration = {"glacier": {"temperature": 1.0, "threshold": 0.45}}
    assert head.maps(parameters[:, 0]).flatten()[0] == head.mapped(parameters).item() == 1
    assert list(head.layers) == ["glacier", "glacier_probability_other", "glacier_probability_glacier"]
    assert head.layers["glacier"]["threshold"] == 0.45
    assert head.layers["glacier_probability_other"]["units"] == "1"
    head.calibration = {"glacier": {"temperature": 2.0, "threshold": 0.5}}
    sharp = np.sqrt([0.55, 0.45])
    assert head.maps(parameters[:, 0]).flatten()[1:].tolist() == pytest.approx((sharp / sharp.sum()).tolist())


def test_balanced_weights_are_inverse_to_the_share_of_the_training_pixels():
    cube = glacier_cube()
    head = ClassHead(target_attributes(cube, ["glacier"]), class_weights="balanced")
    head.fit([(CubeTensors.of(cube, [], ["glacier"]), [3])])
    values = np.where(cube["mask"].values, cube["glacier"].values[3], np.nan)
    counts = np.array([(values == 0).sum(), (values == 1).sum()])
    assert head.weights.tolist() == pytest.approx((counts.sum() / (2 * counts)).tolist())


def test_what_cannot_be_learnt_is_one_line():
    cube = glacier_cube()
    attributes, snow = target_attributes(cube, ["glacier"]), target_attributes(make_cube(), ["swe"])
    cube["glacier"] = cube["glacier"].where(cube["glacier"] != 1, 0)
    with pytest.raises(SnowmapError, match=r"no training pixel is of the class 'glacier' .* \(found: other 2,849, gla"):
        ClassHead(attributes).fit([(CubeTensors.of(cube, [], ["glacier"]), [3])])
    for match, options in (
        (r"target 'swe' is a quantity .* choose task=regression", {"targets": snow}),
        (r"maps one target, found glacier, swe; give target.names", {"targets": {**attributes, **snow}}),
        (r"class_weights=\[1.0\] are 1, but target 'glacier' has 2 classes: other, glacier", {"class_weights": [1.0]}),
        (r"loss=mse is not for this head=: expected cross_entropy \| focal", {"loss": "mse"}),
        (r"loss=lovasz takes labels as they are", {"loss": "lovasz", "label_smoothing": 0.1}),
    ):
        with pytest.raises(SnowmapError, match=match):
            ClassHead(**{"targets": attributes, **options})
    with pytest.raises(SnowmapError, match=r"but a regression head maps quantities; choose .*, or task=segmentation"):
        build_head({"name": "point"}, attributes)
