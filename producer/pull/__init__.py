"""Images of a batch out of the store, into a folder or another store."""

from producer.pull.fetch import PullProblem
from producer.pull.folder import Puller
from producer.pull.results import Pulled, PulledFolder, PulledImage, PullOptions
from producer.pull.to_store import pull_objects, pull_shards

__all__ = [
    "PullOptions",
    "PullProblem",
    "Pulled",
    "PulledFolder",
    "PulledImage",
    "Puller",
    "pull_objects",
    "pull_shards",
]
