//! Rules that relate keys of different tables to each other, or that serde cannot check on a
//! single value. A new rule is one more row of [`RULES`].

use std::path::Path;

use super::reader::RuleViolation;
use super::{Config, listen_rules, route_rules};
use crate::core::request_path::UrlPath;
use crate::core::socket_path;
use crate::core::units::{ByteSize, ConfigDuration};
use crate::tls::Challenge;
use crate::ws::upload::frame::HEADER_BYTES;

/// A condition on some keys.
struct Rule {
    /// The keys that the report points to: the first of them that the file has.
    keys: &'static [&'static str],
    holds: fn(&Config) -> bool,
    /// The message if the rule does not hold.
    message: &'static str,
}

/// Checks all rules, and returns those that do not hold. Relative paths count from `directory`.
pub(super) fn violations(config: &Config, directory: &Path) -> Vec<RuleViolation> {
    let broken = RULES.iter().filter(|rule| !(rule.holds)(config));
    let violations = broken.map(|rule| RuleViolation {
        keys: rule.keys.iter().map(|key| (*key).to_owned()).collect(),
        message: rule.message.to_owned(),
    });
    violations
        .chain(listen_rules::rules(config))
        .chain(socket_rule(&config.broadcast.socket, directory))
        .chain(route_rules::rules(config))
        .collect()
}

/// Checks that the kernel accepts the path of the broadcast socket.
fn socket_rule(socket: &Path, directory: &Path) -> Option<RuleViolation> {
    let full = directory.join(socket);
    let problem = socket_path::check(&full).err()?;
    Some(RuleViolation {
        keys: vec!["broadcast.socket".to_owned()],
        message: format!("broadcast.socket: {} {problem}", full.display()),
    })
}

/// The largest `http.max_target_size`: `hyper::Uri` holds less than 64 KiB.
const MAX_TARGET: ByteSize = ByteSize::kib(60);

/// The smallest `history.max_disk`.
const MIN_LOG: ByteSize = ByteSize::kib(1024);

