//! Paths of Unix sockets.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr;
use std::path::Path;

/// Checks that the kernel accepts `path` as the address of a Unix socket (unix(7)).
///
/// # Errors
/// Returns the reason as the second half of a sentence about the path.
pub(crate) fn check(path: &Path) -> Result<(), String> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.contains(&0) {
        return Err("contains a NUL character".to_owned());
    }
    SocketAddr::from_pathname(path).map(drop).map_err(|_| {
        format!(
            "has {} bytes; the path of a Unix socket has at most {MAX_BYTES}",
            bytes.len()
        )
    })
}

/// The length of the field `sun_path` on Linux, without the NUL at its end.
const MAX_BYTES: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_that_the_kernel_does_not_accept_is_rejected() {
        let path = |bytes: usize| format!("/{}", "a".repeat(bytes - 1));
        assert_eq!(check(path(MAX_BYTES).as_ref()), Ok(()));
        let error = check(path(MAX_BYTES + 1).as_ref()).unwrap_err();
        assert!(error.starts_with("has 108 bytes; "), "{error}");
        assert!(check("/a\0b".as_ref()).is_err());
    }
}
