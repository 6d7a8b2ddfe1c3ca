//! What the demo says when it is up: where it is, who may ask, and two lines to paste.

use std::net::SocketAddr;
use std::path::Path;

use super::{STREAM, TRAIL, USER};

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
         Write a row of your own, and see it below:\n\
         \n\
         {}\n\
         \n\
         Subscribe from Python (pip install websockets):\n\
         \n\
         {}\n\
         \n\
         Ctrl-C ends the demo. The stream, live:\n\
         \n",
        data_dir.display(),
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
         \"ws://{USER}:{USER}@{address}/services/v2/stream/{STREAM}?begin=now\")]'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_to_paste_is_one_line_and_names_the_real_address() {
        let text = text("127.0.0.1:40123".parse().unwrap(), Path::new("./trailcast-demo-data"));
        for start in ["curl -u demo:demo ", "python3 -c '"] {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap();
            assert!(line.contains("127.0.0.1:40123/services/v2/"), "{line}");
            assert_eq!(line.matches('\'').count() % 2, 0, "{line}");
        }
        assert!(text.contains("URL       http://127.0.0.1:40123\n"));
    }
}
