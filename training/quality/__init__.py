"""What a shortcut costs: its drawings beside the exact ones of the same prompts and seeds."""
