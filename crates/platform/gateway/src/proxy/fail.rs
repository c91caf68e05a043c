//! What clients are told when a backend fails.

use http::StatusCode;
use pingora_core::{Error, ErrorSource, ErrorType};

pub(super) const NO_POD: &str = "no pod is ready to serve this\n";
pub(super) const TOO_LARGE: &str = "the body of the request is larger than its route lets in\n";
/// An answer that its rule says is not to be taken.
pub(super) const UNWANTED: ErrorType = ErrorType::Custom("UnwantedAnswer");
/// The time of the rule is over.
pub(super) const LATE: ErrorType = ErrorType::Custom("Late");

/// What a client is told of a status that is ours.
pub(super) fn text(status: StatusCode) -> &'static str {
    match status {
        StatusCode::SERVICE_UNAVAILABLE => NO_POD,
        StatusCode::BAD_GATEWAY => "the pod did not answer properly\n",
        StatusCode::GATEWAY_TIMEOUT => "the pod did not answer in time\n",
        StatusCode::PAYLOAD_TOO_LARGE => TOO_LARGE,
        StatusCode::REQUEST_TIMEOUT => "the request did not arrive in time\n",
        _ => "the request cannot be served\n",
    }
}

/// The status that tells a client of `error`; none when it is the client that is gone.
pub(super) fn status(error: &Error) -> Option<StatusCode> {
    use ErrorType::{
        ConnectTimedout, ConnectionClosed, HTTPStatus, ReadError, ReadTimedout, TLSHandshakeTimedout, WriteError,
        WriteTimedout,
    };
    match (error.esource(), error.etype()) {
        (_, HTTPStatus(code)) => Some(StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)),
        (_, late) if *late == LATE => Some(StatusCode::GATEWAY_TIMEOUT),
        (ErrorSource::Upstream, ConnectTimedout | ReadTimedout | WriteTimedout | TLSHandshakeTimedout) => {
            Some(StatusCode::GATEWAY_TIMEOUT)
        }
        (ErrorSource::Upstream, _) => Some(StatusCode::BAD_GATEWAY),
        (ErrorSource::Downstream, WriteError | ReadError | ConnectionClosed | WriteTimedout) => None,
        (ErrorSource::Downstream, ReadTimedout) => Some(StatusCode::REQUEST_TIMEOUT),
        (ErrorSource::Downstream, _) => Some(StatusCode::BAD_REQUEST),
        (ErrorSource::Internal | ErrorSource::Unset, _) => Some(StatusCode::INTERNAL_SERVER_ERROR),
    }
}
