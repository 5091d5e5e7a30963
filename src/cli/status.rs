//! `pwd-edge status`: on one screen whether it is well.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::control_client::ControlClient;
use super::{Failure, plain, print};

/// Tells how the edge is, once or again and again; the exit code is 1 when
/// somebody should look after it.
pub(super) fn status(path: &Path, as_json: bool, watch: bool) -> Result<(), Failure> {
    let socket = ControlClient::from_config(path)?;
    loop {
        let first = socket.get("/status")?;
        let (second, between) = match as_json {
            true => (first.clone(), Duration::from_secs(1)),
            // What there is in a second is seen by looking twice.
            false => fetch_after_interval(&socket)?,
        };
        let text = if as_json {
            second.to_string()
        } else {
            screen(&first, &second, between)
        };
        let text = match watch && !as_json {
            // Clears the terminal and begins at its top (ECMA-48).
            true => format!("\x1b[2J\x1b[H{text}"),
            false => text,
        };
        print(&text).map_err(Failure::unreachable)?;
        if !watch {
            return match second["healthy"].as_bool() {
                Some(true) => Ok(()),
                _ => Err(Failure::degraded()),
            };
        }
        std::thread::sleep(REFRESH_INTERVAL);
    }
}

fn fetch_after_interval(socket: &ControlClient) -> Result<(Value, Duration), Failure> {
    let start = Instant::now();
    std::thread::sleep(REFRESH_INTERVAL);
    let second = socket.get("/status")?;
    Ok((second, start.elapsed()))
}

/// The screen, from two answers that are `between` apart.
fn screen(before: &Value, now: &Value, between: Duration) -> String {
    let mut text = String::new();
    let well = now["healthy"].as_bool() == Some(true);
    let head = if well { "is well" } else { "NEEDS SOMEBODY" };
    let version = plain(&now["version"]);
    let mut line = |name: &str, value: String| {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "  {name:<13} {value}");
    };
    for trouble in list(&now["problems"]) {
        line("!", plain(trouble));
    }
    line("up", age(now["uptime_seconds"].as_u64().unwrap_or(0)));
    line(
        "config",
        format!(
            "{} (read {})",
            plain(&now["config_file"]),
            plain(&now["config_loaded_at"])
        ),
    );
    line("listens", joined(&now["listeners"]));
    for (name, upstream) in fields(&now["upstreams"]) {
        line("upstream", format!("{name}: {}", health(upstream)));
        for server in list(&upstream["servers"]) {
            line(
                "",
                format!("{}: {}", plain(&server["server"]), health(server)),
            );
        }
    }
    for certificate in list(&now["certificates"]) {
        let names = joined(&certificate["names"]);
        let (days, issuer) = (&certificate["days_left"], plain(&certificate["issuer"]));
        line(
            "certificate",
            format!("{names}: {days} days left, from {issuer}"),
        );
    }
    line(
        "now",
        format!(
            "{} connections, {} sessions, {} rooms, {} events waiting",
            now["connections"], now["sessions"], now["rooms"], now["queued_events"]
        ),
    );
    let rate = |key: &str| {
        let grown = now[key]
            .as_u64()
            .unwrap_or(0)
            .saturating_sub(before[key].as_u64().unwrap_or(0));
        grown as f64 / between.as_secs_f64()
    };
    line(
        "per second",
        format!(
            "{:.0} requests, {:.0} broadcasts, {:.0} deliveries",
            rate("requests"),
            rate("broadcasts"),
            rate("deliveries")
        ),
    );
    let memory = now["memory_bytes"].as_u64().unwrap_or(0) / (1024 * 1024);
    line(
        "uses",
        format!("{memory} MiB of memory, {} open files", now["open_files"]),
    );
    line("refused", counts(&now["rejections"]));
    line("over limits", counts(&now["limits_exceeded"]));
    line("ended", counts(&now["sessions_closed"]));
    for complaint in list(&now["recent_errors"]).iter().rev().take(MAX_LOG_LINES) {
        let (at, level) = (plain(&complaint["at"]), plain(&complaint["level"]));
        line(&level, format!("{at} {}", plain(&complaint["message"])));
    }
    format!("pwd-edge {version} {head}\n{}", text.trim_end())
}

fn health(upstream: &Value) -> String {
    match upstream["failure"].as_str() {
        None => "answers".to_owned(),
        Some(_) => format!("DOES NOT ANSWER: {}", plain(&upstream["failure"])),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn joined(value: &Value) -> String {
    let parts: Vec<_> = list(value).iter().map(plain).collect();
    parts.join(", ")
}

fn counts(value: &Value) -> String {
    let parts: Vec<_> = fields(value)
        .map(|(name, n)| format!("{name} {n}"))
        .collect();
    if parts.is_empty() {
        "nothing".to_owned()
    } else {
        parts.join(", ")
    }
}

fn age(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// Lines of the log.
const MAX_LOG_LINES: usize = 5;
