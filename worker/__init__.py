"""Devices, backends, the diffusion engine and the Celery app: the only home of torch."""
