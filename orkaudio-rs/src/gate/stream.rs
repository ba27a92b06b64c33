//! A connection, with or without TLS.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf, ReadHalf, WriteHalf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_rustls::server::TlsStream;

/// A client's connection.
#[derive(Debug)]
pub enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Within TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Where its bytes are read.
#[derive(Debug)]
pub enum ReadEnd {
    /// As it is.
    Plain(OwnedReadHalf),
    /// Within TLS.
    Tls(ReadHalf<Box<TlsStream<TcpStream>>>),
}

/// Where it is written to.
#[derive(Debug)]
pub enum WriteEnd {
    /// As it is.
    Plain(OwnedWriteHalf),
    /// Within TLS.
    Tls(WriteHalf<Box<TlsStream<TcpStream>>>),
}

impl Stream {
    /// Both directions by themselves.
    #[must_use]
    pub fn split(self) -> (ReadEnd, WriteEnd) {
        match self {
            Self::Plain(stream) => {
                let (read, write) = stream.into_split();
                (ReadEnd::Plain(read), WriteEnd::Plain(write))
            }
            Self::Tls(stream) => {
                let (read, write) = tokio::io::split(stream);
                (ReadEnd::Tls(read), WriteEnd::Tls(write))
            }
        }
    }
}

impl ReadEnd {
    /// Waits, after the end of what is read, until the client is gone for certain: a reset. Within TLS the
    /// end is that already.
    ///
    /// # Errors
    /// The reset.
    pub async fn gone(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(read) => read.ready(Interest::ERROR).await.map(|_| ()),
            Self::Tls(_) => Ok(()),
        }
    }
}

/// Passes each call on to whichever it is.
macro_rules! reads {
    ($name:ty) => {
        impl AsyncRead for $name {
            fn poll_read(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::Plain(inner) => Pin::new(inner).poll_read(context, buffer),
                    Self::Tls(inner) => Pin::new(inner).poll_read(context, buffer),
                }
            }
        }
    };
}

macro_rules! writes {
    ($name:ty) => {
        impl AsyncWrite for $name {
            fn poll_write(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    Self::Plain(inner) => Pin::new(inner).poll_write(context, bytes),
                    Self::Tls(inner) => Pin::new(inner).poll_write(context, bytes),
                }
            }

            fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::Plain(inner) => Pin::new(inner).poll_flush(context),
                    Self::Tls(inner) => Pin::new(inner).poll_flush(context),
                }
            }

            fn poll_shutdown(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::Plain(inner) => Pin::new(inner).poll_shutdown(context),
                    Self::Tls(inner) => Pin::new(inner).poll_shutdown(context),
                }
            }
        }
    };
}

reads!(Stream);
reads!(ReadEnd);
writes!(Stream);
writes!(WriteEnd);
