//! `pwd-edge status`: the health of the running edge on one screen.

use std::fmt::Write;
use std::time::Duration;

use anyhow::anyhow;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::args::Edge;
use super::control_client::{ControlClient, Rejected};
use super::{Failure, counted, list, plain, print};

/// Prints the health of the edge: once, or with `watch` until interrupted.
///
/// # Errors
/// The configuration cannot be read, or standard output cannot be written. Without `watch`
/// also if the edge is degraded or unreachable; with `watch` the screen shows that.
pub(super) fn status(edge: &Edge, watch: bool) -> Result<(), Failure> {
    let client = ControlClient::new(edge)?;
    loop {
        let (text, health) = if edge.json {
            report_json(&client)
        } else {
            report_screen(&client)
        };
        if !watch {
            print(&text).map_err(Failure::unreachable)?;
            return health;
        }
        let text = if edge.json {
            text
        } else {
            // ECMA-48: ED 2 clears the terminal, CUP moves the cursor to the top left.
            format!("\x1b[2J\x1b[H{text}")
        };
        print(&text).map_err(Failure::unreachable)?;
        std::thread::sleep(REFRESH_INTERVAL);
    }
}

/// Returns the status as JSON, and the health. An unreachable edge also yields JSON, with
/// the cause as its only problem.
fn report_json(client: &ControlClient) -> (String, Result<(), Failure>) {
    match client.get("/status") {
        Ok(status) => (status.to_string(), health(&status)),
        Err(failure) => {
            let (problem, failure) = failure.take_cause();
            let status = json!({ "healthy": false, "problems": [problem] });
            (status.to_string(), Err(failure))
        }
    }
}

/// Returns the screen, and the health. Takes at least [`REFRESH_INTERVAL`].
fn report_screen(client: &ControlClient) -> (String, Result<(), Failure>) {
    // Rates per second need two samples.
    let samples = client.get("/status").and_then(|first| {
        let start = Instant::now();
        std::thread::sleep(REFRESH_INTERVAL);
        let second = client.get("/status")?;
        Ok((first, second, start.elapsed()))
    });
    match samples {
        Ok((first, second, interval)) => (screen(&first, &second, interval), health(&second)),
        Err(failure) => {
            let cause = failure.error.as_ref();
            let is_rejected = cause.is_some_and(|error| error.is::<Rejected>());
            let (problem, failure) = failure.take_cause();
            let title = if is_rejected {
                "pwd-edge health unknown"
            } else {
                "pwd-edge unreachable"
            };
            let mut screen = Screen::new(title);
            screen.line("!", problem);
            (screen.text, Err(failure))
        }
    }
}

/// Returns the health that a status reports, as the result of the command.
///
/// # Errors
/// The edge is degraded, or the status has no `healthy` field.
fn health(status: &Value) -> Result<(), Failure> {
    match status["healthy"].as_bool() {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::degraded()),
        None => Err(Failure::unreachable(anyhow!(
            "the response does not say whether the edge is healthy; does another version run?"
        ))),
    }
}

/// Returns the screen for two samples that are `interval` apart.
fn screen(before: &Value, now: &Value, interval: Duration) -> String {
    let health = match now["healthy"].as_bool() {
        Some(true) => "healthy",
        Some(false) => "DEGRADED",
        None => "health unknown",
    };
    let mut screen = Screen::new(&format!("pwd-edge {} {health}", plain(&now["version"])));
    for problem in list(&now["problems"]) {
        screen.line("!", plain(problem));
    }
    let uptime = Duration::from_secs(now["uptime_seconds"].as_u64().unwrap_or(0));
    screen.line("uptime", humantime::format_duration(uptime).to_string());
    let (file, loaded) = (plain(&now["config_file"]), plain(&now["config_loaded_at"]));
    screen.line("config", format!("{file} (loaded {loaded})"));
    for (name, key) in [
        ("listeners", "listeners"),
        ("redirect", "redirect_listeners"),
        ("admin", "admin_listeners"),
    ] {
        screen.line(name, joined(&now[key]));
    }
    screen.upstreams(&now["upstreams"]);
    screen.certificates(now);
    screen.history(&now["history"]);
    let current = [
        counted(&now["connections"], "connection"),
        counted(&now["sessions"], "session"),
        counted(&now["rooms"], "room"),
        counted(&now["queued_events"], "queued event"),
    ];
    screen.line("current", current.join(", "));
    screen.line("per second", rates(before, now, interval));
    let memory = now["memory_bytes"].as_u64().unwrap_or(0) / (1024 * 1024);
    let files = counted(&now["open_files"], "open file");
    screen.line("resources", format!("{memory} MiB of memory, {files}"));
    screen.line("rejections", counts(&now["rejections"]));
    screen.line("limits exceeded", counts(&now["limits_exceeded"]));
    screen.line("sessions closed", counts(&now["sessions_closed"]));
    let recent = list(&now["recent_errors"]).iter().rev();
    for event in recent.take(MAX_LOG_LINES) {
        let (at, message) = (plain(&event["at"]), plain(&event["message"]));
        screen.line(&plain(&event["level"]), format!("{at} {message}"));
    }
    screen.text
}

