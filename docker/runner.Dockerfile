# Benches artefacts on an ARM board: the bare install, for linux/arm64 and linux/arm/v7.
# Built from the root of the project; see docker-bake.hcl.
ARG BASE=docker.io/library/debian:bookworm-20260824-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171

FROM ${BASE} AS python
# PyPI has no such wheels for 32-bit ARM; Debian has them, and they fit tflite-runtime 2.14.
RUN compiled="python3-numpy python3-pil python3-psutil python3-scipy" \
    && if [ "$(dpkg --print-architecture)" != armhf ]; then compiled=; fi \
    && apt-get update \
    && apt-get install --yes --no-install-recommends python3 $compiled \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 fca

# Pure Python, made on the building machine: under emulation it would take minutes.
FROM --platform=${BUILDPLATFORM} ${BASE} AS pure
ENV PIP_NO_CACHE_DIR=1 PIP_PROGRESS_BAR=off PIP_ROOT_USER_ACTION=ignore
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY docker/hashes ./hashes
RUN python3 -m venv /venv \
    && /venv/bin/pip install --require-hashes --only-binary :all: --requirement hashes/build.txt \
    && /venv/bin/pip install --require-hashes --only-binary :all: --requirement hashes/build.txt \
        --target /pure/pip
COPY LICENSE README.md pyproject.toml ./
COPY fca_edge ./fca_edge
RUN /venv/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /pure . \
    && cp hashes/runner.txt /pure

FROM python AS build
ENV PIP_NO_CACHE_DIR=1 PIP_PROGRESS_BAR=off PIP_ROOT_USER_ACTION=ignore
COPY --from=pure /pure /pure
# On a 64-bit kernel a 32-bit Python takes itself for aarch64, and would want wheels that it
# cannot load; linux32 corrects that. The environment itself holds no pip.
# Every wheel has its digest in runner.txt, and what needs it is there, too.
RUN if [ "$(dpkg --print-architecture)" = armhf ]; \
        then as=linux32 system=--system-site-packages; else as= system=; fi \
    && python3 -m venv --without-pip $system /opt/fca-edge \
    && pip="$as /opt/fca-edge/bin/python -m pip" && export PYTHONPATH=/pure/pip \
    && $pip install --no-deps --require-hashes --only-binary :all: --requirement /pure/runner.txt \
    && $pip install --no-index --no-deps /pure/fca_edge-*.whl \
    && $pip check

FROM python
COPY --from=build /opt/fca-edge /opt/fca-edge
# Any user that it is run as can write in that home.
ENV PATH=/opt/fca-edge/bin:$PATH HOME=/tmp
WORKDIR /work
RUN chown fca: /work
USER 1000
ENTRYPOINT ["fca-edge"]
CMD ["--help"]
