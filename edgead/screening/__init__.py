"""Batched zero-shot: a batch of pictures judged by each other, wherever their patches are kept."""
