//! The same requests through nginx and through the edge, to the same app: what
//! comes back is the same but for the differences that `docs/NGINX.md` explains.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::Edge;
use crate::support::app::{head, scripted};
use crate::support::http::{Client, body, connect_to};
use crate::support::tls::TestCertificate;

pub(crate) struct Nginx {
    pub(crate) address: SocketAddr,
    pub(crate) certificate: CertificateDer<'static>,
    child: Child,
    _directory: tempfile::TempDir,
}

impl Nginx {
    /// As a careful sysadmin sets it up before Laravel.
    async fn before(upstream: &str) -> Self {
        Self::with(&format!(
            "location / {{ proxy_pass {upstream}; proxy_http_version 1.1;\n\
             proxy_set_header Host $http_host; proxy_set_header Connection \"\";\n\
             proxy_set_header X-Forwarded-For $remote_addr; }}"
        ))
        .await
    }

    /// One whose server does what `lines` say.
    pub(crate) async fn with(lines: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let issued = TestCertificate::for_names(&["localhost"]);
        issued.write(directory.path(), "pair");
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let root = directory.path().display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {root}/{kind};\n"))
            .concat();
        let config = format!(
            "daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;\n\
             events {{}}\nhttp {{\n access_log off; {temporary}\n\
             server {{ listen {address} ssl http2; client_max_body_size 32m;\n\
             ssl_certificate {root}/pair.crt; ssl_certificate_key {root}/pair.key;\n\
             {lines} }} }}\n"
        );
        std::fs::write(directory.path().join("nginx.conf"), config).unwrap();
        let child = Command::new("nginx")
            .args([
                "-p",
                &root.to_string(),
                "-c",
                "nginx.conf",
                "-e",
                "error.log",
            ])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::task::yield_now().await;
        }
        Self {
            address,
            certificate: CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap(),
            child,
            _directory: directory,
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An app that answers as the path says.
async fn app() -> String {
    scripted(|_, mut stream| async move {
        let request = head(&mut stream).await;
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        let (status, lines, body) = match path.as_str() {
            "/204" => ("204 No Content", "x-app: 1\r\n", ""),
            "/304" => ("304 Not Modified", "etag: \"a\"\r\n", ""),
            "/404" => (
                "404 Not Found",
                "content-type: application/json\r\ncontent-length: 2\r\n",
                "{}",
            ),
            "/500" => (
                "500 Internal Server Error",
                "content-type: text/html\r\ncontent-length: 4\r\n",
                "oops",
            ),
            "/302" => (
                "302 Found",
                "location: https://localhost/login\r\ncontent-length: 0\r\n",
                "",
            ),
            "/cookies" => (
                "200 OK",
                "set-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 2\r\n",
                "ok",
            ),
            "/until-close" => ("200 OK", "content-type: text/plain\r\n", "to the end"),
            "/hop" => (
                "200 OK",
                "keep-alive: timeout=5\r\nx-app: 1\r\ncontent-length: 2\r\n",
                "ok",
            ),
            _ => (
                "200 OK",
                "content-type: text/plain\r\nx-app: 1\r\ncontent-length: 2\r\n",
                "ok",
            ),
        };
        let body = if request.starts_with("HEAD") {
            ""
        } else {
            body
        };
        let answer =
            format!("HTTP/1.1 {status}\r\nserver: app\r\n{lines}connection: close\r\n\r\n{body}");
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await
}

/// The status and the headers that came back, those left out that every server
/// says in its own way.
async fn answer(
    address: SocketAddr,
    certificate: &CertificateDer<'static>,
    request: &str,
) -> (String, Vec<String>) {
    let all = rustls::ALL_VERSIONS;
    let mut stream = connect_to(address, certificate, "http/1.1", all)
        .await
        .unwrap();
    let _ = stream.write_all(request.as_bytes()).await;
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read).await;
    let text = String::from_utf8_lossy(&read).into_owned();
    // After an interim answer comes the one that counts.
    let text = text
        .strip_prefix("HTTP/1.1 100 Continue\r\n\r\n")
        .unwrap_or(&text);
    let status = text.get(9..12).unwrap_or("none").to_owned();
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let lines = head.lines().skip(1).map(str::to_ascii_lowercase);
    let own = [
        "server:",
        "date:",
        "x-request-id:",
        "connection:",
        "content-length:",
        "transfer-encoding:",
    ];
    let mut lines: Vec<_> = lines
        .filter(|line| !own.iter().any(|own| line.starts_with(own)))
        .collect();
    lines.sort();
    (status, lines)
}

/// The same over HTTP/2.
async fn over_http2(
    address: SocketAddr,
    certificate: &CertificateDer<'static>,
    line: &str,
) -> (String, Vec<String>) {
    let all = rustls::ALL_VERSIONS;
    let stream = connect_to(address, certificate, "h2", all).await.unwrap();
    let (method, path) = line.split_once(' ').unwrap();
    let request = hyper::Request::builder().method(method).uri(path);
    let mut client = Client::over_http2(stream).await;
    let answer = client.fetch(request.body(body("")).unwrap()).await;
    let own = ["server", "date", "content-length", "x-request-id"];
    let lines = answer.headers.iter();
    let lines = lines.filter(|(name, _)| !own.contains(&name.as_str()));
    let mut lines: Vec<_> = lines
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    (answer.status.as_str().to_owned(), lines)
}

fn request(line: &str, lines: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n")
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn responses_equal_those_of_nginx() {
    let app = app().await;
    let nginx = Nginx::before(&app).await;
    let edge = Edge::configured(&app, "[compression]\nenabled = false\n");
    for line in [
        "GET /",
        "HEAD /",
        "OPTIONS /",
        "DELETE /",
        "PUT /",
        "GET /204",
        "GET /304",
        "GET /404",
        "GET /500",
        "GET /302",
        "GET /cookies",
        "GET /until-close",
        "GET /hop",
        "GET //x",
        "GET /a%2Fb?c=d",
    ] {
        let request = request(line, "");
        let theirs = answer(nginx.address, &nginx.certificate, &request).await;
        let ours = answer(edge.address, &edge.certificate, &request).await;
        assert_eq!(ours, theirs, "{line}");
        let theirs = over_http2(nginx.address, &nginx.certificate, line).await;
        let ours = over_http2(edge.address, &edge.certificate, line).await;
        assert_eq!(ours, theirs, "{line} over HTTP/2");
    }
    let mut wrong = Vec::new();
    for (request, ours, theirs) in rejected_requests() {
        let shown = &request[..request.len().min(80)];
        let nginx = answer(nginx.address, &nginx.certificate, &request).await.0;
        let edge = answer(edge.address, &edge.certificate, &request).await.0;
        if (edge.as_str(), nginx.as_str()) != (ours, theirs) {
            wrong.push(format!("{shown:?}: the edge {edge}, nginx {nginx}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What both reject, with the edge's status and that of nginx.
fn rejected_requests() -> Vec<(String, &'static str, &'static str)> {
    let long = "a".repeat(9000);
    let head = format!("X-Long: {}\r\n", "a".repeat(40_000));
    vec![
        (request("TRACE /", ""), "405", "405"),
        (request("CONNECT localhost:22", ""), "405", "400"),
        (request(&format!("GET /{long}"), ""), "414", "414"),
        (request("GET /a%00", ""), "400", "400"),
        (request("GET *", ""), "400", "400"),
        (request("GET /", "Host: other\r\n"), "400", "400"),
        (
            request("POST /", "Content-Length: 40000000\r\n"),
            "413",
            "413",
        ),
        (
            request("POST /", "Content-Length: 1\r\nContent-Length: 2\r\n"),
            "400",
            "400",
        ),
        (
            "GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
            "400",
            "400",
        ),
        (
            "GET / HTTP/2.0\r\nHost: localhost\r\n\r\n".to_owned(),
            "400",
            "505",
        ),
        (request("GET /", &head), "431", "400"),
        (
            request("POST /", "Transfer-Encoding: gzip, chunked\r\n"),
            "400",
            "501",
        ),
        (request("GET /", "X-Bad : v\r\n"), "400", "400"),
    ]
}
