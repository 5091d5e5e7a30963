//! What the small Laravel gets as messages with attachments, byte for byte.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response, StatusCode};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// The posts, and how they are answered.
pub(crate) struct Posts {
    came: mpsc::UnboundedSender<Post>,
    all: tokio::sync::Mutex<mpsc::UnboundedReceiver<Post>>,
    answer: Mutex<(StatusCode, String)>,
    begun: AtomicUsize,
    /// Bytes of bodies that came so far.
    bytes: AtomicUsize,
    moved: Notify,
    unread: AtomicBool,
    unanswered: AtomicBool,
    early: AtomicBool,
    go: Notify,
}

/// One post.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Whether all of the body came.
    pub(crate) whole: bool,
}

/// What is in a form.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) head: String,
    pub(crate) data: Vec<u8>,
}

impl Default for Posts {
    fn default() -> Self {
        let (came, all) = mpsc::unbounded_channel();
        let answer = r#"{"message":"Message added successfully","ticket_message":{"id":14}}"#;
        Self {
            came,
            all: tokio::sync::Mutex::new(all),
            answer: Mutex::new((StatusCode::CREATED, answer.to_owned())),
            begun: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            moved: Notify::new(),
            unread: AtomicBool::new(false),
            unanswered: AtomicBool::new(false),
            early: AtomicBool::new(false),
            go: Notify::new(),
        }
    }
}

impl Posts {
    /// From now on each is answered so.
    pub(crate) fn answer(&self, status: u16, body: impl Into<String>) {
        *self.answer.lock() = (StatusCode::from_u16(status).unwrap(), body.into());
    }

    /// From now on a body is read only once released.
    pub(crate) fn hold_reading(&self) {
        self.unread.store(true, SeqCst);
    }

    /// From now on a post that came is answered only once released.
    pub(crate) fn hold_responses(&self) {
        self.unanswered.store(true, SeqCst);
    }

    /// From now on a post is answered before its body is read.
    pub(crate) fn respond_early(&self) {
        self.early.store(true, SeqCst);
    }

    pub(crate) fn release(&self) {
        self.go.notify_one();
    }

    /// How many have begun.
    pub(crate) fn begun(&self) -> usize {
        self.begun.load(SeqCst)
    }

    /// Waits until so many bytes of bodies have come.
    pub(crate) async fn bytes(&self, wanted: usize) {
        loop {
            let moved = self.moved.notified();
            if self.bytes.load(SeqCst) >= wanted {
                return;
            }
            moved.await;
        }
    }

    /// The next post, whole or not.
    pub(crate) async fn next(&self) -> Post {
        let mut all = self.all.lock().await;
        let post = tokio::time::timeout(std::time::Duration::from_secs(30), all.recv()).await;
        post.expect("a post within half a minute").unwrap()
    }

    pub(super) async fn take(&self, request: Request<Incoming>, known: bool) -> Response<Body> {
        self.begun.fetch_add(1, SeqCst);
        if self.early.load(SeqCst) {
            return self.answered();
        }
        if self.unread.load(SeqCst) {
            self.go.notified().await;
        }
        let (parts, mut incoming) = request.into_parts();
        let mut body = Vec::new();
        let mut whole = false;
        loop {
            match incoming.frame().await {
                Some(Ok(frame)) => {
                    let data = frame.into_data().unwrap();
                    body.extend_from_slice(&data);
                    self.bytes.fetch_add(data.len(), SeqCst);
                    self.moved.notify_waiters();
                }
                Some(Err(_)) => break,
                None => {
                    whole = true;
                    break;
                }
            }
        }
        let _ = self.came.send(Post {
            target: parts.uri.to_string(),
            headers: parts.headers,
            body,
            whole,
        });
        if self.unanswered.load(SeqCst) {
            self.go.notified().await;
        }
        if known {
            self.answered()
        } else {
            respond(
                StatusCode::UNAUTHORIZED,
                r#"{"message":"Unauthenticated."}"#.to_owned(),
            )
        }
    }

    fn answered(&self) -> Response<Body> {
        let (status, body) = self.answer.lock().clone();
        respond(status, body)
    }
}

impl Post {
    /// The fields of the form, taken apart as strictly as the RFC has it.
    pub(crate) fn fields(&self) -> Vec<Field> {
        assert!(self.whole, "broke off after {} bytes", self.body.len());
        let kind = self.headers["content-type"].to_str().unwrap();
        let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
        let length: usize = self.headers["content-length"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(length, self.body.len());
        let rest = self
            .body
            .strip_prefix(format!("--{boundary}\r\n").as_bytes());
        let end = format!("\r\n--{boundary}--\r\n");
        let mut rest = rest.unwrap().strip_suffix(end.as_bytes()).unwrap();
        let mut fields = Vec::new();
        let between = format!("\r\n--{boundary}\r\n");
        loop {
            let (field, more) = match find(rest, between.as_bytes()) {
                Some(at) => (&rest[..at], Some(&rest[at + between.len()..])),
                None => (rest, None),
            };
            let blank = find(field, b"\r\n\r\n").unwrap();
            fields.push(Field {
                head: String::from_utf8(field[..blank].to_vec()).unwrap(),
                data: field[blank + 4..].to_vec(),
            });
            match more {
                Some(more) => rest = more,
                None => return fields,
            }
        }
    }

    /// The file, which must be the only field.
    pub(crate) fn file(&self) -> Vec<u8> {
        let mut fields = self.fields();
        assert_eq!(fields.len(), 1);
        fields.remove(0).data
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn respond(status: StatusCode, body: String) -> Response<Body> {
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {});
    let response = Response::builder().status(status);
    let response = response.header("content-type", "application/json");
    response.body(body.boxed_unsync()).unwrap()
}
