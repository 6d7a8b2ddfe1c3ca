//! A face reaches trails, streams, extracts and users through doors that ask who calls, so that grants hold for every face
//! alike.

use super::{Breach, Source, breaks, nothing_breaks};

fn unasked(source: &Source) -> Vec<Breach> {
    // Looks whose name it is that somebody tried, and says nothing of it to him.
    if !source.is("face/") || source.is("face/audit.rs") {
        return Vec::new();
    }
    source.breaches_of_words(&[
        "Principal::House",
        "trails().get(",
        "streams().get(",
        "extracts().get(",
        "service.accounts()",
        "service().accounts()",
    ])
}

#[test]
fn a_face_does_nothing_as_the_house() {
    nothing_breaks(unasked);
}

#[test]
fn the_rule_of_what_is_asked_sees_what_is_not() {
    assert!(breaks(unasked, "face/kinesis/get.rs", "let trail = call.service().trails().get(&name);"));
    assert!(breaks(unasked, "face/oci/list.rs", "let streams = hall.service.streams().list(Principal::House);"));
    assert!(breaks(unasked, "face/goldengate/users.rs", "call.service().accounts().list().await?"));
    assert!(!breaks(unasked, "face/oci/list.rs", "let streams = call.service().streams().list(call.principal());"));
    assert!(!breaks(unasked, "cli/furnish.rs", "service.streams().list(Principal::House);"));
}
