"""What is known of each job of a batch, for programs to read."""

from producer.manifest.jobs import JobFacts, Place, job_pages
from producer.manifest.lines import manifest_line
from producer.manifest.write import ManifestSummary, write_manifests

__all__ = [
    "JobFacts",
    "ManifestSummary",
    "Place",
    "job_pages",
    "manifest_line",
    "write_manifests",
]
