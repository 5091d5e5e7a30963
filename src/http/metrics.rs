//! The metrics of requests and their upstreams.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Unit;

use super::Rejection;
use crate::metrics::{CounterFamily, FamilyEncoder, Histogram, ReasonLabel};
use crate::upstream;

/// The metrics of requests.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: CounterFamily<ResponseLabels>,
    durations: Family<RouteLabel, Histogram>,
    rejections: CounterFamily<RejectionLabels>,
    upstream_failures: Family<ReasonLabel, Counter>,
    times_to_headers: Histogram,
}

/// The metrics of one route's requests.
#[derive(Debug)]
pub struct RouteMetrics {
    route: Arc<str>,
    /// Responses by the first digit of their status, 1 to 5.
    classes: [Counter; 5],
    durations: Histogram,
    rejections: CounterFamily<RejectionLabels>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct ResponseLabels {
    route: Arc<str>,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct RejectionLabels {
    reason: &'static str,
    route: Arc<str>,
}

impl Metrics {
    /// Returns the metrics of the route `name`. The same name has the same counters across
    /// reloads.
    pub fn route(&self, name: &Arc<str>) -> Arc<RouteMetrics> {
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|status| {
            let route = Arc::clone(name);
            self.requests
                .get_or_create(&ResponseLabels { route, status })
        });
        let route = RouteLabel {
            route: Arc::clone(name),
        };
        Arc::new(RouteMetrics {
            classes,
            durations: self.durations.get_or_create_owned(&route),
            rejections: self.rejections.clone(),
            route: route.route,
        })
    }

    /// Counts a request without a response from the upstream.
    pub(super) fn count_upstream_failure(&self, error: &upstream::Error) {
        let reason = error.code();
        self.upstream_failures
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }

    /// Records the time from sending a request to the upstream to the head of its response.
    pub fn record_time_to_headers(&self, time: Duration) {
        self.times_to_headers.observe(time);
    }

    /// Returns the number of responses.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.values().values().sum()
    }

    /// Returns the number of requests that the edge rejected, by code.
    pub(crate) fn rejections(&self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for (labels, count) in self.rejections.values() {
            *all.entry(labels.reason).or_insert(0) += count;
        }
        all
    }
}

impl RouteMetrics {
    /// Counts a response with `status`, `took` after its request arrived.
    pub fn record_response(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.classes[class].inc();
        self.durations.observe(took);
    }

    /// Counts a request that the edge rejected.
    pub(super) fn count_rejection(&self, rejection: Rejection) {
        let (reason, route) = (rejection.code(), Arc::clone(&self.route));
        self.rejections
            .get_or_create(&RejectionLabels { reason, route })
            .inc();
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = FamilyEncoder::new(encoder);
        families.encode(
            "http_requests_rejected",
            "Requests that the edge rejected, by code and route",
            &self.rejections,
        )?;
        families.encode(
            "upstream_requests_failed",
            "Requests without a response from the upstream",
            &self.upstream_failures,
        )?;
        families.encode_with_unit(
            "upstream_time_to_headers",
            "From sending a request to the upstream to the head of its response",
            &Unit::Seconds,
            &self.times_to_headers,
        )?;
        families.encode(
            "http_requests",
            "Requests by route and class of status",
            &self.requests,
        )?;
        families.encode_with_unit(
            "http_request_duration",
            "From the head of a request to the end of its response",
            &Unit::Seconds,
            &self.durations,
        )
    }
}
