"""Qualcomm Cloud AI 100: its cards, its compiler and what that made."""
