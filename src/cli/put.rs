//! `trailcast put`: transactions from a file or standard input into a trail.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use clap::Args;

use super::client_arguments::ClientArguments;
use super::failure::Failure;
use super::how_to_make;
use super::output::print;
use crate::{client, limits};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The trail
    trail: String,
    /// File with one transaction a line; standard input when left out or -
    file: Option<PathBuf>,
    /// Each line is a CloudEvent whose data is the transaction
    #[arg(long, env = "TRAILCAST_CLOUDEVENTS", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
    cloudevents: bool,
    #[command(flatten)]
    client: ClientArguments,
}

/// Puts everything and prints how much was acknowledged and the position of the last transaction.
pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let address = arguments.client.address()?;
    let (name, mut input) = open(arguments.file)?;
    let mut acked = 0;
    let mut last_pos = String::new();
    let mut first_line = 1;
    loop {
        let about = |what: &dyn std::fmt::Display| Failure::failed(format!("{name}: {what}"));
        // Reading waits for a disk or a pipe, and there is nothing else to do meanwhile.
        let chunk = tokio::task::block_in_place(|| next_chunk(&mut input)).map_err(|error| about(&error))?;
        let Some(Chunk { bytes, lines }) = chunk else { break };
        if !bytes.trim_ascii().is_empty() {
            let put = match arguments.cloudevents {
                true => client::put_events(&address, &arguments.trail, batch(&bytes)).await,
                false => client::put(&address, &arguments.trail, bytes).await,
            };
            let answer = put.map_err(|error| {
                let kept = if acked == 0 {
                    String::new()
                } else {
                    format!("; before it {acked} were acknowledged up to {last_pos}")
                };
                let counted = if arguments.cloudevents { "events" } else { "lines" };
                let place = if first_line == 1 {
                    String::new()
                } else {
                    format!(" (counting {counted} from line {first_line})")
                };
                let advice = how_to_make::trail(&error, &address, &arguments.trail);
                about(&format_args!("{error}{place}{kept}{advice}"))
            })?;
            acked += answer.acked;
            last_pos = answer.pos;
        }
        first_line += lines;
    }
    if last_pos.is_empty() {
        return Err(Failure::failed(format!("{name}: no transaction in it")));
    }
    Ok(print(format!("acked {acked} pos {last_pos}\n").as_bytes())?)
}

fn open(file: Option<PathBuf>) -> Result<(String, Box<dyn BufRead + Send>), Failure> {
    match file.filter(|path| path.as_os_str() != "-") {
        None => Ok(("standard input".into(), Box::new(BufReader::new(std::io::stdin())))),
        Some(path) => {
            let name = path.display().to_string();
            let file = std::fs::File::open(&path).map_err(|error| Failure::failed(format!("{name}: {error}")))?;
            Ok((name, Box::new(BufReader::new(file))))
        }
    }
}

/// Whole lines for one request.
#[derive(Debug, PartialEq, Eq)]
struct Chunk {
    bytes: Vec<u8>,
    lines: usize,
}

/// The next lines up to [`limits::PUT_CHUNK_BYTES`], or one line that is longer than that; `None` at the end.
fn next_chunk(input: &mut dyn BufRead) -> std::io::Result<Option<Chunk>> {
    let mut chunk = Chunk { bytes: Vec::new(), lines: 0 };
    while chunk.bytes.len() < limits::PUT_CHUNK_BYTES {
        let longest = limits::PUT_LINE_BYTES_MAX;
        let mut limited = std::io::Read::take(&mut *input, longest as u64 + 1);
        let read = limited.read_until(b'\n', &mut chunk.bytes)?;
        if read == 0 {
            break;
        }
        if read > longest {
            let what = format!("a line is longer than {longest} bytes");
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, what));
        }
        chunk.lines += 1;
    }
    Ok((chunk.lines > 0).then_some(chunk))
}

/// Events, one a line, as an array of them.
fn batch(lines: &[u8]) -> Vec<u8> {
    let mut batch = b"[".to_vec();
    for line in lines.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
        if batch.len() > 1 {
            batch.push(b',');
        }
        batch.extend_from_slice(line);
    }
    batch.push(b']');
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_on_lines_become_one_batch() {
        assert_eq!(batch(b"{\"a\":1}\r\n\n{}\n"), b"[{\"a\":1},{}]");
        assert_eq!(batch(b"\n"), b"[]");
    }

    fn chunks(text: &[u8]) -> Vec<Chunk> {
        let mut input = text;
        std::iter::from_fn(|| next_chunk(&mut input).unwrap()).collect()
    }

    #[test]
    fn a_small_file_is_one_request() {
        assert_eq!(chunks(b"{}\n{}\n{}"), [Chunk { bytes: b"{}\n{}\n{}".to_vec(), lines: 3 }]);
        assert_eq!(chunks(b""), []);
    }

    #[test]
    fn a_big_file_is_cut_between_lines_and_nothing_is_lost() {
        let line = format!("{}\n", "x".repeat(1 << 20));
        let text = line.repeat(20);
        let chunks = chunks(text.as_bytes());
        assert!(chunks.len() > 1);
        for chunk in &chunks {
            assert!(chunk.bytes.ends_with(b"\n") && chunk.bytes.len() <= limits::PUT_CHUNK_BYTES + line.len());
        }
        assert_eq!(chunks.iter().map(|chunk| chunk.lines).sum::<usize>(), 20);
        assert_eq!(chunks.into_iter().flat_map(|chunk| chunk.bytes).collect::<Vec<_>>(), text.as_bytes());
    }

    #[test]
    fn a_line_that_no_server_takes_is_refused_here() {
        let line = vec![b'x'; limits::PUT_LINE_BYTES_MAX + 1];
        let error = next_chunk(&mut line.as_slice()).unwrap_err();
        assert!(error.to_string().contains("longer than 58720256 bytes"), "{error}");
    }
}
