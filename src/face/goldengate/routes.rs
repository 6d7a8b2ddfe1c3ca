//! Every operation of this face, and the ways in which its path may be reached.

use axum::Router;
use bytes::Bytes;

use super::proxied::ways;
use super::{
    Call, GoldenGate, commands, credentials, document, extract_check, extracts, front_page, groups, health, loads,
    metadata_catalog, openapi, partitions, records, retention, socket, streams, tokens, trails, users,
};
use crate::face::{Hall, Operations};

/// All routes of the native face.
pub(super) fn routes() -> Router<Hall> {
    // Of what stands in the program alone: that it can be written is shown by a test.
    let document = openapi::written_for(operations(Bytes::new())).unwrap_or_default();
    operations(document.into()).router::<GoldenGate>(ways)
}

/// What the routes and the OpenAPI document are made from; the document is one of the things that are served.
fn operations(document: Bytes) -> Operations {
    let mut operations =
        Operations::none().add(front_page::__path_show, front_page::show).add(streams::__path_list, streams::list);
    for (more, suffix) in [("", ""), ("/", "WithSlash")] {
        operations = operations
            .add_at(more, suffix, socket::__path_get_or_upgrade, socket::get_or_upgrade)
            .add_at(more, suffix, streams::__path_make, streams::make)
            .add_at(more, suffix, streams::__path_patch, streams::patch)
            .add_at(more, suffix, streams::__path_remove, streams::remove);
    }
    operations
        .add(records::__path_poll, records::poll)
        .add(streams::__path_info, streams::info)
        .add(streams::__path_errors, streams::errors)
        .add(groups::__path_list, groups::list)
        .add(groups::__path_describe, groups::describe)
        .add(groups::__path_reset, groups::reset)
        .add(groups::__path_remove, groups::remove)
        .add(document::__path_goldengate_yaml, document::goldengate_yaml)
        .add(document::__path_replace_yaml, document::replace_yaml)
        .add(document::__path_asyncapi_yaml, document::asyncapi_yaml)
        .add(document::__path_asyncapi_json, document::asyncapi_json)
        .add(metadata_catalog::__path_list, metadata_catalog::list)
        .add(metadata_catalog::__path_describe, metadata_catalog::describe)
        .add(commands::__path_sources, commands::sources)
        .add(trails::__path_list, trails::list)
        .add(trails::__path_describe, trails::describe)
        .add(trails::__path_make, trails::make)
        .add(trails::__path_patch, trails::patch)
        .add(trails::__path_remove, trails::remove)
        .add(trails::__path_put, trails::put)
        .add(partitions::__path_list, partitions::list)
        .add(partitions::__path_change, partitions::change)
        .add(extracts::__path_list, extracts::list)
        .add(extracts::__path_describe, extracts::describe)
        .add(extracts::__path_make, extracts::make)
        .add(extracts::__path_patch, extracts::patch)
        .add(extracts::__path_remove, extracts::remove)
        .add(extracts::__path_info, extracts::info)
        .add(extract_check::__path_of_extract, extract_check::of_extract)
        .add(extract_check::__path_of_new, extract_check::of_new)
        .add(loads::__path_describe, loads::describe)
        .add(loads::__path_load, loads::load)
        .add(loads::__path_patch, loads::patch)
        .add(commands::__path_command, commands::command)
        .add(commands::__path_report, commands::report)
        .add(commands::__path_execute, commands::execute)
        .add(commands::__path_replicats, commands::replicats)
        .add(commands::__path_roles, commands::roles)
        .add(credentials::__path_domains, credentials::domains)
        .add(credentials::__path_aliases, credentials::aliases)
        .add(credentials::__path_describe, credentials::describe)
        .add(credentials::__path_add, credentials::add)
        .add(credentials::__path_put, credentials::put)
        .add(credentials::__path_remove, credentials::remove)
        .add(retention::__path_describe, retention::describe)
        .add(retention::__path_patch, retention::patch)
        .add(users::__path_list, users::list)
        .add(users::__path_describe, users::describe)
        .add(users::__path_add, users::add)
        .add(users::__path_change, users::change)
        .add(users::__path_remove, users::remove)
        .add(tokens::__path_make, tokens::make)
        .add(health::__path_metrics, health::metrics)
        .add(health::__path_alive, health::alive)
        .add(health::__path_ready, health::ready)
        .add(openapi::__path_document, move |call: Call| openapi::document(call, document.clone()))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_reference_of_the_document_leads_somewhere() {
        fn references(part: &Value, found: &mut Vec<String>) {
            match part {
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    members.values().for_each(|member| references(member, found));
                }
                Value::Array(parts) => parts.iter().for_each(|part| references(part, found)),
                _ => {}
            }
        }
        let document: Value = serde_json::from_str(&openapi::written_for(operations(Bytes::new())).unwrap()).unwrap();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 100, "{found:?}");
        for target in found {
            assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target}");
        }
    }
}
