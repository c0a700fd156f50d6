"""A GPU that is not there: a test double of the CUDA runtime, of pycuda's driver and of TensorRT.

It is a test tool. It shows that edgead's code asks for the right things in the right order; it says nothing
of speed, and nothing of what real hardware, drivers or TensorRT do beyond what NVIDIA's documentation says of
them.

Device memory is a set of arrays of the host behind made-up addresses. Work that is put into a stream is done
when somebody waits for it, so that a result that is read too early is wrong. An engine's plan holds its ONNX
file, and running it runs that in ONNX Runtime. What CUDA leaves undefined is an error here (:class:`Misuse`):
memory used after it was given back, past its end, or by two streams at once; addresses and shapes that were
never set; a graph that is launched after what it was captured from has changed; anything that is never given
back.
"""

from simulated_gpu.machine import Misuse, SimulatedGpu

__all__ = ["Misuse", "SimulatedGpu"]
