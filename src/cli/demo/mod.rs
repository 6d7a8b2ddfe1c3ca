//! `trailcast demo`: the server with a small shop inside that writes real transactions to a trail, and the stream of
//! that trail live in the terminal, over a real WebSocket.
//!
//! Owns what the demo sets up. The data folder stays when it ends; started again it goes on in the same trail with a shop
//! that first empties its tables, so that who subscribed before is told of everything in between.

mod enter;
pub mod shop;
mod welcome;
mod writer;

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::failure::Failure;
use super::furnish::Furniture;
use super::logging;
use super::output::{print, say};
use super::serve::listening;
use super::server::{RunningServer, ServerOptions};
use super::stop::Stop;
use super::tail::Tail;
use crate::access::{AccessOptions, NewUser, TrustedProxies, UserChange};
use crate::catalog::stream::StreamConfig;
use crate::catalog::user::Role;
use crate::client::{Credentials, ServerAddress, Trust};
use crate::config::{LimitMembers, ListenAddress, LogFormat};
use crate::limits;
use crate::record::{ResourceName, TrailName};
use crate::service::principal::Principal;
use crate::service::streams::StreamError;
use crate::service::trails::TrailError;
use crate::trail;
use enter::Enter;
use writer::Writer;

/// User and password of the demo.
const USER: &str = "demo";
const TRAIL: &str = "a1";
const STREAM: &str = "demo";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Loopback address and port to listen on; port 0 takes a free one
    #[arg(long, env = "TRAILCAST_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:9002")]
    listen: ListenAddress,
    /// Transactions a second
    #[arg(long, env = "TRAILCAST_RATE", value_name = "RATE", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::DEMO_RATE_MAX)))]
    rate: u32,
    /// Folder for trail and catalog; it stays, and the next demo goes on in it
    #[arg(long, env = "TRAILCAST_DEMO_DATA_DIR", value_name = "FOLDER", default_value = "./trailcast-demo-data")]
    data_dir: PathBuf,
    /// What to log: a level, or directives such as info,trailcast::capture=debug
    #[arg(long, env = "TRAILCAST_LOG", value_name = "LEVEL", default_value = "warn")]
    log: String,
}

/// Shows the shop until SIGINT or SIGTERM.
pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let ListenAddress(listen) = arguments.listen;
    if !listen.ip().is_loopback() {
        // Everybody knows its password.
        return Err(Failure::usage(format!("the demo listens on a loopback address only, not on {listen}")));
    }
    logging::start(&arguments.log, LogFormat::Text)?;
    let stop = Stop::on_signal()?;
    let data_dir = arguments.data_dir.clone();
    let options = ServerOptions {
        faces: Vec::new(),
        listen,
        data_dir: arguments.data_dir,
        public_url: None,
        allowed_origins: Vec::new(),
        proxies: TrustedProxies::default(),
        tls: None,
        access: AccessOptions::default(),
        limits: LimitMembers::default(),
        admin_password: None,
        audit: None,
        furniture: Furniture::default(),
    };
    let server = RunningServer::start(options).await.map_err(Failure::failed)?;
    let shown = show(&server, &data_dir, arguments.rate, stop).await;
    server.stop().await;
    shown
}

async fn show(server: &RunningServer, data_dir: &std::path::Path, rate: u32, mut stop: Stop) -> Result<(), Failure> {
    let mut writer = set_up(server, rate).await?;
    say(listening(server.address, false));
    // Whoever pastes the lines at once must see the row: the tail begins before they are printed.
    let begin = server.service.clock().now().to_rfc3339();
    print(welcome::text(server.address, data_dir).as_bytes())?;
    let address = ServerAddress {
        tls: false,
        host: server.address.ip().to_string(),
        port: server.address.port(),
        prefix: String::new(),
        user: None,
        credentials: Some(Credentials { user: USER.into(), password: USER.into() }),
        trust: Trust::default(),
    };
    let mut tail = Tail::readable(address, STREAM, &begin, stop.clone());
    let mut enter = Enter::listen();
    let (mut shows, mut writes) = (pin!(tail.follow()), pin!(writer.write()));
    let (mut is_held, mut is_ending) = (false, false);
    let ended = loop {
        tokio::select! {
            // While it is held nothing is taken from the socket; afterwards it goes on where it stood.
            ended = &mut shows, if !is_held => break ended,
            failed = &mut writes => break failed,
            () = enter.pressed(), if !is_ending => {
                is_held = !is_held;
                let said = if is_held { welcome::held(server.address) } else { welcome::GOES_ON.to_owned() };
                print(said.as_bytes())?;
            }
            () = stop.asked(), if !is_ending => (is_held, is_ending) = (false, true),
            // The tail says goodbye by itself; here only should it be stuck.
            () = tokio::time::sleep(Duration::from_secs(1)), if is_ending => break Ok(()),
        }
    };
    if ended.is_ok() {
        print(welcome::farewell(server.address, data_dir).as_bytes())?;
    }
    ended
}

/// Makes user, trail and stream where they are missing, and the shop's first transaction.
async fn set_up(server: &RunningServer, rate: u32) -> Result<Writer, Failure> {
    let accounts = server.service.accounts();
    if accounts.get(USER).await.is_ok() {
        let (role, grants, password) = (Some(Role::Administrator), Some(None), Some(USER));
        accounts.change(USER, UserChange { role, grants, password }).await.map_err(Failure::failed)?;
    } else {
        let new = NewUser { name: USER, role: Role::Administrator, grants: None, password: USER };
        accounts.add(new).await.map_err(Failure::failed)?;
    }
    let trail = TrailName::new(TRAIL).map_err(Failure::failed)?;
    let goes_on = match server.service.trails().make(Principal::House, &trail, trail::Writer::Puts, None).await {
        Ok(_) => false,
        Err(TrailError::Exists(_)) => true,
        Err(error) => return Err(Failure::failed(error)),
    };
    let mut writer = Writer::new(server.service.clone(), trail, rate);
    writer.open(goes_on).await?;
    let stream = ResourceName::new(STREAM).map_err(Failure::failed)?;
    // A newcomer's first message is to be the rows, not pages of JSON Schema.
    let config = json!({"source": {"trail": TRAIL}, "encoding": {"json": {"includeJSONSchemaRecord": false}}});
    let config = StreamConfig::from_value(config).map_err(Failure::failed)?;
    match server.service.streams().make(Principal::House, &stream, config).await {
        Ok(_) | Err(StreamError::Exists(_)) => {}
        Err(error) => return Err(Failure::failed(error)),
    }
    Ok(writer)
}
