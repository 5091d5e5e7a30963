//! What `prometheus_client` lacks for the metrics of the other modules: counters that the
//! edge reads itself, a histogram without a lock, and families that are announced from the
//! start.
//!
//! Each module has a type `Metrics` with its own families, which encodes them as a
//! [`Collector`](prometheus_client::collector::Collector). Those that count events hold
//! counters; the others read their owner's state at each scrape. `server` registers all.

mod counter_family;
mod family_encoder;
mod histogram;
mod labels;

pub(crate) use self::counter_family::CounterFamily;
pub(crate) use self::family_encoder::{FamilyEncoder, unix_seconds};
pub(crate) use self::histogram::Histogram;
pub(crate) use self::labels::{ReasonLabel, ResultLabel, TypeLabel};
