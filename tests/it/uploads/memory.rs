//! What many uploads at once cost.

use std::sync::Arc;

use super::{MIB, file, upload_start};
use crate::support::program::Program;
use crate::support::upload_sender::{UploadSender, next_upload_event};
use crate::support::{Laravel, Socket};

const CONFIG: &str = "[limits]\nexempt = [\"127.0.0.0/8\"]\n[websocket]\nmax_sessions_per_user = 1000\n\
                    [websocket.uploads]\nmax_per_user = 200\nbytes_per_second = \"2 GiB\"\n";

/// A hundred files of `size` bytes at once: how many bytes more than a hundred
/// idle sessions they needed at the most.
async fn memory_of_uploads(size: usize) -> u64 {
    let laravel = Laravel::start().await;
    let program = Arc::new(Program::before(&laravel.url(), CONFIG));
    let mut sockets = Vec::new();
    for _ in 0..100 {
        let stream = program.connect("http/1.1").await;
        let mut socket = Socket::over(stream, "3|ana").await;
        socket.join(1).await;
        sockets.push(socket);
    }
    let (before, _) = program.memory();
    let file = Arc::new(file(size));
    let sending = sockets.into_iter().enumerate().map(|(number, mut socket)| {
        let file = Arc::clone(&file);
        tokio::spawn(async move {
            let start = upload_start(&format!("file-{number}"), file.len());
            let mut sending = UploadSender::begin(&mut socket, start).await;
            sending.until(&mut socket, &file, file.len()).await;
            assert_eq!(next_upload_event(&mut socket).await["type"], "upload_done");
        })
    });
    let sending: Vec<_> = sending.collect();
    for _ in 0..100 {
        let post = laravel.posts().next().await;
        assert!(post.whole && post.file() == *file);
    }
    for sent in sending {
        sent.await.unwrap();
    }
    let (_, most) = program.memory();
    most.saturating_sub(before)
}

/// Less than a quarter of a mebibyte each, however long the file is.
fn assert_small(cost: u64) {
    println!("a hundred uploads: {} KiB each", cost / 1024 / 100);
    assert!(cost < 40 * MIB as u64, "{} MiB", cost / MIB as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundred_uploads_use_memory_for_their_windows_only() {
    assert_small(memory_of_uploads(MIB).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: moves a gigabyte twice"]
async fn hundred_large_uploads_use_memory_for_their_windows_only() {
    assert_small(memory_of_uploads(10 * MIB).await);
}
