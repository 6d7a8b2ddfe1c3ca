//! The OpenAPI document, made from the operations and from the types of their answers.
//!
//! Some schemas no type says, and they stand in `written_schemas.json`: those of bodies that are read member by member, with
//! rules between the members, and that of an extract, which has parts of its own for each database product, as the capture
//! shows them. That of a stream's configuration is the catalog's. That what it says is what is answered is shown by
//! `tests/faces/openapi.rs`, which asks every operation and holds the answers against it.

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ComponentsBuilder, Object, ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Info, License, OpenApi, OpenApiBuilder, Ref, RefOr, Required, Server};

use super::Call;
use super::error_answer::ErrorAnswer;
use crate::access::Role;
use crate::catalog::stream::config_schema;
use crate::face::Operations;
use crate::face::operation::refusals;

const DESCRIPTION: &str = "Routes below /services/v2/stream, /services/v2/metadata-catalog and /services/v2/sources are \
    also served below /services/distsrvr/v2, and those below trails, extracts, commands, replicats, authorizations and \
    credentials below /services/adminsrvr/v2, as a GoldenGate reverse proxy shows them; the deployment's name may stand \
    after /services. The stream's socket is described by its own AsyncAPI document. HEAD is answered where GET is. Every \
    other method is answered with 405 and the header Allow, every other path with 404, both in the envelope. A request that \
    is no HTTP is answered with 400, one whose header is too large with 431, without a body. A body without a Content-Type, \
    or with one that clients send who were told nothing (application/x-www-form-urlencoded, text/plain), is read as the \
    first media type that its route lists; any other type is refused with 415. A body whose Content-Length is over the \
    route's limit is refused with 413 before it is sent (Expect: 100-continue). While clients leave too much of their \
    answers unread, an answer of more than 4 KiB is refused with 503 and Retry-After. Pages of the origins in \
    allowedOrigins may use every route (CORS); a browser's question before such a request (OPTIONS) is answered with 204.";

/// Schemas by name.
const WRITTEN: &str = include_str!("written_schemas.json");

/// Headers that an answer has in some cases only; any other that is described is always there.
const AT_TIMES: [&str; 2] = ["Retry-After", "Accept-Encoding"];

/// This document
///
/// Role: User.
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi",
    responses((status = 200, description = "This document", body = ref("#/components/schemas/OpenApiDocument"),
        content_type = "application/json")))]
