"""Model repositories for NVIDIA's Triton Inference Server: a detector or an encoder behind HTTP and gRPC."""
