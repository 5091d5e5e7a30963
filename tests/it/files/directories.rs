//! Directories and files that change or that the edge cannot read.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use hyper::StatusCode;

use super::Site;
use crate::support::Edge;
use crate::support::http::{Client, body, get};
use crate::support::program::{Home, Program};

#[tokio::test]
async fn new_build_behind_a_symlink_needs_no_reload() {
    let site = Site::new();
    let (one, two) = (site.path("one"), site.path("two"));
    site.write("one/index.html", "one");
    site.write("two/index.html", "two");
    let current = site.path("current");
    std::os::unix::fs::symlink(&one, &current).unwrap();
    let route = format!("[[routes]]\nfiles = \"{}\"\n", current.display());
    let edge = Edge::configured("http://127.0.0.1:9", &route);
    let mut client = Client::http1(&edge).await;
    let page = || get("/").body(body("")).unwrap();
    assert_eq!(client.fetch(page()).await.text(), "one");
    std::os::unix::fs::symlink(&two, site.path("new")).unwrap();
    fs::rename(site.path("new"), &current).unwrap();
    assert_eq!(client.fetch(page()).await.text(), "two");
    // In between there is nothing: that is no "not found" to be remembered.
    fs::remove_file(&current).unwrap();
    let gone = client.fetch(page()).await;
    assert_eq!(gone.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(gone.headers["retry-after"], "5");
}

#[tokio::test]
async fn unusable_directory_is_reported_at_check_and_start() {
    let site = Site::new();
    let home = |more: &str| Home::new("http://127.0.0.1:9", ([127, 0, 0, 1], 0).into(), more);
    let file = site.path("secret.txt");
    let missing = site.path("build");
    for (key, value, message) in [
        (
            "files",
            missing.display().to_string(),
            "No such file or directory",
        ),
        ("files", file.display().to_string(), "Not a directory"),
        (
            "allowed_symlink_targets",
            missing.display().to_string(),
            "No such file or directory",
        ),
        ("fallback", "app.html".to_owned(), "app.html"),
        ("fallback", "docs".to_owned(), "is a directory"),
    ] {
        let more = match key {
            "files" => format!("[[routes]]\nfiles = \"{value}\"\n"),
            "allowed_symlink_targets" => {
                site.route(&format!("allowed_symlink_targets = [\"{value}\"]"))
            }
            _ => site.route(&format!("fallback = \"{value}\"")),
        };
        for command in ["check", "run"] {
            let output = home(&more)
                .command()
                .args([command, "--config", "config.toml"])
                .output();
            let output = output.unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "{command} {more}");
            for part in [message, &format!("({key} of a route"), value.as_str()] {
                assert!(text.contains(part), "{command}, {part}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn unreadable_file_gets_403() {
    let site = Site::new();
    let none = fs::Permissions::from_mode(0o000);
    fs::set_permissions(site.path("public/robots.txt"), none).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let home = Home::new("http://127.0.0.1:9", address, &site.route(""));
    let mut edge = home.command();
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        // Root may read everything, unless that is taken from it.
        let binary = edge.get_program().to_owned();
        edge = Command::new("setpriv");
        edge.args(["--bounding-set", "-dac_override,-dac_read_search"]);
        edge.arg(binary).current_dir(home.path(""));
    }
    edge.args(["run", "--config", "config.toml"]);
    let edge = Program::start(&home, edge);
    let mut client = edge.http1().await;
    for (path, status) in [("/robots.txt", 403), ("/index.html", 200)] {
        let answer = client.fetch(get(path).body(body("")).unwrap()).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
    }
}
