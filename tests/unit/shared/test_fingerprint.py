"""What two jobs have to have in common for one image to be both's."""

from __future__ import annotations

from shared.domain.fingerprint import image_fingerprint
from shared.domain.prompts import ImageSettings
from shared.domain.sampling import SchedulerName
from support.grids import FOUR

JOB = ImageSettings(
    prompt="a", seed=1, width=64, height=64, steps=4, guidance_scale=4, guidance_rescale=0.7
)
SEARCHED = JOB.model_copy(update={"scheduler": SchedulerName.SEARCHED})
OTHER = (970, 600, 310, 70)


def test_an_image_along_other_searched_timesteps_is_another_one() -> None:
    same, again = (image_fingerprint(SEARCHED, "w", list(FOUR)) for _ in range(2))

    assert same == again == image_fingerprint(SEARCHED, "w", FOUR)
    assert same != image_fingerprint(SEARCHED, "w", OTHER)
    assert same != image_fingerprint(SEARCHED, "w", None)
    assert same != image_fingerprint(JOB, "w", FOUR)


def test_no_other_image_changes_because_a_grid_was_searched() -> None:
    assert image_fingerprint(JOB, "w", FOUR) == image_fingerprint(JOB, "w", None)
    assert image_fingerprint(JOB, "w", None) == (
        "ad14529a9219ec2d25f7b9a9f75d5ce91f176257f7e47d4c266193d0355187ff"
    )
