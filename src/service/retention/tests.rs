use std::path::Path;

use super::*;
use crate::catalog::Shelf;
use crate::clock::HandClock;
use crate::codec::image::ImageWriter;
use crate::record::{Column, JsonKind, Operation, SourcePosition, TableName, Timestamp, TransactionHead};
use crate::record::{GroupName, MemberName, Position, ResourceName, TrailName};
use crate::service::Service;
use crate::service::groups::{GroupError, GroupInfo, GroupState, Joining, Membership};
use crate::service::principal::Principal;
use crate::service::trails::TrailError;
use crate::trail::local::disk::SystemDisk;
use crate::trail::{PartitionChange, RetentionRule, Row, TrailOptions, Writer};

const DAY_SECONDS: i64 = 86_400;

/// A server over trails that hold 40 transactions in small segments, all closed at the clock's first moment but the last.
async fn served(home: &Path, names: &[&str]) -> (Arc<Service>, Arc<HandClock>) {
    let clock = Arc::new(HandClock::at(Timestamp::parse("2026-07-13T04:00:00Z").unwrap()));
    for name in names {
        let (folder, name) = (home.join("trails").join(name), TrailName::new(name).unwrap());
        let options = TrailOptions { segment_bytes: limits::SEGMENT_BYTES_MIN, ..TrailOptions::default() };
        let trail = Trail::create(&folder, name, Writer::Puts, &options, Arc::new(SystemDisk), clock.clone()).unwrap();
        fill(&trail).await;
    }
    (Arc::new(Service::open(home, clock.clone(), Default::default()).unwrap()), clock)
}

async fn fill(trail: &Trail) {
    let mut appender = trail.appender().unwrap();
    let kind = JsonKind::String;
    let column = Column { name: "v".into(), kind, sql_type: String::new(), nullable: false, key: true };
    for number in 1..=40 {
        let commit_ts = Timestamp::from_micros(number * 1_000_000);
        let head = TransactionHead { xid: format!("x{number}"), commit_ts, source: SourcePosition::default() };
        appender.begin(&head).unwrap();
        let schema = appender.schema(&TableName::parse("t.rows").unwrap(), std::slice::from_ref(&column)).unwrap();
        let mut image = Vec::new();
        ImageWriter::new(&mut image).json(format!("\"{}\"", "v".repeat(500)).as_bytes());
        let row = Row { operation: Operation::Insert, before: None, after: Some(&image), tokens: None };
        appender.row(&schema, row).unwrap();
        let position = appender.commit().unwrap();
        appender.hand_over().await.unwrap();
        appender.wait_durable(position.commit).await.unwrap();
    }
    appender.close().await.unwrap();
}

async fn make(service: &Service, name: &TrailName, settings: TrailSettings) -> Result<(), TrailError> {
    service.trails().make(Principal::House, name, Writer::Puts, Some(settings)).await.map(drop)
}

fn trail(service: &Service, name: &str) -> Trail {
    let entry = service.trails().get(&TrailName::new(name).unwrap()).unwrap();
    entry.served().unwrap().clone()
}

fn removed(trail: &Trail, rule: RetentionRule) -> u64 {
    trail.status().counters.removed[rule as usize].0
}

