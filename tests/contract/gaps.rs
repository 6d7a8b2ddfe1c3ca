//! Goal: a gap that names tables ends those sessions whose rules can match one of them, with the position behind it, and no
//! others, wherever they begin. Method: the service itself, streams of many rules over one trail, and gaps that come while
//! sessions wait at the end.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use trailcast::catalog::stream::StreamConfig;
use trailcast::clock::SystemClock;
use trailcast::codec::close_code::CloseCode;
use trailcast::codec::token;
use trailcast::delivery::end::End;
use trailcast::delivery::framing::Framing;
use trailcast::delivery::negotiated::{Envelope, Negotiated};
use trailcast::delivery::notices::Notices;
use trailcast::delivery::session::Delivery;
use trailcast::record::{ResourceName, TrailName};
use trailcast::service::Service;
use trailcast::service::principal::Principal;
use trailcast::service::sessions::{BeginRequest, OpenSession, SessionRequest};
use trailcast::trail::{Appender, Writer};

use crate::support::trail::{gap, row, rows_around_a_gap};
use crate::support::waiting::PATIENCE;

/// A service with the trail `a1`, and the writing end of that.
struct World {
    service: Arc<Service>,
    appender: Appender,
    _home: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let service = Arc::new(Service::open(home.path(), Arc::new(SystemClock), Default::default()).unwrap());
        let trail = TrailName::new("a1").unwrap();
        service.trails().make(Principal::House, &trail, Writer::Puts, None).await.unwrap();
        let trail = service.trails().get(&trail).unwrap().served().unwrap().clone();
        Self { appender: trail.appender().unwrap(), service, _home: home }
    }

    async fn stream(&self, name: &str, members: &Value) {
        let mut config = json!({"source": {"trail": "a1"}});
        for (name, value) in members.as_object().unwrap() {
            config[name] = value.clone();
        }
        let config = StreamConfig::from_value(config).unwrap();
        self.service.streams().make(Principal::House, &ResourceName::new(name).unwrap(), config).await.unwrap();
    }

    async fn session(&self, stream: &str, begin: &str) -> OpenSession {
        let request = SessionRequest {
            user: "u".into(),
            peer: "p".into(),
            begin_text: begin.into(),
            begin: BeginRequest::parse(begin).unwrap(),
            negotiated: Negotiated::new(Framing::WebSocket, Envelope::Records),
            notices: Notices::default(),
        };
        let stream = self.service.streams().get(&ResourceName::new(stream).unwrap()).unwrap();
        self.service.sessions().open(Principal::House, &stream, request).await.unwrap()
    }

    fn errors(&self, stream: &str) -> Vec<String> {
        self.service.streams().get(&ResourceName::new(stream).unwrap()).unwrap().errors()
    }

    /// Rows 1 and 2, a gap of `public.orders`, rows 3 and 4; those with even numbers are of `public.orders`.
    async fn rows_around_a_gap(&mut self) {
        rows_around_a_gap(&mut self.appender).await;
    }
}

/// What a session sends next: ids of rows, or its end.
async fn next(session: &mut OpenSession) -> Result<Vec<u64>, End> {
    let delivery = tokio::time::timeout(PATIENCE, session.next()).await.expect("nothing comes");
    match delivery {
        Delivery::End(end) => Err(end),
        Delivery::Messages(messages) => {
            let text: String = messages.iter().map(|message| String::from_utf8_lossy(message).into_owned()).collect();
            let rows = text.split("\"after\":{\"id\":").skip(1);
            Ok(rows.map(|row| row[..row.find(['}', ',']).unwrap()].parse().unwrap()).collect())
        }
    }
}

/// Ids up to the end, or up to `last`.
async fn heard(session: &mut OpenSession, last: Option<u64>) -> (Vec<u64>, Option<End>) {
    let mut ids = Vec::new();
    while last.is_none() || ids.last() != last.as_ref() {
        match next(session).await {
            Ok(more) => ids.extend(more),
            Err(end) => return (ids, Some(end)),
        }
    }
    (ids, None)
}

