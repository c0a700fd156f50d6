"""For whoever has an NVIDIA GPU: what an encoder's engines do there, beside what else could run it.

``engines`` builds and judges them, ``device_runs`` times single runs on the GPU's own clock, ``whole_frames``
pictures in memory to their score for several banks, ``batches`` several pictures at once. ``provider`` and
``sdpa`` are the others, ONNX Runtime's providers and PyTorch; ``clocks`` watches what the GPU does meanwhile.
"""
