//! The channel protocol over an in-memory connection, without a runtime behind it.

use serde_json::Value;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;

#[tokio::test]
async fn a_command_that_cannot_run_is_told_on_the_error_channel() {
    let (ours, theirs) = tokio::io::duplex(4096);
    let server = async {
        let socket = WebSocketStream::from_raw_socket(ours, Role::Server, None).await;
        carry(
            socket,
            Dialect::of("v5.channel.k8s.io"),
            Purpose::Exec,
            Err(ExecError::NotFound("exec: \"nope\": not found".into())),
        )
        .await;
    };
    let client = async {
        let mut socket = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        let mut seen = Vec::new();
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Binary(data) = message {
                seen.push(data);
            }
        }
        seen
    };
    let ((), seen) = tokio::join!(server, client);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0][0], ERROR);
    let status: Value = serde_json::from_slice(&seen[0][1..]).unwrap();
    assert_eq!(status["status"], "Failure");
    assert!(status["message"].as_str().unwrap().contains("\"nope\""));
}

#[tokio::test]
async fn input_resizes_and_the_close_signal_reach_the_command() {
    let (input, mut command) = tokio::io::duplex(64);
    let mut stdin: Option<Writer> = Some(Box::new(input));
    let (sizes, size) = tokio::sync::watch::channel(None);
    let messages =
        [vec![0, b'h', b'i'], [&[4][..], br#"{"Width":80,"Height":24}"#].concat(), vec![255, 0], vec![0, b'x']];
    let mut stream = futures::stream::iter(messages.map(|data| Ok(Message::Binary(data.into()))));
    listen(&mut stream, Dialect::of("v5.channel.k8s.io"), &mut stdin, &sizes).await;
    let mut heard = String::new();
    drop(stdin);
    command.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "hi");
    assert_eq!(*size.borrow(), Some(Size { columns: 80, rows: 24 }));
}

#[tokio::test]
async fn output_is_cut_into_messages_of_its_channel() {
    let (queue, mut sent) = mpsc::channel(QUEUE);
    let out = Out { queue, text: false };
    let source: Reader = Box::new(std::io::Cursor::new(vec![7_u8; CHUNK + 10]));
    let sending = async move { pump(Some(source), STDERR, &out).await };
    let collecting = async {
        let mut total = 0;
        while let Some(Message::Binary(data)) = sent.recv().await {
            assert_eq!(data[0], STDERR);
            total += data.len() - 1;
        }
        total
    };
    let ((), total) = tokio::join!(sending, collecting);
    assert_eq!(total, CHUNK + 10);
}
