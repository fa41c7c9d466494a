//! Why a request has no good answer: [`Fault`], and how it is told in Docker's manner.

use chitin_gateway_policy::Denied;
use hyper::StatusCode;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The policy said no, or what was asked for is absent.
    #[error("{0}")]
    Denied(#[from] Denied),
    /// The engine said no; the message is already cleaned.
    #[error("{1}")]
    Engine(StatusCode, String),
    /// The engine cannot be talked to.
    #[error("chitin gateway: the Docker engine does not answer ({0}); is it running?")]
    Unreachable(String),
    /// The client's budget is used up.
    #[error("chitin gateway: {0}")]
    Budget(String),
    /// Something of ours broke.
    #[error("chitin gateway: {0}")]
    Internal(String),
}

impl Fault {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Denied(d) => StatusCode::from_u16(d.status).unwrap_or(StatusCode::FORBIDDEN),
            Self::Engine(status, _) => *status,
            Self::Unreachable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Budget(_) => StatusCode::FORBIDDEN,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<hyper::Error> for Fault {
    fn from(e: hyper::Error) -> Self {
        Self::Unreachable(e.to_string())
    }
}

impl From<std::io::Error> for Fault {
    fn from(e: std::io::Error) -> Self {
        Self::Unreachable(e.to_string())
    }
}
