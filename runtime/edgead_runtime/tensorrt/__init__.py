"""TensorRT: building engines on the device that runs them, and running them.

``api`` says which of TensorRT's names are used, ``builder`` makes a plan of an ONNX file, ``record`` is the
JSON beside it, ``store`` knows where the two lie, ``building`` does all of it for an encoder bundle.
``device`` is the little of CUDA that is needed, with an implementation on cuda-bindings and one on pycuda;
``arena``, ``lane`` and ``engine`` run a plan.

What has run on a GPU and what has not is kept in ``docs/tensorrt.md``. Importing this package imports neither
TensorRT nor CUDA.
"""
