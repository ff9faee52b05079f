"""Celery and Redis: pointers to work travel here, never the work itself."""
