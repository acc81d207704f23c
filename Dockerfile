# A machine that builds datasets: docker build -t aria-data . && docker run -v "$PWD:/data" aria-data build /data/recordings --out /data/dataset
FROM python:3.11-slim-bookworm

WORKDIR /opt/aria-data
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY aria_data ./aria_data
COPY classifiers ./classifiers
COPY flows ./flows
COPY manifests ./manifests

RUN python -m pip install --no-cache-dir -c constraints.txt "torch==$(sed -n 's/^torch==//p' constraints.txt)"
RUN python -m pip install --no-cache-dir -c constraints.txt .
RUN python -m pip install --no-cache-dir --no-deps "tinysoundfont==$(sed -n 's/^tinysoundfont==//p' constraints.txt)"

RUN useradd --uid 1000 --create-home aria
USER 1000
WORKDIR /data
ENTRYPOINT ["aria-data"]
CMD ["--help"]
