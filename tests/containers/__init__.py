"""The container files of deploy/ and the docs, started and used by podman: `python -m tests.containers`. No part of `.ci/run`."""
