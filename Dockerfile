# An image for `medctx launch kubernetes`, or for any machine with Docker:
#   docker build --tag medctx .                              CPU
#   docker build --build-arg TORCH=cuda --tag medctx:cuda .  CUDA, as PyTorch's own wheels have it
#   docker run --rm --volume "$PWD/results:/results" medctx medctx run quickstart --results /results
#   With a GPU add: --gpus all --shm-size=8g (loaders hand over batches in shared memory)
FROM python:3.11-slim-bookworm

ARG TORCH=cpu

# git tells the commit that each record names; wget is what KubeRay asks Ray's health by.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git wget \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory /opt/medctx

WORKDIR /opt/medctx
COPY requirements.lock ./
# PyTorch alone first: it is large and seldom changes. PyPI has the wheel for CUDA.
RUN if [ "$TORCH" = cuda ]; then index=https://pypi.org/simple; else index=https://download.pytorch.org/whl/cpu; fi \
    && version=$(sed -n 's/^torch==//p' requirements.lock) \
    && pip install --no-cache-dir "torch==$version" --index-url "$index" --extra-index-url https://pypi.org/simple

COPY . ./
# ray[default] has the dashboard that KubeRay submits jobs through.
RUN pip install --no-cache-dir --constraint requirements.lock --editable . "ray[default]"

# No USER: a new volume of a cluster belongs to root.
CMD ["medctx", "--help"]
