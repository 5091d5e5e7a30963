//! No spelling, link or race leads out of the directory.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

use super::{ALLOW, SECRET, Site, fetch_raw};
use crate::support::http::{Client, body, get};
use crate::support::{Edge, Laravel};

/// Ways to what is not in the directory.
const ESCAPE_PATHS: [&str; 64] = [
    "/../secret.txt",
    "/../../../../../../../../etc/passwd",
    "/docs/../../secret.txt",
    "/docs/../../.env",
    "/./../secret.txt",
    "/..;/secret.txt",
    "/..;a=b/secret.txt",
    "/.../secret.txt",
    "/..../secret.txt",
    "/%2e%2e/secret.txt",
    "/%2e./secret.txt",
    "/.%2e/secret.txt",
    "/%2E%2E/secret.txt",
    "/..%2fsecret.txt",
    "/..%2Fsecret.txt",
    "/%2e%2e%2fsecret.txt",
    "/docs%2f..%2f..%2fsecret.txt",
    "/..%5csecret.txt",
    "/..\\secret.txt",
    "/docs/..\\..\\secret.txt",
    "/%5c..%5csecret.txt",
    "/%252e%252e/secret.txt",
    "/%252e%252e%252fsecret.txt",
    "/%25252e%25252e/secret.txt",
    "/..%252fsecret.txt",
    "/..%255csecret.txt",
    "/%c0%ae%c0%ae/secret.txt",
    "/%c0%2e%c0%2e/secret.txt",
    "/%c0%ae%c0%ae%c0%afsecret.txt",
    "/..%c0%afsecret.txt",
    "/..%c1%9csecret.txt",
    "/%e0%80%ae%e0%80%ae/secret.txt",
    "/%uff0e%uff0e/secret.txt",
    "/%u002e%u002e/secret.txt",
    "/%ef%bc%8e%ef%bc%8e/secret.txt",
    "/..%ef%bc%8fsecret.txt",
    "/%e2%80%a5/secret.txt",
    "/..%e2%88%95secret.txt",
    "/..%00/secret.txt",
    "/robots.txt%00/../../secret.txt",
    "/../secret.txt%00.html",
    "/..%0a/secret.txt",
    "/..%20/secret.txt",
    "/..%09/secret.txt",
    "/%20../secret.txt",
    "//../secret.txt",
    "///../../secret.txt",
    "/docs//../../secret.txt",
    "//etc/passwd",
    "/%2fetc%2fpasswd",
    "/file:///etc/passwd",
    "https://localhost/../secret.txt",
    "https://localhost/%2e%2e/secret.txt",
    "/../publicity/secret.txt",
    "/%2e%2e/publicity/secret.txt",
    "/icity/secret.txt",
    "/out",
    "/far",
    "/up/secret.txt",
    "/up/publicity/secret.txt",
    "/root/etc/passwd",
    "/self/root/etc/passwd",
    "/self/cwd/secret.txt",
    "/storage-secret",
];

/// Ways to what is inside and is not sent.
const HIDDEN_PATHS: [&str; 27] = [
    "/.env",
    "/%2eenv",
    "/%2Eenv",
    "/./.env",
    "/docs/../.env",
    "//.env",
    "/.env/",
    "/.env%20",
    "/.ENV",
    "/.git/config",
    "/.git%2fconfig",
    "/.git/./config",
    "/.well-known/../.env",
    "/.well-known/..%2f.env",
    "/index.php",
    "/INDEX.PHP",
    "/index.%70hp",
    "/index.php/",
    "/index.php/x",
    "/index.php%20",
    "/index.php.",
    "/index.php%00",
    "/index.php;x",
    "/old.PHP",
    "/old.php",
    "/storage/.gitignore",
    "/storage/../../../secret.txt",
];

#[tokio::test]
async fn path_spellings_never_escape_the_directory() {
    let site = Site::new();
    let edge = site.edge();
    for target in ESCAPE_PATHS.iter().chain(&HIDDEN_PATHS) {
        let answer = fetch_raw(&edge, &format!("GET {target}"), "").await;
        let body = answer.text();
        assert!(
            [400, 404].contains(&answer.status),
            "{target}: {}",
            answer.status
        );
        assert!(
            !body.contains(SECRET) && !body.contains("root:"),
            "{target}: {body}"
        );
    }
    // The table would find what it looks for.
    site.write("public/bare.txt", SECRET);
    assert_eq!(fetch_raw(&edge, "GET /bare.txt", "").await.text(), SECRET);
}

#[tokio::test]
async fn path_spellings_over_http2_never_escape_the_directory() {
    let site = Site::new();
    site.write("public/index.html", "the page");
    let route = site.route("fallback = \"index.html\"");
    let edge = Edge::configured("http://127.0.0.1:9", &(route + ALLOW));
    let mut client = Client::http2(&edge).await;
    let mut requests = 0;
    for target in ESCAPE_PATHS.iter().chain(&HIDDEN_PATHS) {
        // The rest, no library sends.
        if target.parse::<hyper::Uri>().is_err() || !target.starts_with('/') {
            continue;
        }
        let answer = client.fetch(get(target).body(body("")).unwrap()).await;
        let body = answer.text();
        assert!(
            !body.contains(SECRET) && !body.contains("root:"),
            "{target}: {body}"
        );
        requests += 1;
    }
    assert!(requests > 70, "{requests}");
    // A request for a hidden file does not get the fallback page.
    for target in ["/.env", "/index.php", "/a/..%2f..%2f.env", "//x"] {
        let answer = fetch_raw(&edge, &format!("GET {target}"), "").await;
        assert!(
            [400, 404].contains(&answer.status),
            "{target}: {}",
            answer.status
        );
    }
}

