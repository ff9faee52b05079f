"""Members as people and files name them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from shared.errors import InputError
from shared.models.card import read_json
from training.search.family import Member, Trunk
from worker.models.unet import UNetNASConfig


def short(member: Member) -> str:
    """Say what a member is: for each level width, resnets, attentions; then the mid block."""
    levels = zip(member.channels, member.resnets, member.attentions, strict=True)
    text = " ".join(f"{width}:{resnets}r{attentions}a" for width, resnets, attentions in levels)
    halved = "/2" if member.halves_bottom else ""
    return f"{text} mid{halved}:{member.mid_resnets}r{member.mid_attentions}a"


def read_member(path: Path, trunk: Trunk) -> Member:
    """Read the member that a ``flexible_unet/config.json`` is of.

    Raises:
        ConfigurationError: the file cannot be read.
        InputError: it is of no member of the family with that trunk.
    """
    return member_of(read_json(path), trunk, str(path))


def member_of(document: Mapping[str, Any], trunk: Trunk, name: str) -> Member:
    """Return the member whose settings a document has.

    Args:
        document: as in ``flexible_unet/config.json``.
        trunk: of the family.
        name: what errors call the document.

    Raises:
        InputError: it has settings of no member of the family with that trunk.
    """
    try:
        config = UNetNASConfig.from_json(document)
    except (TypeError, ValidationError):
        raise InputError(f"{name}: has no settings of a U-Net-NAS") from None
    ups = reversed(config.up_blocks_num_attentions)
    member = Member(
        channels=config.down_blocks_out_channels,
        resnets=config.down_blocks_num_resnets,
        attentions=tuple(
            down + up for down, up in zip(config.down_blocks_num_attentions, ups, strict=True)
        ),
        mid_resnets=config.mid_num_resnets,
        mid_attentions=config.mid_num_attentions,
        halves_bottom=config.add_downsample[-1],
    )
    ours = UNetNASConfig.from_json(member.configurations(trunk))
    for field, theirs in config:
        if theirs != getattr(ours, field):
            raise InputError(
                f"{name}: is no member of the family: {field} is {theirs}, "
                f"and would be {getattr(ours, field)}"
            )
    return member
