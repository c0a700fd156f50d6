"""Choosing a recipe for a part from its good pictures alone."""
