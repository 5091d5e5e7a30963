//! What the tests stand on.

pub(crate) mod app;
pub(crate) mod ca;
pub(crate) mod edge;
pub(crate) mod http;
pub(crate) mod laravel;
pub(crate) mod paths;
pub(crate) mod program;
pub(crate) mod pusher;
pub(crate) mod socket;
pub(crate) mod source;
pub(crate) mod tls;
pub(crate) mod upload_posts;
pub(crate) mod upload_sender;

/// Returns the configuration of an edge without a history, unless `more` has one: without
/// positions, events reach clients byte for byte as Laravel sent them.
fn history_off(more: &str) -> &'static str {
    if more.contains("[history]") {
        ""
    } else {
        "[history]\nenabled = false\ndirectory = \"\"\n"
    }
}

pub(crate) use self::edge::Edge;
pub(crate) use self::http::Answer;
pub(crate) use self::laravel::Laravel;
pub(crate) use self::socket::Socket;
