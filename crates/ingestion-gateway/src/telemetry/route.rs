//! The routes of the listeners for senders, as metrics name them.

use ingestion_api::route;

/// A route that metrics tell apart. What a sender asks for beyond these routes is one route, so
/// that nobody can add values of attributes.
///
/// The order is that of [`NAMES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route(u8);

/// The paths of OTLP: first those of OTLP/HTTP, which also follow a prefix on the agent listener,
/// and then those of OTLP/gRPC.
const OTLP: [&str; 12] = [
    "/v1/traces",
    "/v1/metrics",
    "/v1/logs",
    "/v1development/profiles",
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
    "/opentelemetry.proto.experimental.arrow.v1.ArrowTracesService/ArrowTraces",
    "/opentelemetry.proto.experimental.arrow.v1.ArrowMetricsService/ArrowMetrics",
    "/opentelemetry.proto.experimental.arrow.v1.ArrowLogsService/ArrowLogs",
    "/grpc.health.v1.Health/Check",
];

/// The names of all routes. The last one has no name, because metrics leave the attribute out.
const NAMES: [&str; 18] = [
    OTLP[0],
    OTLP[1],
    OTLP[2],
    OTLP[3],
    OTLP[4],
    OTLP[5],
    OTLP[6],
    OTLP[7],
    OTLP[8],
    OTLP[9],
    OTLP[10],
    OTLP[11],
    "/stsAgent/otel/{*path}",
    "/stsAgent/api/v1/validate",
    "/stsAgent/{*path}",
    "/prometheus/api/v1/write",
    "/grpc.health.v1.Health/Watch",
    "",
];

impl Route {
    /// The number of routes.
    pub(crate) const COUNT: usize = NAMES.len();

    const AGENT_OTLP: Self = Self(12);
    const VALIDATE: Self = Self(13);
    const AGENT: Self = Self(14);
    const REMOTE_WRITE: Self = Self(15);
    const WATCH: Self = Self(16);
    const UNKNOWN: Self = Self(17);

    /// Returns the route of a request with this path.
    pub(crate) fn of(path: &str) -> Self {
        if let Some(index) = OTLP.iter().position(|known| *known == path) {
            return Self(index as u8);
        }
        let path = path.strip_prefix(route::RECEIVER_PREFIX).unwrap_or(path);
        if path == route::REMOTE_WRITE {
            return Self::REMOTE_WRITE;
        }
        let Some(rest) = path.strip_prefix(route::AGENT_PREFIX).filter(|it| it.starts_with('/'))
        else {
            return if path == NAMES[16] { Self::WATCH } else { Self::UNKNOWN };
        };
        match rest.strip_prefix(route::AGENT_OTLP_PREFIX) {
            Some(otlp) if otlp.is_empty() || otlp.starts_with('/') => Self::AGENT_OTLP,
            _ if rest == route::VALIDATE => Self::VALIDATE,
            _ => Self::AGENT,
        }
    }

    /// Returns the names of the routes in the order of their indices, without the last one.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        NAMES.into_iter().filter(|name| !name.is_empty())
    }

    /// Returns the index of the route of a path among [`names`](Self::names), or `None` for a path
    /// that nobody serves.
    pub(crate) fn index_of(path: &str) -> Option<usize> {
        let route = Self::of(path);
        (route != Self::UNKNOWN).then_some(route.index())
    }

    /// Returns the number of the route, which is less than [`COUNT`](Self::COUNT).
    pub(crate) fn index(self) -> usize {
        self.0.into()
    }

    /// Returns the name of the route, or `None` for a path that nobody serves.
    pub(crate) fn name(self) -> Option<&'static str> {
        NAMES.get(self.index()).copied().filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: paths of every kind, with and without `/receiver`.
    // Guarantee: each path of OTLP is its own route. The paths of agents are few routes. A path
    // that nobody serves has no name.
    #[test]
    fn a_path_is_one_of_few_routes() {
        for path in OTLP.into_iter().chain([NAMES[16]]) {
            assert_eq!(Route::of(path).name(), Some(path));
        }
        for (path, name) in [
            ("/stsAgent/otel/v1/traces", "/stsAgent/otel/{*path}"),
            ("/stsAgent/otel", "/stsAgent/otel/{*path}"),
            ("/stsAgent/api/v1/validate", "/stsAgent/api/v1/validate"),
            ("/stsAgent/otelcol", "/stsAgent/{*path}"),
            ("/stsAgent/intake", "/stsAgent/{*path}"),
            ("/prometheus/api/v1/write", "/prometheus/api/v1/write"),
        ] {
            assert_eq!(Route::of(path).name(), Some(name), "{path}");
            assert_eq!(Route::of(&format!("/receiver{path}")).name(), Some(name), "{path}");
        }
        for path in ["/", "/stsAgent", "/stsAgents/intake", "/v1/traces/", "/v1/nothing", ""] {
            assert_eq!(Route::of(path).name(), None, "{path}");
        }
        assert_eq!(Route::names().count(), Route::COUNT - 1);
    }
}