/// The position behind the gap at which a session must have ended.
fn behind(end: Option<End>, told: &str) -> String {
    let end = end.expect("the session must end");
    let End::Gap { after, .. } = &end else { panic!("{end:?}") };
    assert_eq!((end.close_code(), end.close_reason()), (CloseCode::GAP, format!("{told}; go on after {after}")));
    assert!(end.close_reason().len() <= 123);
    after.clone()
}

fn include(filter: Value) -> Value {
    json!({"action": "include", "filter": filter})
}

fn exclude(filter: Value) -> Value {
    json!({"action": "exclude", "filter": filter})
}

/// Rules, which of the rows 1 to 4 they let through, and whether a gap of `public.orders` concerns them.
fn cases() -> Vec<(Value, &'static [u64], bool)> {
    let named = |name: &str| json!({"objectNames": [name]});
    let note = json!([{"column": "note", "operator": "EQ", "value": "x"}]);
    let rules = |rules: Value| json!({ "rules": rules });
    vec![
        (json!({}), &[1, 2, 3, 4], true),
        (json!({"cloudEventsFormat": true}), &[1, 2, 3, 4], true),
        (rules(json!([include(named("PUBLIC.ORD*"))])), &[2, 4], true),
        (rules(json!([include(named("orders"))])), &[2, 4], true),
        (rules(json!([include(named("public.items"))])), &[1, 3], false),
        (rules(json!([include(named("\"Public\".*")), include(named("items"))])), &[1, 3], false),
        (rules(json!([exclude(named("public.orders"))])), &[1, 3], false),
        (rules(json!([exclude(named("public.orders")), include(named("public.*"))])), &[1, 3], false),
        // The first that matches decides.
        (rules(json!([include(named("public.*")), exclude(named("public.orders"))])), &[1, 2, 3, 4], true),
        // What values decide may let something through.
        (
            rules(json!([
                include(json!({"objectNames": ["public.orders"], "columnValues": note})),
                include(named("items"))
            ])),
            &[1, 2, 3, 4],
            true,
        ),
        (
            rules(json!([exclude(json!({"objectNames": ["public.orders"], "operationTypes": ["INSERT"]}))])),
            &[1, 3],
            true,
        ),
    ]
}

#[tokio::test]
async fn a_gap_ends_the_sessions_whose_rules_can_match_its_table_and_no_others() {
    let mut world = World::new().await;
    let mut sessions = Vec::new();
    for (at, (members, ..)) in cases().iter().enumerate() {
        let name = format!("s{at}");
        world.stream(&name, members).await;
        // One that is there when the gap comes.
        sessions.push((name.clone(), world.session(&name, "earliest").await));
    }
    world.rows_around_a_gap().await;
    for (at, (members, ..)) in cases().iter().enumerate() {
        let name = format!("s{at}");
        let late = world.session(&name, "earliest").await;
        sessions.push((name, late));
        assert!(members.is_object());
    }
    for (at, (name, session)) in sessions.iter_mut().enumerate() {
        let (members, passing, concerned) = cases().remove(at % cases().len());
        let (first, second): (Vec<u64>, Vec<u64>) = passing.iter().partition(|id| **id <= 2);
        if !concerned {
            assert_eq!(heard(session, passing.last().copied()).await, (passing.to_vec(), None), "{members}");
            assert_eq!(world.errors(name), [] as [String; 0], "{members}");
            continue;
        }
        let (ids, end) = heard(session, None).await;
        assert_eq!(ids, first, "{members}");
        let after = behind(end, "rows of public.orders may be missing");
        let mut resumed = world.session(name, &after).await;
        assert_eq!(heard(&mut resumed, second.last().copied()).await, (second, None), "{members}");
        let said = format!(
            "rows of public.orders may be missing, from 0/15000A0 to 0/15000F8 of the source's log; go on after {after}"
        );
        assert_eq!(world.errors(name), [said], "{members}");
    }
}

