"""Feeds the queues from SQL: a little ahead of the workers, never more, and fairly."""

from producer.dispatch.dispatcher import Dispatcher
from producer.dispatch.thread import DispatcherThread

__all__ = ["Dispatcher", "DispatcherThread"]