#[tokio::test]
async fn segments_go_after_seven_days_unless_the_trail_says_otherwise() {
    let home = tempfile::tempdir().unwrap();
    let (service, clock) = served(home.path(), &["t1", "t2"]).await;
    let (usual, shorter) = (trail(&service, "t1"), trail(&service, "t2"));
    let before = usual.status().segments;
    assert!(before > 3);
    let settings =
        TrailSettings { retention_seconds: Some(3_600), retention_bytes: None, segment_bytes: None, partitions: None };
    service.trails().set_settings(Principal::House, &TrailName::new("t2").unwrap(), settings).await.unwrap();
    clock.advance_seconds(3_601);
    service.retention().pass();
    assert_eq!((usual.status().segments, shorter.status().segments), (before, 1));
    clock.advance_seconds(7 * DAY_SECONDS - 3_601);
    service.retention().pass();
    assert_eq!(usual.status().segments, before, "not older than a week");
    clock.advance_seconds(1);
    service.retention().pass();
    // The last segment stays, however old it is.
    assert_eq!((usual.status().segments, shorter.status().segments), (1, 1));
    assert_eq!(removed(&usual, RetentionRule::Age), before as u64 - 1);
    assert!(usual.status().counters.removed[RetentionRule::Age as usize].1 > 0);
    assert_eq!((removed(&usual, RetentionRule::Size), removed(&usual, RetentionRule::Disk)), (0, 0));
    assert!(usual.status().first_commit > 1 && usual.status().last_commit == 40);
}

#[tokio::test]
async fn segments_go_while_the_trail_is_larger_than_it_may_be() {
    let home = tempfile::tempdir().unwrap();
    let (service, _) = served(home.path(), &["t1"]).await;
    let trail = trail(&service, "t1");
    let bytes = trail.bytes();
    let settings =
        TrailSettings { retention_seconds: None, retention_bytes: Some(bytes), segment_bytes: None, partitions: None };
    service.trails().set_settings(Principal::House, trail.name(), settings).await.unwrap();
    service.retention().pass();
    assert_eq!(trail.bytes(), bytes, "it fits");
    let settings = TrailSettings {
        retention_seconds: None,
        retention_bytes: Some(bytes / 2),
        segment_bytes: None,
        partitions: None,
    };
    service.trails().set_settings(Principal::House, trail.name(), settings).await.unwrap();
    service.retention().pass();
    assert!(trail.bytes() <= bytes / 2 && trail.bytes() > bytes / 2 - 2 * limits::SEGMENT_BYTES_MIN);
    assert!(removed(&trail, RetentionRule::Size) > 0 && removed(&trail, RetentionRule::Age) == 0);
    let settings =
        TrailSettings { retention_seconds: None, retention_bytes: Some(1), segment_bytes: None, partitions: None };
    service.trails().set_settings(Principal::House, trail.name(), settings).await.unwrap();
    service.retention().pass();
    assert_eq!(trail.status().segments, 1, "never the last");
}

#[tokio::test]
async fn the_oldest_segments_of_all_trails_go_when_these_take_more_than_their_share_of_the_disk() {
    let home = tempfile::tempdir().unwrap();
    let (service, clock) = served(home.path(), &["t1"]).await;
    let older = trail(&service, "t1");
    clock.advance_seconds(60);
    let name = TrailName::new("t2").unwrap();
    let options = TrailOptions { segment_bytes: limits::SEGMENT_BYTES_MIN, ..TrailOptions::default() };
    let folder = home.path().join("other/t2");
    let newer = Trail::create(&folder, name, Writer::Puts, &options, Arc::new(SystemDisk), clock).unwrap();
    fill(&newer).await;
    let (trails, segments) = ([newer.clone(), older.clone()], newer.status().segments);
    let both = newer.bytes() + older.bytes();
    keep_within(&trails, both).unwrap();
    assert_eq!(older.bytes() + newer.bytes(), both, "they fit");
    keep_within(&trails, both * 3 / 4).unwrap();
    assert!(older.bytes() + newer.bytes() <= both * 3 / 4);
    assert_eq!(newer.status().segments, segments, "the other trail's are older");
    assert!(removed(&older, RetentionRule::Disk) > 0);
    keep_within(&trails, 0).unwrap();
    assert_eq!((older.status().segments, newer.status().segments), (1, 1), "never the last of any trail");
}

#[tokio::test]
async fn a_trail_whose_options_cannot_be_stored_is_not_made() {
    let home = tempfile::tempdir().unwrap();
    let (service, _) = served(home.path(), &[]).await;
    let name = TrailName::new("t1").unwrap();
    make(&service, &name, TrailSettings::default()).await.unwrap();
    assert!(matches!(make(&service, &name, TrailSettings::default()).await, Err(TrailError::Exists(_))));
    assert!(service.trails().get(&name).is_some(), "the one that was there stays");
}

