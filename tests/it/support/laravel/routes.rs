//! The routes of the app: those of the real one, and a few that misbehave.

use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::HeaderMap;
use hyper::{Request, Response, StatusCode};
use serde_json::json;
use tokio::sync::mpsc;

use super::browser_sessions::has_csrf_token;
use super::responses::{json_answer, large, odd_headers, owned_text, text, unauthenticated};
use super::{Body, CROWDED, Error, Laravel, SeenRequest, secret, token};

impl Laravel {
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        self.0.requests.lock().push(SeenRequest {
            method: request.method().clone(),
            target: request.uri().to_string(),
            headers: request.headers().clone(),
        });
        let path = request.uri().path().to_owned();
        let segments: Vec<_> = path.split('/').skip(1).collect();
        if let (Some(status), ["api", ..]) = (*self.0.failing.lock(), &*segments) {
            let mut answer = json_answer(status, &json!({ "message": "Server Error" }));
            if status == StatusCode::TOO_MANY_REQUESTS {
                answer
                    .headers_mut()
                    .insert("retry-after", "60".parse().unwrap());
            }
            return answer;
        }
        match &*segments {
            ["echo"] => Response::new(request.into_body().map_err(Into::into).boxed_unsync()),
            ["hang"] => self.hang().await,
            ["wait"] => {
                self.0.release.notified().await;
                text("waited")
            }
            ["headers"] => odd_headers(),
            ["large"] => large(),
            ["cut"] => self.cut_short(),
            ["trailers"] => trailer_names(request).await,
            ["logout"] => {
                self.wait_with_log_outs().await;
                self.log_out_browser(request.headers())
            }
            ["api", "logout"] => {
                self.wait_with_log_outs().await;
                self.log_out(request.headers())
            }
            ["api", "user"] => {
                self.0.who.pass().await;
                self.user(request.headers())
            }
            ["api", "broadcasting", "auth"] => {
                let headers = request.headers().clone();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                self.channel(&headers, str::from_utf8(&body).unwrap())
            }
            // As with the broadcast driver `null`: everybody gets this.
            ["null", "broadcasting", "auth"] => text(""),
            ["api", "support-tickets", id] => {
                self.0.may.pass().await;
                self.ticket(request.headers(), id)
            }
            ["api", "support-tickets", _, "messages"] => {
                let headers = request.headers();
                let is_forged = self.browser_user(headers).is_some() && !has_csrf_token(headers);
                let known = !is_forged && self.user_of(headers).is_some();
                self.0.posts.take(request, known).await
            }
            _ => text("hello from laravel"),
        }
    }

    /// Waits until held log-outs are released.
    async fn wait_with_log_outs(&self) {
        if self.0.hold_log_outs.load(SeqCst) {
            self.0.release.notified().await;
        }
    }

    async fn hang(&self) -> Response<Body> {
        struct NotifyOnDrop(Laravel);
        impl Drop for NotifyOnDrop {
            fn drop(&mut self) {
                self.0.0.cancelled.notify_one();
            }
        }
        let _given = NotifyOnDrop(self.clone());
        std::future::pending().await
    }

    /// Half of an answer and, once released, the end of the connection.
    fn cut_short(&self) -> Response<Body> {
        let (frames, receiver) = mpsc::channel::<Result<Frame<Bytes>, Error>>(1);
        let app = self.clone();
        tokio::spawn(async move {
            let half = Frame::data(Bytes::from_static(b"half of it"));
            frames.send(Ok(half)).await.unwrap();
            app.0.release.notified().await;
            let _ = frames.send(Err("broken".into())).await;
        });
        let frames = futures_util::stream::unfold(receiver, |mut frames| async move {
            frames.recv().await.map(|frame| (frame, frames))
        });
        Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)))
    }

    /// Returns the user as Sanctum does: by the session cookie, else by the token.
    fn user_of(&self, headers: &HeaderMap) -> Option<u64> {
        self.browser_user(headers).or_else(|| self.bearer(headers))
    }

    fn bearer(&self, headers: &HeaderMap) -> Option<u64> {
        let token = token(headers)?;
        let secret = secret(&token);
        if let Some(id) = secret.strip_prefix("crowd") {
            return id.parse().ok();
        }
        self.0.users.lock().get(secret).copied()
    }

    fn user(&self, headers: &HeaderMap) -> Response<Body> {
        let Some(id) = self.user_of(headers) else {
            return unauthenticated(headers);
        };
        let name = match id {
            3 => "ana",
            4 => "ben",
            5 => "desk",
            _ => "one of many",
        };
        let user =
            json!({ "userID": id, "username": name, "role": "PWDMember", "status": "active" });
        json_answer(StatusCode::OK, &user)
    }

    fn log_out(&self, headers: &HeaderMap) -> Response<Body> {
        if self.bearer(headers).is_none() {
            return unauthenticated(headers);
        }
        self.revoke(&token(headers).unwrap());
        if self.0.lose_log_outs.load(SeqCst) {
            return json_answer(StatusCode::INTERNAL_SERVER_ERROR, &json!({}));
        }
        json_answer(
            StatusCode::OK,
            &json!({ "message": "Logged out successfully" }),
        )
    }

    /// Decides as the driver `pusher`: its signature is not the edge's business.
    fn channel(&self, headers: &HeaderMap, form: &str) -> Response<Body> {
        self.0.channel_forms.lock().push(form.to_owned());
        let Some(user) = self.bearer(headers) else {
            return unauthenticated(headers);
        };
        let name = form
            .strip_prefix("channel_name=")
            .and_then(|rest| rest.split_once("&socket_id="))
            .map(|(name, _)| name.replace("%2D", "-").replace("%2E", "."))
            .unwrap();
        if !self.0.channels.lock().contains(&(user, name.clone())) {
            return json_answer(StatusCode::FORBIDDEN, &json!({ "message": "" }));
        }
        let mut consent = json!({ "auth": "key:0123456789abcdef" });
        if name.starts_with("presence-") {
            let member = json!({ "user_id": user, "user_info": { "seat": user } });
            consent["channel_data"] = member.to_string().into();
        }
        json_answer(StatusCode::OK, &consent)
    }

    fn ticket(&self, headers: &HeaderMap, id: &str) -> Response<Body> {
        let Some(user) = self.user_of(headers) else {
            return unauthenticated(headers);
        };
        let id = id.parse().unwrap();
        let known = self
            .0
            .seen_by
            .lock()
            .iter()
            .any(|(_, ticket)| *ticket == id);
        match id >= CROWDED || self.0.seen_by.lock().contains(&(user, id)) {
            true => json_answer(StatusCode::OK, &json!({ "id": id })),
            false if known => {
                json_answer(StatusCode::FORBIDDEN, &json!({ "error": "Unauthorized" }))
            }
            false => json_answer(
                StatusCode::NOT_FOUND,
                &json!({ "error": "Ticket not found" }),
            ),
        }
    }
}

/// Answers with the names of the request's trailers.
async fn trailer_names(request: Request<Incoming>) -> Response<Body> {
    let body = request.into_body().collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    let names: Vec<_> = trailers.keys().map(|name| name.as_str()).collect();
    owned_text(names.join(" "))
}
