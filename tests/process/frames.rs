//! A client that speaks bare HTTP/2 frames: it keeps to one connection, reads nothing unless it is told to, and leaves
//! requests without an end.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// One connection.
pub(crate) struct Frames(TcpStream);

impl Frames {
    /// Connects and says hello. The kernel takes in little of what nobody reads.
    pub(crate) async fn connect(address: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let address: SocketAddr = address.parse().unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        hello.extend(frame(SETTINGS, 0, 0, &[]));
        stream.write_all(&hello).await.unwrap();
        Self(stream)
    }

    /// Waits until the server has answered a ping, and so has dealt with everything before.
    pub(crate) async fn ping(&mut self) -> std::io::Result<()> {
        self.0.write_all(&ping()).await?;
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await?;
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).await?;
            if head[3] == PING && head[4] & ACK != 0 {
                return Ok(());
            }
        }
    }

    /// Sends pings and reads no answer, until the server reads no more of them. How soon that is, the kernel's buffers
    /// say.
    pub(crate) async fn ping_until_stuck(&mut self) {
        let (pings, patience) = (ping().repeat(1000), Duration::from_millis(200));
        while let Ok(Ok(())) = tokio::time::timeout(patience, self.0.write_all(&pings)).await {}
    }

    /// Sends pings and reads no answer, until the server hangs up.
    pub(crate) async fn is_hung_up_on(&mut self) {
        let pings = ping().repeat(1000);
        while self.0.write_all(&pings).await.is_ok() {}
    }

    /// Begins so many calls whose requests never end.
    pub(crate) async fn begin_calls(&mut self, path: &str, count: u32) {
        let mut headers = vec![0x83, 0x86]; // POST, http
        let fields: [(&[u8], &str); 3] = [
            (&[0x04], path),
            (&[0x01], "localhost"),              // the authority
            (&[0x0f, 0x10], "application/grpc"), // the content type
        ];
        for (name, value) in fields {
            headers.extend(name);
            headers.push(u8::try_from(value.len()).unwrap());
            headers.extend(value.as_bytes());
        }
        for number in 0..count {
            let frame = frame(HEADERS, END_HEADERS, 2 * number + 1, &headers);
            self.0.write_all(&frame).await.unwrap();
        }
    }
}

fn ping() -> Vec<u8> {
    frame(PING, 0, 0, b"12345678")
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}
