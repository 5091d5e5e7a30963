//! The limit of open files of the process (`RLIMIT_NOFILE`, setrlimit(2)).

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to `wanted`, or to the hard limit if that is lower. Never lowers it.
/// Returns the soft limit from then on; `u64::MAX` if there is none.
///
/// # Errors
/// The kernel rejects the new limit.
pub fn raise_open_file_limit(wanted: u64) -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let (soft, hard) = (
        limit.current.unwrap_or(u64::MAX),
        limit.maximum.unwrap_or(u64::MAX),
    );
    let raised = wanted.min(hard);
    if soft >= raised {
        return Ok(soft);
    }
    let current = Some(raised);
    setrlimit(Resource::Nofile, Rlimit { current, ..limit })?;
    Ok(raised)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_is_raised_as_far_as_the_hard_limit_and_never_lowered() {
        let before = getrlimit(Resource::Nofile);
        let soft = before.current.unwrap_or(u64::MAX);
        assert_eq!(raise_open_file_limit(0).unwrap(), soft);
        assert_eq!(getrlimit(Resource::Nofile).current, before.current);
        let hard = before.maximum.unwrap_or(u64::MAX);
        assert_eq!(raise_open_file_limit(u64::MAX).unwrap(), hard);
        assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
    }
}
