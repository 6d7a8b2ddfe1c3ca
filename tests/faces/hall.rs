//! Goal: the hall does the same for every face, in that face's words. Method: a toy face, which has a few routes and words of
//! its own, is served on a listener of its own beside the native one, and asked in the ways in which requests go wrong.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use trailcast::access::{NewUser, OriginRules, Role, UserChange};
use trailcast::catalog::Grants;
use trailcast::clock::SystemClock;
use trailcast::face::requests::Requests;
use trailcast::face::{self, Call, Content, Face, Hall, Operations, Refusal, Refused, layers};
use trailcast::listen::{PumpTimings, Server, ServerLimits};
use trailcast::record::{ResourceName, TrailName};
use trailcast::service::audit::Writers;
use trailcast::service::principal::Principal;
use trailcast::service::refusal::Fact;
use trailcast::service::{Service, ServiceOptions};
use trailcast::trail::Writer;

use crate::support::Folder;
use crate::support::http::{self, Answer, Basic};
use crate::support::waiting::until;

/// A face of toys: plain words in place of an envelope, and statuses of its own.
struct Toy;

/// A refusal as a toy says it.
struct NoToy(Refusal);

impl From<Refusal> for NoToy {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for NoToy {
    fn into_response(self) -> Response {
        let (status, reason, code) = match &self.0 {
            Refusal::Service { refusal, .. } if refusal.fact == Fact::Unauthenticated => (401, "stranger", "TOY-1"),
            Refusal::Service { refusal, .. } if refusal.fact == Fact::Forbidden => (403, "too-young", "TOY-2"),
            Refusal::Service { refusal, .. } if refusal.fact == Fact::Internal => (500, "broken", "TOY-3"),
            Refusal::Origin(_) => (403, "another-shop", "TOY-4"),
            Refusal::Path => (404, "no-such-toy", "TOY-5"),
            _ => (418, "silly", "TOY-6"),
        };
        let said = format!("no toy for you ({code}): {}", self.0);
        let mut response = (StatusCode::from_u16(status).unwrap(), said).into_response();
        if let Refusal::Service { refusal, challenges } = &self.0 {
            for challenge in challenges {
                response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::try_from(challenge).unwrap());
            }
            if let Some(seconds) = refusal.retry_after_seconds {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
        }
        response.extensions_mut().insert(Refused { reason, code });
        response
    }
}

impl Face for Toy {
    const NAME: &'static str = "toy";
    const IS_ON_MAIN_LISTENER: bool = false;

    type Refusal = NoToy;

    fn routes() -> Router<Hall> {
        let operations =
            Operations::none().add(__path_look, look).add(__path_wind_up, wind_up).add(__path_drop_it, drop_it);
        let operations = operations.add(__path_shelves, shelves).add(__path_shelf, shelf);
        operations.router::<Self>(|path| vec![path.to_owned()])
    }
}

/// Looks at a toy
#[utoipa::path(get, path = "/toys/{name}", responses((status = 200, description = "Here", body = String)))]
async fn look(call: Call<Toy, ResourceName>) -> Result<String, NoToy> {
    call.require(Role::User)?;
    Ok(format!("{} for {} at {}", call.name, call.caller.identity.name, call.at.here()))
}

/// Winds it up
#[utoipa::path(post, path = "/toys/{name}", responses((status = 200, description = "Wound up", body = String)))]
async fn wind_up(call: Call<Toy, ResourceName>, content: Content) -> Result<String, NoToy> {
    call.require(Role::Administrator)?;
    let turns = content.json().await?;
    Ok(format!("{} turns {turns}", call.name))
}

/// The shelves, which are trails
#[utoipa::path(get, path = "/shelves", responses((status = 200, description = "Here", body = String)))]
async fn shelves(call: Call<Toy>) -> Result<String, NoToy> {
    call.require(Role::User)?;
    let trails = call.service().trails().list(call.principal());
    Ok(trails.iter().map(|trail| trail.name.as_str()).collect::<Vec<_>>().join(" "))
}

/// One of them
#[utoipa::path(get, path = "/shelves/{name}", responses((status = 200, description = "Here", body = String)))]
async fn shelf(call: Call<Toy, TrailName>) -> Result<String, NoToy> {
    call.require(Role::User)?;
    let trail = call.service().trails().describe(call.principal(), &call.name).map_err(Refusal::from)?;
    Ok(trail.name.to_string())
}

/// Drops it, on purpose
#[utoipa::path(get, path = "/dropped", responses((status = 200, description = "Never", body = String)))]
async fn drop_it(call: Call<Toy>) -> Result<String, NoToy> {
    call.require(Role::User)?;
    panic!("it was dropped");
}

/// Lines that were written, for the test to read.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn all(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A server with the native face on its main listener and the toy on another, which takes one connection.
struct House {
    _folder: Folder,
    runtime: Option<tokio::runtime::Runtime>,
    stop: watch::Sender<bool>,
    service: Arc<Service>,
    requests: Arc<Requests>,
    main: SocketAddr,
    toy: SocketAddr,
    changes: Lines,
    refusals: Lines,
}

impl House {
    fn new() -> Self {
        let folder = Folder::new("hall");
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let service = Service::open(folder.path(), Arc::new(SystemClock), ServiceOptions::default()).unwrap();
        let service = Arc::new(service);
        let (changes, refusals, requests) = (Lines::default(), Lines::default(), Arc::<Requests>::default());
        let (stop, stopping) = watch::channel(false);
        let (main, toy) = runtime.block_on(async {
            let writers = Writers {
                changes: Box::new(changes.clone()),
                sessions: Box::new(Vec::new()),
                refusals: Box::new(refusals.clone()),
            };
            service.audit().write_to(writers);
            service.accounts().first_start(Some("correct-horse-9")).await.unwrap();
            let kid = NewUser { name: "kid", role: Role::User, grants: None, password: "correct-horse-9" };
            service.accounts().add(kid).await.unwrap();
            let [(main, main_hall), (toy, toy_hall)] =
                [bound(&service, &requests).await, bound(&service, &requests).await];
            let addresses = (main.local_addr().unwrap(), toy.local_addr().unwrap());
            let server = Server::new(face::on_main_listener(&main_hall), ServerLimits::default(), stopping);
            let own = server.beside(layers::whole::<Toy>(toy_hall), Some(1));
            tokio::spawn(async move { server.serve(main).await });
            tokio::spawn(async move { own.serve(toy).await });
            addresses
        });
        Self { _folder: folder, runtime: Some(runtime), stop, service, requests, main, toy, changes, refusals }
    }

    fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        // Its one place is free once the connection before has ended.
        until(|| {
            let answer = http::request(self.toy.port(), method, target, headers, body.as_bytes());
            let answer = answer.map_err(|error| error.to_string())?;
            if answer.status == 503 { Err(answer.to_string()) } else { Ok(answer) }
        })
    }

    fn as_user(&self, user: &str, method: &str, target: &str, more: &[(&str, &str)], body: &str) -> Answer {
        let credentials = Basic::new(user, "correct-horse-9");
        let mut headers = vec![("Authorization", credentials.header())];
        headers.extend_from_slice(more);
        self.ask(method, target, &headers, body)
    }

    fn figures(&self) -> String {
        let mut page = self.service.metrics(Principal::House);
        self.requests.sample(&mut page);
        page.text()
    }
}

async fn bound(service: &Arc<Service>, requests: &Arc<Requests>) -> (TcpListener, Hall) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origins = OriginRules::new(listener.local_addr().unwrap(), None, &[]).unwrap();
    let (service, requests) = (service.clone(), requests.clone());
    let sockets = PumpTimings::default();
    (listener, Hall { service, requests, origins: Arc::new(origins), public_url: None, tls: false, sockets })
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.runtime.take().unwrap().shutdown_background();
    }
}

#[test]
fn a_face_is_guarded_counted_and_audited_and_refuses_in_its_own_words() {
    let house = House::new();
    let here = format!("ball for kid at http://127.0.0.1:{}/toys/ball", house.toy.port());
    assert_eq!(house.as_user("kid", "GET", "/toys/ball", &[], "").expect(200).text(), here);
    let wound = house.as_user("admin", "POST", "/toys/ball", &[], "[3]").expect(200);
    assert_eq!(wound.text(), "ball turns [3]");

    let stranger = house.ask("GET", "/toys/ball", &[], "").expect(401);
    assert!(stranger.text().starts_with("no toy for you (TOY-1): "), "{stranger}");
    assert!(stranger.header("www-authenticate").unwrap().starts_with("Basic "), "{stranger}");
    let page = ("Origin", "https://elsewhere.example");
    for (answer, status, code) in [
        (house.as_user("kid", "POST", "/toys/ball", &[], "1"), 403, "TOY-2"),
        (house.as_user("kid", "GET", "/dropped", &[], ""), 500, "TOY-3"),
        (house.as_user("kid", "GET", "/toys/ball", &[page], ""), 403, "TOY-4"),
        (house.as_user("kid", "GET", "/services/v2/stream", &[], ""), 404, "TOY-5"),
        (house.as_user("kid", "GET", "/toys/ball?acces_token=a", &[], ""), 418, "TOY-6"),
        (house.as_user("kid", "DELETE", "/toys/ball", &[], ""), 418, "TOY-6"),
        (house.as_user("admin", "POST", "/toys/ball", &[], "{"), 418, "TOY-6"),
        (house.as_user("admin", "POST", "/toys/ball", &[("Content-Type", "image/png")], ""), 418, "TOY-6"),
        (house.as_user("admin", "POST", "/toys/ball", &[("Content-Encoding", "gzip")], "1"), 418, "TOY-6"),
    ] {
        assert_eq!(answer.status, status, "{answer}");
        assert!(answer.text().contains(code), "{code}: {answer}");
    }
    let renamed = until(|| {
        let head = b"GET /toys/ball HTTP/1.1\r\nHost: toys.example\r\nConnection: close\r\n\r\n";
        let mut said = String::new();
        let asked = http::connect(house.toy.port(), std::time::Duration::from_secs(30)).and_then(|mut stream| {
            stream.write_all(head)?;
            stream.read_to_string(&mut said)
        });
        if asked.is_err() || said.contains(" 503 ") { Err(format!("{asked:?} {said}")) } else { Ok(said) }
    });
    assert!(renamed.starts_with("HTTP/1.1 403") && renamed.contains("TOY-4"), "{renamed}");

    let figures = house.figures();
    for counted in [
        "route=\"/toys/{name}\",method=\"POST\",status=\"2xx\"} 1",
        "route=\"/dropped\",method=\"GET\",status=\"5xx\"} 1",
        "reason=\"too-young\"} 1",
        "reason=\"broken\"} 1",
    ] {
        assert!(figures.contains(counted), "{counted} is not in\n{figures}");
    }

    let line = |lines: &Lines, user: &str, status: u64| {
        let is_it = |line: &Value| line["user"] == user && line["status"] == status && line["path"] == "/toys/ball";
        let found = lines.all().into_iter().find(is_it);
        found.unwrap_or_else(|| panic!("no line of {user} with {status} in {:?}", lines.all()))
    };
    let done = line(&house.changes, "admin", 200);
    assert_eq!((&done["action"], &done["method"], &done["code"]), (&"make".into(), &"POST".into(), &Value::Null));
    assert_eq!(line(&house.refusals, "kid", 403)["code"], "TOY-2");
}

