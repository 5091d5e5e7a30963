//! A FastCGI client for php-fpm, which takes the place of a web server in front of PHP
//! (`docs/decisions/0011-fastcgi.md`): records, CGI parameters, response heads and PHP's
//! standard error.

mod connection;
mod exchange;
mod params;
pub mod record;
mod response;
mod response_head;
mod script;
mod stderr;

pub(super) use self::connection::Connection;
pub(super) use self::script::Script;

/// The reason why php-fpm gave no response, or an incomplete one.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    /// Reading from the connection, or writing to it, failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The connection ended early: the process that ran the script has gone.
    #[error(
        "php-fpm ended the connection before its response was complete; its own log may have the reason"
    )]
    Ended,
    /// The server does not speak FastCGI.
    #[error(transparent)]
    Record(#[from] record::Malformed),
    /// The script's response does not begin with headers.
    #[error(transparent)]
    Head(#[from] response_head::Malformed),
    /// The script announced another length than it sent.
    #[error("the response is not as long as its Content-Length says")]
    Length,
    /// The script does not exist, or php-fpm may not run it.
    #[error(
        "php-fpm does not run index.php: upstream.root must be the app's public directory as \
         php-fpm sees it, and readable for php-fpm's user ({0})"
    )]
    Script(&'static str),
    /// php-fpm has too many requests.
    #[error("php-fpm takes no more requests")]
    Overloaded,
    /// php-fpm rejected the request for another reason, such as an unknown role.
    #[error("php-fpm refused the request")]
    Refused,
    /// The buffered request body could not be read.
    #[error("the request's body was lost")]
    Body(#[source] crate::core::body::Error),
}
