"""Figures of an evaluation against closed forms and loops that are written down again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from training.data.dataset import Pictures
from training.evaluation.frechet import frechet_distance
from training.evaluation.kernel import gaussian_distance
from training.evaluation.measures import change, interval
from training.evaluation.precision import NEIGHBOURS, coverage
from training.evaluation.retrieval import retrieved
from training.evaluation.solver_error import solver_error


def gaussian(count: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((count, width), generator=generator, dtype=torch.float64)


def with_moments(mean: Tensor, deviations: Tensor, count: int, seed: int) -> Tensor:
    """Return features (N, D) of exactly this mean, uncorrelated, with these deviations."""
    features = gaussian(count, len(mean), seed)
    features -= features.mean(dim=0)
    directions, _, _ = torch.linalg.svd(features, full_matrices=False)
    return directions * (count - 1) ** 0.5 * deviations + mean


def test_the_frechet_distance_of_known_gaussians_is_its_closed_form() -> None:
    mean, other_mean = torch.tensor([0.0, 1.0, 2.0]).double(), torch.tensor([1.0, 1.0, 0.0])
    deviations, others = torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor([2.0, 2.0, 1.0])
    found = frechet_distance(
        with_moments(mean, deviations, 40, 0), with_moments(other_mean, others, 60, 1)
    )
    # Covariances that commute: |μ - m|² + the squares of differences of deviations, here 5 + 5.
    assert found.value == pytest.approx(10)


@pytest.mark.parametrize("count", [6, 50])
def test_the_frechet_distance_is_the_textbooks_with_fewer_drawings_than_features_too(
    count: int,
) -> None:
    drawn, real = gaussian(count, 12, 2) @ gaussian(12, 12, 3), gaussian(80, 12, 4) + 0.5
    covariance, other = torch.cov(drawn.T), torch.cov(real.T)
    roots = torch.linalg.eigvals(covariance @ other).real.clamp(min=0).sqrt()
    shift = drawn.mean(dim=0) - real.mean(dim=0)
    expected = shift @ shift + covariance.trace() + other.trace() - 2 * roots.sum()
    assert frechet_distance(drawn, real).value == pytest.approx(float(expected), rel=1e-5)


def test_a_drawings_influence_is_what_the_distance_changes_by_when_it_weighs_more() -> None:
    drawn, real = gaussian(30, 4, 5) * torch.tensor([1.0, 2.0, 0.5, 1.5]), gaussian(50, 4, 6)
    many = drawn.repeat(20, 1)
    base = frechet_distance(many, real)
    heavier = frechet_distance(torch.cat([many, drawn[7:8]]), real)
    expected = base.influences[7] - base.influences.mean()
    assert (heavier.value - base.value) * (len(many) + 1) == pytest.approx(expected, rel=0.1)


def test_the_gaussian_distance_is_that_of_double_loops() -> None:
    drawn, real = gaussian(7, 5, 7), gaussian(9, 5, 8) + 1
    left = [row / row.norm() for row in drawn]
    right = [row / row.norm() for row in real]

    def kernel(one: Tensor, other: Tensor) -> float:
        return float(torch.exp(-((one - other) ** 2).sum() / 200))

    among = sum(kernel(a, b) for i, a in enumerate(left) for j, b in enumerate(left) if i != j)
    beside = sum(kernel(a, b) for i, a in enumerate(right) for j, b in enumerate(right) if i != j)
    between = sum(kernel(a, b) for a in left for b in right)
    expected = 1000 * (among / 42 + beside / 72 - 2 * between / 63)
    assert gaussian_distance(drawn, real).value == pytest.approx(expected)


def test_precision_and_recall_are_those_of_brute_force() -> None:
    drawn, real = gaussian(20, 3, 9) * 0.7 + 0.4, gaussian(25, 3, 10)

    def inside(point: Tensor, cloud: Tensor) -> bool:
        for centre in cloud:
            others = sorted(float((centre - other).norm()) for other in cloud)
            if float((point - centre).norm()) <= others[NEIGHBOURS]:  # the first is itself
                return True
        return False

    found = coverage(drawn, real)
    assert found.precision.tolist() == [inside(point, real) for point in drawn]
    assert found.recall.value == np.mean([inside(point, drawn) for point in real])
    assert 0 < found.precision.mean() < 1
    assert 0 < found.recall.value < 1


def test_what_a_drawing_adds_to_recall_is_what_is_lost_without_it() -> None:
    drawn, real = gaussian(20, 3, 9), gaussian(25, 3, 10)

    found = coverage(drawn, real).recall

    rest = [torch.cat([drawn[:number], drawn[number + 1 :]]) for number in range(len(drawn))]
    without = [coverage(others, real).recall.value for others in rest]
    expected = [(len(drawn) - 1) * (np.mean(without) - one) for one in without]
    assert found.influences == pytest.approx(expected)
    assert np.ptp(expected) > 0


def test_a_set_is_no_distance_from_itself_and_covered_by_itself() -> None:
    features = gaussian(30, 40, 11)
    assert frechet_distance(features, features).value == pytest.approx(0, abs=1e-6)
    covered = coverage(features, features)
    assert covered.precision.mean() == covered.recall.value == 1


def test_a_set_that_collapsed_keeps_its_precision_and_loses_recall() -> None:
    real = gaussian(60, 4, 12)
    covered = coverage(real[:4].repeat(6, 1) + 1e-6 * gaussian(24, 4, 13), real)
    assert covered.precision.mean() == 1
    assert covered.recall.value < 0.3


def test_distances_rise_with_blur() -> None:
    real = shapes(24, seed=14)
    damaged = {radius: blurred(shapes(24, seed=15), radius) for radius in (0, 2, 5)}
    for distance in (frechet_distance, gaussian_distance):
        values = [
            distance(thumbnails(pictures), thumbnails(real)).value for pictures in damaged.values()
        ]
        assert values == sorted(values)


def test_a_picture_is_retrieved_by_rank_and_a_tie_is_no_success() -> None:
    images = torch.eye(3)
    texts = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.1, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert retrieved(images, texts, [1, 1, 3], among=1).tolist() == [0, 1, 1]
    assert retrieved(images, texts, [1, 1, 3], among=2).tolist() == [1, 1, 1]
    same = torch.ones(6, 3) / 3**0.5
    assert retrieved(images, same, [0, 1, 2], among=5).tolist() == [0, 0, 0]


def test_a_solvers_error_is_in_shades_and_no_difference_wraps_around() -> None:
    reference = np.zeros((2, 4, 4, 3), np.uint8)
    drawn = reference.copy()
    drawn[0] += 255
    drawn[1, :2] += 10
    assert solver_error(drawn, reference) == pytest.approx([255, 50**0.5])
    assert solver_error(reference, drawn) == pytest.approx([255, 50**0.5])


def test_a_change_is_surer_than_the_values_and_kinds_do_not_mix() -> None:
    drawn, real = gaussian(40, 6, 16), gaussian(60, 6, 17)
    first, second = frechet_distance(drawn, real), frechet_distance(drawn + 0.05, real)
    value, changed = interval(second), change(second, first)
    assert changed.mean == pytest.approx(second.value - first.value)
    assert changed.high - changed.low < (value.high - value.low) / 2
    assert change(np.array([1.0, 0.0]), np.array([0.0, 0.0])).mean == 0.5
    with pytest.raises(TypeError, match="no difference"):
        change(first, np.array([1.0]))


def test_too_few_drawings_are_refused() -> None:
    with pytest.raises(ValueError, match="two drawings"):
        frechet_distance(gaussian(1, 4, 0), gaussian(5, 4, 1))
    with pytest.raises(ValueError, match="and 4 drawings"):
        coverage(gaussian(4, 4, 0), gaussian(5, 4, 1))


def shapes(count: int, seed: int) -> Pictures:
    """Return white pictures (N, 32, 32, 3) with a few hard-edged boxes."""
    source = np.random.default_rng(seed)
    pictures = np.full((count, 32, 32, 3), 255, np.uint8)
    for picture in pictures:
        for _ in range(4):
            top, left = source.integers(0, 26, 2)
            picture[top : top + 6, left : left + 6] = source.integers(0, 200, 3)
    return pictures


def blurred(pictures: Pictures, radius: int) -> Pictures:
    blur = ImageFilter.GaussianBlur(radius)
    return np.stack([np.asarray(Image.fromarray(each).filter(blur)) for each in pictures])


def thumbnails(pictures: Pictures) -> Tensor:
    """Return contrasts of neighbours (N, 8): features that blur changes."""
    planes = torch.from_numpy(pictures).double() / 255
    steps = (planes[:, 1:] - planes[:, :-1]).abs().mean(dim=3)
    return torch.cat([planes.mean(dim=(1, 2)), steps.pow(2).mean(dim=1)[:, ::7]], dim=1)
