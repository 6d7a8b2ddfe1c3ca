//! Makes what the configuration file names and is not there yet, at each start. What is there is left as it is: over REST it
//! may have been changed on purpose.

use super::server::ServerError;
use crate::access::accounts::FIRST_ADMINISTRATOR;
use crate::access::{NewUser, Role};
use crate::catalog::extract::ExtractConfig;
use crate::catalog::stream::StreamConfig;
use crate::catalog::trail::TrailSettings;
use crate::config::FileUser;
use crate::record::{ResourceName, TrailName};
use crate::service::Service;
use crate::service::audit::{Action, Actor, Change, Outcome, Told};
use crate::service::extracts::ExtractError;
use crate::service::principal::Principal;
use crate::service::streams::StreamError;
use crate::service::trails::TrailError;
use crate::trail::Writer;

/// What the configuration file names.
#[derive(Debug, Clone, Default)]
pub struct Furniture {
    /// Users.
    pub users: Vec<FileUser>,
    /// Extracts.
    pub extracts: Vec<(ResourceName, ExtractConfig)>,
    /// Trails.
    pub trails: Vec<(TrailName, TrailSettings)>,
    /// Streams.
    pub streams: Vec<(ResourceName, StreamConfig)>,
}

const LEFT_AS_IT_IS: &str = "exists with other members; the file's are not applied, PATCH it";

/// Makes the users, and `admin` where nobody would be an Administrator or a password for it was given. Returns the drawn
/// password of `admin`, if one was drawn.
pub(super) async fn users(
    service: &Service,
    users: Vec<FileUser>,
    admin_password: Option<&str>,
) -> Result<Option<String>, ServerError> {
    let accounts = service.accounts();
    let is_administrator = |user: &FileUser| user.role == Role::Administrator && user.grants.is_none();
    let drawn = match admin_password {
        None if users.iter().any(is_administrator) => None,
        given => {
            let is_first = accounts.is_empty().await?;
            let drawn = accounts.first_start(given).await?;
            if is_first {
                made(service, "users", FIRST_ADMINISTRATOR, "start").await;
            }
            drawn
        }
    };
    for user in users {
        if let Ok(stored) = accounts.get(&user.name).await {
            if stored.role != user.role || stored.grants.as_deref() != user.grants.as_ref() {
                tracing::warn!(
                    user = user.name,
                    "exists with another role or other grants; the file's are not applied, PATCH it"
                );
            }
            continue;
        }
        let source = user.password;
        let password = tokio::task::spawn_blocking(move || source.read()).await?;
        let password = password.map_err(|error| format!("user {}: {error}", user.name))?;
        let new = NewUser { name: &user.name, role: user.role, grants: user.grants, password: &password };
        accounts.add(new).await.map_err(|error| format!("user {}: {error}", user.name))?;
        made(service, "users", &user.name, "file").await;
    }
    Ok(drawn)
}

/// Makes extracts, trails and streams. Extracts come first: the trail that one writes is made by it.
pub(super) async fn resources(service: &Service, wanted: Furniture) -> Result<(), ServerError> {
    for (name, config) in wanted.extracts {
        extract(service, &name, config).await.map_err(|error| format!("extract {name}: {error}"))?;
    }
    for (name, settings) in wanted.trails {
        trail(service, &name, settings).await.map_err(|error| format!("trail {name}: {error}"))?;
    }
    for (name, config) in wanted.streams {
        stream(service, &name, config).await.map_err(|error| format!("stream {name}: {error}"))?;
    }
    Ok(())
}

async fn extract(service: &Service, name: &ResourceName, config: ExtractConfig) -> Result<(), ExtractError> {
    let given = config.redacted();
    // A server starts whatever its sources say; the extract says it.
    match service.extracts().make_unseen(Principal::House, name, config).await {
        Err(ExtractError::Exists(_)) => {
            let stored = service.extracts().get(name).map(|stored| stored.config.redacted());
            if stored.is_some_and(|stored| stored != given) {
                tracing::warn!(extract = %name, "{LEFT_AS_IT_IS}");
            }
        }
        other => {
            other?;
            made(service, "extracts", name.as_str(), "file").await;
        }
    }
    Ok(())
}

async fn trail(service: &Service, name: &TrailName, settings: TrailSettings) -> Result<(), TrailError> {
    let trails = service.trails();
    match trails.make(Principal::House, name, Writer::Puts, Some(settings)).await {
        Ok(_) => {
            made(service, "trails", name.as_str(), "file").await;
        }
        Err(TrailError::Exists(_)) => {
            // The trail of an extract has no options of its own before it is told some.
            match trails.settings(Principal::House, name).await? {
                None => {
                    if settings.segment_bytes.is_some() {
                        tracing::warn!(trail = %name, "segmentBytes is not applied: it is fixed when a trail is made");
                    }
                    if settings.partitions.is_some_and(|partitions| partitions > 1) {
                        tracing::warn!(trail = %name, "partitions are not applied: an extract's trail has one");
                    }
                    let settings = TrailSettings { segment_bytes: None, partitions: None, ..settings };
                    trails.set_settings(Principal::House, name, settings).await?;
                }
                Some(stored) if stored != settings => tracing::warn!(trail = %name, "{LEFT_AS_IT_IS}"),
                Some(_) => {}
            }
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

async fn stream(service: &Service, name: &ResourceName, config: StreamConfig) -> Result<(), StreamError> {
    let given = config.as_given().clone();
    match service.streams().make(Principal::House, name, config).await {
        Err(StreamError::Exists(_)) => {
            if service.streams().get(name).is_some_and(|stored| *stored.config.as_given() != given) {
                tracing::warn!(stream = %name, "{LEFT_AS_IT_IS}");
            }
        }
        other => {
            other?;
            made(service, "stream", name.as_str(), "file").await;
        }
    }
    Ok(())
}

async fn made(service: &Service, kind: &str, name: &str, auth: &'static str) {
    let path = format!("/services/v2/{kind}/{name}");
    let told = Told { method: "START", status: 200, code: None };
    let change = Change { action: Action::Make, path: Some(&path), outcome: Outcome::Done, told, detail: None };
    service.audit().change(&Actor { auth, ..Actor::default() }, &change).await;
}
