# edgead-runtime on an x86-64 server with an NVIDIA GPU.
# Not built and not run: the project's machines have no GPU and no images. docs/server.md says how it is meant.
#
#     docker build -f docs/deploy/server.Dockerfile --target gpu -t edgead-gpu .            ONNX Runtime on CUDA
#     docker build -f docs/deploy/server.Dockerfile --target tensorrt -t edgead-tensorrt .
#
# BASE has the CUDA and cuDNN that onnxruntime-gpu of PyPI is built for; the host's driver must know that CUDA.
ARG BASE=nvidia/cuda:12.9.1-cudnn-runtime-ubuntu24.04

FROM ${BASE} AS python
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
# Ubuntu's own Python takes no packages; an environment does.
RUN python3 -m venv /opt/edgead
ENV PATH=/opt/edgead/bin:$PATH

FROM python AS wheel
COPY runtime /src/runtime
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /src/runtime

FROM python AS base
COPY --from=wheel /wheels /wheels
# Ubuntu's image has a user of id 1000 already.
RUN useradd --create-home --uid 1001 edgead \
    && mkdir /data \
    && chown edgead /data
ENV EDGEAD_CACHE=/data/.edgead-cache
VOLUME /data
WORKDIR /data
CMD ["edgead-runtime", "doctor"]

FROM base AS tensorrt
# onnxruntime is what the parity gate compares an engine with.
RUN pip install --no-cache-dir \
        "edgead-runtime[tensorrt,mqtt,rtsp] @ file://$(ls /wheels/*.whl)" \
        "tensorrt>=10.3" \
        "onnxruntime>=1.17"
USER edgead

FROM base AS gpu
RUN pip install --no-cache-dir "edgead-runtime[gpu,mqtt,rtsp] @ file://$(ls /wheels/*.whl)"
USER edgead
