"""The clerk: takes in the batches that were asked for over HTTP, and writes their results.

A process of its own beside the server: reading a million prompts must not keep clients waiting.
"""
