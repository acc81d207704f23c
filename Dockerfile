# Machines that build datasets; docs/deployments.md has the commands.
#   docker build --target cpu -t aria-data:cpu .
#   docker build --target cuda -t aria-data:cuda .
#   docker run --rm -v "$PWD:/data" aria-data:cpu aria-data build /data/recordings --out /data/dataset
# Pinned by version here and in constraints.txt. A base is pinned by digest where a registry is at hand:
#   docker build --build-arg PYTHON_IMAGE=python@sha256:... --target cpu .
ARG PYTHON_IMAGE=python:3.11.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 DO_NOT_TRACK=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false
WORKDIR /opt/aria-data
COPY constraints.txt pyproject.toml README.md LICENSE prefect.yaml ./
RUN useradd --uid 1000 --create-home aria \
    && mkdir /data \
    && chown aria /data

# ---- what PyTorch computes on is all in which the two targets differ
FROM base AS torch-cpu
# PyTorch's index of builds for processors leaves CUDA's libraries out, some gigabytes; without it, the build for GPUs computes on both
ARG TORCH_INDEX=
RUN if [ -n "$TORCH_INDEX" ]; then export PIP_INDEX_URL="$TORCH_INDEX"; fi; python -m pip install \
    "torch==$(sed -n 's/^torch==//p' constraints.txt)" "torchaudio==$(sed -n 's/^torchaudio==//p' constraints.txt)"

FROM base AS torch-cuda
RUN python -m pip install -c constraints.txt torch torchaudio

FROM torch-cpu AS cpu
COPY aria_data ./aria_data
COPY classifiers ./classifiers
COPY flows ./flows
COPY manifests ./manifests
RUN python -m pip install -c constraints.txt ".[ray,s3]" \
    && python -m pip install --no-deps "tinysoundfont==$(sed -n 's/^tinysoundfont==//p' constraints.txt)"
USER 1000
WORKDIR /data
HEALTHCHECK --interval=60s --timeout=30s --start-period=20s --retries=3 CMD ["aria-data", "--version"]
CMD ["aria-data", "--help"]

FROM torch-cuda AS cuda
# the driver and its libraries are the host's: nvidia-container-toolkit puts them in
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY aria_data ./aria_data
COPY classifiers ./classifiers
COPY flows ./flows
COPY manifests ./manifests
RUN python -m pip install -c constraints.txt ".[ray,s3]" \
    && python -m pip install --no-deps "tinysoundfont==$(sed -n 's/^tinysoundfont==//p' constraints.txt)"
USER 1000
WORKDIR /data
HEALTHCHECK --interval=60s --timeout=30s --start-period=20s --retries=3 CMD ["aria-data", "--version"]
CMD ["aria-data", "--help"]