/// The text of a screen: a title, then lines of name and value.
struct Screen {
    text: String,
}

impl Screen {
    /// Returns a screen with only its title.
    fn new(title: &str) -> Self {
        Self {
            text: title.to_owned(),
        }
    }

    /// Appends a line with a name column 15 characters wide.
    fn line(&mut self, name: &str, value: String) {
        // Ignored: writing to a `String` cannot fail.
        let _ = write!(self.text, "\n  {name:<15} {value}");
    }

    /// Appends a line about the kept events.
    fn history(&mut self, history: &Value) {
        if history.is_null() {
            return self.line("history", "off".to_owned());
        }
        let events = counted(&history["events"], "event");
        let kib = history["memory_bytes"].as_u64().unwrap_or(0) / 1024;
        let log = &history["log"];
        let place = match log["bytes"].as_u64() {
            Some(bytes) => format!("{} KiB in {}", bytes / 1024, plain(&log["directory"])),
            None => "in memory only".to_owned(),
        };
        let parked = counted(&history["parked_sessions"], "parked session");
        self.line(
            "history",
            format!("{events} in {kib} KiB of memory, {place}; {parked}"),
        );
    }

    /// Appends a line for each certificate, and for the one that ACME has not obtained yet.
    fn certificates(&mut self, status: &Value) {
        for certificate in list(&status["certificates"]) {
            let names = joined(&certificate["names"]);
            let days = counted(&certificate["days_left"], "day");
            let issuer = plain(&certificate["issuer"]);
            self.line(
                "certificate",
                format!("{names}: {days} left, issued by {issuer}"),
            );
        }
        let acme = &status["acme"];
        if acme["issued"] == false {
            let names = joined(&acme["domains"]);
            self.line("certificate", format!("{names}: not issued yet"));
        }
    }

    /// Appends a line for each upstream and each of its servers.
    fn upstreams(&mut self, upstreams: &Value) {
        for (name, upstream) in fields(upstreams) {
            self.line("upstream", format!("{name}: {}", reachability(upstream)));
            for server in list(&upstream["servers"]) {
                let (name, state) = (plain(&server["server"]), reachability(server));
                self.line("", format!("{name}: {state}"));
            }
        }
    }
}

/// Returns the health of an upstream or one of its servers, with the last failure.
fn reachability(upstream: &Value) -> String {
    let failure = &upstream["failure"];
    match (upstream["marked_down"] == true, failure.is_null()) {
        (true, true) => "marked down, accepts connections".to_owned(),
        (true, false) => format!("unreachable, marked down: {}", plain(failure)),
        (false, false) => format!("unreachable: {}", plain(failure)),
        (false, true) if upstream["contacted"] == false => "not contacted yet".to_owned(),
        (false, true) => "healthy".to_owned(),
    }
}

/// Returns the requests, broadcasts and deliveries per second between two samples.
fn rates(before: &Value, now: &Value, interval: Duration) -> String {
    let rate = |key: &str| {
        let count = |sample: &Value| sample[key].as_u64().unwrap_or(0);
        count(now).saturating_sub(count(before)) as f64 / interval.as_secs_f64()
    };
    let names = ["requests", "broadcasts", "deliveries"];
    names
        .map(|name| format!("{:.0} {name}", rate(name)))
        .join(", ")
}

/// Returns the entries of a JSON object; none for other values.
fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Returns the elements of a JSON array, separated by commas; `-` if there are none.
fn joined(value: &Value) -> String {
    let parts: Vec<_> = list(value).iter().map(plain).collect();
    if parts.is_empty() {
        "-".to_owned()
    } else {
        parts.join(", ")
    }
}

/// Returns the names and counts of a JSON object, or "none".
fn counts(value: &Value) -> String {
    let parts: Vec<_> = fields(value)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if parts.is_empty() {
        "none".to_owned()
    } else {
        parts.join(", ")
    }
}

/// Time between two samples, and between two screens of `--watch`.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// Log events that one screen shows at most.
const MAX_LOG_LINES: usize = 5;