#[tokio::test]
async fn a_trail_whose_options_cannot_be_read_keeps_everything() {
    let home = tempfile::tempdir().unwrap();
    let (service, clock) = served(home.path(), &["t1", "t2"]).await;
    let (unreadable, usual) = (trail(&service, "t1"), trail(&service, "t2"));
    let before = unreadable.status().segments;
    service.catalog().put(Shelf::Trails, "t1", &"no options").unwrap();
    clock.advance_seconds(30 * DAY_SECONDS);
    service.retention().pass();
    assert_eq!(unreadable.status().segments, before, "it may have been told to keep a year");
    assert_eq!(usual.status().segments, 1);
}

/// Every file of a folder with its bytes.
fn files(folder: &Path) -> std::collections::BTreeMap<std::path::PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[tokio::test]
async fn who_holds_a_deleted_trail_does_not_touch_the_one_that_is_made_in_its_place() {
    use crate::record::{Position, xid_hash};
    use crate::trail::Begin;
    let home = tempfile::tempdir().unwrap();
    let (service, clock) = served(home.path(), &["t1"]).await;
    let (name, old) = (TrailName::new("t1").unwrap(), trail(&service, "t1"));
    let mut appender = old.appender().unwrap();
    let at_begin = old.read(Begin::Earliest).await.unwrap();
    service.trails().delete(Principal::House, &name).await.unwrap();
    let segment_bytes = Some(limits::SEGMENT_BYTES_MIN);
    make(&service, &name, TrailSettings { segment_bytes, ..TrailSettings::default() }).await.unwrap();
    fill(&trail(&service, "t1")).await;
    let folder = home.path().join("trails/t1");
    let made = files(&folder);
    assert!(made.len() > 10);

    // A pass of retention that had begun before.
    clock.advance_seconds(30 * DAY_SECONDS);
    let trimmed = old.retain(&Retention { age_seconds: Some(1), bytes: Some(1), floor: None }).unwrap();
    assert_eq!((trimmed.segments, old.bytes()), (0, 0));
    keep_within(std::slice::from_ref(&old), 0).unwrap();
    // Seeks, which write indexes, and readers that come to their next segment.
    for commit in 1..=40 {
        let xid_hash = xid_hash(&format!("x{commit}"));
        let _ = old.read(Begin::After(Position { epoch: old.epoch(), commit, record: 0, xid_hash })).await;
    }
    let mut reader = at_begin;
    while let Ok(crate::trail::Fill::Filled) = reader.fill().await {
        while let Ok(Some(entry)) = reader.next() {
            assert!(!matches!(entry, crate::trail::Entry::Gap(_)));
        }
    }
    // A writer that goes on, closes segments and makes new ones, or gives up.
    let big = appender.schema(&TableName::parse("t.rows").unwrap(), &[]).unwrap();
    for number in 0..60 {
        let head = TransactionHead { xid: format!("late{number}"), ..TransactionHead::default() };
        if appender.begin(&head).is_err() {
            break;
        }
        let row = Row { operation: Operation::Insert, before: None, after: None, tokens: Some(&"v".repeat(900)) };
        appender.row(&big, row).unwrap();
        appender.commit().unwrap();
        let _ = appender.hand_over().await;
    }
    let _ = appender.close().await;
    assert!(old.appender().is_err(), "its writing end is had no more");
    assert_eq!(files(&folder), made);
    drop((old, reader, service));
    let service = Service::open(home.path(), clock, Default::default()).unwrap();
    assert_eq!(trail(&service, "t1").status().last_commit, 40);
}

