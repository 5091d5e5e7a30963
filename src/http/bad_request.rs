//! The reasons why a request is malformed or ambiguous and gets a 400 response (RFC 9110
//! §15.5.1).

/// The reason why a request is rejected as malformed. `Display` continues "The request was not
/// understood: " for the visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// The head does not follow the syntax of HTTP.
    #[error("it is not valid HTTP")]
    Syntax,
    /// The method has lower-case letters.
    #[error("its method is not in upper case")]
    MethodCase,
    /// There are two `Authorization` headers.
    #[error("it has two Authorization headers")]
    DuplicateAuthorization,
    /// The target's scheme is neither `http` nor `https`.
    #[error("its target is not of the web")]
    TargetScheme,
    /// The target has no path.
    #[error("its target is not a path")]
    TargetForm,
    /// The body has another transfer coding than `chunked`.
    #[error("its Transfer-Encoding is not chunked")]
    TransferEncoding,
    /// `Content-Length` is no number, or two different ones.
    #[error("its Content-Length is not one number")]
    ContentLength,
    /// There are two `Host` headers.
    #[error("it has two Host headers")]
    DuplicateHost,
    /// Neither `Host` nor the target names a host.
    #[error("it has no Host header")]
    MissingHost,
    /// `Host` and the target name two hosts.
    #[error("its Host and its target differ")]
    HostMismatch,
    /// `Host` is not a name and a port.
    #[error("its Host is not a name and a port")]
    InvalidHost,
    /// The client stopped sending the body.
    #[error("its body broke off")]
    BodyAborted,
    /// The path has a NUL.
    #[error("its path holds a NUL")]
    NulInPath,
    /// Two servers could read the path as two routes.
    #[error("its path can be read in two ways")]
    AmbiguousPath,
}

impl BadRequest {
    /// Returns the code in the log and the metrics.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Syntax => "syntax_invalid",
            Self::MethodCase => "method_lowercase",
            Self::DuplicateAuthorization => "authorization_duplicate",
            Self::TargetScheme => "target_not_http",
            Self::TargetForm => "target_not_a_path",
            Self::TransferEncoding => "transfer_encoding_invalid",
            Self::ContentLength => "content_length_invalid",
            Self::DuplicateHost => "host_duplicate",
            Self::MissingHost => "host_missing",
            Self::HostMismatch => "host_mismatch",
            Self::InvalidHost => "host_invalid",
            Self::BodyAborted => "body_aborted",
            Self::NulInPath => "path_nul",
            Self::AmbiguousPath => "path_ambiguous",
        }
    }
}