pub(super) async fn document(call: Call, text: Bytes) -> Result<Response, ErrorAnswer> {
    call.require(Role::User)?;
    let mut response = Response::new(axum::body::Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// The document of these operations, as text.
pub(super) fn written_for(operations: Operations) -> Result<String, serde_json::Error> {
    let mut document = serde_json::to_value(described(operations))?;
    document["info"]["summary"] = "Data streams over REST and WebSocket".into();
    let schemas = &mut document["components"]["schemas"];
    for (name, schema) in written()? {
        schemas[name] = schema;
    }
    refer_to_responses(schemas);
    say_which_headers_are_there(&mut document);
    Ok(format!("{document:#}\n"))
}

/// What the operations and the types say.
fn described(operations: Operations) -> OpenApi {
    let (paths, schemas) = operations.described(parameters_of);
    let mut info = Info::new("Trailcast", "1.0.0");
    info.description = Some(DESCRIPTION.into());
    let mut license = License::new("Apache 2.0");
    license.identifier = Some("Apache-2.0".into());
    info.license = Some(license);
    let mut components = ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .responses_from_iter(refusals(&Ref::from_schema_name("Refusal")))
        .security_scheme("basicAuth", SecurityScheme::Http(Http::new(HttpAuthScheme::Basic)))
        .security_scheme("bearerAuth", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    for (name, parameter) in parameters() {
        components = components.parameter(name, parameter);
    }
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([Server::new("/")]))
        .security(Some(["basicAuth", "bearerAuth"].map(|name| SecurityRequirement::new(name, [""; 0]))))
        .paths(paths)
        .components(Some(components.build()))
        .build()
}

/// The schemas that no type says. What draft 4 has in that of a stream's configuration means the same in OpenAPI 3.1, but for
/// the names of the schema and of its draft.
fn written() -> Result<Map<String, Value>, serde_json::Error> {
    let mut written: Map<String, Value> = serde_json::from_str(WRITTEN)?;
    let mut stream = config_schema();
    if let Some(members) = stream.as_object_mut() {
        members.remove("id");
        members.remove("$schema");
    }
    written.insert("DataStream".into(), stream);
    written.insert(
        "Refusal".into(),
        json!({
            "$ref": "#/components/schemas/Envelope_Empty",
            "properties": {"messages": {
                "minItems": 1, "contains": {"type": "object", "properties": {"severity": {"const": "ERROR"}}},
            }},
        }),
    );
    let document = |members: &[&str]| json!({"type": "object", "required": members});
    let mut asyncapi = document(&["asyncapi", "info", "channels", "operations"]);
    asyncapi["properties"] = json!({"asyncapi": {"type": "string", "pattern": "^3[.]"}});
    asyncapi["additionalProperties"] = true.into();
    written.insert("AsyncApiDocument".into(), asyncapi);
    written.insert("OpenApiDocument".into(), document(&["openapi", "info", "paths", "components"]));
    written.insert("JsonSchema".into(), document(&["$schema", "id", "title"]));
    Ok(written)
}

/// What an envelope holds is described once, under its own name.
fn refer_to_responses(schemas: &mut Value) {
    let names: Vec<String> = schemas.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    for whole in &names {
        let of = whole.strip_prefix("Envelope_").filter(|response| names.iter().any(|name| name == response));
        if let Some(response) = of {
            let reference = format!("#/components/schemas/{response}");
            schemas[whole]["properties"]["response"] = json!({ "$ref": reference });
        }
    }
}

/// Says of every header of every answer whether it is always there.
fn say_which_headers_are_there(part: &mut Value) {
    let Value::Object(members) = part else {
        return part.as_array_mut().into_iter().flatten().for_each(say_which_headers_are_there);
    };
    for (name, member) in members {
        match member {
            Value::Object(headers) if name == "headers" => {
                for (name, header) in headers.iter_mut().filter(|(name, _)| !AT_TIMES.contains(&name.as_str())) {
                    debug_assert!(header.get("schema").is_some(), "{name}");
                    header["required"] = true.into();
                }
            }
            member => say_which_headers_are_there(member),
        }
    }
}

/// The parameters that stand in a path. A name is called after what it stands under.
fn parameters_of(path: &str) -> Vec<String> {
    let mut before = "";
    let mut names = Vec::new();
    for part in path.split('/') {
        if let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            let name = match (name, before) {
                ("name", "metadata-catalog") => "type",
                ("name", plural) => plural.trim_end_matches('s'),
                (own, _) => own,
            };
            names.push(name.to_owned());
        }
        before = part;
    }
    names
}

/// Every parameter that several operations have, by the name that it has among them.
fn parameters() -> Vec<(&'static str, RefOr<Parameter>)> {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let pattern = |pattern: &str| text().pattern(Some(pattern)).build();
    let resource = || pattern("^[A-Za-z][A-Za-z0-9_.-]{0,31}$");
    let some = || text().min_length(Some(1)).build();
    let user = text().min_length(Some(1)).max_length(Some(256));
    let user = user.pattern(Some("^[^:/\\u0000-\\u001f\\u007f-\\u009f]+$")).build();
    let in_path = |name: &str, description: &str, schema: Object| {
        let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path).required(Required::True);
        RefOr::T(parameter.description(Some(description)).schema(Some(Schema::Object(schema))).build())
    };
    let token = ParameterBuilder::new()
        .name("access_token")
        .parameter_in(ParameterIn::Query)
        .description(Some("A token in place of the header Authorization, for clients that cannot set headers"))
        .schema(Some(Object::with_type(Type::String)));
    vec![
        ("stream", in_path("name", "The data stream", resource())),
        ("trail", in_path("name", "The trail", pattern("^[A-Za-z0-9_#$-]{2,64}$"))),
        ("extract", in_path("name", "The extract", resource())),
        (
            "user",
            in_path("name", "The user: 1 to 256 bytes of UTF-8 without colon, slash and control characters", user),
        ),
        ("type", in_path("name", "The type's name, as the catalog lists it", some())),
        ("domain", in_path("domain", "The group that the credentials stand in", resource())),
        ("alias", in_path("alias", "The credentials' name there", resource())),
        ("report", in_path("report", "NAME.rpt, with the extract's name", some())),
        ("group", in_path("group", "The consumer group of the stream", pattern("^[A-Za-z0-9_.-]{1,128}$"))),
        ("accessToken", RefOr::T(token.build())),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_path_is_called_after_what_it_stands_under() {
        assert_eq!(parameters_of("/services/v2/stream/{name}/info"), ["stream"]);
        assert_eq!(parameters_of("/services/v2/credentials/{domain}/{alias}"), ["domain", "alias"]);
        assert_eq!(parameters_of("/services/v2/metadata-catalog/{name}"), ["type"]);
    }
}
