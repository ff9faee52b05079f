"""Takes prompts in, hands images and bills out. Draws nothing, so there is no torch here."""
