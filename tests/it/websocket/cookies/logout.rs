//! Log-outs with a session cookie that Laravel does not attribute to a user, forged ones above
//! all.

use super::*;

/// Logs out as [`log_out`] does, with these origins of the page.
async fn log_out_from(edge: &Edge, session: &str, cookies: &str, origins: &[&str]) -> StatusCode {
    let mut request = hyper::Request::post("/logout")
        .header("host", "localhost")
        .header("cookie", cookies)
        .header("x-xsrf-token", format!("csrf-{session}="));
    for origin in origins {
        request = request.header("origin", *origin);
    }
    fetch(edge, request).await
}

/// Waits until Laravel has got so many questions with the credential.
async fn wait_for_questions(laravel: &Laravel, credential: &str, count: usize) {
    while questions_with(laravel, credential) < count {
        tokio::task::yield_now().await;
    }
}

/// A form of a page with `Referrer-Policy: no-referrer` has the origin `null`. Laravel checks the
/// CSRF token, and not the origin.
#[tokio::test]
async fn logout_from_a_page_of_any_origin_closes_the_sessions_of_its_browser() {
    for origins in [
        &["null"] as &[_],
        &["https://evil.example"],
        &["http://localhost"],
        &["https://localhost:8443"],
        &["https://evil.example", "https://localhost"],
        &[],
    ] {
        let (laravel, edge) = start().await;
        let old = laravel.log_in("a", 3);
        let mut ana = greeted(&edge, &old).await;
        let status = log_out_from(&edge, "a", &laravel.cookies_of("a"), origins).await;
        assert_eq!(status, StatusCode::FOUND);
        assert_eq!(ana.closed().await.0, 4503, "{origins:?}");
        let headers = [ORIGIN, ("cookie", &*old)];
        let mut again = Socket::try_open(&edge, "/ws", &headers).await.unwrap();
        assert_eq!(again.closed().await.0, 4502, "{origins:?}");
    }
}

/// The front end has another host, and Sanctum accepts that one alone.
#[tokio::test]
async fn question_of_a_logout_has_the_origin_of_a_listed_site() {
    let laravel = Laravel::start().await;
    let allowed = "[websocket]\nallowed_origins = [\"https://app.example\", \"null\"]\n";
    let edge = Edge::configured(&laravel.url(), &format!("{COOKIES}{allowed}"));
    for (origin, asked) in [
        ("https://app.example", "https://app.example"),
        ("null", "https://localhost"),
    ] {
        let cookies = laravel.log_in("a", 3);
        log_out_from(&edge, "a", &cookies, &[origin]).await;
        let questions = laravel.requests();
        let mut questions = questions.iter().rev();
        let question = questions.find(|question| question.target == "/api/user");
        assert_eq!(question.unwrap().header("origin"), Some(asked));
    }
}

/// Laravel rejects the log-out, so the browser keeps its session.
#[tokio::test]
async fn rejected_logout_from_another_origin_caches_no_denial() {
    let (laravel, edge) = start().await;
    let cookies = laravel.log_in("a", 3);
    for origin in ["null", "https://evil.example"] {
        let status = log_out_from(&edge, "wrong", &cookies, &[origin]).await;
        assert_eq!(status.as_u16(), 419);
        greeted(&edge, &cookies).await;
    }
}

/// Sanctum accepts the cookie from one of two listed origins.
#[tokio::test]
async fn denial_of_a_cookie_counts_for_its_origin_alone() {
    let laravel = Laravel::start().await;
    let allowed = "[websocket]\nallowed_origins = [\"https://other.example\"]\n";
    let edge = Edge::configured(&laravel.url(), &format!("{COOKIES}{allowed}"));
    let cookies = laravel.log_in("a", 3);
    let headers = [("origin", "https://other.example"), ("cookie", &*cookies)];
    let mut other = Socket::try_open(&edge, "/ws", &headers).await.unwrap();
    assert_eq!(other.closed().await.0, 4502);
    greeted(&edge, &cookies).await;
}

/// Anybody behind the address can send such a log-out. Laravel accepts one of a guest, too.
#[tokio::test]
async fn forged_logout_while_laravel_throttles_invalidates_nothing() {
    let (laravel, edge) = start().await;
    let cookies = laravel.log_in("b", 4);
    let mut ben = greeted(&edge, &cookies).await;
    laravel.fail_with(Some(StatusCode::TOO_MANY_REQUESTS));
    let status = log_out(&edge, "forged", &laravel.cookies_of("forged")).await;
    assert_eq!(status, StatusCode::FOUND);
    // The session is asked about, and Laravel's earlier decision counts.
    wait_for_questions(&laravel, "desk_session=b.", 2).await;
    greeted(&edge, &cookies).await;
    assert_eq!(ben.settle().await, [] as [Value; 0]);
}

#[tokio::test]
async fn forged_logouts_revalidate_the_sessions_of_the_client_once() {
    let (laravel, edge) = start().await;
    let mut ben = greeted(&edge, &laravel.log_in("b", 4)).await;
    for _ in 0..3 {
        let status = log_out(&edge, "forged", &laravel.cookies_of("forged")).await;
        assert_eq!(status, StatusCode::FOUND);
        wait_for_questions(&laravel, "desk_session=b.", 2).await;
        assert_eq!(ben.settle().await, [] as [Value; 0]);
    }
    assert_eq!(questions_with(&laravel, "desk_session=b."), 2);
}

/// Laravel has ended the session before, or does not accept the cookie from the site itself.
#[tokio::test]
async fn accepted_logout_with_a_rejected_cookie_revalidates_the_sessions_of_the_client() {
    let (laravel, edge) = start().await;
    let mut ana = greeted(&edge, &laravel.log_in("a", 3)).await;
    laravel.end_session("a");
    let status = log_out(&edge, "a", &laravel.cookies_of("a")).await;
    assert_eq!(status, StatusCode::FOUND);
    assert_eq!(ana.closed().await.0, 4503);
}

#[tokio::test]
async fn logouts_with_rejected_cookies_are_asked_about_up_to_the_limit() {
    let laravel = Laravel::start().await;
    let limits = "[limits]\nrejected_tokens_per_minute = 3\n";
    let edge = Edge::configured(&laravel.url(), &format!("{COOKIES}{limits}"));
    let mut ana = greeted(&edge, &laravel.log_in("a", 3)).await;
    for _ in 0..10 {
        log_out(&edge, "forged", &laravel.cookies_of("forged")).await;
    }
    let questions = laravel.requests().into_iter();
    let forged = questions.filter(|question| {
        let cookies = question.header("cookie").unwrap_or_default();
        question.target == "/api/user" && cookies.starts_with("desk_session=forged.")
    });
    assert_eq!(forged.count(), 3);
    // It opens no session for a minute, either.
    let headers = [ORIGIN, ("cookie", &*laravel.cookies_of("a"))];
    let rejected = Socket::try_open(&edge, "/ws", &headers).await;
    assert_eq!(rejected.err(), Some(StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(ana.settle().await, [] as [Value; 0]);
}

/// PHP reads the first of two cookies with one name.
#[tokio::test]
async fn second_cookie_of_one_name_makes_no_other_credential() {
    let (laravel, edge) = start().await;
    laravel.log_in("a", 3);
    for junk in 0..3 {
        greeted(&edge, &format!("desk_session=a.0; desk_session=junk{junk}")).await;
    }
    let questions = laravel.requests();
    assert_eq!(questions.len(), 1, "{questions:?}");
    assert_eq!(questions[0].header("cookie"), Some("desk_session=a.0"));
}
