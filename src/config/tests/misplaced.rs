//! Tests of files that are no valid TOML, and of keys in a wrong table.

use super::diagnostics;
use crate::config::{Config, reader};

#[test]
fn toml_syntax_error_is_reported_with_its_line() {
    let found = diagnostics("[server]\nlisten = [\n[tls\nkey = \"a\"\n[http]\nx = 1\n");
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].0, Some(3), "{found:#?}");
}

#[test]
fn key_in_a_wrong_table_is_reported_with_the_right_ones() {
    let found =
        diagnostics("listen = []\n[server]\nmax_body_size = \"1 MiB\"\npong_timeout = \"1s\"\n");
    let messages: Vec<_> = found.into_iter().map(|(_, message)| message).collect();
    assert_eq!(
        messages,
        [
            "`listen` belongs to [server] or [admin] or [tls.client_auth], not here",
            "`max_body_size` belongs to [http] or [[routes]] or [broadcast], not here",
            "`pong_timeout` belongs to [websocket], not here",
        ]
    );
}

#[test]
fn tables_of_the_example_are_searched_for_misplaced_keys() {
    let example = include_str!("../../../config.toml");
    let headers = example.lines().filter(|line| line.starts_with('['));
    for header in headers {
        assert!(reader::TABLES.contains(&header), "{header}");
    }
}

#[test]
fn file_that_is_not_utf8_is_reported_as_that() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("site.toml");
    let cases: [(&[u8], &str, &str); 3] = [
        (b"\xff\xfe[\0s\0]\0", "the file is in UTF-16", "UTF-16"),
        (b"\xfe\xff\0[\0s", "the file is in UTF-16", "UTF-16"),
        (
            b"[server]\n# caf\xe9\n",
            "line 2 is not UTF-8, but perhaps Latin-1",
            "LATIN1",
        ),
    ];
    for (bytes, problem, encoding) in cases {
        std::fs::write(&file, bytes).unwrap();
        let error = Config::load(&file).unwrap_err().to_string();
        let cure =
            format!("save it as UTF-8, such as with `iconv -f {encoding} -t UTF-8 OLD >NEW`");
        assert_eq!(error, format!("{}: {problem}; {cure}", file.display()));
    }
    std::fs::write(&file, b"\xef\xbb\xbf[server]\nworker_threads = 2\n").unwrap();
    assert_eq!(Config::load(&file).unwrap().server.worker_threads, 2);
}
