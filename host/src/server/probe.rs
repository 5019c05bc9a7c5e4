//! What tests look into: bytes as each side of the control socket reads them.

use super::protocol::Reply;
use super::{Hello, Refusal, Request, Welcome, frame};
use crate::log::block_on;

/// Most messages of one input that are read.
const MESSAGES_MAX: usize = 64;

/// Reads bytes as the server reads what a client sends, and says what it took them for, a line for each message. A request
/// that is read has to be the same after it was written and read again.
pub fn requests(mut bytes: &[u8]) -> Result<String, String> {
    block_on(async {
        let mut said = match frame::receive::<Hello>(&mut bytes).await {
            Ok(Some(hello)) => format!("hello {}", hello.protocol),
            Ok(None) => return Ok("nothing".to_owned()),
            Err(error) => return Ok(format!("no hello: {}", line(&error))),
        };
        for _ in 0..MESSAGES_MAX {
            said += "\n";
            match frame::receive::<Request>(&mut bytes).await {
                Ok(Some(request)) => said += &again(&request)?,
                Ok(None) => break,
                Err(error) => {
                    said += &line(&error);
                    break;
                }
            }
        }
        Ok(said)
    })
}

fn again(request: &Request) -> Result<String, String> {
    let seen = format!("{request:?}");
    let frame = frame::encode(request).map_err(|error| format!("{seen} can't be written: {error}"))?;
    let read: Request =
        frame::read(&mut frame.as_slice()).map_err(|error| format!("{seen} can't be read back: {error}"))?;
    let read = format!("{read:?}");
    if read != seen {
        return Err(format!("{seen} is {read} when it is written and read"));
    }
    Ok(seen.split([' ', '(', '{']).next().unwrap_or_default().to_owned())
}

/// Reads bytes as a client reads what the server sends, and says what it took them for, a line for each message.
pub fn answers(mut bytes: &[u8]) -> String {
    let mut said = match frame::read::<Result<Welcome, Refusal>>(&mut bytes) {
        Ok(Ok(_)) => "welcome".to_owned(),
        Ok(Err(_)) => return "refused".to_owned(),
        Err(error) => return format!("no welcome: {}", line(&error)),
    };
    for _ in 0..MESSAGES_MAX {
        said += "\n";
        match frame::read::<Reply>(&mut bytes) {
            Ok(Reply::Answer(answer)) => {
                said += format!("{answer:?}").split([' ', '(', '{']).next().unwrap_or_default();
            }
            Ok(Reply::Done) => said += "done",
            Ok(Reply::Refused(_)) => said += "refused",
            Err(error) => return said + &line(&error),
        }
    }
    said
}

/// An error in one line, whatever it quotes.
fn line(error: &std::io::Error) -> String {
    error.to_string().replace('\n', " ")
}
