#!/usr/bin/env python3
"""Sends N spans, log records or metric data points through the OpenTelemetry SDK.

Prints one JSON line, {"sent": N, "result": "SUCCESS" | "FAILURE"}, and ends with
exit code 0 or 1. The result is the exporter's own: the SDK reports it only to
the processor that called it, and neither force_flush nor shutdown passes it on.
"""

import argparse
import json
import logging
import math
import os
import sys

# Removes the environment variables of the machine that the SDK and gRPC read, so
# that they do not change what a test sends, or to which address.
for _name in list(os.environ):
    if _name.upper().startswith("OTEL_") or _name.upper().endswith("_PROXY"):
        del os.environ[_name]

import grpc
import requests
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcTraces
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpTraces
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExportResult
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

EXPORTERS = {
    ("grpc", "traces"): GrpcTraces,
    ("grpc", "metrics"): GrpcMetrics,
    ("grpc", "logs"): GrpcLogs,
    ("http", "traces"): HttpTraces,
    ("http", "metrics"): HttpMetrics,
    ("http", "logs"): HttpLogs,
}
RESULTS = {
    "traces": SpanExportResult,
    "metrics": MetricExportResult,
    "logs": LogRecordExportResult,
}

BATCH = 512  # the SDK's own default; also keeps a gRPC message below 4 MiB
POINTS_PER_INSTRUMENT = 1000  # the SDK folds more than 2000 into one overflow point
RESOURCE = Resource.create({"service.name": "otlp-auth-peer"})


def positive(text):
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def count(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def arguments():
    p = argparse.ArgumentParser(description="Send telemetry through the OpenTelemetry SDK.")
    p.add_argument("--protocol", choices=["grpc", "http"], required=True)
    p.add_argument("--endpoint", required=True, help="http(s)://host:port; the path /v1/<signal> is added for http")
    p.add_argument("--signal", choices=["traces", "metrics", "logs"], required=True)
    p.add_argument("--items", type=count, default=1)
    p.add_argument("--header", help="value of the authorization header; without it none is sent")
    p.add_argument("--ca-file", help="PEM file with the roots to trust for https")
    p.add_argument("--timeout", type=positive, default=5.0, help="seconds for one export with all its retries")
    args = p.parse_args()
    if not args.endpoint.startswith(("http://", "https://")):
        p.error("--endpoint needs http:// or https://")
    return args


def new_exporter(args):
    cls = EXPORTERS[args.protocol, args.signal]
    headers = {} if args.header is None else {"authorization": args.header}
    if args.protocol == "http":
        # With trust_env, REQUESTS_CA_BUNDLE would override certificate_file, and an
        # entry in .netrc would override the authorization header.
        session = requests.Session()
        session.trust_env = False
        return cls(
            endpoint=f"{args.endpoint.rstrip('/')}/v1/{args.signal}",
            certificate_file=args.ca_file,
            headers=headers,
            timeout=args.timeout,
            session=session,
        )
    insecure = args.endpoint.startswith("http://")
    credentials = None
    if not insecure:
        roots = None
        if args.ca_file:
            with open(args.ca_file, "rb") as f:
                roots = f.read()
        credentials = grpc.ssl_channel_credentials(root_certificates=roots)
    return cls(
        endpoint=args.endpoint,
        insecure=insecure,
        credentials=credentials,
        headers=headers,
        timeout=args.timeout,
    )


class Observer:
    """Stands in front of exporter.export and remembers what it returned."""

    def __init__(self, exporter, result_type, count_items):
        self._export = exporter.export
        self._result_type = result_type
        self._count_items = count_items
        self.accepted = 0
        self.failed = False
        exporter.export = self

    def __call__(self, data, **kwargs):
        if self.failed:
            # After a failure, no batch is sent. Otherwise, each batch to an unreachable
            # endpoint would wait for its own timeout.
            return self._result_type.FAILURE
        self.failed = True  # holds if export raises
        result = self._export(data, **kwargs)
        if result is self._result_type.SUCCESS:
            self.failed = False
            self.accepted += self._count_items(data)
        return result


def count_points(metrics_data):
    return sum(
        len(metric.data.data_points)
        for resource in metrics_data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )


def send_traces(exporter, items):
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=max(items, BATCH), max_export_batch_size=BATCH)
    )
    tracer = provider.get_tracer("peer")
    for i in range(items):
        with tracer.start_as_current_span(f"span-{i}", attributes={"index": i}):
            pass
    return provider


def send_logs(exporter, items):
    provider = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_log_record_processor(
        BatchLogRecordProcessor(exporter, max_queue_size=max(items, BATCH), max_export_batch_size=BATCH)
    )
    logger = provider.get_logger("peer")
    for i in range(items):
        logger.emit(
            LogRecord(severity_number=SeverityNumber.INFO, severity_text="INFO", body=f"record {i}", attributes={"index": i})
        )
    return provider


def send_metrics(exporter, items):
    # The reader has no interval. It collects only at the flush, so no point is sent
    # twice.
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=math.inf)
    provider = MeterProvider(metric_readers=[reader], resource=RESOURCE, shutdown_on_exit=False)
    meter = provider.get_meter("peer")
    for i in range(items):
        if i % POINTS_PER_INSTRUMENT == 0:
            counter = meter.create_counter(f"counter_{i // POINTS_PER_INSTRUMENT}")
        counter.add(1, {"index": i})
    return provider


def main():
    args = arguments()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s")

    exporter = new_exporter(args)
    observer = Observer(exporter, RESULTS[args.signal], count_points if args.signal == "metrics" else len)
    send = {"traces": send_traces, "logs": send_logs, "metrics": send_metrics}[args.signal]
    provider = send(exporter, args.items)
    provider.force_flush()
    provider.shutdown()

    # An item that never reached the exporter is a failure too.
    success = not observer.failed and observer.accepted == args.items
    print(json.dumps({"sent": args.items, "result": "SUCCESS" if success else "FAILURE"}))
    return 0 if success else 1


if __name__ == "__main__":
    sys.exit(main())
