//! The recorders as seen from here: commands to them, audio from them, and whether they still live.
//!
//! Law: a recorder is spoken to where its introduction came from, never where a text says. One that
//! does not answer costs one time-out and nothing else.

pub(crate) mod holds;
mod pulse;
pub(crate) mod wish;

pub(crate) use pulse::watch;

use crate::{http::Reply, store::recorders::Recorder};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http1,
    header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use orkbase::message::{response::SimpleResponse, single_line};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};

/// Most bytes read of an answer to a command. The status of ours has a line for each live call.
const MAX_ANSWER: usize = 16 << 20;
/// Command port of a recorder that does not say.
const COMMAND_PORT: u16 = 59_140;

/// Why a recorder did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FleetError {
    /// It never introduced itself from an address.
    #[error("the recorder has no known address")]
    NoAddress,
    /// It took too long.
    #[error("no answer in time")]
    Late,
    /// It does not know the command, or what it is about.
    #[error("the recorder answered status {0}")]
    Status(u16),
    /// It cannot be reached, or says something else than an answer.
    #[error("{0}")]
    Failed(String),
}

/// What a recorder says to a command.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Told {
    pub(crate) success: bool,
    pub(crate) comment: String,
    /// How many recordings it was about, if it says.
    pub(crate) matched: Option<u64>,
}

/// The way to the recorders.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    /// For a whole answer, or for the beginning of a stream.
    pub(crate) patience: Duration,
    /// Port of live audio of recorders that do not say.
    pub(crate) stream_port: u16,
}

impl Fleet {
    /// Carries out a command, in its URL form.
    pub(crate) async fn command(
        &self,
        recorder: &Recorder,
        query: &str,
    ) -> Result<Told, FleetError> {
        let answer = timeout(self.patience, async {
            let target = format!("/command?{query}");
            let response = send(command_address(recorder)?, &target).await?;
            let matched = response.headers().get("x-matched").and_then(|v| v.to_str().ok());
            let matched = matched.and_then(|matched| matched.parse().ok());
            let (status, body) = collect(response).await?;
            if status != 200 {
                return Err(FleetError::Status(status));
            }
            let reply = single_line::decode(&body).ok();
            let reply = reply.and_then(|pairs| SimpleResponse::from_pairs(&pairs).ok());
            let reply = reply.ok_or_else(|| FleetError::Failed("no answer of ours".to_owned()))?;
            let comment = reply.comment.unwrap_or_default();
            Ok(Told { success: reply.success, comment, matched })
        });
        answer.await.unwrap_or(Err(FleetError::Late))
    }

    /// Opens a stream of audio.
    pub(crate) async fn stream(
        &self,
        recorder: &Recorder,
        query: &str,
    ) -> Result<Reply, FleetError> {
        let port = recorder.streamingport.parse().unwrap_or(self.stream_port);
        let address = SocketAddr::new(ip(recorder)?, port);
        let target = format!("/?{query}");
        let opened = timeout(self.patience, send(address, &target)).await;
        let response = opened.unwrap_or(Err(FleetError::Late))?;
        if response.status() != 200 {
            let status = response.status().as_u16();
            return Err(FleetError::Status(status));
        }
        let (head, body) = response.into_parts();
        let mut reply = Response::new(body.map_err(std::io::Error::other).boxed_unsync());
        if let Some(kind) = head.headers.get(CONTENT_TYPE) {
            reply.headers_mut().insert(CONTENT_TYPE, kind.clone());
        }
        Ok(reply)
    }
}

fn ip(recorder: &Recorder) -> Result<IpAddr, FleetError> {
    recorder.address.parse().map_err(|_| FleetError::NoAddress)
}

/// Where its commands go.
fn command_address(recorder: &Recorder) -> Result<SocketAddr, FleetError> {
    let port = recorder.tcpport.parse().ok().filter(|port| *port != 0).unwrap_or(COMMAND_PORT);
    Ok(SocketAddr::new(ip(recorder)?, port))
}

/// Sends a GET on a connection of its own. An original recorder reads one packet and closes.
async fn send(address: SocketAddr, target: &str) -> Result<Response<Incoming>, FleetError> {
    let failed = |error: &dyn std::error::Error| FleetError::Failed(error.to_string());
    let stream = TcpStream::connect(address).await.map_err(|error| failed(&error))?;
    stream.set_nodelay(true).map_err(|error| failed(&error))?;
    let (mut requests, connection) = http1::Builder::new()
        .max_buf_size(64 << 10)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    // It ends with the answer; its trouble is the answer's trouble, which reports it.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::trace!(%error, "connection to a recorder ended");
        }
    });
    let request = Request::get(target)
        .header(HOST, address.to_string())
        .header(ACCEPT, "text/single-line")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(&error))?;
    requests.send_request(request).await.map_err(|error| failed(&error))
}

async fn collect(response: Response<Incoming>) -> Result<(u16, Bytes), FleetError> {
    let status = response.status().as_u16();
    match Limited::new(response.into_body(), MAX_ANSWER).collect().await {
        Ok(body) => Ok((status, body.to_bytes())),
        Err(error) => Err(FleetError::Failed(error.to_string())),
    }
}
