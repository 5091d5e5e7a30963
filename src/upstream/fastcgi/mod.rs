//! FastCGI, as php-fpm speaks it: the edge asks PHP itself, without a web server
//! between them (`docs/decisions/0011-fastcgi.md`).

mod connection;
mod exchange;
mod params;
pub mod record;
mod response;
mod response_head;
mod stderr;

pub(super) use self::connection::Connection;
pub(super) use self::params::Script;

/// Why there is no answer, or only a part of one.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It ended: the process that ran the script is gone.
    #[error("php-fpm ended the connection before its answer was whole; its own log may say why")]
    Ended,
    /// It does not speak FastCGI.
    #[error(transparent)]
    Record(#[from] record::Malformed),
    /// The script's answer begins with something else than headers.
    #[error(transparent)]
    Head(#[from] response_head::Malformed),
    /// The script announced another length than it sent.
    #[error("the answer is not as long as its Content-Length says")]
    Length,
    /// There is no script, or php-fpm may not run it.
    #[error(
        "php-fpm does not run index.php: upstream.root must be the app's public directory as \
         php-fpm sees it, and readable for php-fpm's user ({0})"
    )]
    Script(&'static str),
    /// It has too much to do.
    #[error("php-fpm takes no more requests")]
    Overloaded,
    /// It does not do what web servers ask for.
    #[error("php-fpm refused the request")]
    Refused,
    /// The request's own body could not be read again.
    #[error("the request's body was lost")]
    Body(#[source] crate::core::body::Error),
}
