//! The stand-in's routes, and how it publishes.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};

use super::desk::{Account, DemoError, Desk};
use super::form::Form;
use super::page;
use crate::core::body::{self, Body};
use crate::core::error_chain::error_chain;
use crate::runtime::drain::Drain;
use crate::upstream::{Settings, Target, Upstream};

/// The stand-in for Laravel.
#[derive(Debug)]
pub struct App {
    desk: Mutex<Desk>,
    edge: Upstream,
    socket: PathBuf,
    url: String,
}

type Answer = Result<Response<Body>, DemoError>;

impl App {
    /// An app that publishes on the edge's `socket`, for visitors of `url`.
    pub fn new(socket: PathBuf, url: String) -> Self {
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
    pub async fn serve(self: Arc<Self>, listener: UnixListener, drain: Drain) {
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
                let answer = app.answer(request).await;
                Ok::<_, std::convert::Infallible>(answer.unwrap_or_else(refuse))
            }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            // A connection that breaks is the edge's to report.
            _ = connection => {}
            () = drain.token().cancelled() => {}
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
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
                let told = json!({ "socket": self.socket, "url": self.url });
                Ok(json(StatusCode::OK, &told))
            }
            (&Method::GET, _) => page::part(parts.uri.path()).ok_or(DemoError::NotFound),
            _ => Err(DemoError::NotFound),
        }
    }

    fn log_in(&self, body: &Value) -> Answer {
        let text = |key: &str| body[key].as_str().unwrap_or_default();
        let logged_in = self.desk.lock().log_in(text("username"), text("password"));
        let (account, token) = logged_in.ok_or(DemoError::BadCredentials)?;
        let answer = json!({
            "user": account.json(),
            "access_token": token,
            "token_type": "Bearer",
            "requires_captcha": false,
        });
        Ok(json(StatusCode::OK, &answer))
    }

    fn log_out(&self, headers: &HeaderMap) -> Answer {
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

    async fn post(&self, user: Account, id: u64, form: Form) -> Answer {
        let message = self.desk.lock().post(user, id, form)?;
        let payload = json!({ "ticket_id": id, "message": message });
        self.publish("new_message", &payload).await;
        let answer = json!({
            "message": "Message added successfully",
            "ticket_message": message,
        });
        Ok(json(StatusCode::CREATED, &answer))
    }

    fn image(&self, message: u64) -> Answer {
        let file = self.desk.lock().file(message).ok_or(DemoError::NotFound)?;
        let kind = file.kind().filter(|kind| kind.starts_with("image/"));
        let kind = kind.ok_or(DemoError::NotFound)?;
        let mut response = Response::new(body::full(file.bytes));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Ok(response)
    }

    async fn set_status(&self, user: Account, id: u64, body: &Value) -> Answer {
        let status = body["status"].as_str().unwrap_or_default();
        let ticket = self.desk.lock().set_status(user, id, status)?;
        let payload = json!({ "ticket_id": id, "status": status });
        self.publish("ticket_status_update", &payload).await;
        let answer = json!({ "message": "Ticket updated successfully", "ticket": ticket });
        Ok(json(StatusCode::OK, &answer))
    }

    /// Publishes as Laravel does: over the Unix socket. What is stored stays
    /// stored if that fails.
    async fn publish(&self, kind: &str, payload: &Value) {
        let event = json!({ "type": kind, "payload": payload });
        let request = Request::post("/broadcast")
            .header(HOST, "edge")
            .header(CONTENT_TYPE, "application/json")
            .body(body::full(event.to_string()))
            .expect("a fixed request");
        if let Err(error) = self.edge.send(Box::new(request)).await {
            tracing::warn!(
                name: "demo_publish_failed",
                error = error_chain(&error),
                "demo application cannot publish"
            );
        }
    }
}

fn token(headers: &HeaderMap) -> &str {
    let value = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    value
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default()
}

/// 0, which no ticket has, for what is no number.
fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

async fn read(body: Incoming) -> Result<Value, DemoError> {
    let bytes = read_bytes(body, MAX_BODY).await?;
    serde_json::from_slice(&bytes).map_err(|_| DemoError::NotJson)
}

/// A message, as JSON or as a form with a file.
async fn read_form(headers: &HeaderMap, body: Incoming) -> Result<Form, DemoError> {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.filter(|kind| kind.starts_with("multipart/"));
    if let Some(kind) = kind {
        let bytes = read_bytes(body, MAX_FORM).await?;
        return Form::read(kind, &bytes).ok_or(DemoError::NotJson);
    }
    let body = read(body).await?;
    Ok(Form {
        message: body["message"].as_str().unwrap_or_default().to_owned(),
        file: None,
    })
}

async fn read_bytes(body: Incoming, most: usize) -> Result<Bytes, DemoError> {
    let bytes = Limited::new(body, most).collect().await;
    Ok(bytes.map_err(|_| DemoError::NotJson)?.to_bytes())
}

fn refuse(no: DemoError) -> Response<Body> {
    match no {
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

fn invalid(field: &str, what: &str) -> Response<Body> {
    let errors = json!({ "errors": { field: [what] } });
    json(StatusCode::UNPROCESSABLE_ENTITY, &errors)
}

fn json(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(body::full(value.to_string()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

const MAX_BODY: usize = 64 * 1024;
const MAX_FORM: usize = 11 * 1024 * 1024;
