# offline_mbrl on a CPU (the default) or an NVIDIA GPU:
#   docker build -t offline-mbrl .
#   docker build -t offline-mbrl:cuda --build-arg EXTRAS=all,cuda .
#   docker run --rm -v "$PWD/results:/app/results" offline-mbrl train bc hopper-medium --size 10000 --steps 5000
#   docker run --rm --gpus all ... offline-mbrl:cuda doctor
FROM python:3.12-slim AS build
WORKDIR /src
RUN pip install --no-cache-dir build
COPY . .
RUN python -m build --wheel --outdir /wheels

FROM python:3.12-slim
ARG EXTRAS=all
# Films are drawn without a display, by Mesa; JAX brings its own CUDA libraries, the host its driver.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libegl1 libegl-mesa0 libgl1-mesa-dri libosmesa6 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(ls /wheels/*.whl)[$EXTRAS]" && rm -r /wheels
ENV OFFLINE_MBRL_CACHE=/cache
VOLUME /cache
WORKDIR /app
ENTRYPOINT ["offline-mbrl"]
CMD ["--help"]