#[tokio::test]
async fn a_trail_is_not_made_changed_or_deleted_while_the_options_of_one_of_its_name_are() {
    let home = tempfile::tempdir().unwrap();
    let (service, _) = served(home.path(), &["t1"]).await;
    let (there, new) = (TrailName::new("t1").unwrap(), TrailName::new("t2").unwrap());
    let settings = TrailSettings { retention_seconds: Some(77), ..TrailSettings::default() };
    let changing = service.trails().hold_changes().await;
    let soon = std::time::Duration::from_millis(50);
    let (made, changed, deleted) = tokio::join!(
        tokio::time::timeout(soon, make(&service, &new, settings)),
        tokio::time::timeout(soon, service.trails().set_settings(Principal::House, &there, settings)),
        tokio::time::timeout(soon, service.trails().delete(Principal::House, &there)),
    );
    assert!(made.is_err() && changed.is_err() && deleted.is_err());
    drop(changing);
    service.trails().delete(Principal::House, &there).await.unwrap();
    make(&service, &there, settings).await.unwrap();
    assert_eq!(service.trails().settings(Principal::House, &there).await.unwrap(), Some(settings));
}

/// Whether the figure says that nothing is removed for its age.
fn age_suspended(service: &Service) -> bool {
    service.metrics(Principal::House).text().contains("trailcast_retention_age_suspended 1\n")
}

#[tokio::test]
async fn a_clock_that_jumps_by_a_week_takes_nothing_until_it_has_run_steadily_for_a_day() {
    for step in [8 * DAY_SECONDS, -8 * DAY_SECONDS] {
        let home = tempfile::tempdir().unwrap();
        let (service, clock) = served(home.path(), &["t1"]).await;
        let trail = trail(&service, "t1");
        let before = trail.status().segments;
        service.retention().pass();
        clock.set_by_seconds(step);
        clock.advance_seconds(10);
        service.retention().pass();
        assert_eq!(trail.status().segments, before, "{step}");
        assert!(age_suspended(&service));
        assert_eq!(service.retention().age_suspension().unwrap().0.step_seconds, step);
        assert!(
            service
                .health(Principal::House)
                .warnings
                .iter()
                .any(|warning| warning.contains(&format!("set by {step} s")))
        );
        // The other limits hold.
        let settings = TrailSettings { retention_bytes: Some(trail.bytes() / 2), ..TrailSettings::default() };
        service.trails().set_settings(Principal::House, trail.name(), settings).await.unwrap();
        service.retention().pass();
        let kept = trail.status().segments;
        assert!(kept > 1 && kept < before, "{kept} of {before}");
        // A day is what is left, and a second less is not enough.
        clock.advance_seconds(DAY_SECONDS - 1);
        service.retention().pass();
        assert_eq!(trail.status().segments, kept);
        clock.advance_seconds(1);
        service.retention().pass();
        assert!(!age_suspended(&service) && service.health(Principal::House).warnings.is_empty());
        // By then they are old in truth where the clock was set back, too.
        clock.advance_seconds(16 * DAY_SECONDS);
        service.retention().pass();
        assert_eq!(trail.status().segments, 1, "an idle trail ages");
        drop(service);
    }
}

#[tokio::test]
async fn steps_of_up_to_an_hour_and_time_that_goes_by_suspend_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (service, clock) = served(home.path(), &["t1"]).await;
    for _ in 0..5 {
        service.retention().pass();
        clock.set_by_seconds(3_600);
        service.retention().pass();
        clock.set_by_seconds(-3_600);
        clock.advance_seconds(2 * DAY_SECONDS);
    }
    service.retention().pass();
    assert_eq!(service.retention().age_suspension(), None);
    assert_eq!(trail(&service, "t1").status().segments, 1);
}

