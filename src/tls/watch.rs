//! Hot reload of certificates: polls their files for changes, and logs the expiry of each
//! certificate once a day.
//!
//! Polling costs microseconds a second. Unlike inotify on a directory, it also notices links
//! to links, a replaced parent directory, and changes on a network file system.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::Certificates;
use crate::core::error_chain::error_chain;
use crate::runtime::drain::Drain;

/// Reloads `certificates` when one of their files changes, and every minute in any case,
/// until `drain` stops.
pub(crate) async fn watch(certificates: Arc<Certificates>, drain: Drain) {
    tokio::select! {
        () = look_for_changes(&certificates) => {}
        () = log_expiry_daily(&certificates) => {}
        () = drain.token().cancelled() => {}
    }
}

/// Reloads `certificates` on a thread for blocking work. Dropping the future does not stop a
/// reload that has begun.
pub(crate) async fn reload(certificates: &Arc<Certificates>) {
    let certificates = Arc::clone(certificates);
    let done = tokio::task::spawn_blocking(move || certificates.reload()).await;
    if let Err(error) = done {
        tracing::warn!(
            name: "certificate_reload_failed",
            error = error_chain(&error),
            "certificate reload failed"
        );
    }
}

async fn look_for_changes(certificates: &Arc<Certificates>) {
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let paths = certificates.paths();
    // The files may have changed between loading them and the first snapshot. The empty
    // snapshot differs from it, so they are reloaded once.
    let mut loaded = FileSnapshot {
        at: Instant::now(),
        marks: Vec::new(),
    };
    let mut before = Vec::new();
    loop {
        ticks.tick().await;
        let now = FileSnapshot::of(&paths).await;
        // A pair is two files, which may be replaced one after the other: they are reloaded
        // once nothing has changed for one interval.
        let is_stable = now.marks == before;
        let has_changed = now.marks != loaded.marks;
        let is_due = loaded.at.elapsed() >= FORCED_RELOAD_INTERVAL;
        before.clone_from(&now.marks);
        if is_due || (has_changed && is_stable) {
            reload(certificates).await;
            loaded = now;
        }
    }
}

async fn log_expiry_daily(certificates: &Certificates) {
    loop {
        for certificate in certificates.expiry() {
            certificate.log();
        }
        tokio::time::sleep(EXPIRY_LOG_INTERVAL).await;
    }
}

/// The metadata of all files at one moment.
struct FileSnapshot {
    at: Instant,
    /// Device, inode, size and times of each file, with links followed; `None` if it is
    /// missing.
    marks: Vec<Option<[i64; 7]>>,
}

impl FileSnapshot {
    async fn of(paths: &[PathBuf]) -> Self {
        let at = Instant::now();
        let mut marks = Vec::with_capacity(paths.len());
        for path in paths {
            let file = tokio::fs::metadata(path).await.ok();
            marks.push(file.map(|file| {
                let (ino, dev) = (file.ino().cast_signed(), file.dev().cast_signed());
                let size = file.size().cast_signed();
                let modified = [file.mtime(), file.mtime_nsec()];
                [
                    ino,
                    dev,
                    size,
                    modified[0],
                    modified[1],
                    file.ctime(),
                    file.ctime_nsec(),
                ]
            }));
        }
        Self { at, marks }
    }
}

const POLL_INTERVAL: Duration = Duration::from_secs(1);
const FORCED_RELOAD_INTERVAL: Duration = Duration::from_secs(60);
const EXPIRY_LOG_INTERVAL: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::SystemTime;

    use parking_lot::Mutex;

    use super::*;
    use crate::tls::Settings;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().write(text)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn expiring_certificate_is_logged_daily() {
        let directory = tempfile::tempdir().unwrap();
        let mut params = rcgen::CertificateParams::new(["desk.example".to_owned()]).unwrap();
        params.not_after = (SystemTime::now() + EXPIRY_LOG_INTERVAL * 20).into();
        let key = rcgen::KeyPair::generate().unwrap();
        let settings = Settings {
            certificate: directory.path().join("c.pem"),
            key: directory.path().join("k.pem"),
            ..Settings::default()
        };
        let certificate = params.self_signed(&key).unwrap().pem();
        std::fs::write(&settings.certificate, certificate).unwrap();
        std::fs::write(&settings.key, key.serialize_pem()).unwrap();
        let certificates = Certificates::load(&settings).unwrap();

        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt().with_writer(move || writer.clone());
        let _log = tracing::subscriber::set_default(log.finish());
        let _ = tokio::time::timeout(
            EXPIRY_LOG_INTERVAL * 3 + POLL_INTERVAL,
            log_expiry_daily(&certificates),
        )
        .await;
        let lines = String::from_utf8(lines.0.lock().clone()).unwrap();
        assert_eq!(lines.matches("WARN").count(), 4, "{lines}");
        assert_eq!(lines.matches("desk.example").count(), 4, "{lines}");
    }
}
