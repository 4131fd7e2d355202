"""What `/metrics` of every node shares: how figures are named, and their text in Prometheus's format 0.0.4.

The only door to prometheus_client, and none to its global registry. Which figures there are is left to `proxy.api` and
`target.api`; docs/metrics.md lists them. Source of names and units: Prometheus's "Metric and label naming".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

PATH = "/metrics"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Metrics = Iterable[Metric]
Labelled = Mapping[tuple[str, ...], float]
"""Figures by the values of their labels, of which there must be few."""


def gauge(name: str, text: str, value: float) -> Metric:
    """A figure that goes up and down; truth is 1."""
    return GaugeMetricFamily(name, text, value=value)


def gauges(name: str, text: str, labels: tuple[str, ...], values: Labelled) -> Metric:
    """The same figure of several things."""
    return _labelled(GaugeMetricFamily(name, text, labels=labels), values)


def counter(name: str, text: str, value: float) -> Metric:
    """A figure that only grows while the process lives; `name` ends with `_total`."""
    return CounterMetricFamily(name, text, value=value)


def counters(name: str, text: str, labels: tuple[str, ...], values: Labelled) -> Metric:
    """The same counter of several things."""
    return _labelled(CounterMetricFamily(name, text, labels=labels), values)


def _labelled(family: GaugeMetricFamily | CounterMetricFamily, values: Labelled) -> Metric:
    for of, value in values.items():
        family.add_metric(of, value)
    return family


class Exposition(Collector):
    """The figures of one node: those that `measure` gives at every scrape, which node it is, and its process's own.

    `measure` is called on the thread that answers; it must not wait for anything.
    """

    def __init__(self, role: str, node_id: str, measure: Callable[[], Metrics]) -> None:
        self._identity: Labelled = {(role, node_id, _version()): 1.0}
        self._measure = measure
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def collect(self) -> Metrics:
        """What the registry asks for."""
        text = "Always 1; which node this is, and the version of Haul that it runs."
        yield gauges("haul_build_info", text, ("role", "node", "version"), self._identity)
        yield from self._measure()

    def text(self) -> bytes:
        """All figures as they are now, in the format of CONTENT_TYPE."""
        return generate_latest(self._registry)


def _version() -> str:
    try:
        return version("haul")
    except PackageNotFoundError:  # run from a directory
        return "unknown"