#[tokio::test]
async fn the_clock_is_confirmed_by_a_person_and_not_by_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let (service, clock) = served(home.path(), &["t1"]).await;
    let before = trail(&service, "t1").status().segments;
    service.retention().pass();
    clock.set_by_seconds(30 * DAY_SECONDS);
    service.retention().pass();
    let suspension = service.retention().age_suspension().unwrap().0;
    drop(service);
    let service = Service::open(home.path(), clock.clone(), Default::default()).unwrap();
    service.retention().pass();
    assert_eq!(trail(&service, "t1").status().segments, before);
    assert_eq!(service.retention().age_suspension(), Some((suspension, DAY_SECONDS as u64)));
    service.retention().confirm_clock(Principal::House).await.unwrap();
    assert_eq!(service.retention().age_suspension(), None);
    service.retention().pass();
    assert_eq!(trail(&service, "t1").status().segments, 1);
    drop(service);
    let service = Service::open(home.path(), clock, Default::default()).unwrap();
    assert_eq!(service.retention().age_suspension(), None);
}

async fn join(service: &Service, trail: &Trail, group: &str) -> Membership {
    let joining = Joining {
        stream: &ResourceName::new("s1").unwrap(),
        trail,
        group: &GroupName::new(group).unwrap(),
        member: MemberName::new("m").unwrap(),
        timeout: None,
        skips_forward: false,
    };
    let beginning = Position::behind(trail.epoch(), 0);
    let start = || std::future::ready(Ok::<_, GroupError>(beginning));
    service.groups().join(Principal::House, joining, start, || true).await.unwrap()
}

async fn commit(member: &Membership, trail: &Trail, commit: u64) {
    let owned = member.share().unwrap().0[0];
    let place = (owned.partition, owned.generation, Position::behind(trail.epoch(), commit));
    assert_eq!(member.commit(&[place]).await.unwrap().taken.len(), 1);
}

#[tokio::test]
async fn what_a_group_has_not_committed_stays_until_it_has() {
    let home = tempfile::tempdir().unwrap();
    let (service, clock) = served(home.path(), &["t1"]).await;
    let trail = trail(&service, "t1");
    let (slow, quick) = (join(&service, &trail, "slow").await, join(&service, &trail, "quick").await);
    clock.advance_seconds(8 * DAY_SECONDS);
    service.retention().pass();
    assert_eq!(trail.status().first_commit, 1, "nobody has committed anything");
    commit(&slow, &trail, 20).await;
    service.retention().pass();
    assert_eq!(trail.status().first_commit, 1, "one of them has not");
    commit(&quick, &trail, 40).await;
    service.retention().pass();
    let first = trail.status().first_commit;
    assert!(first > 1 && first <= 21, "{first}");
    commit(&slow, &trail, 40).await;
    service.retention().pass();
    assert_eq!(trail.status().segments, 1);
}

#[tokio::test]
async fn a_group_keeps_twice_what_its_trail_may_have_and_no_more() {
    let home = tempfile::tempdir().unwrap();
    let (service, _) = served(home.path(), &["t1"]).await;
    let trail = trail(&service, "t1");
    let member = join(&service, &trail, "g1").await;
    let settings = TrailSettings { retention_bytes: Some(6_000), ..TrailSettings::default() };
    service.trails().set_settings(Principal::House, trail.name(), settings).await.unwrap();
    service.retention().pass();
    let bytes = trail.bytes();
    assert!(trail.status().first_commit > 1 && bytes > 6_000, "{bytes}");
    let shown = service.groups().list(Principal::House);
    assert_eq!(shown[0].state, GroupState::Overtaken);
    drop(member);
    service.retention().pass();
    assert!(trail.bytes() < bytes, "what it has lost already holds nothing");
}

#[tokio::test]
async fn a_group_that_nobody_uses_ends_and_its_hold_with_it() {
    let home = tempfile::tempdir().unwrap();
    let (service, clock) = served(home.path(), &["t1"]).await;
    let trail = trail(&service, "t1");
    let member = join(&service, &trail, "g1").await;
    clock.advance_seconds(8 * DAY_SECONDS);
    service.groups().end_unused().await;
    drop(member);
    clock.advance_seconds(7 * DAY_SECONDS);
    service.groups().end_unused().await;
    service.retention().pass();
    assert_eq!((service.groups().list(Principal::House).len(), trail.status().first_commit), (1, 1));
    clock.advance_seconds(1);
    service.groups().end_unused().await;
    service.retention().pass();
    assert_eq!((service.groups().list(Principal::House).len(), trail.status().segments), (0, 1));
}

