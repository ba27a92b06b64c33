//! The first byte of a connection says whether it is TLS; without TLS only some networks are served, where
//! there is a certificate.

use super::{Desk, PATIENCE, converse};
use std::{io, net::IpAddr, sync::Arc};
use tokio::{net::TcpStream, sync::watch, time::timeout};
use tokio_rustls::TlsAcceptor;

/// Takes a connection and speaks on it to its end.
pub(super) async fn take(
    stream: TcpStream,
    peer: IpAddr,
    desk: Arc<Desk>,
    stop: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("cannot set TCP_NODELAY: {error}");
    }
    let Some(tls) = desk.tls.clone() else {
        return converse(stream, peer, false, desk, stop).await;
    };
    match timeout(PATIENCE, first(&stream)).await {
        Ok(Ok(orktls::FIRST_BYTE)) => {}
        Ok(Ok(_)) if desk.config.plain_networks.iter().any(|near| near.contains(&peer)) => {
            return converse(stream, peer, false, desk, stop).await;
        }
        Ok(Ok(_)) => {
            tracing::debug!(%peer, "refused: not within TLS, not from plain_networks");
            return desk.counters.http_refused_plain.tick();
        }
        Ok(Err(_)) | Err(_) => return tracing::debug!(%peer, "said nothing"),
    }
    match timeout(PATIENCE, TlsAcceptor::from(tls).accept(stream)).await {
        Ok(Ok(stream)) => converse(stream, peer, true, desk, stop).await,
        failed => {
            desk.counters.http_failed_handshakes.tick();
            let why = failed.map(|done| done.err());
            tracing::debug!(%peer, ?why, "TLS handshake failed");
        }
    }
}

/// The first byte, left where it is.
async fn first(stream: &TcpStream) -> io::Result<u8> {
    let mut bytes = [0];
    match stream.peek(&mut bytes).await? {
        0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        _ => Ok(bytes.into_iter().fold(0, |_, byte| byte)),
    }
}
