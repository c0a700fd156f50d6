# edgead-runtime on a Jetson Orin with JetPack 6.2: TensorRT 10.3, CUDA 12.6, Python 3.10.
# Not built and not run: the project has no Jetson. docs/jetson.md says how it is meant to be used.
#
#     docker build -f docs/deploy/jetson.Dockerfile -t edgead-jetson .
#
# JetPack 7 (Python 3.12, CUDA 13): another BASE, CUDA_BINDINGS="cuda-bindings>=13" and NUMPY="numpy".
ARG BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0

FROM ${BASE} AS wheel
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-pip \
    && rm -rf /var/lib/apt/lists/*
COPY runtime /src/runtime
RUN python3 -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /src/runtime

FROM ${BASE}
ARG CUDA_BINDINGS="cuda-bindings>=12.8,<13"
# JetPack 6's OpenCV was compiled for NumPy 1.
ARG NUMPY="numpy<2"
# The base image's sources are NVIDIA's: this OpenCV has GStreamer, and this TensorRT is the host's.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-pip python3-libnvinfer python3-opencv \
    && rm -rf /var/lib/apt/lists/*
COPY --from=wheel /wheels /wheels
# No extra: each would bring pip's OpenCV, which has no GStreamer. onnxruntime is for the parity gate.
RUN python3 -m pip install --no-cache-dir /wheels/*.whl "${CUDA_BINDINGS}" "${NUMPY}" "onnxruntime>=1.17" \
    && rm -rf /wheels
# The group of the camera's and GPU's devices on a Jetson. What is mounted at /data must be this user's too.
RUN useradd --create-home --uid 1000 --groups video edgead \
    && mkdir /data \
    && chown edgead /data
USER edgead
ENV EDGEAD_CACHE=/data/.edgead-cache
VOLUME /data
WORKDIR /data
CMD ["edgead-runtime", "doctor"]
