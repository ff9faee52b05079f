"""The HTTP interface: FastAPI, imported by nothing but the process that serves it."""
