//! The stand-in's HTTP server: routes, JSON responses, and publishing to the edge.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};

use super::form::Form;
use super::page;
use super::store::{Account, DemoError, Desk};
use crate::auth::bearer_token;
use crate::core::body::{self, Body};
use crate::core::error_chain::error_chain;
use crate::runtime::drain::Drain;
use crate::upstream::{Settings, Target, Upstream};

/// The stand-in for Laravel.
#[derive(Debug)]
pub(crate) struct App {
    desk: Mutex<Desk>,
    edge: Upstream,
    socket: PathBuf,
    url: String,
}

type HandlerResult = Result<Response<Body>, DemoError>;

impl App {
    /// Creates an app that publishes on the edge's `socket`, and that users open at `url`.
    pub(crate) fn new(socket: PathBuf, url: String) -> Self {
        let edge = Upstream::new(&Settings {
            url: Target::unix(socket.clone()).into(),
            ..Settings::default()
        });
        Self {
            desk: Mutex::new(Desk::new()),
            edge,
            socket,
            url,
        }
    }

    /// Serves `listener` until the drain stops it.
    pub(crate) async fn serve(self: Arc<Self>, listener: UnixListener, drain: Drain) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = drain.token().cancelled() => return,
            };
            if let Ok((stream, _)) = accepted {
                let stop = drain.clone();
                drain.spawn(Arc::clone(&self).connection(stream, stop));
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: UnixStream, drain: Drain) {
        let service = service_fn(move |request| {
            let app = Arc::clone(&self);
            async move {
                let result = app.handle(request).await;
                Ok::<_, std::convert::Infallible>(result.unwrap_or_else(error_response))
            }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            // The edge reports a connection that fails.
            _ = connection => {}
            () = drain.token().cancelled() => {}
        }
    }

    /// Routes a request, by the paths of the real app.
    async fn handle(&self, request: Request<Incoming>) -> HandlerResult {
        let (parts, body) = request.into_parts();
        let path: Vec<_> = parts.uri.path().split('/').skip(1).collect();
        let method = &parts.method;
        let user = || self.bearer(&parts.headers);
        match (method, &*path) {
            (&Method::POST, ["api", "login"]) => self.log_in(&read(body).await?),
            (&Method::POST, ["api", "logout"]) => self.log_out(&parts.headers),
            (&Method::GET, ["api", "user"]) => Ok(json(StatusCode::OK, &user()?.json())),
            (&Method::GET, ["api", "test-direct"]) => Ok(json(
                StatusCode::OK,
                &json!({ "message": "Laravel's stand-in is here" }),
            )),
            (&Method::GET, ["api", "support-tickets"]) => {
                let user = user()?;
                Ok(json(StatusCode::OK, &self.desk.lock().list(user)))
            }
            (&Method::GET | &Method::HEAD, ["api", "support-tickets", id]) => {
                let user = user()?;
                let shown = self.desk.lock().show(user, number(id));
                shown.map(|ticket| json(StatusCode::OK, &ticket))
            }
            (&Method::PUT, ["api", "support-tickets", id]) => {
                self.set_status(user()?, number(id), &read(body).await?)
                    .await
            }
            (&Method::POST, ["api", "support-tickets", id, "messages"]) => {
                let user = user()?;
                let form = read_form(&parts.headers, body).await?;
                self.post(user, number(id), form).await
            }
            (&Method::GET, ["api", "support-tickets", "messages", id, "image"]) => {
                self.image(number(id))
            }
            (&Method::GET, ["demo.json"]) => {
                let info = json!({ "socket": self.socket, "url": self.url });
                Ok(json(StatusCode::OK, &info))
            }
            (&Method::GET, _) => page::part(parts.uri.path()).ok_or(DemoError::NotFound),
            _ => Err(DemoError::NotFound),
        }
    }

    fn log_in(&self, body: &Value) -> HandlerResult {
        let text = |key: &str| body[key].as_str().unwrap_or_default();
        let logged_in = self.desk.lock().log_in(text("username"), text("password"));
        let (account, token) = logged_in.ok_or(DemoError::BadCredentials)?;
        let session = json!({
            "user": account.json(),
            "access_token": token,
            "token_type": "Bearer",
            "requires_captcha": false,
        });
        Ok(json(StatusCode::OK, &session))
    }

    fn log_out(&self, headers: &HeaderMap) -> HandlerResult {
        self.bearer(headers)?;
        self.desk.lock().log_out(token(headers));
        Ok(json(
            StatusCode::OK,
            &json!({ "message": "Logged out successfully" }),
        ))
    }

    fn bearer(&self, headers: &HeaderMap) -> Result<Account, DemoError> {
        let account = self.desk.lock().bearer(token(headers));
        account.ok_or(DemoError::Unauthenticated)
    }

    async fn post(&self, user: Account, id: u64, form: Form) -> HandlerResult {
        let message = self.desk.lock().post(user, id, form)?;
        let payload = json!({ "ticket_id": id, "message": message });
        self.publish("new_message", &payload).await;
        let created = json!({
            "message": "Message added successfully",
            "ticket_message": message,
        });
        Ok(json(StatusCode::CREATED, &created))
    }

    fn image(&self, message: u64) -> HandlerResult {
        let file = self.desk.lock().file(message).ok_or(DemoError::NotFound)?;
        let kind = file
            .kind()
            .filter(|kind| kind.starts_with("image/"))
            .ok_or(DemoError::NotFound)?;
        let mut response = Response::new(body::full(file.bytes));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Ok(response)
    }

    async fn set_status(&self, user: Account, id: u64, body: &Value) -> HandlerResult {
        let status = body["status"].as_str().unwrap_or_default();
        let ticket = self.desk.lock().set_status(user, id, status)?;
        let payload = json!({ "ticket_id": id, "status": status });
        self.publish("ticket_status_update", &payload).await;
        let updated = json!({ "message": "Ticket updated successfully", "ticket": ticket });
        Ok(json(StatusCode::OK, &updated))
    }

    /// Publishes an event over the Unix socket, as Laravel does. A failure is only logged: the
    /// change is stored already.
    async fn publish(&self, kind: &str, payload: &Value) {
        let event = json!({ "type": kind, "payload": payload });
        let request = Request::post("/broadcast")
            .header(HOST, "edge")
            .header(CONTENT_TYPE, "application/json")
            .body(body::full(event.to_string()))
            .expect("the method, path and headers are valid constants");
        if let Err(error) = self.edge.send(Box::new(request)).await {
            tracing::warn!(
                name: "demo_publish_failed",
                error = error_chain(&error),
                "demo application cannot publish"
            );
        }
    }
}

