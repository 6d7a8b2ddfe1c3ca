//! Where the server is and who asks: the flags that the commands which talk to a server share.

use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use crate::client::{ServerAddress, Trust};

/// The environment's name of the password. There is no flag: it would show in the list of processes.
const PASSWORD: &str = "TRAILCAST_PASSWORD";
/// Where `serve` listens unless told otherwise.
const URL_DEFAULT: &str = "http://127.0.0.1:9002";

#[derive(Debug, Args)]
pub(super) struct ClientArguments {
    /// The server: http[s]://[USER:PASSWORD@]HOST[:PORT] [default: http://127.0.0.1:9002]
    #[arg(long, env = "TRAILCAST_URL", value_name = "URL", hide_env_values = true)]
    url: Option<String>,
    /// The user, when the URL names none; the password comes from TRAILCAST_PASSWORD
    #[arg(long, env = "TRAILCAST_USER", value_name = "USER")]
    user: Option<String>,
    /// Certificates (PEM) of authorities of your own, which may have signed an https server's beside those of the system
    #[arg(long, env = "TRAILCAST_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl ClientArguments {
    /// Whether a server was named.
    pub(super) fn names_a_server(&self) -> bool {
        self.url.is_some()
    }

    /// The address, with the password from the environment when the URL has none.
    pub(super) fn address(&self) -> Result<ServerAddress, Failure> {
        let password = std::env::var(PASSWORD).ok();
        let url = self.url.as_deref().unwrap_or(URL_DEFAULT);
        let mut address = ServerAddress::parse(url, self.user.as_deref(), password.as_deref())
            .map_err(|error| Failure::usage(format!("--url: {error}")))?;
        if let (Some(user), None) = (&address.user, &address.credentials) {
            return Err(Failure::usage(format!("no password for {}: set {PASSWORD}", user.escape_debug())));
        }
        if let Some(file) = &self.ca {
            address.trust = Trust::with_file(file).map_err(Failure::usage)?;
        }
        Ok(address)
    }
}
