//! Events over a WebSocket (RFC 6455): each a JSON text; what the client says is not listened to.

use super::{dialect::texts, hub::Listener};
use crate::gate::Stream;
use futures_util::{SinkExt as _, StreamExt as _};
use std::{io, time::Duration};
use tokio::{sync::watch, time::sleep};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};

/// A client is asked so often whether it is still there; also what proxies on the way want to see.
const PING: Duration = Duration::from_secs(20);
/// Longest message of a client.
const MAX_HEARD: usize = 4 << 10;
/// Texts are gathered up to this many bytes.
const WRITE_BYTES: usize = 64 << 10;

/// What is answered to a client that shows this key.
pub(super) fn head(key: &str) -> String {
    let accept = derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// Sends events until the client goes or the door closes.
pub(super) async fn serve(
    stream: Stream,
    unread: Vec<u8>,
    mut listener: Listener,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_HEARD))
        .max_frame_size(Some(MAX_HEARD))
        .write_buffer_size(WRITE_BYTES)
        .max_write_buffer_size(64 * WRITE_BYTES);
    let socket = WebSocketStream::from_partially_read(stream, unread, Role::Server, Some(config));
    let (mut tell, mut hear) = socket.await.split();
    loop {
        let last = *stop.borrow_and_update();
        let batch = listener.take(WRITE_BYTES);
        if !batch.is_empty() {
            for text in texts(&batch) {
                tell.feed(Message::text(text)).await.map_err(broken)?;
            }
            tell.flush().await.map_err(broken)?;
            continue;
        }
        if last {
            return tell.close().await.map_err(broken);
        }
        tokio::select! {
            () = listener.more() => {}
            heard = hear.next() => match heard {
                None => return Ok(()),
                Some(Ok(Message::Close(_))) => {
                    // The answer to it is under way.
                    return tell.flush().await.map_err(broken);
                }
                Some(heard) => {
                    heard.map_err(broken)?;
                }
            },
            changed = stop.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
            }
            () = sleep(PING) => {
                tell.send(Message::Ping(Vec::new().into())).await.map_err(broken)?;
            }
        }
    }
}

fn broken(error: tungstenite::Error) -> io::Error {
    io::Error::other(error)
}