#[test]
fn grants_hold_for_any_face() {
    let house = House::new();
    house.runtime.as_ref().unwrap().block_on(async {
        for name in ["dolls", "cars", "kites"] {
            let name = TrailName::new(name).unwrap();
            house.service.trails().make(Principal::House, &name, Writer::Puts, None).await.unwrap();
        }
        let grants = Grants::from_value("grants", &json!(["read trails=?ars,doll*"])).unwrap();
        let change = UserChange { grants: Some(Some(grants)), ..UserChange::default() };
        house.service.accounts().change("kid", change).await.unwrap();
    });
    assert_eq!(house.as_user("kid", "GET", "/shelves", &[], "").expect(200).text(), "cars dolls");
    assert_eq!(house.as_user("admin", "GET", "/shelves", &[], "").expect(200).text(), "cars dolls kites");
    house.as_user("kid", "GET", "/shelves/cars", &[], "").expect(200);
    let hidden = house.as_user("kid", "GET", "/shelves/kites", &[], "").expect(403).text();
    let absent = house.as_user("kid", "GET", "/shelves/robots", &[], "").expect(403).text();
    assert!(hidden.contains("TOY-2") && hidden.contains("do not cover reading the trail kites"), "{hidden}");
    assert_eq!(hidden.replace("kites", "robots"), absent);
}

#[test]
fn a_face_with_a_listener_of_its_own_is_there_alone_and_within_its_cap() {
    let house = House::new();
    let port = house.main.port();
    let elsewhere = http::request(port, "GET", "/toys/ball", &[], b"").unwrap().expect(404);
    assert_eq!(elsewhere.json()["messages"][0]["code"], "OGG-27021", "the native face answers on the main listener");
    http::request(port, "GET", "/healthz", &[], b"").unwrap().expect(200);
    house.ask("GET", "/healthz", &[], "").expect(404);

    let only = http::connect(house.toy.port(), std::time::Duration::from_secs(30)).unwrap();
    until(|| {
        let answer = http::request(house.toy.port(), "GET", "/toys/ball", &[], b"");
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status == 503 { Ok(()) } else { Err(answer.to_string()) }
    });
    http::request(port, "GET", "/healthz", &[], b"").unwrap().expect(200);
    drop(only);
    house.ask("GET", "/toys/ball", &[], "").expect(401);
}
