//! Test of the memory of an idle session, without the buffers of TLS and of the kernel: there
//! are thousands of sessions.

use super::*;

#[tokio::test]
async fn parked_session_stays_small_in_memory() {
    let edge = Edge::new();
    let (near, _far) = tokio::io::duplex(PIPE);
    let setup = edge.setup(Some(&Laravel::token(1)));
    let open = set_up(near, setup).await.expect("Laravel knows the user");
    let (state, task) = (size_of::<Session<DuplexStream>>(), size_of_val(&open.run()));
    println!("a session: {state} bytes, its task: {task} bytes");
    assert!(state <= 936, "{state} bytes of state");
    assert!(task <= 976, "{task} bytes of task");
}
