//! gRPC over a unix socket.

use std::os::unix::net::UnixListener;

use crate::program::{Folder, Serving, run};
use crate::support::*;

fn config(host: &Host) -> String {
    global("") + &nodegroup("agents", &host.running.url, "")
}

async fn serve(folder: Folder) -> Serving {
    let socket = folder.socket("grpc.sock");
    Serving::start_in(folder, &socket, &[]).await
}

#[tokio::test]
async fn a_unix_socket_serves_and_is_removed_in_the_end() {
    let host = host("agents").await;
    let folder = Folder::with_config(&config(&host));
    let path = folder.path("grpc.sock");
    let serving = serve(folder).await;
    assert_eq!(serving.grpc, format!("unix://{}", path.display()));
    wait_for_group(&mut serving.client().await, "agents").await;

    // The folder must outlive the program: it is not what removes the socket.
    let Serving { program, folder, .. } = serving;
    program.signal("TERM").await;
    assert_eq!(program.end().await.code, Some(0));
    assert!(!path.exists());
    drop(folder);
}

#[tokio::test]
async fn a_socket_that_a_killed_server_left_behind_is_replaced() {
    let host = host("agents").await;
    let folder = Folder::with_config(&config(&host));
    drop(UnixListener::bind(folder.path("grpc.sock")).unwrap());
    let serving = serve(folder).await;
    wait_for_group(&mut serving.client().await, "agents").await;
}

#[tokio::test]
async fn a_socket_in_use_and_a_file_that_is_no_socket_are_left_alone() {
    let host = host("agents").await;
    let folder = Folder::with_config(&config(&host));
    let (socket, file) = (folder.socket("grpc.sock"), folder.path("file"));
    std::fs::write(&file, "precious").unwrap();
    let config = folder.config().to_owned();
    let serving = serve(folder).await;

    for listen in [socket, format!("unix://{}", file.display())] {
        let flags = ["--listen", &listen, "--admin-listen", "127.0.0.1:0"];
        let mut arguments = vec!["serve", "--without-kubernetes", "--cloud-config", &config];
        arguments.extend(flags);
        let ended = run(&arguments).await;
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(
            ended.stderr.contains(&format!("cannot listen on {listen}")),
            "{}",
            ended.stderr
        );
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), "precious");
    wait_for_group(&mut serving.client().await, "agents").await;
}
