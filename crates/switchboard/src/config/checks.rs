//! What no single value shows: names that refer to nothing, claims that overlap, paths that can never be reached.

use base64::Engine as _;
use sb_core::model::Pattern;

use super::fault::Fault;
use super::model::*;
use super::read::Places;
use super::units;
use super::walk::Walk;

/// Paths that Switchboard answers itself, before any route.
const OWN_PATHS: [&str; 15] = [
    "/topics",
    "/publish",
    "/groups",
    "/methods",
    "/jobs",
    "/tokens",
    "/ws",
    "/livez",
    "/readyz",
    "/metrics",
    "/status",
    "/openapi.json",
    "/console",
    "/docs",
    "/healthz",
];

/// Checks the whole configuration; what is wrong is added to `walk.faults`.
pub fn all(walk: &mut Walk<'_>, config: &mut Config, places: &Places, insecure: bool) {
    listeners(walk, config, places, insecure);
    overlaps(walk, config, places);
    routes(walk, config, places);
    roles(walk, config, places);
    keys(walk, config, places);
}

fn listeners(walk: &mut Walk<'_>, config: &Config, places: &Places, insecure: bool) {
    let public_tls = config.public_url.as_deref().is_some_and(|url| url.starts_with("https://"));
    for (listener, span) in config.listen.iter().zip(&places.listen) {
        let outside = !listener.addr.ip().is_loopback();
        if outside && !config.auth.configured() && !insecure && walk.faults.iter().all(|f| f.code != "SB0103")
        {
            let port = listener.addr.port();
            let scheme = if listener.tls { "https" } else { "http" };
            walk.fault(
                Fault::new("SB0104", format!("nothing may listen on {} without a login", listener.addr))
                    .at(span.clone())
                    .label("reachable from other machines")
                    .help("do one of: add   [auth] keys = { shop = \"$SHOP_KEY\" }")
                    .help(format!("or    listen = [\"{scheme}://localhost:{port}\"]"))
                    .help("or    start with --insecure        (anyone can read and publish)"),
            );
        }
        if listener.tls
            && config.tls.is_none()
            && walk.faults.iter().all(|f| !f.title.contains("[tls]") && f.code != "SB0110")
        {
            walk.fault(
                Fault::new("SB0112", format!("{} needs a certificate", listener.url))
                    .at(span.clone())
                    .help("add   [tls] cert = \"cert.pem\", key = \"key.pem\""),
            );
        }
        if outside && !listener.tls && config.auth.configured() && !public_tls {
            walk.fault(
                Fault::new("SB0114", format!("keys and tokens travel to {} in clear text", listener.addr))
                    .warning()
                    .at(span.clone())
                    .help("use https:// with [tls], or set public_url = \"https://…\" when a proxy adds TLS"),
            );
        }
    }
}

fn overlaps(walk: &mut Walk<'_>, config: &Config, places: &Places) {
    // What each topic claims: its own name, and its claims.
    let mut claims: Vec<(&str, &str, Pattern, super::tree::Span)> = Vec::new();
    for ((topic, name_span), claim_spans) in config.topics.iter().zip(&places.topics).zip(&places.claims) {
        let named = std::iter::once((topic.name.as_str(), name_span));
        for (text, span) in named.chain(topic.claims.iter().map(String::as_str).zip(claim_spans)) {
            if let Ok(pattern) = units::pattern(text) {
                claims.push((&topic.name, text, pattern, span.clone()));
            }
        }
    }
    for (i, (topic, text, pattern, span)) in claims.iter().enumerate() {
        let other =
            claims.iter().take(i).find(|(name, _, other, _)| name != topic && other.overlaps(pattern));
        if let Some((other_topic, other_text, ..)) = other {
            walk.fault(
                Fault::new(
                    "SB0106",
                    format!("`{text}` overlaps `{other_text}` of the topic `{other_topic}`"),
                )
                .at(span.clone())
                .label("both would claim the same addresses")
                .help(format!("make one of them narrower, or publish to `{other_topic}` only")),
            );
        }
    }
    let methods = config.methods.iter().map(|m| m.topic.as_str()).zip(places.methods.iter().cloned());
    let dead = places.dead_letters.iter().map(|(name, span)| (name.as_str(), span.clone()));
    for (name, span) in methods.chain(dead) {
        if config.topics.iter().any(|t| t.name == name) {
            continue;
        }
        let Ok(own) = units::pattern(name) else { continue };
        if let Some((other, text, ..)) = claims.iter().find(|(.., pattern, _)| pattern.overlaps(&own)) {
            walk.fault(
                Fault::new(
                    "SB0106",
                    format!("the topic `{name}` cannot exist: `{text}` of the topic `{other}` claims it"),
                )
                .at(span)
                .label("needs a topic of its own")
                .help("name another topic here, or make the claim narrower"),
            );
        }
    }
}

