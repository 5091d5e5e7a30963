//! Tests of the errors when a certificate cannot be obtained.

use super::*;

fn client(directory: &tempfile::TempDir, url: &str) -> AcmeClient {
    let settings = Acme {
        directory: url.to_owned(),
        ..Acme::default()
    };
    AcmeClient {
        pause: CaRetryAfter::default(),
        settings,
        state: State::open(directory.path()).unwrap(),
        challenges: Arc::default(),
    }
}

async fn error_text(client: &AcmeClient) -> String {
    error_chain(&client.obtain(None).await.unwrap_err())
}

#[tokio::test]
async fn unreachable_acme_server_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let error = error_text(&client(&directory, "https://127.0.0.1:1/")).await;
    assert!(error.contains("the ACME request failed"), "{error}");
    assert!(error.contains("refused"), "{error}");
}

#[tokio::test]
async fn unreadable_acme_account_is_reported_with_the_cure() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(ACCOUNT_FILE), "{").unwrap();
    let error = error_text(&client(&directory, "https://127.0.0.1:1/")).await;
    assert!(
        error.contains("delete it and a new account is made"),
        "{error}"
    );
}

#[tokio::test]
async fn invalid_external_account_key_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let key_file = directory.path().join("eab.key");
    std::fs::write(&key_file, "no base64!").unwrap();
    let mut client = client(&directory, "https://127.0.0.1:1/");
    client.settings.external_account = Some(super::super::settings::ExternalAccount {
        id: "kid-1".to_owned(),
        key_file,
    });
    let error = error_text(&client).await;
    assert!(error.contains("holds no key in base64url"), "{error}");
}

/// Time is paused, so the test does not take half a minute.
#[tokio::test(start_paused = true)]
async fn silent_acme_server_is_reported_after_30_seconds() {
    let directory = tempfile::tempdir().unwrap();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", silent.local_addr().unwrap());
    let error = error_text(&client(&directory, &url)).await;
    assert!(error.contains("no response within 30 s"), "{error}");
}

#[tokio::test]
async fn unreadable_directory_ca_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let mut client = client(&directory, "https://127.0.0.1:1/");
    client.settings.directory_ca_file = Some(directory.path().join("none.pem"));
    let error = error_text(&client).await;
    assert!(
        error.contains("none.pem (tls.acme.directory_ca_file"),
        "{error}"
    );
}
