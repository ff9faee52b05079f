"""Finding a model: one that ships with tenstep, one that was pulled, or any folder."""

from __future__ import annotations

from pathlib import Path

from shared.errors import ConfigurationError
from shared.models.card import CARD, INDEX, ModelCard, read_card

SHIPPED = Path(__file__).parent


def shipped_folders() -> list[Path]:
    """Return the folders of the models and presets inside the package, by name."""
    return sorted(path.parent for path in SHIPPED.glob(f"*/{CARD}"))


def pulled_folder(models_dir: Path, repository: str, commit: str) -> Path:
    """Return where one commit of a Hugging Face repository is kept."""
    return models_dir / f"{repository.replace('/', '--')}@{commit}"


def pulled_folders(models_dir: Path) -> list[Path]:
    """Return the folders of all models that were pulled or exported here."""
    return sorted(path.parent for path in models_dir.glob(f"*/{CARD}"))


def load_card(name: str, models_dir: Path | None = None) -> ModelCard:
    """Find a model by name.

    Args:
        name: of one that ships with tenstep; or a folder; or OWNER/NAME, with @REVISION
            where several of its revisions were pulled.
        models_dir: where pulled models are kept.

    Raises:
        ConfigurationError: there is none, there are several, or its card is broken.
    """
    shipped = SHIPPED / name
    if "/" not in name and (shipped / CARD).is_file():
        return read_card(shipped)
    folder = Path(name)
    if any((folder / file).is_file() for file in (CARD, INDEX)):
        return read_card(folder)
    pulled = _pulled(name, models_dir) if models_dir is not None else []
    if len(pulled) == 1:
        return read_card(pulled[0])
    if pulled:
        names = ", ".join(read_card(path).name for path in pulled)
        raise ConfigurationError(f"{name!r} is several models: {names}")
    names = ", ".join(path.name for path in shipped_folders())
    raise ConfigurationError(
        f"no model {name!r}: neither one that ships with tenstep ({names}), "
        "nor one that was pulled, nor a diffusers folder",
        hint=f"tenstep model pull {name}" if "/" in name and not folder.exists() else None,
    )


def load_served_card(name: str | None, default: str, models_dir: Path) -> ModelCard:
    """Find a model for somebody elsewhere, who must not name folders of this host.

    Args:
        name: of the default, or of one that ships with tenstep or was pulled; None is the
            default.
        default: the server's own model: a name or a folder.
        models_dir: where pulled models are kept.

    Raises:
        ConfigurationError: there is none, or there are several.
    """
    cards = served_cards(default, models_dir)
    found = cards[:1] if name is None else [card for card in cards if card.name == name]
    if not found and name is not None:
        found = [card for card in cards if card.name.startswith(f"{name}@")]
    if len(found) == 1:
        return found[0]
    names = ", ".join(card.name for card in found or cards)
    said = "is several models" if found else "is no model of this server, which has"
    raise ConfigurationError(f"{name!r} {said}: {names}")


def served_cards(default: str, models_dir: Path) -> list[ModelCard]:
    """Return the cards of the default model and of all that were shipped or pulled, each once."""
    folders = [*shipped_folders(), *pulled_folders(models_dir)]
    cards = [load_card(default, models_dir), *map(read_card, folders)]
    return list({card.name: card for card in cards}.values())


def _pulled(name: str, models_dir: Path) -> list[Path]:
    repository, _, revision = name.partition("@")
    prefix = f"{repository.replace('/', '--')}@{revision}"
    return [path for path in pulled_folders(models_dir) if path.name.startswith(prefix)]
