//! What the demo says when it is up: where it is, who may ask, and two lines to paste.

use std::net::SocketAddr;
use std::path::Path;

use super::{STREAM, TRAIL, USER};

/// What is said when a held stream goes on.
pub(super) const GOES_ON: &str = "The stream goes on where it stood.\n\n";

/// The text, for a terminal of 80 columns or more; the lines to paste stand alone, whole.
pub(super) fn text(address: SocketAddr, data_dir: &Path) -> String {
    format!(
        "\n\
         A little shop writes to trail {TRAIL}; the data stream \"{STREAM}\" serves it.\n\
         \n\
         URL       http://{address}\n\
         user      {USER}\n\
         password  {USER}\n\
         data      {} (stays; the next demo goes on in it)\n\
         \n\
         {}\
         The stream is made with \"includeJSONSchemaRecord\": false; without it, the JSON Schema of each kind of\n\
         record comes before the first of its kind.\n\
         \n\
         Enter holds the stream and shows the lines to paste again. Ctrl-C ends the demo. The stream, live:\n\
         \n",
        data_dir.display(),
        lines(address)
    )
}

/// What is said when the stream is held.
pub(super) fn held(address: SocketAddr) -> String {
    format!("\n{}The shop goes on. The stream is held; Enter lets it go on.\n", lines(address))
}

/// What is said at the end: the lines work again once the next demo runs.
pub(super) fn farewell(address: SocketAddr, data_dir: &Path) -> String {
    format!(
        "\nThe demo has ended. The next one goes on in {}; while it runs:\n\n{}",
        data_dir.display(),
        lines(address)
    )
}

/// The lines to paste, each with what it does.
fn lines(address: SocketAddr) -> String {
    format!(
        "Write a row of your own, and see it below:\n\
         \n\
         {}\n\
         \n\
         Subscribe from Python (pip install websockets):\n\
         \n\
         {}\n\
         \n",
        curl(address),
        python(address)
    )
}

fn curl(address: SocketAddr) -> String {
    let row = r#"{"operations":[{"op":"INSERT","table":"my.rows","key":["id"],"after":{"id":1,"text":"hello"}}]}"#;
    format!(
        "curl -u {USER}:{USER} -H 'Content-Type: application/json' -d '{row}' \
         http://{address}/services/v2/trails/{TRAIL}/transactions"
    )
}

fn python(address: SocketAddr) -> String {
    format!(
        "python3 -c 'from websockets.sync.client import connect; \
         [print(m, flush=True) for m in connect(\
         \"ws://{USER}:{USER}@{address}/services/v2/stream/{STREAM}?begin=now\", max_size=None)]'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_to_paste_is_one_line_and_names_the_real_address() {
        let (address, data) = ("127.0.0.1:40123".parse().unwrap(), Path::new("./trailcast-demo-data"));
        let text = text(address, data);
        for said in [&text, &held(address), &farewell(address, data)] {
            for start in ["curl -u demo:demo ", "python3 -c '"] {
                let line = said.lines().find(|line| line.starts_with(start)).unwrap();
                assert!(line.contains("127.0.0.1:40123/services/v2/"), "{line}");
                assert_eq!(line.matches('\'').count() % 2, 0, "{line}");
            }
        }
        assert!(text.contains("URL       http://127.0.0.1:40123\n"));
    }
}
