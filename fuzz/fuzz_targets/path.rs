//! The file that a path names: never a hidden one or one above the directory, and always one
//! on the route that matches the path.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pwd_edge::core::request_path::NormalizedPath;
use pwd_edge::files::SafePath;

fuzz_target!(|path: &str| {
    let path = format!("/{path}");
    let Some(name) = SafePath::parse(&path) else {
        return;
    };
    for (number, part) in name.path().split('/').enumerate() {
        let well_known = number == 0 && part == ".well-known";
        assert!(!part.starts_with('.') || well_known, "{part:?} is hidden");
        assert!(!part.is_empty() || name.path().is_empty(), "{name:?}");
        assert!(!part.contains(['\\', '\0', '\n', '\r']), "{part:?}");
        let part = part.to_lowercase();
        assert!(
            !part.ends_with(".php") && !part.contains(".php."),
            "{part:?}"
        );
    }
    let read = NormalizedPath::parse(&path).expect("what names a file holds no NUL");
    assert!(read.other_readings.is_empty(), "{read:?}");
    for reading in [&read.literal, &read.resolved] {
        assert_eq!(reading.trim_matches('/'), name.path());
    }
});
