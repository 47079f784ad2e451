# Exports and benches: all of fca-edge, with torch's CPU build and both TFLite runtimes.
# Built from the root of the project; see docker-bake.hcl.
ARG BASE=docker.io/library/debian:bookworm-20260824-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171

FROM ${BASE} AS python
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 fca

FROM python AS build
ENV PIP_NO_CACHE_DIR=1 PIP_PROGRESS_BAR=off PIP_ROOT_USER_ACTION=ignore
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
# Every wheel has its digest there, and what needs it is there, too; see docker/hashes.sh.
COPY docker/hashes ./hashes
# Installed from outside, the environments hold no pip.
RUN python3 -m venv /pip \
    && /pip/bin/pip install --require-hashes --only-binary :all: --requirement hashes/build.txt \
    && python3 -m venv --without-pip /opt/fca-edge \
    && python3 -m venv --without-pip /opt/tflite-2.14
# torch alone comes from this index. Headers and torch's own tests are a fifth of it.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN /pip/bin/pip --python /opt/fca-edge/bin/python install --no-deps --require-hashes \
        --only-binary :all: ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} \
        --requirement hashes/torch.txt \
    && rm -r /opt/fca-edge/lib/python3*/site-packages/torch/include \
        /opt/fca-edge/lib/python3*/site-packages/torch/test
# The second environment is what proves the files of `--profile tflite-2.14`.
RUN /pip/bin/pip --python /opt/fca-edge/bin/python install --no-deps --require-hashes \
        --only-binary :all: --requirement hashes/exporter.txt \
    && /pip/bin/pip --python /opt/tflite-2.14/bin/python install --no-deps --require-hashes \
        --only-binary :all: --requirement hashes/tflite.txt
COPY LICENSE README.md pyproject.toml ./
COPY fca_edge ./fca_edge
RUN /pip/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheel . \
    && /pip/bin/pip --python /opt/fca-edge/bin/python install --no-index --no-deps /wheel/*.whl \
    && /pip/bin/pip --python /opt/fca-edge/bin/python check \
    && FCA_EDGE_TFLITE_214=/opt/tflite-2.14/bin/python /opt/fca-edge/bin/fca-edge targets check local

FROM python
COPY --from=build /opt/tflite-2.14 /opt/tflite-2.14
COPY --from=build /opt/fca-edge /opt/fca-edge
# Any user that it is run as can write in that home.
ENV PATH=/opt/fca-edge/bin:$PATH HOME=/tmp FCA_EDGE_TFLITE_214=/opt/tflite-2.14/bin/python
WORKDIR /work
RUN chown fca: /work
USER 1000
ENTRYPOINT ["fca-edge"]
CMD ["--help"]