#[tokio::test]
async fn hidden_file_request_is_passed_to_the_app() {
    let site = Site::new();
    let laravel = Laravel::start().await;
    let edge = site.edge_before(&laravel);
    for target in ["/index.php", "/.env", "/docs/.x", "/old.PHP"] {
        let answer = fetch_raw(&edge, &format!("GET {target}"), "").await;
        assert!(!answer.text().contains(SECRET), "{target}");
        assert_eq!(laravel.last().target, target);
    }
}

#[tokio::test]
async fn symlink_leads_only_to_allowed_targets() {
    let site = Site::new();
    let edge = site.edge();
    for inside in ["/inner", "/absolute"] {
        assert_eq!(
            fetch_raw(&edge, &format!("GET {inside}"), "").await.text(),
            "all may come"
        );
    }
    for outside in [
        "/storage/photo.txt",
        "/out",
        "/far",
        "/loop",
        "/storage-secret",
    ] {
        let answer = fetch_raw(&edge, &format!("GET {outside}"), "").await;
        assert_eq!(answer.status, 404, "{outside}");
    }
    let links = format!(
        "allowed_symlink_targets = [\"{}\"]",
        site.path("storage/app/public").display()
    );
    let edge = Edge::configured("http://127.0.0.1:9", &(site.route(&links) + ALLOW));
    let photo = fetch_raw(&edge, "GET /storage/photo.txt", "").await;
    assert_eq!((photo.status, photo.text().as_str()), (200, "a photo"));
    for outside in [
        "/storage/.gitignore",
        "/storage-secret",
        "/out",
        "/far",
        "/storage/../secret.txt",
    ] {
        let answer = fetch_raw(&edge, &format!("GET {outside}"), "").await;
        assert!(
            [400, 404].contains(&answer.status),
            "{outside}: {}",
            answer.status
        );
        assert!(!answer.text().contains(SECRET), "{outside}");
    }
}

/// A thread swaps files for links out of the directory, as fast as it can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn symlink_race_never_escapes_the_directory() {
    let site = Site::new();
    let links = format!(
        "allowed_symlink_targets = [\"{}\"]",
        site.path("storage/app/public").display()
    );
    let edge = Edge::configured("http://127.0.0.1:9", &(site.route(&links) + ALLOW));
    site.write("public/dir-right/secret.txt", "harmless");
    symlink("..", site.path("public/dir-wrong")).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let photo = site.path("storage/app/public/photo.txt");
    let (right, wrong) = ("robots.txt".into(), "../secret.txt".into());
    let swapping = [
        swap_links(&stop, site.path("public/file"), [right, wrong]),
        swap_links(
            &stop,
            site.path("public/abs"),
            [photo, site.path("secret.txt")],
        ),
        swap_directories(&stop, site.path("public/dir")),
    ];
    let (mut found, mut missing) = (0, 0);
    let mut client = Client::http1(&edge).await;
    for path in ["/dir/secret.txt", "/file", "/abs"].repeat(2000) {
        let answer = client.fetch(get(path).body(body("")).unwrap()).await;
        assert!(!answer.text().contains(SECRET), "{path}");
        match answer.status.as_u16() {
            200 => found += 1,
            404 => missing += 1,
            other => panic!("{path}: {other}"),
        }
    }
    stop.store(true, Relaxed);
    for thread in swapping {
        thread.join().unwrap();
    }
    assert!(found > 0 && missing > 0, "no race: {found}, {missing}");
}

/// One link after the other in the same place, which is never empty.
fn swap_links(stop: &Arc<AtomicBool>, at: PathBuf, targets: [PathBuf; 2]) -> JoinHandle<()> {
    let (stop, new) = (Arc::clone(stop), at.with_extension("new"));
    symlink(&targets[0], &at).unwrap();
    std::thread::spawn(move || {
        for target in targets.iter().cycle() {
            // The site is gone if the test has failed.
            let swapped = symlink(target, &new).and_then(|()| fs::rename(&new, &at));
            if stop.load(Relaxed) || swapped.is_err() {
                break;
            }
        }
    })
}

/// `at-right`, a directory, and `at-wrong`, a link, take turns.
fn swap_directories(stop: &Arc<AtomicBool>, at: PathBuf) -> JoinHandle<()> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        for kind in ["right", "wrong"].iter().cycle() {
            let from = at.with_file_name(format!("dir-{kind}"));
            let swapped = fs::rename(&from, &at).and_then(|()| fs::rename(&at, &from));
            if stop.load(Relaxed) || swapped.is_err() {
                break;
            }
        }
    })
}

#[tokio::test]
async fn path_that_is_no_regular_file_is_not_opened() {
    let site = Site::new();
    let pipe = site.path("public/pipe.txt");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let _socket = UnixListener::bind(site.path("public/socket.txt")).unwrap();
    symlink("/dev/zero", site.path("public/zero.txt")).unwrap();
    let edge = site.edge();
    for path in [
        "/pipe.txt",
        "/socket.txt",
        "/zero.txt",
        "/docs.html",
        "/empty/",
    ] {
        let answer = fetch_raw(&edge, &format!("GET {path}"), "").await;
        assert_eq!(answer.status, 404, "{path}");
    }
}
