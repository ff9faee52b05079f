"""Places in a list of images, as URLs name them, and what forms carry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.arrivals import MAX_POSITION, Arrival
from producer.dashboard.tiles import MAX_PLACE_CHARACTERS
from producer.sessions import TOKEN_BYTES, form_token, new_token
from shared.errors import InputError

TIMES = st.datetimes(timezones=st.just(UTC), allow_imaginary=False)


@given(time=TIMES, position=st.integers(0, MAX_POSITION))
def test_a_place_is_read_as_it_was_written(time: datetime, position: int) -> None:
    place = Arrival(time, position)

    assert Arrival.parse(str(place)) == place
    assert Arrival.parse(unquote(quote(str(place)))) == place
    assert len(str(place)) <= MAX_PLACE_CHARACTERS


def test_a_place_keeps_the_microsecond_and_may_be_of_any_zone() -> None:
    zone = timezone(timedelta(hours=-3))
    time = datetime(2030, 1, 2, 3, 4, 5, 678_901, tzinfo=zone)

    assert Arrival.parse(str(Arrival(time, 7))).finished_at == time


@given(text=st.text(max_size=60))
def test_what_is_no_place_is_refused_and_nothing_else_goes_wrong(text: str) -> None:
    with pytest.raises(InputError):
        Arrival.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "~",
        "2030-01-02T03:04:05+00:00",
        "2030-01-02T03:04:05+00:00~",
        "2030-01-02T03:04:05~1",
        "2030-01-02T03:04:05+00:00~-1",
        "2030-01-02T03:04:05+00:00~1.5",
        f"2030-01-02T03:04:05+00:00~{MAX_POSITION + 1}",
        f"2030-01-02T03:04:05+00:00~{'9' * 5_000}",
        "2030-01-02T03:04:05+00:00~1~2",
        "0001-01-01T00:00:00+23:59~1",
        "9999-12-31T23:59:59-23:59~1",
    ],
)
def test_near_places_are_refused_too(text: str) -> None:
    with pytest.raises(InputError, match="no place in a list of images"):
        Arrival.parse(text)


def test_forms_of_a_session_carry_what_only_it_can_tell() -> None:
    token, other = new_token(), new_token()

    assert form_token(token) == form_token(token)
    assert form_token(token) != form_token(other)
    assert token not in form_token(token)
    assert len(form_token(token)) == 2 * TOKEN_BYTES


@given(token=st.text(alphabet=st.characters(max_codepoint=255), max_size=100))
def test_whatever_a_cookie_holds_has_a_form_token(token: str) -> None:
    assert len(form_token(token)) == 64
