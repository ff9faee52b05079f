"""Webhooks: a tenant's servers are told of what becomes of its batches."""
