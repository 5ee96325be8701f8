# docker build -t passthrough .
# How to run it: docs/deployment.md, "Container".

FROM python:3.13-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# Without pip of its own: nothing in the final image installs anything.
RUN ["python", "-m", "venv", "--without-pip", "/opt/passthrough"]

# The dependencies first, in a layer that stays until they change.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
e = p['optional-dependencies']; del e['test']; print(*p['dependencies'], *(line for extra in e.values() for line in extra), sep='\n')" > requirements.txt \
 && pip --python /opt/passthrough/bin/python install --no-compile -c constraints.txt -r requirements.txt

COPY .ci/tools.txt ./
RUN python -m venv tools && tools/bin/pip install -c tools.txt flit-core cyclonedx-bom

COPY README.md LICENSE .ci/inventory.py ./
COPY passthrough passthrough
# Bytecode is valid by declaration, not by file time: copying and rewriting of times between layers cannot spoil it.
# In share/ is what the image holds, for those who must know: sbom.cdx.json (CycloneDX) and licenses.txt.
RUN tools/bin/pip wheel --no-build-isolation --no-deps --wheel-dir dist . \
 && pip --python /opt/passthrough/bin/python install --no-compile --no-deps dist/*.whl \
 && /opt/passthrough/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/passthrough/lib \
 && tools/bin/python inventory.py /opt/passthrough/bin/python /opt/passthrough/share/passthrough


FROM python:3.13-slim
LABEL org.opencontainers.image.title="passthrough-ocr" \
      org.opencontainers.image.description="A transparent pass-through reverse proxy for Mistral OCR" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/passthrough /opt/passthrough
# The built-in configuration: as it has no client keys, the image serves nobody until another is mounted in its place.
COPY passthrough/config/builtin.yaml /etc/passthrough/routes.yaml
# The base image has the standard library without bytecode, and the user below may not write it: what is used is
# compiled here, once. This is also the build's proof that everything can be imported.
RUN ["/opt/passthrough/bin/python", "-c", "import passthrough.server.run, passthrough.cli.usage, passthrough.cli.ocr.command, passthrough.client.pdf.pdfium, passthrough.sandbox.documents, passthrough.tracing.exporter, markdown_it, sqlalchemy.dialects.postgresql"]

# Variables win over keys of the file. Off loopback `serve` demands client_keys or master_key, and the admin port
# answers nothing but health without admin_key: both may face the container's network, where probes come from.
ENV PATH=/opt/passthrough/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PASSTHROUGH_CONFIG=/etc/passthrough/routes.yaml \
    PASSTHROUGH_LISTEN_HOST=0.0.0.0 \
    PASSTHROUGH_ADMIN_HOST=0.0.0.0

# The ledger is written to the working directory. A number, not a name: Kubernetes' runAsNonRoot can check only that.
WORKDIR /data
RUN ["chown", "10001:10001", "/data"]
VOLUME /data
USER 10001:10001
EXPOSE 4000 4001

# The lists, not lines for a shell: the program itself is process 1 and gets the signals.
HEALTHCHECK --interval=30s --timeout=6s --start-period=10s CMD ["passthrough", "health"]
ENTRYPOINT ["passthrough"]
CMD ["serve"]
