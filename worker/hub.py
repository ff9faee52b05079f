"""Models from Hugging Face, at a pinned revision: files only, never code."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, ModelInfo
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

from shared.errors import ConfigurationError, InputError, ServiceUnavailableError
from shared.files import atomic_file
from shared.models.card import (
    CARD,
    FLEXIBLE_UNET,
    INDEX,
    SAFETY_CHECKER,
    UNKNOWN_LICENCE,
    ModelCard,
    read_card,
)
from shared.models.catalog import pulled_folder
from worker.devices import Device
from worker.loading import load_pipeline
from worker.models.weights import STEM, SUFFIXES, TEXT_ENCODER_STEMS, hash_weights

REPOSITORY = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")
SHORT_COMMIT = 12
FREE_LICENCES = frozenset(
    {"apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "unlicense"}
)
"""Those that ask for no more than attribution. Any other has to be accepted."""
SETTINGS_FOLDERS = frozenset({"scheduler", "tokenizer", "feature_extractor"})
WEIGHTS_OF = {
    "text_encoder": TEXT_ENCODER_STEMS,
    "vae": (STEM,),
    SAFETY_CHECKER: TEXT_ENCODER_STEMS,
}
TIMEOUT_SECONDS = 10.0


def pull(
    name: str,
    models_dir: Path,
    *,
    accept_licence: bool = False,
    quiet: bool = False,
    endpoint: str | None = None,
) -> ModelCard:
    """Fetch a model, check that it loads, and keep it.

    What an interrupted pull has fetched stays beside the models, and the next goes on
    from there.

    Args:
        name: OWNER/NAME, or OWNER/NAME@REVISION with a commit, a tag or a branch. The
            commit that it means now is what is kept.
        models_dir: where pulled models are kept.
        accept_licence: whether a licence with conditions of use is accepted.
        quiet: show no progress.
        endpoint: URL of the hub; None takes HF_ENDPOINT, else Hugging Face's own.

    Raises:
        InputError: there is no such model or revision, it is no model of ours, or its
            licence was not accepted. Nothing was fetched.
        ConfigurationError: what was fetched does not load; it is deleted again.
        ServiceUnavailableError: the hub does not answer.
    """
    repository, _, revision = name.partition("@")
    if REPOSITORY.fullmatch(repository) is None:
        raise InputError(
            f"{name!r} is no model of a hub", hint="OWNER/NAME, or OWNER/NAME@REVISION"
        )
    hub = HfApi(endpoint=endpoint)
    info = _look_up(hub, repository, revision or None)
    commit = str(info.sha)
    folder = pulled_folder(models_dir, repository, commit)
    if (folder / CARD).is_file():
        return read_card(folder)
    files = wanted_files([sibling.rfilename for sibling in info.siblings or ()])
    licence = _licence(info)
    if licence not in FREE_LICENCES and not accept_licence:
        raise InputError(
            f"{repository} is under the licence {licence!r}, whose conditions you have to accept",
            hint=f"Read {hub.endpoint}/{repository}, then add --accept-licence.",
        )
    partial = folder.with_name(f".{folder.name}.partial")
    _fetch(hub, repository, commit, files, partial, quiet=quiet)
    try:
        card = _finish(partial, f"{repository}@{commit[:SHORT_COMMIT]}", commit, licence)
    except ConfigurationError:
        shutil.rmtree(partial)
        raise
    partial.rename(folder)
    return card.model_copy(update={"folder": folder})


def wanted_files(names: Sequence[str]) -> list[str]:
    """Choose what to fetch of a repository: settings, and one file of weights a component.

    Raises:
        InputError: it is not a text-to-image model in diffusers' layout.
    """
    present = set(names)
    denoiser = FLEXIBLE_UNET if f"{FLEXIBLE_UNET}/config.json" in present else "unet"
    needed = {**WEIGHTS_OF, denoiser: (STEM,)}
    if f"{SAFETY_CHECKER}/config.json" not in present:
        del needed[SAFETY_CHECKER]
    wanted = [INDEX, *(f"{component}/config.json" for component in needed)]
    wanted.append("scheduler/scheduler_config.json")
    for missing in (name for name in wanted if name not in present):
        raise InputError(f"not a diffusers text-to-image model: it has no {missing}")
    wanted += [_weights(component, stems, present) for component, stems in needed.items()]
    wanted += (
        name
        for name in sorted(present)
        if PurePosixPath(name).parent.name in SETTINGS_FOLDERS
        and PurePosixPath(name).suffix in {".json", ".txt"}
        and name not in wanted
    )
    return wanted + sorted(present & {"README.md", "LICENSE", "LICENSE.md"})


def _weights(component: str, stems: tuple[str, ...], present: set[str]) -> str:
    for suffix in SUFFIXES:
        for stem in stems:
            if (name := f"{component}/{stem}{suffix}") in present:
                return name
    raise InputError(f"no weights in {component}/: looked for {stems[0]}{SUFFIXES[0]}")


def _look_up(hub: HfApi, repository: str, revision: str | None) -> ModelInfo:
    try:
        return hub.model_info(repository, revision=revision, timeout=TIMEOUT_SECONDS)
    except RevisionNotFoundError:
        raise InputError(f"{repository} has no revision {revision!r}") from None
    except GatedRepoError:
        raise InputError(
            f"{repository} is only for those whom its owner lets in",
            hint="Ask for access on its page, then set HF_TOKEN.",
        ) from None
    except RepositoryNotFoundError:
        raise InputError(
            f"there is no model {repository} at {hub.endpoint}",
            hint="A private one needs HF_TOKEN.",
        ) from None
    except HFValidationError as error:
        raise InputError(f"{repository}: {error}") from None
    except (HfHubHTTPError, OSError) as error:
        raise _unreachable(hub, error) from None
    except Exception as error:
        # The hub's client passes on what its HTTP library raises, which has changed twice.
        if "http" in type(error).__module__:
            raise _unreachable(hub, error) from None
        raise


def _fetch(
    hub: HfApi, repository: str, commit: str, files: Sequence[str], folder: Path, *, quiet: bool
) -> None:
    if quiet:
        disable_progress_bars()
    try:
        hub.snapshot_download(
            repository, revision=commit, allow_patterns=list(files), local_dir=folder
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise _unreachable(hub, error) from None
    finally:
        if quiet:
            enable_progress_bars()
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def _finish(folder: Path, name: str, commit: str, licence: str) -> ModelCard:
    """Check that all of it loads, and write the card."""
    card = read_card(folder)
    load_pipeline(card, Device.parse("cpu"))
    card = card.model_copy(
        update={
            "name": name,
            "title": name.partition("@")[0],
            "licence": licence,
            "revision": commit,
            "weights_sha256": hash_weights(folder),
        }
    )
    with atomic_file(folder / CARD) as file:
        file.write(card.model_dump_json(indent=2, exclude={"folder"}).encode() + b"\n")
    return card


def _licence(info: ModelInfo) -> str:
    licence = info.card_data.get("license") if info.card_data else None
    name = info.card_data.get("license_name") if info.card_data else None
    return str((name if licence == "other" else licence) or UNKNOWN_LICENCE)


def _unreachable(hub: HfApi, error: Exception) -> ServiceUnavailableError:
    reason = (str(error).strip() or type(error).__name__).split("\n", 1)[0]
    return ServiceUnavailableError(
        f"the hub at {hub.endpoint} does not answer: {reason}",
        hint="Run the same command again to go on from what was fetched.",
    )