fn routes(walk: &mut Walk<'_>, config: &Config, places: &Places) {
    for (i, ((route, span), target)) in
        config.routes.iter().zip(&places.routes).zip(&places.targets).enumerate()
    {
        let unreachable = |why: String| {
            Fault::new("SB0108", format!("the route `{} {}` can never be reached", route.method, route.path))
                .at(span.clone())
                .label(why)
                .help("give it a path of its own, for example under /api/")
        };
        if let Some(own) = OWN_PATHS.iter().find(|own| {
            route.path.strip_prefix(**own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }) {
            walk.fault(unreachable(format!("{own} is answered by Switchboard itself")));
        } else if config
            .routes
            .iter()
            .take(i)
            .any(|r| r.method == route.method && same_path(&r.path, &route.path))
        {
            walk.fault(unreachable("an earlier route has the same method and path".to_owned()));
        } else if route.method == "POST" && is_method_path(&route.path) {
            walk.fault(unreachable("POST /package.Service/Method calls that method".to_owned()));
        }
        if let Target::Call { service, method } = &route.target {
            let own: Vec<&str> =
                config.methods.iter().filter(|m| m.service == *service).map(|m| m.name.as_str()).collect();
            if !own.is_empty() && !own.contains(&method.as_str()) {
                let mut fault =
                    Fault::new("SB0108", format!("the service `{service}` has no method `{method}`"))
                        .at(target.clone());
                if let Some(near) = units::nearest(method, own.iter().copied()).first() {
                    fault = fault.help(format!("did you mean `{service}/{near}`?"));
                }
                walk.fault(fault.help(format!("its methods: {}", own.join(", "))));
            }
        }
    }
}

fn same_path(a: &str, b: &str) -> bool {
    a.trim_end_matches('/') == b.trim_end_matches('/')
}

fn is_method_path(path: &str) -> bool {
    let mut parts = path.trim_start_matches('/').split('/');
    matches!((parts.next(), parts.next(), parts.next()), (Some(service), Some(method), None) if service.contains('.') && !method.is_empty() && !method.contains('.'))
}

fn roles(walk: &mut Walk<'_>, config: &mut Config, places: &Places) {
    let known: Vec<&str> = config.roles.iter().map(|r| r.name.as_str()).collect();
    for (key, (span, named)) in config.auth.keys.iter_mut().zip(&places.keys) {
        if key.role == "admin" || known.contains(&key.role.as_str()) {
            continue;
        }
        // Without any roles there is nothing to choose from: a key is a login to everything.
        if known.is_empty() && !named {
            key.role = "admin".to_owned();
            continue;
        }
        let what = if *named {
            format!("there is no role `{}`", key.role)
        } else {
            format!("the key `{}` has no role, and there is no role of its name", key.name)
        };
        let mut fault = Fault::new("SB0107", what).at(span.clone());
        if let Some(near) = units::nearest(&key.role, known.iter().copied()).first() {
            fault = fault.help(format!("did you mean `{near}`?"));
        }
        let list = if known.is_empty() { "admin".to_owned() } else { format!("{}, admin", known.join(", ")) };
        fault = fault.help(format!("roles: {list}"));
        if !named {
            fault = fault.help(format!("write  {} = {{ key = \"$NAME\", role = \"…\" }}", key.name));
        }
        walk.fault(fault);
    }
}

fn keys(walk: &mut Walk<'_>, config: &Config, places: &Places) {
    for (jwt, span) in config.auth.jwt.iter().zip(&places.jwt) {
        if let Err((why, fix)) = key_fits(jwt.algorithm, &jwt.key.0) {
            walk.fault(Fault::new("SB0109", why).at(span.clone()).label("this key").help(fix));
        }
    }
}

/// Whether a key is of the kind that an algorithm needs. A public key taken for a shared secret would let anyone sign.
fn key_fits(algorithm: Algorithm, key: &str) -> Result<(), (String, String)> {
    let pem = pem_of(key);
    if algorithm == Algorithm::Hs256 {
        return match pem {
            Some(_) => Err((
                "HS256 needs a shared secret, not a key in PEM form".to_owned(),
                "set  algorithm  to the one of this key: RS256, ES256 or EdDSA".to_owned(),
            )),
            None if key.len() < 32 => Err((
                format!("the secret for HS256 has {} bytes, fewer than 32: it can be guessed", key.len()),
                "make one:  openssl rand -base64 48".to_owned(),
            )),
            None => Ok(()),
        };
    }
    let (name, wanted) = match algorithm {
        Algorithm::Rs256 => ("RS256", "an RSA"),
        Algorithm::Es256 => ("ES256", "an elliptic-curve P-256"),
        _ => ("EdDSA", "an Ed25519"),
    };
    let fix = format!("give {wanted} public key as PEM (-----BEGIN PUBLIC KEY-----)");
    let Some((label, der)) = pem else {
        return Err((format!("{name} needs a public key in PEM form"), fix));
    };
    if label.contains("PRIVATE") {
        return Err((format!("{name} needs the public key, and this is the private one"), fix));
    }
    // The identifiers of RFC 3279, 5480 and 8410, as they stand in a SubjectPublicKeyInfo.
    let has = |oid: &[u8]| der.windows(oid.len()).take(40).any(|w| w == oid);
    let rsa = has(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01]) || label == "RSA PUBLIC KEY";
    let p256 = has(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]);
    let ed25519 = has(&[0x2b, 0x65, 0x70]) && !rsa && !p256;
    let (fits, found) = match algorithm {
        Algorithm::Rs256 => (rsa, "RSA"),
        Algorithm::Es256 => (p256, "P-256"),
        _ => (ed25519, "Ed25519"),
    };
    if fits {
        return Ok(());
    }
    let actual = match (rsa, p256, ed25519) {
        (true, ..) => "an RSA key",
        (_, true, _) => "a P-256 key",
        (_, _, true) => "an Ed25519 key",
        _ => "some other kind of key",
    };
    Err((format!("{name} needs a key for {found}, and this is {actual}"), fix))
}

/// The label and the bytes of the first PEM block.
fn pem_of(text: &str) -> Option<(String, Vec<u8>)> {
    let after = text.split_once("-----BEGIN ")?.1;
    let (label, rest) = after.split_once("-----")?;
    let body: String = rest.split("-----END").next()?.chars().filter(|c| !c.is_whitespace()).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(body).unwrap_or_default();
    Some((label.to_owned(), der))
}
