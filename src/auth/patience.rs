//! Waiting a little while Laravel restarts.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use super::Error;
use super::question::unavailable;

/// Asks again while the answer is "unavailable", for `patience` in all: at once
/// when Laravel named a time, else twice a second.
///
/// # Errors
/// Denied, or still unavailable when the patience is over.
pub async fn patiently<T, F>(patience: Duration, mut ask: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let end = Instant::now() + patience;
    let mut last = unavailable("Laravel did not answer in time".to_owned());
    while let Ok(answer) = tokio::time::timeout_at(end, ask()).await {
        let Err(Error::Unavailable { retry_after, .. }) = &answer else {
            return answer;
        };
        let again = Instant::now() + retry_after.unwrap_or(PAUSE).max(PAUSE);
        if again >= end {
            return answer;
        }
        if let Err(error) = answer {
            last = error;
        }
        tokio::time::sleep_until(again).await;
    }
    Err(last)
}

const PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn a_short_outage_is_waited_out() {
        let mut asked = 0;
        let answer = patiently(PATIENCE, || {
            asked += 1;
            ready(match asked {
                3 => Ok(7),
                _ => Err(unavailable("down".to_owned())),
            })
        });
        assert_eq!(answer.await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_no_is_final_and_a_long_outage_too() {
        let start = Instant::now();
        let denied = patiently(PATIENCE, || ready(Err::<(), _>(Error::Denied))).await;
        assert_eq!(
            (denied, start.elapsed()),
            (Err(Error::Denied), Duration::ZERO)
        );
        let down = || ready(Err::<(), _>(unavailable("down".to_owned())));
        assert!(matches!(
            patiently(PATIENCE, down).await,
            Err(Error::Unavailable { .. })
        ));
        assert!(start.elapsed() <= PATIENCE);
        let hangs = std::future::pending::<Result<(), _>>;
        assert!(patiently(PATIENCE, hangs).await.is_err());
    }
}
