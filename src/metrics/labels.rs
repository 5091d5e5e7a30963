//! Label sets that families of several modules have. The values are codes from the source.

use prometheus_client::encoding::EncodeLabelSet;

/// The label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// The code of the reason.
    pub reason: &'static str,
}

/// The label `result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub struct ResultLabel {
    /// The code of the result.
    pub result: &'static str,
}

/// The label `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub struct TypeLabel {
    /// The type of a message or event.
    pub r#type: &'static str,
}