/// Returns the bearer token, or an empty text.
fn token(headers: &HeaderMap) -> &str {
    bearer_token(headers)
        .and_then(|token| std::str::from_utf8(token).ok())
        .unwrap_or_default()
}

/// Parses an id; returns 0, which no ticket has, for anything else.
fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

async fn read(body: Incoming) -> Result<Value, DemoError> {
    let bytes = read_bytes(body, MAX_BODY_BYTES).await?;
    serde_json::from_slice(&bytes).map_err(|_| DemoError::NotJson)
}

/// Reads a message, as JSON or as a form with a file.
async fn read_form(headers: &HeaderMap, body: Incoming) -> Result<Form, DemoError> {
    let multipart = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .filter(|kind| kind.starts_with("multipart/"));
    if let Some(kind) = multipart {
        let bytes = read_bytes(body, MAX_FORM_BYTES).await?;
        return Form::read(kind, &bytes).ok_or(DemoError::NotJson);
    }
    let message = read(body).await?;
    Ok(Form {
        message: message["message"].as_str().unwrap_or_default().to_owned(),
        file: None,
    })
}

async fn read_bytes(body: Incoming, max_bytes: usize) -> Result<Bytes, DemoError> {
    Limited::new(body, max_bytes)
        .collect()
        .await
        .map(|body| body.to_bytes())
        .map_err(|_| DemoError::NotJson)
}

/// Returns the response for an error, as the real app sends it.
fn error_response(error: DemoError) -> Response<Body> {
    match error {
        DemoError::BadCredentials => json(
            StatusCode::UNAUTHORIZED,
            &json!({ "message": "Invalid login credentials" }),
        ),
        DemoError::Unauthenticated => json(
            StatusCode::UNAUTHORIZED,
            &json!({ "message": "Unauthenticated." }),
        ),
        DemoError::NotJson => invalid("message", "The request is not JSON, or too long."),
        DemoError::Forbidden => json(StatusCode::FORBIDDEN, &json!({ "error": "Unauthorized" })),
        DemoError::NotFound => json(
            StatusCode::NOT_FOUND,
            &json!({ "error": "Ticket not found" }),
        ),
        DemoError::EmptyMessage => invalid("message", "Either message or attachment is required"),
        DemoError::WrongType => invalid(
            "attachment",
            "The attachment must be a file of type: pdf, txt, jpg, jpeg, png, gif.",
        ),
        DemoError::WrongStatus => invalid("status", "The selected status is invalid."),
    }
}

/// Returns the response for an invalid field, in the form of Laravel's validator.
fn invalid(field: &str, message: &str) -> Response<Body> {
    let errors = json!({ "errors": { field: [message] } });
    json(StatusCode::UNPROCESSABLE_ENTITY, &errors)
}

fn json(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(body::full(value.to_string()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

const MAX_BODY_BYTES: usize = 64 * 1024;
/// The edge accepts files of 10 MiB by default; the rest is for the other parts of the form.
const MAX_FORM_BYTES: usize = 11 * 1024 * 1024;
