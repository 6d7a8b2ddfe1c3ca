//! Where the server is and who asks: the flags that `tail` and `put` share.

use clap::Args;

use super::failure::Failure;
use crate::client::ServerAddress;

/// The environment's name of the password. There is no flag: it would show in the list of processes.
const PASSWORD: &str = "TRAILCAST_PASSWORD";

#[derive(Debug, Args)]
pub(super) struct ClientArguments {
    /// The server: http[s]://[USER:PASSWORD@]HOST[:PORT]
    #[arg(
        long,
        env = "TRAILCAST_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:9002",
        hide_env_values = true
    )]
    url: String,
    /// The user, when the URL names none; the password comes from TRAILCAST_PASSWORD
    #[arg(long, env = "TRAILCAST_USER", value_name = "USER")]
    user: Option<String>,
}

impl ClientArguments {
    /// The address, with the password from the environment when the URL has none.
    pub(super) fn address(&self) -> Result<ServerAddress, Failure> {
        let password = std::env::var(PASSWORD).ok();
        let address = ServerAddress::parse(&self.url, self.user.as_deref(), password.as_deref())
            .map_err(|error| Failure::usage(format!("--url: {error}")))?;
        if let (Some(user), None) = (&address.user, &address.credentials) {
            return Err(Failure::usage(format!("no password for {}: set {PASSWORD}", user.escape_debug())));
        }
        Ok(address)
    }
}
