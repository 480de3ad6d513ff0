//! Sends telemetry to the OTLP receiver of a Collector.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use tonic::transport::Channel;

/// Sends three batches over gRPC, without a credential: `items` spans, `items` data points and
/// `items` log records.
pub async fn send(channel: &Channel, items: usize) {
    let spans = (1_u8..).take(items).map(|id| Span {
        trace_id: vec![1; 16],
        span_id: vec![id.max(1); 8],
        name: "work".to_owned(),
        ..Span::default()
    });
    let scope = ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    let request = ExportTraceServiceRequest { resource_spans: vec![resource] };
    TraceServiceClient::new(channel.clone())
        .export(request)
        .await
        .expect("the Collector takes spans");

    let gauge = Gauge { data_points: vec![NumberDataPoint::default(); items] };
    let metric = Metric {
        name: "load".to_owned(),
        data: Some(metric::Data::Gauge(gauge)),
        ..Metric::default()
    };
    let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
    let resource = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
    let request = ExportMetricsServiceRequest { resource_metrics: vec![resource] };
    MetricsServiceClient::new(channel.clone())
        .export(request)
        .await
        .expect("the Collector takes data points");

    let scope =
        ScopeLogs { log_records: vec![LogRecord::default(); items], ..ScopeLogs::default() };
    let resource = ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() };
    let request = ExportLogsServiceRequest { resource_logs: vec![resource] };
    LogsServiceClient::new(channel.clone())
        .export(request)
        .await
        .expect("the Collector takes log records");
}
