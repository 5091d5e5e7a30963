//! Old names of keys, for messages that name the new one.

/// Returns the new name of the key `old` in the table `section`, if it was renamed.
pub(super) fn new_name(section: &str, old: &str) -> Option<&'static str> {
    let mut renamed = RENAMED.iter().filter(|(table, _)| *table == section);
    let mut pairs = renamed.by_ref().flat_map(|(_, pairs)| *pairs);
    pairs.find(|(name, _)| *name == old).map(|(_, new)| *new)
}

/// Returns the tables in which a key was called `old`, each with the new name of the key.
pub(super) fn new_names(old: &str) -> Vec<(&'static str, &'static str)> {
    let tables = RENAMED.iter();
    tables
        .filter_map(|(table, _)| Some((*table, new_name(table, old)?)))
        .collect()
}

/// Tables, each with pairs of an old and a new name.
///
/// The tables themselves have their new names, because the reader renames a table before it
/// reads the keys in it. `upstream` stands for each `upstreams.NAME` too.
#[rustfmt::skip]
pub(super) const RENAMED: [(&str, &[(&str, &str)]); 14] = [
    ("server", &[
        ("shutdown_grace", "shutdown_timeout"),
    ]),
    ("tls", &[
        ("clients", "client_auth"),
    ]),
    ("tls.client_auth", &[
        ("certificate", "mode"),
        ("authorities", "ca_file"),
    ]),
    ("tls.acme", &[
        ("terms_accepted", "terms_of_service_agreed"),
        ("directory_ca", "directory_ca_file"),
        ("state", "storage"),
        ("retry_after", "retry_interval"),
        ("temporary_certificate", "self_signed_fallback"),
    ]),
    ("upstream", &[
        ("spool", "disk_buffer_size"),
        ("max_idle", "max_idle_connections"),
        ("wait", "connect_retry_timeout"),
        ("max_failures", "max_fails"),
        ("probe_path", "health_check_path"),
        ("probe_interval", "health_check_interval"),
        ("probe_timeout", "health_check_timeout"),
    ]),
    ("http", &[
        ("keep_alive_timeout", "idle_timeout"),
        ("stall_timeout", "stream_idle_timeout"),
        ("body_grace", "min_body_rate_grace"),
        ("max_head", "max_header_size"),
        ("max_body", "max_body_size"),
        ("max_streams", "max_concurrent_streams"),
        ("hsts", "hsts_max_age"),
    ]),
    ("routes", &[
        ("links", "allowed_symlink_targets"),
        ("max_body", "max_body_size"),
        ("client_certificate", "require_client_certificate"),
        ("tunnel", "pass_upgrades"),
        ("tunnel_protocols", "upgrade_protocols"),
    ]),
    ("compression", &[
        ("except", "exclude_paths"),
    ]),
    ("limits", &[
        ("allow", "exempt"),
        ("connections", "max_connections"),
        ("connections_per_client", "max_connections_per_client"),
        ("handshakes", "max_handshakes"),
        ("handshakes_per_client", "max_handshakes_per_client"),
        ("requests_in_flight", "max_requests_in_flight"),
        ("requests_in_flight_per_client", "max_requests_in_flight_per_client"),
        ("open_files", "max_open_files"),
        ("upgrades_per_second", "websocket_handshakes_per_second"),
        ("upgrade_burst", "websocket_handshake_burst"),
        ("sessions_per_client", "max_sessions_per_client"),
    ]),
    ("websocket", &[
        ("max_message", "max_message_size"),
        ("flood_timeout", "throttle_timeout"),
        ("sessions_per_user", "max_sessions_per_user"),
        ("queue_events", "max_queued_events"),
        ("queue_bytes", "max_queued_size"),
        ("silence_timeout", "pong_timeout"),
        ("recheck_interval", "revalidate_interval"),
    ]),
    ("websocket.uploads", &[
        ("window", "window_size"),
        ("per_session", "max_per_session"),
        ("per_user", "max_per_user"),
        ("at_once", "max_concurrent"),
    ]),
    ("auth", &[
        ("refuse", "deny_if"),
        ("timeout", "request_timeout"),
        ("patience", "retry_timeout"),
        ("identity_ttl", "user_ttl"),
        ("refusal_ttl", "denied_ttl"),
        ("access_ttl", "ticket_ttl"),
        ("cache_entries", "max_cache_entries"),
        ("identity_concurrency", "max_concurrent_user_requests"),
        ("access_concurrency", "max_concurrent_ticket_requests"),
    ]),
    ("rooms", &[
        ("presence_grace", "presence_timeout"),
    ]),
    ("broadcast", &[
        ("mode", "socket_mode"),
        ("max_body", "max_body_size"),
        ("connections", "max_connections"),
    ]),
];
