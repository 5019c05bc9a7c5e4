//! Frames on the control socket: the length in four bytes, the lowest first, and so many bytes of JSON.
//!
//! JSON, not `MessagePack`: events have a JSON format of their own and travel in it to the byte, what `--json` prints is
//! what came, on one line, and a person can read the traffic. The socket is not the fast way to publish; the library is.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::limits::FRAME_BYTES_MAX;

/// The frame of a message.
pub(super) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - 4;
    if length > FRAME_BYTES_MAX {
        return Err(too_large(length));
    }
    let length = u32::try_from(length).map_err(|_| too_large(length))?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// Reads a message; `None` where the other side has hung up between two.
pub(super) async fn receive<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length[..1]).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        outcome => outcome?,
    };
    stream.read_exact(&mut length[1..]).await?;
    let length = checked(length)?;
    // It grows with what comes, so that a length alone takes no memory.
    let mut body = Vec::new();
    stream.take(length as u64).read_to_end(&mut body).await?;
    decode(&body, length).map(Some)
}

/// Writes a message.
pub(super) fn write<T: Serialize>(stream: &mut impl Write, message: &T) -> io::Result<()> {
    stream.write_all(&encode(message)?)
}

/// Reads a message that has to come.
pub(super) fn read<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = checked(length)?;
    let mut body = Vec::new();
    stream.take(length as u64).read_to_end(&mut body)?;
    decode(&body, length)
}

fn checked(length: [u8; 4]) -> io::Result<usize> {
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > FRAME_BYTES_MAX { Err(too_large(length)) } else { Ok(length) }
}

fn decode<T: DeserializeOwned>(body: &[u8], length: usize) -> io::Result<T> {
    if body.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(body)?)
}

fn too_large(length: usize) -> io::Error {
    let message = format!("a message of {length} bytes is more than the {FRAME_BYTES_MAX} that are allowed");
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Request;

    #[tokio::test]
    async fn a_message_arrives_as_it_was_sent() {
        let request = Request::DeadLetters { consumer: "a".to_owned(), after: 7, limit: 3 };
        let frame = encode(&request).unwrap();
        let received: Option<Request> = receive(&mut frame.as_slice()).await.unwrap();
        assert_eq!(format!("{:?}", received.unwrap()), format!("{request:?}"));
        let read: Request = read(&mut frame.as_slice()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{request:?}"));
    }

    #[tokio::test]
    async fn hanging_up_between_messages_is_no_error_and_within_one_is() {
        let frame = encode(&Request::Topics).unwrap();
        assert!(receive::<Request>(&mut &frame[..0]).await.unwrap().is_none());
        for end in 1..frame.len() {
            let error = receive::<Request>(&mut &frame[..end]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{end}");
        }
    }

    #[tokio::test]
    async fn a_length_over_the_bound_is_refused_before_its_bytes_are_read() {
        let mut frame = u32::MAX.to_le_bytes().to_vec();
        frame.extend([0; 10]);
        let mut rest = frame.as_slice();
        let error = receive::<Request>(&mut rest).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(rest.len(), 10);
    }
}
