//! The text formats of metrics, and their negotiation.

use hyper::header::{ACCEPT, HeaderMap};
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;

use crate::core::header_values::list_elements;
use crate::core::quality_value::parse_weight;

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextFormat {
    /// The text format 0.0.4, which every reader of Prometheus metrics understands.
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl TextFormat {
    /// Returns the format of the response to a request with `headers`: OpenMetrics if `Accept`
    /// names it and does not give more weight to the text format 0.0.4, else that format. A
    /// wildcard names neither.
    pub(crate) fn negotiate(headers: &HeaderMap) -> Self {
        let (mut open_metrics, mut prometheus) = (0, 0);
        for range in list_elements(headers, &ACCEPT) {
            let (media_type, parameters) = range.split_once(';').unwrap_or((range, ""));
            let parameters = || parameters.split(';').map(str::trim);
            let mut versions = parameters().filter_map(|part| part.strip_prefix("version="));
            let version = versions.next().map(|version| version.trim_matches('"'));
            let weight = parse_weight(parameters());
            match (media_type.trim().to_ascii_lowercase().as_str(), version) {
                ("application/openmetrics-text", None | Some("1.0.0")) => {
                    open_metrics = open_metrics.max(weight);
                }
                ("text/plain", None | Some("0.0.4")) => prometheus = prometheus.max(weight),
                _ => {}
            }
        }
        if open_metrics > 0 && open_metrics >= prometheus {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// Returns the `Content-Type` of the format.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Returns the metrics of `registry` in this format.
    pub(crate) fn encode(self, registry: &Registry) -> String {
        let mut encoded = String::new();
        // Ignored: writing to a `String` cannot fail.
        let _ = match self {
            Self::Prometheus => prometheus_text::encode(&mut encoded, registry),
            Self::OpenMetrics => text::encode(&mut encoded, registry),
        };
        encoded
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn negotiated(accept: &'static str) -> TextFormat {
        let value = HeaderValue::from_static(accept);
        TextFormat::negotiate(&HeaderMap::from_iter([(ACCEPT, value)]))
    }

    #[test]
    fn accept_that_names_openmetrics_gets_openmetrics() {
        for accept in [
            "application/openmetrics-text",
            "application/openmetrics-text; version=\"1.0.0\"",
            "Application/OpenMetrics-Text;version=1.0.0;q=0.1, */*",
            // Prometheus 2 and 3.
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=1.0.0;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        ] {
            assert_eq!(negotiated(accept), TextFormat::OpenMetrics, "{accept}");
        }
    }

    #[test]
    fn any_other_accept_gets_the_prometheus_text_format() {
        assert_eq!(
            TextFormat::negotiate(&HeaderMap::new()),
            TextFormat::Prometheus
        );
        for accept in [
            "",
            "*/*",
            "text/html",
            "text/plain;version=0.0.4",
            "application/openmetrics-text;q=0.3,text/plain;version=0.0.4;q=0.5",
            "application/openmetrics-text;version=1.0.0;q=0",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=x",
        ] {
            assert_eq!(negotiated(accept), TextFormat::Prometheus, "{accept}");
        }
    }
}
