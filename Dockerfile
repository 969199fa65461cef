# The app and the transcription server on processors. docs/container.md says how to use it.
FROM python:3.11.7-slim-bookworm AS build
# serve,media: the server of ONNX exports alone, without PyTorch. app,serve: everything.
ARG EXTRAS=app,serve
# PyTorch's builds for processors; the usual ones bring gigabytes of CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python -m venv /opt/whisperslim
COPY requirements.txt ./
RUN case ",${EXTRAS}," in \
      *,app,*|*,train,*) /opt/whisperslim/bin/pip install --index-url "${TORCH_INDEX}" \
        "$(grep '^torch==' requirements.txt)" ;; \
    esac
COPY pyproject.toml README.md LICENSE ./
COPY whisperslim ./whisperslim
COPY presets ./presets
COPY assets ./assets
RUN /opt/whisperslim/bin/pip install --constraint requirements.txt ".[${EXTRAS}]"

FROM python:3.11.7-slim-bookworm
RUN useradd --uid 10001 --create-home whisperslim \
    && install --directory --owner=whisperslim /cache /state /runs /models
COPY --from=build /opt/whisperslim /opt/whisperslim
ENV PATH=/opt/whisperslim/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/cache/huggingface \
    WHISPERSLIM_CACHE=/cache \
    WHISPERSLIM_STATE=/state
USER 10001
WORKDIR /home/whisperslim
VOLUME ["/cache", "/state", "/runs", "/models"]
EXPOSE 7860 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["whisperslim"]
CMD ["serve", "/models/slim-onnx", "--listen", "0.0.0.0"]
