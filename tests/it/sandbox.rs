//! The binary does its whole work in what the unit leaves to it: no privilege, a
//! file system that cannot be written, devices and temporary files of its own.

use std::net::SocketAddr;
use std::process::Command;

use hyper::StatusCode;
use serde_json::json;
use tokio::net::UnixStream;

use crate::support::http::{Client, body, get, post};
use crate::support::program::{Home, Program};
use crate::support::{Laravel, Socket};

/// `pwd-edge run` as the unit runs it: `ProtectSystem=strict`, `ProtectHome=`,
/// `PrivateTmp=`, `PrivateDevices=`, `NoNewPrivileges=` (bubblewrap always sets
/// it), `ProcSubset=pid` as far as it hides files, and a user without capabilities.
fn sandboxed(home: &Home) -> Command {
    let directory = home.path("");
    let directory = directory.to_str().unwrap();
    let program = "/tmp/pwd-edge";
    let mut command = Command::new("bwrap");
    command
        .args([
            "--ro-bind",
            "/",
            "/",
            "--tmpfs",
            "/home",
            "--tmpfs",
            "/root",
        ])
        .args(["--tmpfs", "/tmp", "--tmpfs", "/var/tmp", "--dev", "/dev"])
        .args(["--ro-bind", env!("CARGO_BIN_EXE_pwd-edge"), program])
        // /run/pwd-edge and /etc/pwd-edge in one.
        .args(["--bind", directory, directory, "--chdir", directory])
        .args(["--unshare-user", "--uid", "65534", "--gid", "65534"])
        .args(["--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"])
        .args(["--cap-drop", "ALL", "--die-with-parent"]);
    for hidden in ["stat", "uptime", "meminfo", "cpuinfo", "loadavg"] {
        command.args(["--ro-bind", "/dev/null", &format!("/proc/{hidden}")]);
    }
    command.args([program, "run", "--config", "config.toml"]);
    command
}

#[tokio::test]
#[ignore = "needs bubblewrap"]
async fn edge_works_in_the_sandbox_of_its_systemd_unit() {
    let laravel = Laravel::start().await;
    let home = Home::new(&laravel.url(), SocketAddr::from(([127, 0, 0, 1], 0)), "");
    let program = Program::start(&home, sandboxed(&home));
    let inside = program.child_pid();
    let status = std::fs::read_to_string(format!("/proc/{inside}/status")).unwrap();
    for line in ["CapEff:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{status}");
    }
    let written = Command::new("nsenter")
        .args([
            "-U",
            "-m",
            "--preserve-credentials",
            "-t",
            &inside.to_string(),
        ])
        .args(["touch", "/etc/pwd-edge-was-here"])
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&written.stderr);
    assert!(output.contains("Read-only file system"), "{output}");

    for mut client in [program.http1().await, program.http2().await] {
        let answer = client.fetch(get("/x").body(body("")).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    let mut ana = Socket::over(program.connect("http/1.1").await, "3|ana").await;
    ana.join(1).await;
    let broadcasts = UnixStream::connect(home.path("broadcast.sock")).await;
    let mut laravel_side = Client::over_http1(broadcasts.unwrap()).await;
    let event = json!({"type": "ticket_status_update", "payload": {"ticket_id": 1, "status": "x"}});
    let request = post("/broadcast").body(body(event.to_string())).unwrap();
    assert_eq!(laravel_side.fetch(request).await.json()["sessions"], 1);
    assert_eq!(
        ana.until("ticket_status_update").await["payload"]["status"],
        "x"
    );

    let metrics = get("/metrics").body(body("")).unwrap();
    let metrics = laravel_side.fetch(metrics).await;
    for number in [
        "resident_memory_bytes",
        "open_fds",
        "max_fds",
        "cpu_seconds_total",
        "start_time_seconds",
    ] {
        let name = format!("\nprocess_{number} ");
        assert!(metrics.text().contains(&name), "{number}");
    }

    program.append_config("[http]\nhsts_max_age = \"1h\"\n");
    let sent = Command::new("kill")
        .args(["-HUP", &inside.to_string()])
        .status();
    assert!(sent.unwrap().success());
    program
        .logged(|line| line["event"] == "reload_succeeded")
        .await;
}

/// As systemd judges the unit: 0 is nothing exposed, 10 everything.
#[test]
#[ignore = "needs systemd"]
fn systemd_unit_has_a_low_exposure_score() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/pwd-edge.service");
    let judged = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--no-pager", "--threshold=20"])
        .arg(unit)
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&judged.stdout);
    assert!(judged.status.success(), "more than 2.0: {output}");
}
