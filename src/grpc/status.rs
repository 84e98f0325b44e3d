//! The only place where errors of the provider become status codes.

use tonic::{Code, Status};

use super::convert::cut;
use crate::domain::group::Refusal;
use crate::provider::ProviderError;

/// How long a message may be: it travels in a header, quotes what the client sent, and grows when it is escaped.
const MESSAGE_BYTES: usize = 1000;

/// The status of a request that the provider did not grant.
pub(super) fn to_status(error: &ProviderError) -> Status {
    let code = match error {
        ProviderError::UnknownGroup(_) => Code::NotFound,
        ProviderError::ShapeUnknown(_) => Code::FailedPrecondition,
        ProviderError::Refused {
            refusal: Refusal::NotAnIncrease { .. },
            ..
        }
        | ProviderError::NotADecrease(_)
        | ProviderError::ForeignNode { .. } => Code::InvalidArgument,
        ProviderError::Refused {
            refusal: Refusal::AboveMaximum { .. },
            ..
        } => Code::OutOfRange,
    };
    Status::new(code, cut(error.to_string(), MESSAGE_BYTES))
}
