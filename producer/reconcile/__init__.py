"""Proves the books from inside, and compares them with a bill from outside."""
