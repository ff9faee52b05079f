"""Render the chart with each file of examples/, and try the values of refused.yaml.

Helm comes as a library from PyPI. In a virtual environment of its own:

    pip install --ignore-requires-python helm-sdkpy==0.1.32 pyyaml
    python infra/kubernetes/render.py

It writes rendered/. Tests read that, for they have no Helm. Each file says in its first line what
it was made of, so that they know whether it is still true.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
CHART = HERE / "tenstep"
EXAMPLES = HERE / "examples"
RENDERED = HERE / "rendered"
REFUSED = HERE / "refused.yaml"
RELEASE = "tenstep"
NAMESPACE = "renders"

Values = Mapping[str, Any]


def digest(values: Path) -> str:
    """Work out what a rendering is made of: all of the chart, and one file."""
    files = sorted(path for path in CHART.rglob("*") if path.is_file())
    made_of = hashlib.sha256()
    for path in [*files, values]:
        made_of.update(f"{path.relative_to(HERE).as_posix()}\0".encode())
        made_of.update(hashlib.sha256(path.read_bytes()).digest())
    return made_of.hexdigest()


def header(values: Path) -> str:
    """Return the first line of what is rendered of a file of values."""
    return (
        f"# By infra/kubernetes/render.py; sha256 of the chart and these values: {digest(values)}\n"
    )


def render(values: Values) -> str:
    """Render the chart as ``helm template`` does, hooks last.

    Raises:
        HelmError: the values are refused.
    """
    from helm_sdkpy import Configuration, Install
    from helm_sdkpy.exceptions import HelmError
    from no_cluster import no_cluster

    with no_cluster() as (url, releases):
        configuration = Configuration(NAMESPACE, yaml.safe_dump(kubeconfig(url)))
        install = Install(configuration)
        try:
            asyncio.run(install.run(RELEASE, str(CHART), dict(values), wait=False, timeout=5))
        except HelmError:
            if not releases:
                raise
    hooks = [f"---\n# Source: {hook['path']}\n{hook['manifest']}" for hook in releases[0]["hooks"]]
    return "\n".join(
        line.rstrip() for line in "\n".join([releases[0]["manifest"], *hooks]).split("\n")
    )


def kubeconfig(url: str) -> Mapping[str, Any]:
    """Say where a cluster is."""
    name = "none"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": url}}],
        "users": [{"name": name, "user": {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def refusal(values: Values) -> str:
    """Return what Helm says of values that the chart must not take."""
    from helm_sdkpy.exceptions import HelmError

    try:
        render(values)
    except HelmError as error:
        return re.sub(r"\s+", " ", str(error))
    return "they were taken"


def merged(below: Values, above: Values) -> Values:
    """Lay values over others, as Helm does."""
    return {
        **below,
        **{
            key: merged(below[key], value)
            if isinstance(value, dict) and isinstance(below.get(key), dict)
            else value
            for key, value in above.items()
        },
    }


def read(path: Path) -> Values:
    """Read a file of values."""
    values: Values = yaml.safe_load(path.read_text("utf-8"))
    return values


def main() -> int:
    """Write all of it."""
    RENDERED.mkdir(exist_ok=True)
    for values in sorted(EXAMPLES.glob("*.yaml")):
        text = render(read(values))
        if text != render(read(values)):
            print(f"{values.name}: two renderings differ")
            return 1
        (RENDERED / values.name).write_text(header(values) + text.strip() + "\n", "utf-8")
    good = read(EXAMPLES / "one-pool-cpu.yaml")
    said = {name: refusal(merged(good, bad)) for name, bad in read(REFUSED).items()}
    text = yaml.safe_dump(said, sort_keys=False, width=1000)
    (RENDERED / REFUSED.name).write_text(header(REFUSED) + text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
