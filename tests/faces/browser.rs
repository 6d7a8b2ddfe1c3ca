//! A headless Chromium that opens a page of another origin, and what that page found out.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use crate::support::{Folder, process, skip};

/// A web server of its own origin with one page, which posts what it found out to `/found`.
#[derive(Debug)]
pub struct OtherSite {
    listener: TcpListener,
}

impl OtherSite {
    /// Takes a port; nothing is served yet.
    pub fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    /// As `Origin` names it.
    pub fn origin(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap())
    }

    /// Opens the page in a browser: an async script that calls `found(value)` at its end. What it found, as the text that
    /// JSON made of it; `None`, said loudly, when there is no browser.
    pub fn open(self, script: &str, patience: Duration) -> Option<String> {
        let Some(browser) = browser() else {
            skip("no Chromium (Debian's package chromium)");
            return None;
        };
        let page = format!(
            "<!DOCTYPE html><title>other site</title><script type=module>\n\
             const found = value => fetch('/found', {{method: 'POST', body: JSON.stringify(value)}});\n\
             try {{\n{script}\n}} catch (error) {{ found('failed: ' + error); }}\n</script>"
        );
        let origin = self.origin();
        let found = self.serve(page);
        let profile = Folder::new("chromium");
        let mut command = process::tied_command(browser, "KILL", None);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        command
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(["--remote-debugging-port=0", &origin]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let text = found.recv_timeout(patience);
        let _ = child.kill();
        let _ = child.wait();
        Some(text.unwrap_or_else(|error| panic!("the page found nothing: {error}")))
    }

    fn serve(self, page: String) -> Receiver<String> {
        let (sender, found) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in self.listener.incoming().map_while(Result::ok) {
                let (head, body) = read_request(&stream);
                let (kind, answer) = if head.starts_with("POST /found ") {
                    let _ = sender.send(body);
                    ("text/plain", "")
                } else {
                    ("text/html", page.as_str())
                };
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    answer.len()
                );
                let _ = (&stream).write_all(format!("{head}{answer}").as_bytes());
            }
        });
        found
    }
}

fn read_request(mut stream: &TcpStream) -> (String, String) {
    let mut text = Vec::new();
    let mut bytes = [0; 4_096];
    loop {
        let seen = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = seen.split_once("\r\n\r\n") {
            let length = head.lines().filter_map(|line| line.split_once(':'));
            let length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            let length = length.map(|(_, value)| value.trim().parse().unwrap_or(0)).next().unwrap_or(0);
            if body.len() >= length {
                return (head.to_owned(), body.to_owned());
            }
        }
        match stream.read(&mut bytes) {
            Ok(count) if count > 0 => text.extend_from_slice(&bytes[..count]),
            _ => return Default::default(),
        }
    }
}

fn browser() -> Option<&'static str> {
    let runs = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find(runs)
}