#[tokio::test]
async fn a_clock_that_is_set_ends_no_group() {
    let home = tempfile::tempdir().unwrap();
    let (service, clock) = served(home.path(), &["t1"]).await;
    drop(join(&service, &trail(&service, "t1"), "g1").await);
    // Nobody has looked at the clock yet.
    clock.set_by_seconds(400 * DAY_SECONDS);
    service.groups().end_unused().await;
    assert_eq!(service.groups().list(Principal::House).len(), 1);
    clock.set_by_seconds(-800 * DAY_SECONDS);
    clock.advance_seconds(8 * DAY_SECONDS);
    service.groups().end_unused().await;
    assert_eq!(service.groups().list(Principal::House).len(), 0, "it has not been used for a week");
}

/// The one group that there is.
fn only(service: &Service) -> GroupInfo {
    service.groups().list(Principal::House).remove(0)
}

fn standing(info: &GroupInfo) -> Vec<(u16, u64, bool)> {
    info.partitions.iter().map(|of| (of.partition, of.position.commit, of.is_finished)).collect()
}

/// Forty transactions more, in both halves of the keys.
async fn put_forty(service: &Service, trail: &Trail) {
    for number in 0..40 {
        let message = format!("{{\"op\":\"MESSAGE\",\"key\":\"{number}\",\"value\":\"{}\"}}", "v".repeat(500));
        let body = format!("{{\"operations\":[{message}]}}");
        service.puts().put(Principal::House, trail.name(), body.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn a_group_goes_on_in_the_halves_of_a_partition_whatever_was_removed_before_them_also_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let (service, clock) = served(home.path(), &["t1"]).await;
    let of_first_life = trail(&service, "t1");
    let member = join(&service, &of_first_life, "g1").await;
    commit(&member, &of_first_life, 40).await;
    clock.advance_seconds(8 * DAY_SECONDS);
    service.retention().pass();
    let first = of_first_life.status().first_commit;
    assert!(first > 1, "{first}");
    let split = PartitionChange::Split { partition: 0, at: None };
    service.trails().change_partitions(Principal::House, of_first_life.name(), split).await.unwrap();
    // Nobody has looked at the trail since; the group began at 0, long before its halves.
    let info = only(&service);
    assert_eq!((info.state, standing(&info)), (GroupState::Ready, vec![(0, 40, true), (1, 40, false), (2, 40, false)]));
    assert_eq!(info.lag_transactions(), Some(0));
    put_forty(&service, &of_first_life).await;
    member.look_at_trail();
    let share = member.share().unwrap();
    assert_eq!((share.kept(), share.0[0].committed.commit), (vec![1, 2], 40));
    let behind = Position::behind(of_first_life.epoch(), 80);
    let places: Vec<_> = share.0.iter().map(|owned| (owned.partition, owned.generation, behind)).collect();
    assert_eq!(member.commit(&places).await.unwrap().taken.len(), 2);
    clock.advance_seconds(8 * DAY_SECONDS);
    service.retention().pass();
    assert!(of_first_life.status().first_commit > 41, "{:?}", of_first_life.status());
    drop((member, of_first_life));
    service.close().await;
    drop(service);
    let service = Service::open(home.path(), clock, Default::default()).unwrap();
    let info = only(&service);
    assert_eq!((info.state, standing(&info)), (GroupState::Ready, vec![(0, 40, true), (1, 80, false), (2, 80, false)]));
    let trail = trail(&service, "t1");
    let retention = service.groups().floor_of(&trail, None).unwrap();
    assert_eq!(retention.position, behind, "what is read to its end keeps nothing");
    assert_eq!(join(&service, &trail, "g1").await.share().unwrap().kept(), [1, 2]);
}
