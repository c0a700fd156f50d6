"""The whole loop for an hour at full rate, watched and judged. See ``__main__``."""
