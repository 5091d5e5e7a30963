//! PHP's standard error: logs what scripts write there, and recognizes php-fpm's own errors
//! about a script that it cannot run.

use std::sync::Arc;

use bytes::Bytes;

use super::ExchangeError;

/// The standard error of one request. Only the first characters of it are logged, since an
/// app with warnings writes them for every request.
#[derive(Debug)]
pub(super) struct StderrLog {
    server: Arc<str>,
    left: usize,
    /// The reason why php-fpm cannot run the script, if it has reported one.
    no_script: Option<&'static str>,
}

impl StderrLog {
    /// Creates the log of a request to `server`.
    pub(super) fn new(server: Arc<str>) -> Self {
        Self {
            server,
            left: MAX_STDERR_CHARS,
            no_script: None,
        }
    }

    /// Logs the lines of `text`. php-fpm's report that it cannot run the script is not
    /// logged here: it becomes the request's error.
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

    /// Checks that php-fpm has not reported a script that it cannot run.
    ///
    /// # Errors
    /// Returns [`ExchangeError::Script`] if it has.
    pub(super) fn check_script(&self) -> Result<(), ExchangeError> {
        match self.no_script {
            Some(why) => Err(ExchangeError::Script(why)),
            None => Ok(()),
        }
    }
}

/// The maximum number of characters of one request in the log.
const MAX_STDERR_CHARS: usize = 2048;
/// The number of characters that a shorter line counts as.
const MAX_SHORT_CHARS: usize = 100;

/// A test for one of php-fpm's own errors (`sapi/fpm/fpm/fpm_main.c`), and its meaning. The
/// test compares the whole text, since scripts write to standard error too, even text from
/// clients.
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