const RULES: &[Rule] = &[
    Rule {
        keys: &["http.stream_idle_timeout", "upstream.response_timeout"],
        holds: |c| c.http.stream_idle_timeout > c.upstream.response_timeout,
        message: "http.stream_idle_timeout must be longer than upstream.response_timeout, or the edge \
                  closes connections before Laravel's time is up",
    },
    Rule {
        keys: &["history.max_disk"],
        holds: |c| c.history.max_disk >= MIN_LOG,
        message: "history.max_disk must be at least 1 MiB",
    },
    Rule {
        keys: &["http.max_target_size"],
        holds: |c| c.http.max_target_size <= MAX_TARGET,
        message: "http.max_target_size must not be more than 60 KiB",
    },
    Rule {
        keys: &["websocket.pong_timeout", "websocket.ping_interval"],
        holds: |c| c.websocket.pong_timeout > c.websocket.ping_interval,
        message: "websocket.pong_timeout must be longer than websocket.ping_interval, or quiet \
                  clients are closed before they were pinged",
    },
    Rule {
        keys: &["websocket.uploads.chunk_size", "websocket.max_message_size"],
        holds: |c| {
            let chunk = c.websocket.uploads.chunk_size.get();
            chunk + HEADER_BYTES <= c.websocket.max_message_size.get()
        },
        message: "websocket.uploads.chunk_size must be less than websocket.max_message_size by the 13 \
                  bytes of a frame's header, or the edge closes sessions that send chunks of the requested size",
    },
    Rule {
        keys: &[
            "websocket.uploads.chunk_size",
            "websocket.uploads.window_size",
            "websocket.uploads.bytes_per_second",
        ],
        holds: |c| {
            let uploads = &c.websocket.uploads;
            uploads.chunk_size <= uploads.window_size
                && uploads.chunk_size <= uploads.bytes_per_second
        },
        message: "websocket.uploads.chunk_size must not be more than websocket.uploads.window_size or \
                  websocket.uploads.bytes_per_second, or no chunk may ever be sent",
    },
    Rule {
        keys: &[
            "limits.max_connections_per_client",
            "limits.max_connections",
        ],
        holds: |c| c.limits.max_connections_per_client <= c.limits.max_connections,
        message: "limits.max_connections_per_client must not be more than limits.max_connections",
    },
    Rule {
        keys: &["limits.max_connections", "server.listen"],
        holds: |c| c.limits.max_connections.size() > c.server.listen.len(),
        message: "limits.max_connections must be more than there are addresses in server.listen",
    },
    Rule {
        keys: &["websocket.ping_interval"],
        holds: |c| c.websocket.ping_interval >= ConfigDuration::seconds(1),
        message: "websocket.ping_interval must be a second or more",
    },
    Rule {
        keys: &["pusher.secret_file", "pusher.key"],
        holds: |c| c.pusher.key.is_some() == c.pusher.secret_file.is_some(),
        message: "pusher.key and pusher.secret_file need each other: Laravel signs with both",
    },
    Rule {
        keys: &["pusher.paths"],
        holds: |c| !c.pusher.paths.is_empty(),
        message: "pusher.paths needs at least one path, such as \"/app\"",
    },
    Rule {
        keys: &["pusher.paths", "websocket.paths"],
        holds: |c| {
            let own = &c.websocket.paths;
            let is_free = |path: &UrlPath| !own.iter().any(|own| path.is_above(own.as_str()));
            c.pusher.key.is_none() || c.pusher.paths.iter().all(is_free)
        },
        message: "pusher.paths must not be above or among websocket.paths, or the edge takes the \
                  clients of its own protocol for Pusher clients; expected one such as \"/app\"",
    },
    Rule {
        keys: &["pusher.activity_timeout"],
        holds: |c| c.pusher.activity_timeout >= ConfigDuration::seconds(1),
        message: "pusher.activity_timeout must be a second or more",
    },
    Rule {
        keys: &["websocket.revalidate_interval"],
        holds: |c| c.websocket.revalidate_interval >= ConfigDuration::seconds(1),
        message: "websocket.revalidate_interval must be a second or more",
    },
    Rule {
        keys: &["server.listen"],
        holds: |c| !c.server.listen.is_empty(),
        message: "server.listen needs at least one address, such as \"[::]:443\"",
    },
    Rule {
        keys: &["maintenance.page"],
        holds: |c| {
            let page = c.maintenance.page.as_ref();
            page.is_none_or(|page| !page.as_os_str().is_empty())
        },
        message: "maintenance.page must name a file, or be left out: \"\" is a directory, and would \
                  close the site for ever",
    },
    Rule {
        keys: &["broadcast.socket"],
        holds: |c| !c.broadcast.socket.as_os_str().is_empty(),
        message: "broadcast.socket must name a file, such as \"/run/pwd-edge/broadcast.sock\"",
    },
    Rule {
        keys: &["auth.user_id"],
        holds: |c| !c.auth.user_id.is_empty(),
        message: "auth.user_id needs at least one JSON pointer, such as \"/id\"",
    },
    Rule {
        keys: &["auth.logout_paths", "auth.session_cookies"],
        holds: |c| c.auth.session_cookies.is_empty() || !c.auth.logout_paths.is_empty(),
        message: "auth.logout_paths needs the path of the log-out, such as \"/logout\", with \
                  auth.session_cookies: otherwise sessions stay open for minutes after a log-out",
    },
    Rule {
        keys: &["auth.session_cookies"],
        holds: |c| {
            let names = &c.auth.session_cookies;
            let mut numbered = names.iter().enumerate();
            numbered.all(|(count, name)| !names[..count].contains(name))
        },
        message: "auth.session_cookies names a cookie twice: name each one once",
    },
    Rule {
        keys: &["tls.client_auth.listen", "server.listen"],
        holds: |c| {
            let mut addresses = c.tls.client_auth.listen.iter();
            addresses.all(|address| c.server.listen.contains(address))
        },
        message: "tls.client_auth.listen must name addresses of server.listen, written as there",
    },
    Rule {
        keys: &["tls.acme.terms_of_service_agreed", "tls.acme.domains"],
        holds: |c| !c.tls.acme.is_on() || c.tls.acme.terms_of_service_agreed,
        message: "tls.acme.terms_of_service_agreed must be true: the CA gives no certificate to those who \
                  do not accept its terms; read them first",
    },
    Rule {
        keys: &["server.redirect_listen", "tls.acme.challenge"],
        holds: |c| {
            let acme = &c.tls.acme;
            !acme.is_on()
                || acme.challenge != Challenge::Http01
                || !c.server.redirect_listen.is_empty()
        },
        message: "server.redirect_listen must have port 80, such as \"[::]:80\", where the CA looks \
                  for http-01; or choose tls-alpn-01",
    },
    Rule {
        keys: &[
            "server.proxy_protocol",
            "server.listen",
            "server.redirect_listen",
        ],
        holds: |c| {
            let server = &c.server;
            server.proxy_protocol.iter().all(|address| {
                server.listen.contains(address) || server.redirect_listen.contains(address)
            })
        },
        message: "server.proxy_protocol must name addresses of server.listen or \
                  server.redirect_listen, written as there",
    },
    Rule {
        keys: &["server.trusted_proxies", "server.proxy_protocol"],
        holds: |c| c.server.proxy_protocol.is_empty() || !c.server.trusted_proxies.is_empty(),
        message: "server.proxy_protocol needs server.trusted_proxies: the edge accepts the PROXY \
                  header from these proxies alone",
    },
    Rule {
        keys: &["server.trusted_headers", "server.trusted_proxies"],
        holds: |c| {
            c.server.trusted_proxies.has_non_cloudflare()
                || !c.server.trusted_headers.exceeds_default()
        },
        message: "server.trusted_headers needs server.trusted_proxies that write these headers \
                  themselves: the edge never trusts headers of clients, and Cloudflare passes on the \
                  values of its clients",
    },
    Rule {
        keys: &["server.trusted_headers", "server.trusted_proxies"],
        holds: |c| {
            !c.server.trusted_proxies.has_non_cloudflare() || c.server.trusted_headers.has_client()
        },
        message: "server.trusted_headers must have \"x-forwarded-for\": without it all clients of a \
                  proxy are one client to the limits and to Laravel",
    },
];
