"""The words of the domain as values and pure functions: standard library and Pydantic only."""
