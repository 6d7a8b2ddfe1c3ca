//! Goal: whoever joins is in a group that is there, whatever is done to it at the same moment. Method: both at once.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::clock::SystemClock;
use crate::service::Service;
use crate::trail::Writer;

async fn served(home: &Path) -> (Service, Trail) {
    let service = Service::open(home, Arc::new(SystemClock), Default::default()).unwrap();
    let name = TrailName::new("t1").unwrap();
    service.trails().make(Principal::House, &name, Writer::Puts, None).await.unwrap();
    let trail = service.trails().get(&name).unwrap().served().unwrap().clone();
    (service, trail)
}

fn names() -> (ResourceName, GroupName) {
    (ResourceName::new("s1").unwrap(), GroupName::new("g1").unwrap())
}

async fn join(service: &Service, trail: &Trail, begin: u64) -> Membership {
    let (stream, group) = names();
    let member = MemberName::new("m").unwrap();
    let joining = Joining { stream: &stream, trail, group: &group, member, timeout: None, skips_forward: false };
    let start = Position::behind(trail.epoch(), begin);
    let start = || std::future::ready(Ok::<_, GroupError>(start));
    service.groups().join(Principal::House, joining, start, || true).await.unwrap()
}

#[tokio::test]
async fn who_joins_while_a_group_is_removed_is_in_one_that_is_made_anew() {
    let home = tempfile::tempdir().unwrap();
    let (service, trail) = served(home.path()).await;
    let (stream, group) = names();
    drop(join(&service, &trail, 0).await);
    let (removed, member) = tokio::join!(service.groups().remove(&stream, &group), join(&service, &trail, 7));
    removed.unwrap();
    let shown = service.groups().describe(Principal::House, &stream, &group).unwrap();
    assert_eq!((shown.members.len(), shown.partitions[0].position.commit), (1, 7), "it begins where this one said");
    let refused = service.groups().remove(&stream, &group).await.unwrap_err();
    assert!(matches!(refused, GroupError::HasMembers { .. }), "{refused}");
    drop(member);
    service.groups().remove(&stream, &group).await.unwrap();
}

#[tokio::test]
async fn who_joins_while_a_group_is_reset_begins_at_the_new_place_and_stays_in() {
    let home = tempfile::tempdir().unwrap();
    let (service, trail) = served(home.path()).await;
    let (stream, group) = names();
    drop(join(&service, &trail, 0).await);
    let place = Position::behind(trail.epoch(), 9);
    let (reset, member) =
        tokio::join!(service.groups().reset(&stream, &group, &trail, place), join(&service, &trail, 0));
    reset.unwrap();
    assert_eq!(member.share().unwrap().0[0].committed, place);
}

#[tokio::test]
async fn partitions_of_a_group_are_no_strays_whatever_other_groups_are_called() {
    let home = tempfile::tempdir().unwrap();
    let (service, trail) = served(home.path()).await;
    let (stream, _) = names();
    let changes = ["g", "g-2", "g.3"].into_iter().flat_map(|name| {
        let group = GroupName::new(name).unwrap();
        let stored = service.groups().begun(&trail, &Position::behind(trail.epoch(), 0));
        let commit = stored::StoredCommit { life: stored.life, place: (1, 0, 0) };
        [set(group_key(&stream, &group), &stored), set(stored::partition_key(&stream, &group, 0), &commit)]
    });
    let stray = set(stored::partition_key(&stream, &GroupName::new("gone").unwrap(), 0), &0);
    service.groups().cursors.write(changes.chain([stray]).collect()).await.unwrap();
    let (groups, strays) = stored::groups(&service.groups().cursors);
    assert_eq!((groups.len(), strays), (3, vec!["stream/s1/gone/0".to_owned()]));
}
