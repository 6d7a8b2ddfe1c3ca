//! Goal: whatever is killed, a consumer group is sent every record at least once, and nothing comes again that was acknowledged on a
//! connection which was closed in good order.
//!
//! Method: three members of a group over a trail of four partitions take messages that are put all the while. At random the server
//! is killed and started again, a member is cut off, or one acknowledges all that it has, closes, and comes back. In the end every
//! message must have come to some member. The control is a server that does not write acknowledgements down: the same check must
//! see messages come again.
//!
//! `TRAILCAST_KILLS=n` and `TRAILCAST_SEED=n` choose how many kills and which moments.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::Server;
use crate::support::random::Random;
use crate::support::subscriber::{Next, Subscriber};

const MEMBERS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a member is listened to at a time.
const TURN: Duration = Duration::from_millis(20);
const GROUP: &str = "/services/v2/stream/s1/groups/g1";

fn asked(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// One of the members, and what it was sent on its connection.
#[derive(Default)]
struct Member {
    socket: Option<Subscriber>,
    came: Vec<u64>,
    last: Option<String>,
}

struct World {
    server: Server,
    random: Random,
    members: Vec<Member>,
    put: u64,
    came: BTreeSet<u64>,
    /// What was acknowledged on a connection that was closed in good order.
    settled: BTreeSet<u64>,
    again: BTreeMap<u64, u32>,
}

impl World {
    fn new(environment: &[(&str, &str)], seed: u64) -> Self {
        let server = Server::start_with(&[], environment);
        server.post("/services/v2/trails/a1", &json!({"partitions": 4})).expect(200);
        server.make_stream("s1", "a1");
        let members = (0..MEMBERS).map(|_| Member::default()).collect();
        let (came, settled, again) = Default::default();
        Self { server, random: Random::new(seed), members, put: 0, came, settled, again }
    }

    fn put(&mut self) {
        let message = |n: u64| {
            let operation = json!({"op": "MESSAGE", "key": format!("k{}", n % 97), "value": {"n": n}});
            json!({"xid": n.to_string(), "operations": [operation]})
        };
        let messages: Vec<Value> = (self.put..self.put + 20).map(message).collect();
        self.server.put("a1", &messages).expect(200);
        self.put += 20;
    }

    /// A member takes what there is for it; one that is not connected connects.
    fn turn(&mut self, number: usize) {
        let member = &mut self.members[number];
        if member.socket.is_none() {
            let socket = self.server.subscribe("s1", &format!("group=g1&member=m{number}"));
            *member = Member { socket: Some(socket.unwrap()), ..Member::default() };
        }
        let Some(socket) = &mut member.socket else { return };
        loop {
            match socket.next(TURN) {
                Next::Record(record) => {
                    if record.op_type() == Some("GROUP_ASSIGNMENT") {
                        if let Some(last) = &member.last {
                            let _ = socket.acknowledge(last);
                        }
                    } else if let Some(n) = record.json["after"]["value"]["n"].as_u64() {
                        member.last = record.pos().map(str::to_owned);
                        member.came.push(n);
                        self.came.insert(n);
                        if self.settled.contains(&n) {
                            *self.again.entry(n).or_default() += 1;
                        }
                    }
                }
                Next::Quiet => break,
                Next::Ended(_) => return member.socket = None,
            }
        }
        if self.random.number() % 2 == 0
            && let Some(last) = &member.last
        {
            let _ = socket.acknowledge(last);
        }
    }

    /// A member acknowledges all that it has, and goes in good order.
    fn leave(&mut self, number: usize) {
        let Member { socket: Some(mut socket), came, last } = std::mem::take(&mut self.members[number]) else { return };
        if let Some(last) = &last
            && socket.acknowledge(last).is_err()
        {
            return;
        }
        if socket.close().is_none() {
            return;
        }
        let name = format!("m{number}");
        self.server.get_until(GROUP, |group| {
            group["members"].as_array().unwrap().iter().all(|member| member["member"] != name.as_str())
        });
        self.settled.extend(came);
    }

    fn kill_server(&mut self) {
        self.server.kill();
        self.members.iter_mut().for_each(|member| *member = Member::default());
        self.server.start_again();
    }

    fn run(&mut self, kills: u64) {
        let mut killed = 0;
        while killed < kills {
            self.put();
            for number in 0..MEMBERS {
                self.turn(number);
            }
            let number = (self.random.number() % MEMBERS as u64) as usize;
            match self.random.number() % 6 {
                0 => {
                    self.kill_server();
                    killed += 1;
                }
                1 => {
                    self.members[number] = Member::default();
                    killed += 1;
                }
                2 | 3 => self.leave(number),
                _ => {}
            }
        }
    }

    /// Everything that was put has come; says so, or what has not.
    fn everything_came(&mut self) {
        let all: BTreeSet<u64> = (0..self.put).collect();
        let deadline = Instant::now() + PATIENCE;
        while self.came != all {
            assert!(Instant::now() < deadline, "never came: {:?}", all.difference(&self.came).collect::<Vec<_>>());
            for number in 0..MEMBERS {
                self.turn(number);
            }
        }
    }
}

#[test]
fn three_members_are_sent_everything_and_nothing_again_that_was_settled_whatever_is_killed() {
    let seed = asked("TRAILCAST_SEED", 1);
    let mut world = World::new(&[], seed);
    world.run(asked("TRAILCAST_KILLS", 6));
    world.everything_came();
    assert!(world.again.is_empty(), "seed {seed}: settled, and came again: {:?}", world.again);
    assert!(!world.settled.is_empty() || world.put < 200, "nobody ever left in good order");
}

#[test]
#[cfg(feature = "fault-injection")]
fn control_a_server_that_writes_no_acknowledgement_down_is_seen_to_send_settled_messages_again() {
    let mut world = World::new(&[("TRAILCAST_TEST_FORGET_COMMITS", "1")], 2);
    world.put();
    world.everything_came();
    (0..MEMBERS).for_each(|number| world.leave(number));
    assert!(!world.settled.is_empty());
    world.kill_server();
    let deadline = Instant::now() + PATIENCE;
    while world.again.is_empty() {
        assert!(Instant::now() < deadline, "nothing came again");
        (0..MEMBERS).for_each(|number| world.turn(number));
    }
}
