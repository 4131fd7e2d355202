# One image for proxies, targets and `haul`: a virtual environment on a plain Python, without pip, run by an ordinary user.
#
# BASE_IMAGE needs python3 (3.11 or newer) with venv, on glibc. WHEELS is a directory of the build context; with wheels
# in it nothing is downloaded (`deploy/docker/build.sh` fills it), empty as it is, pip asks its index.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG WHEELS=deploy/docker/wheels
COPY ${WHEELS} /wheels
RUN python3 -m venv /opt/haul \
    && if ls /wheels/*.whl >/dev/null 2>&1; then printf '[global]\nno-index = true\nfind-links = /wheels\n' >/etc/pip.conf; fi
WORKDIR /src
COPY pyproject.toml README.md ./
COPY deploy/docker/requirements.py /requirements.py
# The dependencies alone first: they change seldom, and their layer is kept. With the extras for all sources of objects.
RUN /opt/haul/bin/python /requirements.py pyproject.toml >/requirements.txt \
    && /opt/haul/bin/pip install --no-cache-dir --disable-pip-version-check --requirement /requirements.txt
COPY common ./common
COPY proxy ./proxy
COPY target ./target
COPY cli ./cli
COPY haul ./haul
COPY deploy/docker/health.py /opt/haul/bin/haul-health
RUN /opt/haul/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps . \
    && /opt/haul/bin/pip uninstall --quiet --yes pip setuptools \
    && find /opt/haul -type d -name tests -path '*/numpy/*' -prune -exec rm -rf {} +

FROM ${BASE_IMAGE}
# A named volume takes over the owner of the directory that it is mounted on first.
RUN groupadd --gid 10001 haul \
    && useradd --uid 10001 --gid haul --no-create-home --home-dir /var/lib/haul --shell /usr/sbin/nologin haul \
    && install -d -o haul -g haul -m 0700 /var/lib/haul /disks/1 /disks/2
COPY --from=build /opt/haul /opt/haul
ENV PATH=/opt/haul/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/haul
STOPSIGNAL SIGTERM
CMD ["haul", "--help"]
