//! An HTTP client as small as it can be: one kept connection, one request at a time.
//!
//! Owns nothing but that connection; the loader and the relay share it, so that both do the same.
//! Must never try anything again: a request that fails ends the measurement.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// A connection.
pub(super) struct Client {
    sender: http1::SendRequest<Full<Bytes>>,
}

/// Why a request failed.
#[derive(Debug, Error)]
pub(super) enum ClientError {
    /// Nobody is there.
    #[error("{0}: {1}")]
    Connect(SocketAddr, std::io::Error),
    /// HTTP went wrong.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// The answer is too long.
    #[error("an answer of more than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
}

impl Client {
    /// Connects.
    pub(super) async fn connect(to: SocketAddr) -> Result<Client, ClientError> {
        let at = |error| ClientError::Connect(to, error);
        let stream = TcpStream::connect(to).await.map_err(at)?;
        stream.set_nodelay(true).map_err(at)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Its errors reach whoever waits for an answer.
        tokio::spawn(connection);
        Ok(Client { sender })
    }

    /// Sends a POST, and reads the answer to its end.
    pub(super) async fn post(
        &mut self,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<StatusCode, ClientError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = headers.clone();
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let mut body = response.into_body();
        let mut left = ANSWER_BYTES_MAX;
        while let Some(frame) = body.frame().await {
            let bytes = frame?.data_ref().map_or(0, Bytes::len);
            left = left.checked_sub(bytes).ok_or(ClientError::TooLong)?;
        }
        Ok(status)
    }
}
