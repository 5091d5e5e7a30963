//! What PHP writes to its standard error, for the log.

use std::sync::Arc;

use bytes::Bytes;

use super::ExchangeError;

/// The complaints of one request. A few lines of each are told, since an app that
/// complains does so all the time.
#[derive(Debug)]
pub(super) struct StderrLog {
    server: Arc<str>,
    left: usize,
    /// Whether there was no script to run.
    no_script: Option<&'static str>,
}

impl StderrLog {
    pub(super) fn new(server: Arc<str>) -> Self {
        Self {
            server,
            left: MAX_STDERR_CHARS,
            no_script: None,
        }
    }

    /// Tells the log. What php-fpm says of a script that it does not run is not
    /// told here but becomes the request's failure.
    pub(super) fn log(&mut self, text: &Bytes) {
        let text = String::from_utf8_lossy(text);
        if let Some((_, why)) = SIGNS.iter().find(|(is_one, _)| is_one(text.trim_end())) {
            self.no_script = Some(why);
            return;
        }
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            if self.left == 0 {
                return;
            }
            let text: String = line.chars().take(self.left).collect();
            // A line costs more than its characters.
            self.left = self
                .left
                .saturating_sub(text.chars().count().max(MAX_SHORT_CHARS));
            tracing::warn!(name: "php_stderr", server = %self.server, text, "PHP stderr");
        }
    }

    /// Whether php-fpm has said that there is nothing to run.
    pub(super) fn check_script(&self) -> Result<(), ExchangeError> {
        match self.no_script {
            Some(why) => Err(ExchangeError::Script(why)),
            None => Ok(()),
        }
    }
}

/// In characters.
const MAX_STDERR_CHARS: usize = 2048;
const MAX_SHORT_CHARS: usize = 100;

/// Whether this is what php-fpm says, as a whole: scripts write there too, and what
/// their clients sent; and what it means (`sapi/fpm/fpm/fpm_main.c`).
type Sign = (fn(&str) -> bool, &'static str);

const SIGNS: [Sign; 3] = [
    (
        |text| text == "Primary script unknown",
        "it finds no such file",
    ),
    (
        |text| text.starts_with("Unable to open primary script: "),
        "it may not read the file",
    ),
    (
        |text| {
            text.starts_with("Access to the script '")
                && text.ends_with("' has been denied (see security.limit_extensions)")
        },
        "its security.limit_extensions lacks .php",
    ),
];
