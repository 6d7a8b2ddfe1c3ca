//! The ways in which a path may be reached: as this server has it, and as a GoldenGate reverse proxy shows it, below the
//! name of a service of the deployment and perhaps of the deployment itself.

use crate::face::Address;

/// The services of a deployment, and the resources of ours that stand below their names.
const SERVICES: [(&str, &[&str]); 2] = [
    ("distsrvr", &["stream", "metadata-catalog", "sources"]),
    ("adminsrvr", &["trails", "extracts", "commands", "replicats", "authorizations", "credentials"]),
];

/// Every path by which one of ours may be reached, itself first.
pub(super) fn ways(path: &str) -> Vec<String> {
    let mut ways = vec![path.to_owned()];
    let Some(rest) = path.strip_prefix("/services/v2/") else { return ways };
    let resource = rest.split('/').next().unwrap_or_default();
    for (service, _) in SERVICES.iter().filter(|(_, resources)| resources.contains(&resource)) {
        ways.push(format!("/services/{service}/v2/{rest}"));
        ways.push(format!("/services/{{deployment}}/{service}/v2/{rest}"));
    }
    ways
}

/// A route's template as this server has it, without what a reverse proxy puts into it.
pub(super) fn native(template: &str) -> String {
    let route = template.replacen("/services/{deployment}/", "/services/", 1);
    let services = ["/services/distsrvr/", "/services/adminsrvr/"];
    services.into_iter().fold(route, |route, service| route.replacen(service, "/services/", 1))
}

/// The prefix of the native routes that the request came by: up to the version, where a reverse proxy has the names of a
/// service and perhaps of a deployment before it.
pub(super) fn prefix(at: &Address) -> &str {
    for service in ["/distsrvr/v2", "/adminsrvr/v2"] {
        // Nothing or one name stands between `/services` and the service.
        let Some(start) = at.path.find(service) else { continue };
        let end = start + service.len();
        if at.path[..start].matches('/').count() <= 2 && matches!(at.path.as_bytes().get(end), None | Some(b'/')) {
            return &at.path[..end];
        }
    }
    "/services/v2"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_the_same_route() {
        assert_eq!(ways("/services/v2/users/{name}"), ["/services/v2/users/{name}"]);
        assert_eq!(ways("/healthz"), ["/healthz"]);
        let streams = ways("/services/v2/stream/{name}/");
        assert_eq!(
            streams[1..],
            ["/services/distsrvr/v2/stream/{name}/", "/services/{deployment}/distsrvr/v2/stream/{name}/"]
        );
        for way in streams.iter().chain(&ways("/services/v2/trails")) {
            assert!(["/services/v2/stream/{name}/", "/services/v2/trails"].contains(&native(way).as_str()), "{way}");
        }
    }

    #[test]
    fn the_prefix_is_what_a_reverse_proxy_shows_and_else_our_own() {
        for (path, expected) in [
            ("/services/v2/stream/s1", "/services/v2"),
            ("/services/distsrvr/v2/stream", "/services/distsrvr/v2"),
            ("/services/north/distsrvr/v2/stream/s1/info", "/services/north/distsrvr/v2"),
            ("/services/v2/distsrvr/v2/stream/s1", "/services/v2/distsrvr/v2"),
            ("/services/adminsrvr/v2/trails", "/services/adminsrvr/v2"),
            ("/services/v2/stream/distsrvr/v2", "/services/v2"),
            ("/healthz", "/services/v2"),
        ] {
            let at = Address { secure: false, host: "h".into(), path: path.into() };
            assert_eq!(prefix(&at), expected, "{path}");
        }
    }
}