#[tokio::test]
async fn a_session_that_begins_behind_a_gap_hears_nothing_of_it_and_one_before_it_is_told_each_time() {
    let mut world = World::new().await;
    world.stream("s1", &json!({})).await;
    row(&mut world.appender, "public.items", 1).await;
    let second = row(&mut world.appender, "public.orders", 2).await;
    let at = gap(&mut world.appender, &["public.orders"]).await;
    // The gap is the last that there is: now is behind it, and stays there.
    let mut now = world.session("s1", "now").await;
    let goes_on_from = now.goes_on_from().to_owned();
    let third = row(&mut world.appender, "public.items", 3).await;
    row(&mut world.appender, "public.orders", 4).await;
    let text = |position| token::encode_trail(position).to_string();
    assert_eq!(heard(&mut now, Some(4)).await, (vec![3, 4], None));
    for (begin, ids) in [(goes_on_from, vec![3, 4]), (text(&at), vec![3, 4]), (text(&third), vec![4])] {
        let mut session = world.session("s1", &begin).await;
        assert_eq!(heard(&mut session, Some(4)).await, (ids, None), "{begin}");
    }
    for _ in 0..2 {
        let mut before = world.session("s1", &text(&second)).await;
        let (ids, end) = heard(&mut before, None).await;
        assert_eq!(ids, [] as [u64; 0]);
        assert_eq!(token::decode(&behind(end, "rows of public.orders may be missing")).unwrap().position, at);
    }
}

#[tokio::test]
async fn several_gaps_are_told_one_after_the_other_each_with_the_tables_that_concern_the_stream() {
    let mut world = World::new().await;
    let rules = json!([include(json!({"objectNames": ["public.*"]}))]);
    world.stream("s1", &json!({ "rules": rules })).await;
    gap(&mut world.appender, &["other.a", "public.orders", "public.items", "other.b"]).await;
    gap(&mut world.appender, &["other.a"]).await;
    gap(&mut world.appender, &[]).await;
    row(&mut world.appender, "public.items", 1).await;
    let mut begin = "earliest".to_owned();
    for told in ["rows of public.orders and 1 more may be missing", "rows of any table may be missing"] {
        let mut session = world.session("s1", &begin).await;
        let (ids, end) = heard(&mut session, None).await;
        assert_eq!(ids, [] as [u64; 0]);
        begin = behind(end, told);
    }
    let mut session = world.session("s1", &begin).await;
    assert_eq!(heard(&mut session, Some(1)).await, (vec![1], None));
    assert!(world.errors("s1")[0].contains("rows of public.orders, public.items may be missing"));
}

#[tokio::test]
async fn at_most_once_passes_over_a_gap_and_says_so_at_once() {
    let mut world = World::new().await;
    world.stream("s1", &json!({"qualityOfService": "atMostOnce"})).await;
    let mut session = world.session("s1", "earliest").await;
    row(&mut world.appender, "public.orders", 2).await;
    assert_eq!(heard(&mut session, Some(2)).await, (vec![2], None));
    gap(&mut world.appender, &["public.orders"]).await;
    // Nothing follows it yet.
    while world.errors("s1").is_empty() {
        let _ = tokio::time::timeout(Duration::from_millis(10), session.next()).await;
    }
    assert!(world.errors("s1")[0].contains("rows of public.orders may be missing"), "{:?}", world.errors("s1"));
    assert!(world.errors("s1")[0].contains("atMostOnce"));
    row(&mut world.appender, "public.items", 3).await;
    assert_eq!(heard(&mut session, Some(3)).await, (vec![3], None));
    let mut again = world.session("s1", "earliest").await;
    assert_eq!(heard(&mut again, Some(3)).await, (vec![2, 3], None));
    assert_eq!(world.errors("s1").len(), 1, "said once");
}
