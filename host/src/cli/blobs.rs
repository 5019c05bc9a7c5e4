//! `tidegate blobs`: the data that a claim check keeps beside the log.

use tidegate::server::{Answer, Request};

use super::access::Access;
use super::arguments::{BlobsCommand, Global};
use super::error::{CliError, Exit};
use super::output::{Output, size};
use super::table::{Table, row};

/// Lists the blobs, or reads all of them and tells what is wrong.
pub fn blobs(global: &Global, command: Option<BlobsCommand>, output: &mut Output) -> Result<Exit, CliError> {
    let verify = command == Some(BlobsCommand::Check);
    let mut access = Access::open(global)?;
    let mut table = Table::new(["BLOB", ">SIZE", ">NAMED BY"]);
    let (mut usage, mut seen, mut wrong) = (None, 0_u64, 0_u64);
    access.ask(Request::Blobs { verify }, |answer| match answer {
        Answer::BlobUsage(found) => {
            usage = Some(found);
            if output.is_json() && !verify { output.json(&found) } else { Ok(()) }
        }
        Answer::Blob(blob) => {
            seen += 1;
            wrong += u64::from(blob.problem.is_some());
            if output.is_json() {
                return output.json(&blob);
            }
            match &blob.problem {
                Some(problem) => output.line(format_args!("{problem} (named by {})", blob.holders)),
                None if verify => Ok(()),
                None => table.push_through(row![blob.digest, size(blob.bytes), blob.holders], output),
            }
        }
        _ => Ok(()),
    })?;
    access.close();
    if !output.is_json() {
        if verify {
            output.line(format_args!("{seen} blobs were read, {wrong} of them are missing or damaged"))?;
        } else {
            table.print(output, "no blobs: no event has data that a claim check has put aside")?;
            if let Some(usage) = usage {
                output.line(format_args!(
                    "the blob store has {} in {} files, and may have {}",
                    size(usage.bytes),
                    usage.blobs,
                    size(usage.bytes_max)
                ))?;
            }
        }
    }
    Ok(if wrong == 0 { Exit::Done } else { Exit::Refused })
}
