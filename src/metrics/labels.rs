//! Label sets that families of several modules have. The values are codes from the source.

use prometheus_client::encoding::EncodeLabelSet;

/// The label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabel {
    /// The code of the reason.
    pub(crate) reason: &'static str,
}

/// The label `result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(crate) struct ResultLabel {
    /// The code of the result.
    pub(crate) result: &'static str,
}

/// The label `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(crate) struct TypeLabel {
    /// The type of a message or event.
    pub r#type: &'static str,
}
