//! What `JetStream` answers to a message.

use serde::Deserialize;

use crate::handler::Failure;

/// `JetStream`'s answer to a message, as its protocol has it: where the message is stored, or why it isn't.
#[derive(Debug, Deserialize)]
struct Answer {
    error: Option<Refusal>,
    stream: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    #[serde(default)]
    code: u32,
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

/// The code of "message size exceeds maximum allowed": the one refusal that the message itself is the reason for.
const MESSAGE_TOO_LARGE: u32 = 10_054;

/// Whether an answer says that the message is stored, in `stream` where one is named.
///
/// # Errors
///
/// It isn't, or something else has answered. But for a message that is too large the cause is in the stream, and another
/// attempt may find it mended.
pub(super) fn check(payload: &[u8], subject: &str, stream: Option<&str>) -> Result<(), Failure> {
    let answer = serde_json::from_slice::<Answer>(payload);
    let (refusal, stored_in) = match answer {
        Ok(Answer { error, stream: Some(stored_in) }) => (error, stored_in),
        Ok(Answer { error: Some(refusal), .. }) => (Some(refusal), String::new()),
        Ok(_) | Err(_) => {
            let message = format!(
                "what answers on subject `{subject}` isn't JetStream: a responder listens there that no stream is behind"
            );
            return Err(Failure::transient("nats-no-ack", message));
        }
    };
    if let Some(Refusal { code, err_code, description }) = refusal {
        let message =
            format!("JetStream refuses the message on `{subject}`: {description} ({code}, {err_code})");
        let code = format!("nats-{err_code}");
        return Err(match err_code {
            MESSAGE_TOO_LARGE => Failure::permanent(code, message),
            _ => Failure::transient(code, message),
        });
    }
    match stream {
        Some(expected) if expected != stored_in => {
            let message = format!(
                "the message on `{subject}` was stored in stream `{stored_in}`, not `{expected}`: mend the relay's \
                 `stream` or `subject`"
            );
            Err(Failure::transient("nats-stream", message))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::FailureKind;

    fn failure(payload: &str) -> Failure {
        check(payload.as_bytes(), "s", Some("SHOP")).unwrap_err()
    }

    #[test]
    fn stored_is_what_an_acknowledgement_of_the_stream_says() {
        assert_eq!(check(br#"{"stream":"SHOP","seq":3}"#, "s", Some("SHOP")), Ok(()));
        assert_eq!(check(br#"{"stream":"SHOP","seq":3,"duplicate":true}"#, "s", None), Ok(()));
        assert_eq!(failure(r#"{"stream":"OTHER","seq":3}"#).code, "nats-stream");
    }

    #[test]
    fn a_refusal_is_told_and_tried_again_unless_the_message_is_too_large() {
        let refused = |code: u32| {
            let payload = format!(
                r#"{{"error":{{"code":503,"err_code":{code},"description":"why"}},"stream":"SHOP","seq":0}}"#
            );
            failure(&payload)
        };
        let full = refused(10_077);
        assert!(full.kind == FailureKind::Transient && full.message.contains("why"), "{full}");
        assert_eq!(refused(MESSAGE_TOO_LARGE).kind, FailureKind::Permanent);
    }

    #[test]
    fn another_answer_is_no_acknowledgement() {
        for payload in ["", "+OK", "{}", "[]", r#"{"seq":1}"#] {
            assert_eq!(failure(payload).code, "nats-no-ack", "{payload}");
        }
    }
}
