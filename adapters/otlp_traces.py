"""Traces to an OpenTelemetry collector, by OTLP over HTTP.

It is set up by OpenTelemetry's own variables: OTEL_EXPORTER_OTLP_ENDPOINT and _HEADERS,
OTEL_TRACES_SAMPLER and _ARG, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES.
"""

import os

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Tracer

# With its tries again; a process that ends waits for its last spans, and is killed after ten.
SECONDS = 2.0


def open_traces() -> Tracer:
    """Return what makes spans and sends them in the background, also at the process's end.

    A collector that is away costs spans, never a request.
    """
    name = os.environ.get("OTEL_SERVICE_NAME", "regulars")
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=SECONDS)))
    return provider.get_tracer("regulars")
